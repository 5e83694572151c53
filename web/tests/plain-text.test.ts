import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { PlainTextView } from "../src/plain-text";
import { anyMarkdown, chance, pieces } from "./chance";

let frames: Array<() => void> = [];

function drawFrames(): void {
  while (frames.length > 0) frames.shift()!();
}

beforeEach(() => {
  frames = [];
  vi.stubGlobal("requestAnimationFrame", (frame: () => void) => frames.push(frame));
});

afterEach(() => {
  drawFrames();
  vi.unstubAllGlobals();
});

function draw(parts: string[]): HTMLElement {
  const root = document.createElement("div");
  const view = new PlainTextView(root);
  for (const part of parts) {
    view.append(part);
    drawFrames();
  }
  view.finish();
  return root;
}

describe("a text that is shown as it is", () => {
  it("keeps every character", () => {
    for (let seed = 0; seed < 20; seed++) {
      const next = chance(seed);
      const text = `9*5=5, 9*1=9\n\n  <b> _x_ $y$\n${anyMarkdown(next, 120)}`;
      expect(draw(pieces(text, next, 40)).textContent).toBe(text);
      expect(draw([text]).textContent).toBe(text);
    }
  });

  it("is set in pieces that end with a line, or at a space of a line that is too long", () => {
    const lines = draw(["a line of it\n".repeat(1000)]);
    const sizes = [...lines.children].map((piece) => piece.textContent.length);
    expect(sizes.length).toBe(7);
    expect(Math.max(...sizes)).toBeLessThan(2100);
    expect([...lines.children].every((piece) => piece.textContent.endsWith("\n"))).toBe(true);
    for (const word of ["word ", "wordwithoutend"]) {
      const line = draw([word.repeat(3000)]);
      expect(Math.max(...[...line.children].map((piece) => piece.textContent.length))).toBeLessThanOrEqual(6000);
      expect(line.textContent).toBe(word.repeat(3000));
    }
  });

  it("does not touch what is written when more comes", () => {
    const root = document.createElement("div");
    const view = new PlainTextView(root);
    view.append("first ");
    drawFrames();
    const text = root.firstElementChild!.firstChild;
    view.append("second");
    drawFrames();
    expect(root.firstElementChild!.firstChild).toBe(text);
    expect(root.textContent).toBe("first second");
    view.append(" third");
    view.dispose();
    drawFrames();
    expect(root.textContent).toBe("first second");
  });
});
