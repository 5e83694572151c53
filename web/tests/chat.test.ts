import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { completeMessage, type FinishReason, type Message } from "../src/api/types";
import { announce, announced, announceRun, wholeSentences } from "../src/chat/announce";
import { shownSeconds } from "../src/components/thought";
import { Live } from "../src/chat/live";
import { TextStream } from "../src/chat/text-stream";
import { branchTo, childrenOf, comparable, newestLeaf } from "../src/chat/tree";
import { copyText } from "../src/clipboard";
import { ageOf } from "../src/dates";
import { routeOf } from "../src/router";
import { readSettings } from "../src/settings";

function message(id: string, parent: string | null, created: number, more: Partial<Message> = {}): Message {
  return completeMessage({ id, parent_id: parent, created, role: "user", content: id, ...more });
}

// a ─ b ─ c ─ d
//   │   └ e ─ f
//   └ g
const MESSAGES = [
  message("a", null, 1),
  message("b", "a", 2, { role: "assistant", thinking: true }),
  message("c", "b", 3),
  message("d", "c", 4),
  message("e", "b", 5),
  message("f", "e", 6),
  message("g", "a", 7, { role: "assistant", thinking: false }),
];

const ids = (messages: readonly Message[]) => messages.map(({ id }) => id).join("");

describe("the branches of a conversation", () => {
  it("end at the leaf that was chosen", () => {
    expect(ids(branchTo(MESSAGES, "d"))).toBe("abcd");
    expect(ids(branchTo(MESSAGES, "f"))).toBe("abef");
  });

  it("go on to the newest leaf under a message", () => {
    expect(ids(branchTo(MESSAGES, "b"))).toBe("abef");
    expect(newestLeaf(childrenOf(MESSAGES), "c")).toBe("d");
  });

  it("are the newest where the leaf is not known", () => {
    expect(ids(branchTo(MESSAGES, null))).toBe("ag");
    expect(ids(branchTo(MESSAGES, "gone"))).toBe("ag");
    expect(branchTo([], null)).toEqual([]);
  });

  it("offer two answers to compare: with a thought and without", () => {
    const tree = childrenOf(MESSAGES);
    expect(comparable(tree.get("a")!)?.map(({ id }) => id)).toEqual(["b", "g"]);
    expect(comparable(tree.get("b")!)).toBeNull();
  });
});

describe("a text that grows", () => {
  it("tells each reader all of it, in order, once", () => {
    const stream = new TextStream("one ");
    const heard = ["", ""];
    let ends = 0;
    const reader = (index: number) => ({ append: (text: string) => (heard[index] += text), finish: () => void ends++ });
    stream.read(reader(0));
    stream.append("two ");
    const leave = stream.read(reader(1));
    stream.append("three");
    leave();
    stream.append(" four");
    stream.finish();
    stream.finish();
    expect(heard).toEqual(["one two three four", "one two three"]);
    expect(ends).toBe(1);
  });
});

describe("an answer under way", () => {
  const run = () => new Live(message("m", "q", 1, { role: "assistant", run_id: "r" }));

  it("goes from waiting to its end", () => {
    const live = run();
    expect(live.phase.value).toBe("waiting");
    live.apply({ event: "queued", data: { position: 2 } });
    expect([live.phase.value, live.position.value]).toEqual(["queued", 2]);
    live.apply({ event: "reasoning", data: { text: "hm", seconds: 1.5, tokens: 1 } });
    expect([live.phase.value, live.seconds.value, live.tokens.value]).toEqual(["thinking", 1.5, 1]);
    live.apply({ event: "thought_end", data: { seconds: 28, tokens: 9 } });
    expect([live.phase.value, live.seconds.value, live.reasoning.value.done]).toEqual(["answering", 28, true]);
    const text = live.content.value;
    live.apply({ event: "content", data: { text: "yes" } });
    const final = message("m", "q", 1, { content: "yes", reasoning: "hm", thinking_seconds: 28, thought_tokens: 9 });
    expect(live.apply({ event: "finish", data: { message: final } })).toBe(final);
    expect(live.phase.value).toBe("ended");
    expect(live.content.value).toBe(text); // what is drawn stays
    expect(text.done).toBe(true);
  });

  it("shows nothing of what was withdrawn", () => {
    const live = run();
    live.apply({ event: "reasoning", data: { text: "secret", seconds: 1, tokens: 1 } });
    live.apply({ event: "content", data: { text: "secret" } });
    live.apply({ event: "retract", data: { notice: "Rule 3" } });
    expect([live.content.value.text, live.reasoning.value.text, live.notice.value]).toEqual(["", "", "Rule 3"]);
    expect(live.retracted.value).toBe(true);
  });

  it("takes the stored text where that is another", () => {
    const live = run();
    live.apply({ event: "content", data: { text: "half" } });
    live.apply({ event: "message", data: { message: message("m", "q", 1, { content: "half and whole" }) } });
    expect(live.content.value.text).toBe("half and whole");
  });
});

