import { describe, expect, it } from "vitest";
import { fill, money } from "../src/i18n";
import { en } from "../src/i18n/en";
import { zh } from "../src/i18n/zh";

const files = import.meta.glob("../src/**/*.{ts,tsx}", { query: "?raw", import: "default", eager: true }) as Record<string, string>;
const code = Object.entries(files)
  .filter(([name]) => !/i18n\/(en|zh)\.ts$/.test(name))
  .map(([, text]) => text)
  .join("\n");

const places = (text: string) => [...new Set([...text.matchAll(/\{(\w+)/g)].map((match) => match[1]))].sort();

describe("the two languages", () => {
  it("have the same texts, none empty", () => {
    expect(Object.keys(zh).sort()).toEqual(Object.keys(en).sort());
    expect(Object.values({ ...en, ...zh }).every((text) => text.trim() !== "")).toBe(true);
  });

  it("fill in the same values", () => {
    for (const [key, text] of Object.entries(en)) expect([key, places(zh[key as keyof typeof en])]).toEqual([key, places(text)]);
  });

  it("are both translated", () => {
    const same = Object.entries(en).filter(([key, text]) => zh[key as keyof typeof en] === text);
    expect(same).toEqual([]);
    expect(Object.entries(zh).filter(([, text]) => !/[\u4e00-\u9fff]/.test(text))).toEqual([]);
  });

  it("have no text that nothing shows", () => {
    // `finish.${reason}` and the like name a family of texts
    const families = [...code.matchAll(/`([\w.]*)\$\{[^}]*\}([\w.]*)`/g)].map(([, head, tail]) => [head, tail] as const);
    const unused = Object.keys(en).filter(
      (key) =>
        !code.includes(`"${key}"`) &&
        !families.some(([head, tail]) => (head || tail) && key.startsWith(head as string) && key.endsWith(tail as string)),
    );
    expect(unused).toEqual([]);
  });
});

describe("values in a text", () => {
  it("choose the word by the number", () => {
    expect(fill(en["thought.for"], { seconds: 28 }, "en")).toBe("Thought for 28 seconds");
    expect(fill(en["thought.for"], { seconds: 1 }, "en")).toBe("Thought for 1 second");
    expect(fill(zh["thought.for"], { seconds: 28 }, "zh")).toBe("已深度思考（用时 28 秒）");
  });

  it("get separators, and stay where there is no value", () => {
    expect(fill("{n} of {m}", { n: 50000 }, "en")).toBe("50,000 of {m}");
  });

  it("are not filled in twice", () => {
    expect(fill("“{title}” {n}", { title: "{n}", n: 2 }, "en")).toBe("“{n}” 2");
  });
});

describe("money", () => {
  it("keeps three digits of what is small, and two after the point of the rest", () => {
    const shown = [0, 500_000, 2_000_000, 2_114, 1_892_345_678, 1, -19_600].map((micro) => money(micro, "CNY"));
    expect(shown).toEqual(["¥0.00", "¥0.50", "¥2.00", "¥0.00211", "¥1,892.35", "¥0.000001", "-¥0.0196"]);
  });
});
