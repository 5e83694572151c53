/**
 * Cuts Markdown that is still being written into blocks that cannot change any more and one that can.
 *
 * Only the open block is rendered again when text arrives, so the work for each token does not grow with the length of
 * the text. Every decision is taken on a whole line (or on a fixed number of characters of a line without an end):
 * however the text is cut on its way here, the blocks are the same.
 */

export interface Block {
  source: string;
  /** Goes on where a block of the same kind was cut for its length. */
  continued: boolean;
}

/** Characters after which a block is cut: what bounds the time to render one. */
export const LONGEST_BLOCK = 6000;

type Kind = "text" | "list" | "indented" | "fence" | "math";

const FENCE = /^(\s*(?:(?:[-*+]|\d{1,9}[.)])\s+)*)(`{3,}|~{3,})([^`]*)$/;
const LIST_ITEM = /^ {0,3}(?:[-*+]|\d{1,9}[.)])(?:\s|$)/;
const HEADING = /^ {0,3}#{1,6}(?:\s|$)/;

export class BlockSplitter {
  private kind: Kind = "text";
  private source = "";
  private continued = false;
  /** Blank lines after `source`: they belong to the block only if its next line does. */
  private blanks = "";
  /** The line that has not ended. */
  private tail = "";
  /** What ends the fence or the formula that is open, also inside a list. */
  private closer: string | null = null;
  /** The first line of the open fence: a cut fence begins again with it. */
  private opening = "";

  /** Takes the next piece of text; the blocks that it has completed. */
  push(text: string): Block[] {
    const blocks: Block[] = [];
    let start = 0;
    for (;;) {
      const end = text.indexOf("\n", start);
      if (end < 0) break;
      this.tail += text.slice(start, end);
      this.cutTail(blocks);
      this.line(this.tail, blocks);
      this.tail = "";
      start = end + 1;
    }
    this.tail += text.slice(start);
    this.cutTail(blocks);
    return blocks;
  }

  /** The block that may still change; its source is "" where nothing is open. */
  get open(): Block {
    return { source: this.source + (this.source || this.tail ? this.blanks : "") + this.tail, continued: this.continued };
  }

  /** The text has ended: the blocks that were open. */
  finish(): Block[] {
    const blocks: Block[] = [];
    if (this.tail) this.line(this.tail, blocks);
    this.tail = "";
    this.emit(blocks);
    return blocks;
  }

  /** A line without an end is cut as if it had one, at a place that depends on its text alone. */
  private cutTail(blocks: Block[]): void {
    while (this.tail.length > LONGEST_BLOCK) {
      const space = this.tail.lastIndexOf(" ", LONGEST_BLOCK);
      const at = space > LONGEST_BLOCK / 2 ? space + 1 : safeCut(this.tail, LONGEST_BLOCK);
      const rest = this.tail.slice(at);
      this.line(this.tail.slice(0, at), blocks);
      this.tail = "";
      this.cut(blocks);
      this.tail = rest;
    }
  }

  private line(text: string, blocks: Block[]): void {
    if (this.closer !== null) this.insideLine(text, blocks);
    else if (text.trim() === "") {
      if (this.source) this.blanks += text + "\n";
    } else this.outsideLine(text, blocks);
    if (this.source.length > LONGEST_BLOCK) this.cut(blocks);
  }

  private insideLine(text: string, blocks: Block[]): void {
    this.source += text + "\n";
    if (!this.closes(text)) return;
    this.closer = null;
    if (this.kind === "fence" || this.kind === "math") this.emit(blocks);
  }

  private closes(text: string): boolean {
    const closer = this.closer as string;
    if (closer === "$$" || closer === "\\]") return text.includes(closer);
    const marks = text.trim();
    return marks.length >= closer.length && marks === (closer[0] as string).repeat(marks.length);
  }

  private outsideLine(text: string, blocks: Block[]): void {
    const indent = text.length - text.trimStart().length;
    if (this.source && this.blanks && !this.goesOn(text, indent)) this.emit(blocks);
    const fence = FENCE.exec(text);
    const math = mathCloser(text);
    if ((fence || math || HEADING.test(text)) && indent < 2 && !LIST_ITEM.test(text)) {
      this.emit(blocks);
      if (fence || math) {
        this.kind = fence ? "fence" : "math";
        this.opening = text;
      }
    } else if (!this.source && (indent >= 4 || text.startsWith("\t"))) this.kind = "indented";
    else if (this.kind === "text" && LIST_ITEM.test(text)) this.kind = "list";
    this.source += this.blanks + text + "\n";
    this.blanks = "";
    this.closer = fence ? (fence[2] as string) : math;
    if (this.closer === null && this.kind === "math") this.emit(blocks);
  }

  /** Does a line after blank ones belong to the block before them? */
  private goesOn(text: string, indent: number): boolean {
    if (this.kind === "list") return indent >= 2 || text.startsWith("\t") || LIST_ITEM.test(text);
    return this.kind === "indented" && (indent >= 4 || text.startsWith("\t"));
  }

  private cut(blocks: Block[]): void {
    const { kind, closer, opening } = this;
    if (kind === "fence" && closer !== null) {
      this.source += closer + "\n";
      this.emit(blocks);
      this.kind = kind;
      this.closer = closer;
      this.opening = opening;
      this.source = opening + "\n";
    } else this.emit(blocks);
    this.continued = true;
  }

  private emit(blocks: Block[]): void {
    if (this.source) blocks.push({ source: this.source, continued: this.continued });
    this.begin();
  }

  private begin(): void {
    this.kind = "text";
    this.source = "";
    this.blanks = "";
    this.closer = null;
    this.opening = "";
    this.continued = false;
  }
}

/** What will close the displayed formula that this line opens; null where it opens none, or closes it itself. */
function mathCloser(text: string): string | null {
  const line = text.trim().replace(/^(?:[-*+]|\d{1,9}[.)])\s+/, "");
  if (line.startsWith("$$")) return line.includes("$$", 2) ? null : "$$";
  if (line.startsWith("\\[")) return line.includes("\\]") ? null : "\\]";
  return null;
}

/** A place at or before `at` that does not stand between the halves of a surrogate pair. */
function safeCut(text: string, at: number): number {
  const code = text.charCodeAt(at - 1);
  return code >= 0xd800 && code < 0xdc00 ? at - 1 : at;
}

/** All blocks of a text that is complete. */
export function splitBlocks(text: string): Block[] {
  const splitter = new BlockSplitter();
  return [...splitter.push(text), ...splitter.finish()];
}
