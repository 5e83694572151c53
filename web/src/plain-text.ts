/**
 * Shows a text as it is, line breaks and all, while it is written.
 *
 * The text is set in pieces of a bounded length, each an element of its own: what arrives makes the browser lay out the
 * last piece only. Pieces end with a line, so that nothing of the cut is seen; a longer line is cut at a space.
 */

import type { Reader } from "./chat/text-stream";
import { soon } from "./work";

const FULL = 2000; // characters after which a piece ends with its line
const LONGEST = 6000; // … and after which it ends anyhow

export class PlainTextView implements Reader {
  private waiting = "";
  private piece: Text | null = null;
  private gone = false;

  constructor(private readonly root: HTMLElement) {}

  append(text: string): void {
    if (!this.waiting) soon(() => this.draw());
    this.waiting += text;
  }

  finish(): void {
    // what was written is drawn as it came: there is nothing that the end could change
  }

  /** Nothing is drawn after this. */
  dispose(): void {
    this.gone = true;
  }

  private draw(): void {
    if (this.gone) return;
    let text = this.waiting;
    this.waiting = "";
    while (text) {
      this.piece ??= this.begin();
      const end = endOfPiece(this.piece.data.length, text);
      this.piece.appendData(text.slice(0, end ?? text.length));
      if (end === null) return;
      text = text.slice(end);
      this.piece = null; // the next one begins a line anyhow: the line break at the end of this one is not seen
    }
  }

  private begin(): Text {
    const element = document.createElement("div");
    const piece = document.createTextNode("");
    element.append(piece);
    this.root.append(element);
    return piece;
  }
}

/** How much of a text still belongs to a piece of `length` characters; null where all of it does and more may. */
function endOfPiece(length: number, text: string): number | null {
  const line = text.indexOf("\n", Math.max(0, FULL - length));
  const most = LONGEST - length;
  if (line >= 0 && line < most) return line + 1;
  if (text.length <= most) return null;
  return Math.max(1, text.lastIndexOf(" ", most - 1) + 1);
}
