// Anthropic's client for JavaScript.

import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { ifObliging, model, obliging, PONG, url, WEATHER } from "./target.mjs";

const client = new Anthropic({ baseURL: url, apiKey: "sk-any", maxRetries: 0 });
const ask = (content) => [{ role: "user", content }];
const tools = [{
  name: "weather",
  description: "The weather of a city",
  input_schema: { type: "object", properties: { city: { type: "string", maxLength: 20 } }, required: ["city"] },
}];
const textOf = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");

test("a message", async () => {
  const message = await client.messages.create({ model, max_tokens: 200, messages: ask(PONG) });
  assert.ok(textOf(message).length > 0);
  assert.ok(["end_turn", "max_tokens"].includes(message.stop_reason));
  assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
  if (obliging) assert.deepEqual([textOf(message), message.stop_reason], ["PONG", "end_turn"]);
});

test("a stream with a thought", async () => {
  const stream = client.messages.stream({
    model, max_tokens: 1200, messages: ask(PONG), thinking: { type: "enabled", budget_tokens: 1024 },
  });
  let [text, thought] = ["", ""];
  stream.on("text", (delta) => { text += delta; }).on("thinking", (delta) => { thought += delta; });
  const message = await stream.finalMessage();
  assert.equal(textOf(message), text);
  assert.ok(text.length > 0);
  if (obliging) {
    assert.equal(text, "PONG");
    assert.ok(thought.length > 0);
  }
});

test("a tool that must be called", async () => {
  const message = await client.messages.create({
    model, max_tokens: 200, messages: ask(WEATHER), tools, tool_choice: { type: "any", disable_parallel_tool_use: true },
  });
  const call = message.content.find((block) => block.type === "tool_use");
  assert.deepEqual([message.stop_reason, call.name, typeof call.input.city], ["tool_use", "weather", "string"]);
});

test("a tool, its result, and the answer", ifObliging, async () => {
  const messages = ask(WEATHER);
  const first = await client.messages.stream({ model, max_tokens: 2000, messages, tools }).finalMessage();
  const call = first.content.find((block) => block.type === "tool_use");
  messages.push({ role: "assistant", content: first.content });
  messages.push({ role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "-4 degrees" }] });
  const second = await client.messages.create({ model, max_tokens: 2000, messages, tools });
  assert.match(textOf(second), /-4 degrees/);
});

test("tokens are counted", async () => {
  const { input_tokens } = await client.messages.countTokens({ model, messages: ask(PONG) });
  const message = await client.messages.create({ model, max_tokens: 1, messages: ask(PONG) });
  assert.equal(message.usage.input_tokens + (message.usage.cache_read_input_tokens ?? 0), input_tokens);
});

test("errors", async () => {
  await assert.rejects(
    client.messages.create({ model: "no-such-model", max_tokens: 5, messages: ask(PONG) }), Anthropic.NotFoundError,
  );
  await assert.rejects(client.messages.create({ model, max_tokens: 0, messages: ask(PONG) }), Anthropic.BadRequestError);
});
