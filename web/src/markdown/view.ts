/** Shows Markdown while it is written: what is done is drawn once, the last block again as it grows. */

import { Chunk, drawBlock } from "./chunk";
import { decorate, keepFormulas } from "./decorate";
import { type Block, BlockSplitter } from "./split";
import { soon } from "../work";

const OPEN_SHARE = 0.1; // of the time, at most, goes into drawing the open block again

export class MarkdownView {
  private readonly splitter = new BlockSplitter();
  private readonly closed: Block[] = []; // done, and not yet drawn
  private readonly chunks: Chunk[] = [];
  private openElement: HTMLElement | null = null;
  private openDrawn = ""; // the source that the open element shows
  private nextOpen = 0; // when the open block may be drawn again
  private scheduled = false;
  private gone = false;

  constructor(private readonly root: HTMLElement) {}

  append(text: string): void {
    this.closed.push(...this.splitter.push(text));
    this.schedule();
  }

  finish(): void {
    this.closed.push(...this.splitter.finish());
    this.schedule();
  }

  /** Nothing is drawn after this. */
  dispose(): void {
    this.gone = true;
    for (const chunk of this.chunks) chunk.dispose();
  }

  private schedule(): void {
    if (this.scheduled || this.gone) return;
    this.scheduled = true;
    soon(() => this.step());
  }

  /** One block's worth of work. */
  private step(): void {
    this.scheduled = false;
    if (this.gone) return;
    const block = this.closed.shift();
    if (block) {
      this.draw(block, false);
      this.lastChunk().add(block);
      this.openElement = null;
      this.openDrawn = "";
      if (this.closed.length > 0 || this.splitter.open.source) this.schedule();
      return;
    }
    const open = this.splitter.open;
    if (open.source === this.openDrawn) return;
    const now = performance.now();
    if (now < this.nextOpen) {
      this.scheduled = true;
      setTimeout(() => soon(() => this.step()), this.nextOpen - now);
      return;
    }
    this.draw(open, true);
    this.openDrawn = open.source;
    this.nextOpen = now + (performance.now() - now) / OPEN_SHARE;
  }

  private draw(block: Block, open: boolean): void {
    const fresh = drawBlock(block);
    if (open) fresh.classList.add("open");
    if (this.openElement) {
      keepFormulas(this.openElement, fresh);
      this.openElement.replaceWith(fresh);
    } else this.lastChunk().element.append(fresh);
    decorate(fresh, open);
    this.openElement = fresh;
  }

  private lastChunk(): Chunk {
    const last = this.chunks.at(-1);
    if (last && !last.full) return last;
    const chunk = new Chunk();
    this.chunks.push(chunk);
    this.root.append(chunk.element);
    return chunk;
  }
}
