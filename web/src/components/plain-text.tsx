import { useEffect, useRef } from "preact/hooks";
import type { TextStream } from "../chat/text-stream";
import { PlainTextView } from "../plain-text";

/** A text as it is written, every character as it is. Preact makes the frame only; what is in it belongs to the view. */
export function PlainText({ stream }: { stream: TextStream }) {
  const frame = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const root = frame.current!;
    const view = new PlainTextView(root);
    const leave = stream.read(view);
    return () => {
      leave();
      view.dispose();
      root.replaceChildren();
    };
  }, [stream]);
  return <div ref={frame} class="plain-text" />;
}
