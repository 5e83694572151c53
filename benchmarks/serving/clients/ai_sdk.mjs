// What the AI SDK asks of a chat model, whichever provider speaks for it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { ifObliging, obliging, PONG, WEATHER } from "./target.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false; // what a provider does in its own way is seen below

const weather = (asked) => tool({
  description: "The weather of a city",
  inputSchema: z.object({ city: z.string().max(20) }),
  execute: async ({ city }) => { asked.push(city); return `-4 degrees in ${city}`; },
});

/** Register the tests of a provider's model. `schemas`: it hands a schema on to the server. */
export function chatModelTests(model, { schemas }) {
  test("text", async () => {
    const { text, reasoningText, usage, finishReason } = await generateText({ model, prompt: PONG, maxOutputTokens: 60 });
    assert.ok(text.length > 0);
    assert.ok(["stop", "length"].includes(finishReason));
    assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
    if (obliging) {
      assert.deepEqual([text, finishReason], ["PONG", "stop"]);
      assert.ok(reasoningText.length > 0);
      assert.ok(usage.outputTokenDetails.reasoningTokens > 0);
    }
  });

  test("a stream", async () => {
    const failures = [];
    const result = streamText({ model, prompt: PONG, maxOutputTokens: 60, onError: ({ error }) => failures.push(error) });
    const kinds = [];
    for await (const part of result.stream ?? result.fullStream) kinds.push(part.type);
    assert.deepEqual(failures, []);
    const answer = kinds.indexOf("text-start");
    assert.ok(answer > 0);
    assert.ok(!kinds.slice(answer).includes("reasoning-delta"));
    assert.ok((await result.usage).outputTokens > 0);
    if (obliging) {
      assert.equal(await result.text, "PONG");
      assert.ok((await result.reasoningText).length > 0);
    }
  });

  for (const [name, start] of [["generated", generateText], ["streamed", streamText]]) {
    test(`a tool, ${name}, and the answer that follows`, ifObliging, async () => {
      const asked = [];
      const result = await start({
        model, prompt: WEATHER, tools: { weather: weather(asked) }, stopWhen: stepCountIs(4),
      });
      assert.match(await result.text, /-4 degrees/);
      assert.equal(asked.length, 1);
      const steps = await result.steps;
      assert.deepEqual(steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
      assert.ok(steps[0].reasoningText.length > 0);
    });
  }

  test("a tool that must be called", async () => {
    const asked = [];
    const result = await generateText({
      model, prompt: WEATHER, tools: { weather: weather(asked) }, toolChoice: "required", maxOutputTokens: 300,
    });
    assert.equal(result.toolCalls[0].toolName, "weather");
    assert.ok(asked.length >= 1);
  });

  test("an object", schemas ? {} : ifObliging, async () => {
    const schema = z.object({ answer: z.string().max(20), count: z.number().int().min(0).max(9) });
    const { output } = await generateText({
      model, prompt: "How many legs has a dog? Answer as JSON.", output: Output.object({ schema }), maxOutputTokens: 300,
    });
    assert.ok(Number.isInteger(output.count));
  });

  test("leaving a stream", async () => {
    const controller = new AbortController();
    const result = streamText({ model, prompt: "Count to 1000.", abortSignal: controller.signal, onError: () => {} });
    for await (const text of result.textStream) {
      assert.ok(text.length > 0);
      controller.abort();
      break;
    }
  });
}
