import { describe, expect, it } from "vitest";
import { EventParser } from "../src/api/sse";
import { chance, pieces } from "./chance";

const STREAM =
  ": keep-alive\n\nid: 1\nevent: start\ndata: {\"a\": 1}\n\nid:2\r\nevent:content\r\ndata:one\r\ndata: two\r\n\r\nretry: 5\ndata\n\n" +
  "event: lost\n\nid: 3\rdata: 中文😀\r\rdata: unfinished";

const EVENTS = [
  { id: "1", event: "start", data: '{"a": 1}' },
  { id: "2", event: "content", data: "one\ntwo" },
  { id: "2", event: "message", data: "" },
  { id: "3", event: "message", data: "中文😀" },
];

describe("server-sent events", () => {
  it("are read by the standard's rules", () => {
    expect(new EventParser().push(STREAM)).toEqual(EVENTS);
  });

  it("are the same however the stream is cut", () => {
    for (let seed = 0; seed < 300; seed++) {
      const parser = new EventParser();
      expect(pieces(STREAM, chance(seed), 1 + (seed % 20)).flatMap((piece) => parser.push(piece))).toEqual(EVENTS);
    }
  });
});
