import { useEffect, useRef } from "preact/hooks";
import type { TextStream } from "../chat/text-stream";
import { MarkdownView } from "../markdown/view";

/** A text as it is written. Preact makes the frame only; what is in it belongs to the view. */
export function Markdown({ stream, className = "" }: { stream: TextStream; className?: string }) {
  const frame = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const root = frame.current!;
    const view = new MarkdownView(root);
    const leave = stream.read(view);
    return () => {
      leave();
      view.dispose();
      root.replaceChildren();
    };
  }, [stream]);
  return <div ref={frame} class={`markdown ${className}`} />;
}
