import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MarkdownView } from "../src/markdown/view";
import { anyMarkdown, chance, pieces } from "./chance";

// drawing formulas and colouring code is KaTeX's and highlight.js's work, seen in the browser tests
vi.mock("../src/markdown/math", () => ({ drawFormula: () => undefined }));
vi.mock("../src/markdown/code", () => ({ colourCode: () => undefined }));

let frames: Array<() => void> = [];

/** All frames that are wanted, those that wait for their time too. */
function drawFrames(): void {
  do {
    vi.runAllTimers();
    while (frames.length > 0) frames.shift()!();
  } while (vi.getTimerCount() > 0);
}

beforeEach(() => {
  frames = [];
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  vi.stubGlobal("requestAnimationFrame", (frame: () => void) => frames.push(frame));
});

afterEach(async () => {
  await vi.dynamicImportSettled(); // what decorates a block comes by itself
  drawFrames();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function draw(parts: string[]): HTMLElement {
  const root = document.createElement("div");
  const view = new MarkdownView(root);
  for (const part of parts) {
    view.append(part);
    drawFrames();
  }
  view.finish();
  drawFrames();
  return root;
}

describe("a text that is written piece by piece", () => {
  it("looks in the end as if it had come at once", { timeout: 30_000 }, () => {
    for (let seed = 0; seed < 15; seed++) {
      const next = chance(seed);
      const text = anyMarkdown(next, 30);
      const whole = draw([text]);
      const parts = draw(pieces(text, next, 12));
      expect(parts.textContent).toBe(whole.textContent);
      expect(parts.innerHTML).toBe(whole.innerHTML);
    }
  });

  it("does not touch a block that is done", () => {
    const root = document.createElement("div");
    const view = new MarkdownView(root);
    view.append("first\n\nsecond");
    drawFrames();
    const first = root.firstElementChild!;
    view.append(" goes on\n\nthird");
    drawFrames();
    expect(root.firstElementChild).toBe(first);
    expect(root.textContent).toContain("second goes on");
  });

  it("draws nothing after it is disposed of", () => {
    const root = document.createElement("div");
    const view = new MarkdownView(root);
    view.append("words");
    view.dispose();
    drawFrames();
    expect(root.childElementCount).toBe(0);
  });
});
