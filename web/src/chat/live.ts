/** An answer as it is shown: its two texts, and how far it is. A stored answer is one that has ended. */

import { batch, signal } from "@preact/signals";
import type { Message, RunEvent } from "../api/types";
import { TextStream } from "./text-stream";

export type Phase = "waiting" | "queued" | "thinking" | "answering" | "ended";

const TICK = 200; // milliseconds between two readings of the clock and the count that are shown

export class Live {
  readonly reasoning = signal(new TextStream());
  readonly content = signal(new TextStream());
  readonly phase = signal<Phase>("waiting");
  readonly position = signal(0);
  readonly seconds = signal<number | null>(null);
  readonly tokens = signal<number | null>(null);
  readonly broken = signal(false); // the connection is being made again
  readonly unsaved = signal(false);
  readonly leftOut = signal(0);
  readonly notice = signal<string | null>(null);
  readonly retracted = signal(false);
  final: Message | null = null; // as it is stored, once it has ended
  private ticked = 0;

  constructor(message: Message) {
    if (message.run_id === null) this.settle(message);
  }

  get running(): boolean {
    return this.phase.value !== "ended";
  }

  /** Takes an event; the final message, if this was the last one. */
  apply({ event, data }: RunEvent): Message | null {
    switch (event) {
      case "start":
        this.leftOut.value = data.left_out;
        return null;
      case "queued":
        batch(() => {
          this.phase.value = "queued";
          this.position.value = data.position;
        });
        return null;
      case "reasoning":
        this.phase.value = "thinking";
        this.reasoning.peek().append(data.text);
        this.count(data.seconds, data.tokens, false);
        return null;
      case "thought_end":
        this.count(data.seconds, data.tokens, true);
        this.reasoning.peek().finish();
        this.phase.value = "answering";
        return null;
      case "content":
        this.phase.value = "answering";
        this.content.peek().append(data.text);
        return null;
      case "retract":
        this.withdraw(data.notice);
        return null;
      case "notice":
        this.notice.value = data.notice;
        return null;
      case "finish":
        this.unsaved.value = data.stored === false;
        this.settle(data.message);
        return data.message;
      case "message":
        this.settle(data.message);
        return data.message;
    }
  }

  /** The stored message holds; a text that was shown already stays as it is drawn. */
  settle(message: Message): void {
    this.final = message;
    batch(() => {
      if (message.retracted) this.withdraw(message.notice ?? "");
      this.notice.value = message.notice;
      this.settleText(this.reasoning, message.reasoning ?? "");
      this.settleText(this.content, message.content);
      this.seconds.value = message.thinking_seconds;
      this.tokens.value = message.thought_tokens;
      this.leftOut.value = message.left_out;
      this.broken.value = false;
      this.phase.value = "ended";
    });
  }

  private settleText(stream: Live["content"], text: string): void {
    if (stream.peek().text === text) stream.peek().finish();
    else stream.value = new TextStream(text, true);
  }

  private withdraw(notice: string): void {
    batch(() => {
      this.reasoning.value = new TextStream("", true);
      this.content.value = new TextStream("", true);
      this.notice.value = notice;
      this.retracted.value = true;
    });
  }

  private count(seconds: number, tokens: number, last: boolean): void {
    const now = performance.now();
    if (!last && now - this.ticked < TICK) return;
    this.ticked = now;
    batch(() => {
      this.seconds.value = seconds;
      this.tokens.value = tokens;
    });
  }
}
