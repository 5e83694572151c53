import { describe, expect, it } from "vitest";
import { type Block, BlockSplitter, LONGEST_BLOCK, splitBlocks } from "../src/markdown/split";
import { anyMarkdown, chance, pieces } from "./chance";

const sources = (text: string) => splitBlocks(text).map(({ source }) => source);

function inPieces(parts: string[]): Block[] {
  const splitter = new BlockSplitter();
  return [...parts.flatMap((part) => splitter.push(part)), ...splitter.finish()];
}

describe("blocks", () => {
  it("end at a blank line", () => {
    expect(sources("one\ntwo\n\nthree\n")).toEqual(["one\ntwo\n", "three\n"]);
  });

  it("keep the items of a list together, and what is indented under one", () => {
    expect(sources("- a\n\n- b\n\n  more of b\n\nafter")).toEqual(["- a\n\n- b\n\n  more of b\n", "after\n"]);
  });

  it("keep a fence whole, blank lines and all", () => {
    expect(sources("before\n```py\na\n\nb\n```\nafter")).toEqual(["before\n", "```py\na\n\nb\n```\n", "after\n"]);
  });

  it("close a fence only with as many marks of the same kind", () => {
    expect(sources("````\n```\n~~~~\n````\nafter")).toEqual(["````\n```\n~~~~\n````\n", "after\n"]);
  });

  it("keep a fence inside a list item in the list", () => {
    expect(sources("1. a\n   ```\n   x\n\n   y\n   ```\n\n2. b\n\nend")).toEqual(["1. a\n   ```\n   x\n\n   y\n   ```\n\n2. b\n", "end\n"]);
  });

  it("keep a displayed formula whole", () => {
    expect(sources("so\n$$\na\n\nb\n$$\nand\n\\[\nc\n\\]\nend")).toEqual(["so\n", "$$\na\n\nb\n$$\n", "and\n", "\\[\nc\n\\]\n", "end\n"]);
  });

  it("cut a long fence into fences of the same language", () => {
    const line = `${"x".repeat(99)}\n`;
    const blocks = splitBlocks(`\`\`\`py\n${line.repeat(100)}\`\`\`\n`);
    expect(blocks.map(({ continued }) => continued)).toEqual([false, true]);
    expect(blocks.every(({ source }) => source.startsWith("```py\n") && source.endsWith("```\n"))).toBe(true);
    expect(blocks.map(({ source }) => source.match(/x{99}/g)?.length)).toEqual([60, 40]);
  });

  it("cut a line without an end at a space, and never a surrogate pair", () => {
    const words = splitBlocks("word ".repeat(5000));
    expect(words.map(({ source }) => source).join("").replace(/\n/g, "")).toBe("word ".repeat(5000));
    expect(words.every(({ source }) => source.length <= LONGEST_BLOCK + 1)).toBe(true);
    const faces = splitBlocks(`a${"😀".repeat(9000)}`);
    expect(faces.length).toBe(4);
    expect(faces.every(({ source }) => source.isWellFormed())).toBe(true);
  });
});

describe("any text, cut anywhere", () => {
  it("gives the same blocks", () => {
    for (let seed = 0; seed < 400; seed++) {
      const next = chance(seed);
      const text = anyMarkdown(next, 2 + Math.floor(next() * 60));
      const whole = splitBlocks(text);
      for (const longest of [1, 3, 40]) expect(inPieces(pieces(text, next, longest))).toEqual(whole);
    }
  });

  it("loses no character but blank lines", () => {
    const ink = (text: string) => text.replace(/\s/g, "");
    for (let seed = 0; seed < 400; seed++) {
      const text = anyMarkdown(chance(seed), 40);
      expect(ink(sources(text).join(""))).toBe(ink(text));
    }
  });

  it("shows in the open block what has not ended", () => {
    const text = anyMarkdown(chance(7), 60);
    const splitter = new BlockSplitter();
    let closed = "";
    for (const piece of pieces(text, chance(8), 5)) {
      closed += splitter.push(piece).map(({ source }) => source).join("");
    }
    expect((closed + splitter.open.source).replace(/\s/g, "")).toBe(text.replace(/\s/g, ""));
  });
});