describe("what a screen reader hears", () => {
  it("is read once: a line keeps its id when older ones go", () => {
    for (let line = 0; line < 20; line++) announce(`line ${line}`);
    const before = announced.value;
    announce("one more");
    expect(announced.value.slice(0, 19)).toEqual(before.slice(1));
    expect(new Set(announced.value.map(({ id }) => id)).size).toBe(20);
  });

  it.each<[FinishReason, string]>([
    ["stop", "The answer is complete."],
    ["cancelled", "Stopped."],
    ["length", "The answer reached its longest length and was cut off."],
    ["error", "Something went wrong: the engine has stopped"],
  ])("is how an answer ended: %s", (finish_reason, text) => {
    const live = new Live(message("m", "q", 1, { role: "assistant", run_id: "r" }));
    announceRun(live);
    const final = message("m", "q", 1, { finish_reason, error: "the engine has stopped" });
    live.apply({ event: "finish", data: { message: final } });
    expect(announced.value.at(-1)?.text).toBe(text);
  });
});

describe("a button that copies", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("navigator", { clipboard: { writeText: () => Promise.resolve() } });
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("has its own label again after two clicks", async () => {
    const button = document.createElement("button");
    button.textContent = "Copy";
    await copyText("text", button);
    vi.advanceTimersByTime(1000);
    await copyText("text", button);
    vi.advanceTimersByTime(1000); // the first click's time is over, not the second's
    expect(button.textContent).toBe("Copied");
    vi.advanceTimersByTime(1000);
    expect(button.textContent).toBe("Copy");
  });
});

describe("small things", () => {
  it("announces whole sentences", () => {
    expect(wholeSentences("One. Two! Thr")).toBe(9);
    expect(wholeSentences("3.14 is")).toBe(0);
    expect(wholeSentences("好的。然后")).toBe(3);
  });

  it("tells tenths of a second until there is a whole one", () => {
    expect([0, 0.04, 0.26, 0.9, 0.96, 1.4, 27.6].map(shownSeconds)).toEqual([0.1, 0.1, 0.3, 0.9, 1, 1, 28]);
  });

  it("knows its addresses", () => {
    expect(routeOf("/")).toEqual({ page: "chat", id: null });
    expect(routeOf("/c/a_B-1")).toEqual({ page: "chat", id: "a_B-1" });
    expect(routeOf("/keys")).toEqual({ page: "keys" });
    expect(routeOf("/c/a/b")).toEqual({ page: "missing" });
  });

  it("reads settings that somebody has broken", () => {
    expect(readSettings("{nonsense").theme).toBe("auto");
    expect(readSettings('{"theme": "pink", "effort": "max", "model": 3}')).toMatchObject({ theme: "auto", effort: "max", model: null });
    expect(readSettings("null").thinking).toBe(true);
  });

  it("sorts conversations by the day", () => {
    const now = new Date(2026, 0, 15, 12).getTime();
    const day = 86400;
    const ages = [0, 0.6, 1.6, 6, 9].map((days) => ageOf(now / 1000 - days * day, now));
    expect(ages).toEqual(["today", "yesterday", "week", "week", "older"]);
  });
});
