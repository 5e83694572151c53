// OpenAI's client for JavaScript.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { ifObliging, model, obliging, PONG, url, WEATHER } from "./target.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "sk-any", maxRetries: 0 });
const ask = (content) => [{ role: "user", content }];
const parameters = {
  type: "object",
  properties: { city: { type: "string", maxLength: 20 } },
  required: ["city"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "weather", description: "The weather of a city", parameters } }];

test("models", async () => {
  const found = await client.models.list();
  assert.ok(found.data.some((one) => one.id === model));
  assert.equal((await client.models.retrieve(model)).id, model);
  await assert.rejects(client.models.retrieve("no-such-model"), OpenAI.NotFoundError);
});

test("a chat", async () => {
  const reply = await client.chat.completions.create({ model, messages: ask(PONG), max_tokens: 60 });
  const { message, finish_reason } = reply.choices[0];
  assert.equal(message.role, "assistant");
  assert.ok(message.content.length > 0);
  assert.ok(["stop", "length"].includes(finish_reason));
  assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
  assert.match(reply._request_id, /^req_/);
  if (obliging) {
    assert.deepEqual([message.content, finish_reason], ["PONG", "stop"]);
    assert.ok(message.reasoning_content.length > 0);
    assert.ok(reply.usage.completion_tokens_details.reasoning_tokens > 0);
  }
});

test("a stream with its usage", async () => {
  const stream = await client.chat.completions.create({
    model,
    messages: ask(PONG),
    max_tokens: 60,
    stream: true,
    stream_options: { include_usage: true },
  });
  const ids = new Set();
  let [thought, answer, usage, reason] = ["", "", null, null];
  for await (const chunk of stream) {
    ids.add(chunk.id);
    assert.equal(usage, null, "the chunk with the usage is the last");
    usage = chunk.usage ?? null;
    for (const choice of chunk.choices) {
      assert.ok(!(choice.delta.reasoning_content && choice.delta.content), "one of them at a time");
      assert.ok(!(choice.delta.reasoning_content && answer), "no thought after the answer has begun");
      thought += choice.delta.reasoning_content ?? "";
      answer += choice.delta.content ?? "";
      reason = choice.finish_reason ?? reason;
    }
  }
  assert.equal(ids.size, 1);
  assert.ok(answer.length > 0);
  assert.ok(["stop", "length"].includes(reason));
  assert.ok(usage.completion_tokens > 0);
  if (obliging) {
    assert.equal(answer, "PONG");
    assert.ok(thought.length > 0);
  }
});

test("a tool that must be called", async () => {
  for (const tool_choice of ["required", { type: "function", function: { name: "weather" } }]) {
    const reply = await client.chat.completions.create({
      model, messages: ask(WEATHER), tools, tool_choice, parallel_tool_calls: false, max_tokens: 300,
    });
    const { message, finish_reason } = reply.choices[0];
    assert.equal(finish_reason, "tool_calls");
    assert.equal(message.tool_calls.length, 1);
    assert.equal(message.tool_calls[0].function.name, "weather");
    assert.equal(typeof JSON.parse(message.tool_calls[0].function.arguments).city, "string");
  }
});

test("a tool that is run by the client", ifObliging, async () => {
  const asked = [];
  const weather = {
    ...tools[0].function,
    function: ({ city }) => { asked.push(city); return `-4 degrees in ${city}`; },
    parse: JSON.parse,
  };
  for (const stream of [false, true]) {
    const runner = client.chat.completions.runTools({
      model, messages: ask(WEATHER), tools: [{ type: "function", function: weather }], stream,
    });
    assert.match(await runner.finalContent(), /-4 degrees/);
  }
  assert.equal(asked.length, 2);
});

test("a schema", async () => {
  const schema = {
    type: "object",
    properties: { answer: { type: "string", maxLength: 20 }, count: { type: "integer", minimum: 0, maximum: 9 } },
    required: ["answer", "count"],
    additionalProperties: false,
  };
  const reply = await client.chat.completions.parse({
    model,
    messages: ask("How many legs has a dog? Answer as JSON."),
    max_tokens: 300,
    response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema } },
  });
  const { answer, count } = reply.choices[0].message.parsed ?? JSON.parse(reply.choices[0].message.content);
  assert.equal(typeof answer, "string");
  assert.ok(Number.isInteger(count));
});

test("a response", async () => {
  const response = await client.responses.create({ model, input: PONG, max_output_tokens: 60 });
  assert.ok(["completed", "incomplete"].includes(response.status));
  assert.ok(response.output_text.length > 0);
  assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
  if (obliging) {
    assert.equal(response.output_text, "PONG");
    assert.deepEqual(response.output.map((item) => item.type), ["reasoning", "message"]);
  }
});

test("a response that streams", async () => {
  const stream = client.responses.stream({ model, input: PONG, max_output_tokens: 60 });
  const numbers = [];
  let text = "";
  for await (const event of stream) {
    numbers.push(event.sequence_number);
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  assert.deepEqual(numbers, numbers.map((_, index) => index));
  assert.equal((await stream.finalResponse()).output_text, text);
});

test("a tool in a response", async () => {
  const flat = { type: "function", name: "weather", strict: true, parameters };
  const first = await client.responses.create({
    model, input: WEATHER, tools: [flat], tool_choice: "required", parallel_tool_calls: false, max_output_tokens: 300,
  });
  const call = first.output.find((item) => item.type === "function_call");
  assert.equal(typeof JSON.parse(call.arguments).city, "string");
  const second = await client.responses.create({
    model,
    input: [...ask(WEATHER), ...first.output, { type: "function_call_output", call_id: call.call_id, output: "-4" }],
    tools: [flat],
    tool_choice: "none",
    max_output_tokens: 60,
  });
  assert.ok(second.output_text.length > 0);
});

test("errors", async () => {
  await assert.rejects(
    client.chat.completions.create({ model, messages: ask(PONG), temperature: 9 }),
    (error) => error instanceof OpenAI.UnprocessableEntityError && error.param === "temperature",
  );
  await assert.rejects(
    client.chat.completions.create({ model: "no-such-model", messages: ask(PONG), stream: true }),
    OpenAI.NotFoundError,
  );
});

test("a completion", async () => {
  const reply = await client.completions.create({ model, prompt: "Once upon a time", max_tokens: 8 });
  assert.ok(reply.choices[0].text.length > 0);
});
