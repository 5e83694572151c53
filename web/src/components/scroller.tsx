import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import { Icon } from "./icon";

/** Whether the end of the conversation is in view: then it follows what is written. */
export const atEnd = signal(true);

const NEAR = 60; // pixels from the end that still count as the end

let scroller: HTMLElement | null = null;

export function scrollToEnd(): void {
  atEnd.value = true;
  if (scroller) scroller.scrollTop = scroller.scrollHeight;
}

/** Follows the end while new text comes, until the reader scrolls up; at the end again it goes on following. */
export function Scroller({ children }: { children: ComponentChildren }) {
  const outer = useRef<HTMLDivElement>(null);
  const inner = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = outer.current!;
    scroller = element;
    let top = element.scrollTop;
    const scrolled = () => {
      const rest = element.scrollHeight - element.scrollTop - element.clientHeight;
      // only the reader moves up; what grows moves the end away, which is no wish to leave it
      if (element.scrollTop < top - 1 && rest > NEAR) atEnd.value = false;
      else if (rest <= NEAR) atEnd.value = true;
      top = element.scrollTop;
    };
    const observer = new ResizeObserver(() => {
      if (atEnd.peek()) element.scrollTop = element.scrollHeight;
    });
    observer.observe(inner.current!);
    observer.observe(element);
    element.addEventListener("scroll", scrolled, { passive: true });
    scrollToEnd();
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", scrolled);
      scroller = null;
    };
  }, []);
  return (
    <div class="scroller-frame">
      <div class="scroller" ref={outer}>
        <div class="column" ref={inner}>
          {children}
        </div>
      </div>
      {!atEnd.value && (
        <button type="button" class="to-end" aria-label={t("scroll.down")} title={t("scroll.down")} onClick={scrollToEnd}>
          <Icon name="down" />
        </button>
      )}
    </div>
  );
}
