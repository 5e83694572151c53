/**
 * A run of finished blocks. Out of view it is folded: its DOM, which formulas make large, gives way to its source as one
 * text of the same height, which can still be searched and read aloud; near the view it is drawn again.
 */

import { decorate } from "./decorate";
import { renderMarkdown } from "./render";
import type { Block } from "./split";
import { soon } from "../work";

const FULL = 24; // blocks
const NEAR = "1600px 0px"; // above and below what is seen, where chunks stay drawn

const chunks = new WeakMap<Element, Chunk>();
const observers = new WeakMap<Element, IntersectionObserver>();

/** One observer for all chunks of a scrolled area. */
function observerOf(root: Element): IntersectionObserver {
  let observer = observers.get(root);
  if (!observer) {
    const seen = (entries: IntersectionObserverEntry[]) => {
      for (const entry of entries) chunks.get(entry.target)?.turn(entry);
    };
    observers.set(root, (observer = new IntersectionObserver(seen, { root, rootMargin: NEAR })));
  }
  return observer;
}

export class Chunk {
  readonly element = document.createElement("div");
  private readonly blocks: Block[] = [];
  private folded = false;
  private turns = 0;
  private observer: IntersectionObserver | null = null;

  constructor() {
    this.element.className = "chunk";
    chunks.set(this.element, this);
  }

  get full(): boolean {
    return this.blocks.length >= FULL;
  }

  /** A finished block, which stands in the element already. */
  add(block: Block): void {
    this.blocks.push(block);
    if (!this.full) return;
    const root = this.element.closest(".scroller");
    if (!root) return;
    this.observer = observerOf(root);
    this.observer.observe(this.element);
  }

  dispose(): void {
    this.turns++;
    this.observer?.unobserve(this.element);
  }

  turn({ isIntersecting, boundingClientRect }: IntersectionObserverEntry): void {
    if (isIntersecting && this.folded) this.unfold();
    else if (!isIntersecting && !this.folded && boundingClientRect.height > 0 && !this.selected()) {
      this.fold(boundingClientRect.height);
    }
  }

  private selected(): boolean {
    const selection = getSelection();
    return selection !== null && !selection.isCollapsed && selection.containsNode(this.element, true);
  }

  private fold(height: number): void {
    this.folded = true;
    this.turns++;
    this.element.style.height = `${height}px`;
    this.element.classList.add("folded");
    this.element.textContent = this.blocks.map(({ source }) => source).join("\n");
  }

  /** Block by block, so that no frame has to wait for all of them. */
  private unfold(): void {
    this.folded = false;
    const turn = ++this.turns;
    const fresh = document.createElement("div");
    for (const block of this.blocks) {
      soon(() => {
        if (turn === this.turns) fresh.append(drawBlock(block));
      });
    }
    soon(() => {
      if (turn !== this.turns) return;
      const drawn = [...fresh.children] as HTMLElement[];
      this.element.replaceChildren(...drawn);
      this.element.classList.remove("folded");
      this.element.style.height = "";
      for (const element of drawn) decorate(element, false);
    });
  }
}

export function drawBlock(block: Block): HTMLElement {
  const element = document.createElement("div");
  element.className = block.continued ? "block continued" : "block";
  element.append(renderMarkdown(block.source));
  return element;
}
