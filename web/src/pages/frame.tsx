import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { Header } from "../components/header";

/** A page beside the chat: a heading, and what is under it in one column. */
export function Frame({ title, text, children }: { title: string; text?: string; children: ComponentChildren }) {
  useEffect(() => {
    document.title = `${title} – Ponder`;
  }, [title]);
  return (
    <div class="page">
      <Header title="" />
      <div class="page-body">
        <h1>{title}</h1>
        {text && <p class="lead">{text}</p>}
        {children}
      </div>
    </div>
  );
}
