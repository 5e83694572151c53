/** What a screen reader hears of a run: its turns, and the answer in whole sentences, a few at a time. */

import { effect, signal } from "@preact/signals";
import { t } from "../i18n";
import { cutShort } from "./ending";
import type { Live } from "./live";

interface Line {
  id: number; // as long as it stays the same, the line is read once
  text: string;
}

export const announced = signal<Line[]>([]);

const EVERY = 3000; // milliseconds
const KEPT = 20; // lines of the log

let next = 0;

export function announce(text: string): void {
  announced.value = [...announced.value.slice(1 - KEPT), { id: next++, text }];
}

/** The length of the part of a text that ends with a sentence or a line. */
export function wholeSentences(text: string): number {
  let end = 0;
  for (const match of text.matchAll(/[.!?](?=\s)|[。！？\n]/g)) end = match.index + match[0].length;
  return end;
}

export function announceRun(live: Live): void {
  let told = 0;
  let phase = "";
  const tell = (all: boolean) => {
    const text = live.content.peek().text.slice(told);
    const end = all ? text.length : wholeSentences(text);
    if (text.slice(0, end).trim()) announce(text.slice(0, end));
    told += end;
  };
  const timer = setInterval(() => tell(false), EVERY);
  const stop = effect(() => {
    const now = live.phase.value;
    if (now === phase) return;
    phase = now;
    if (now === "thinking") announce(t("announce.started"));
    if (now === "answering") announce(t("announce.answer"));
    if (now !== "ended") return;
    clearInterval(timer);
    tell(true);
    announceEnd(live);
    queueMicrotask(() => stop());
  });
}

/** Of a run that the server does not know any more nothing is said: how it ended is seen when it is loaded again. */
function announceEnd({ final, retracted, unsaved }: Live): void {
  if (final === null) return;
  announce(retracted.peek() ? t("retracted") : (cutShort(final) ?? t("announce.done")));
  if (unsaved.peek()) announce(t("finish.unsaved"));
}
