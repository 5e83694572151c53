// The AI SDK's provider for DeepSeek.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createDeepSeek } from "@ai-sdk/deepseek";
import { generateText } from "ai";
import { chatModelTests } from "./ai_sdk.mjs";
import { model, PONG, url } from "./target.mjs";

const deepseek = createDeepSeek({ baseURL: url, apiKey: "sk-any" });

chatModelTests(deepseek(model), { schemas: false });

test("tokens read from the cache", async () => {
  const prompt = `${"The dog has four legs. ".repeat(40)} ${PONG}`;
  await generateText({ model: deepseek(model), prompt, maxOutputTokens: 20 });
  const { usage } = await generateText({ model: deepseek(model), prompt, maxOutputTokens: 20 });
  const hit = usage.inputTokenDetails.cacheReadTokens;
  assert.ok(hit > 0 && hit % 64 === 0, `${hit}`);
  assert.equal(usage.inputTokenDetails.noCacheTokens, usage.inputTokens - hit);
});

test("thinking is turned off", async () => {
  const providerOptions = { deepseek: { thinking: { type: "disabled" } } };
  const { reasoningText, text } = await generateText({
    model: deepseek(model), prompt: PONG, providerOptions, maxOutputTokens: 60,
  });
  assert.ok(!reasoningText);
  assert.ok(text.length > 0);
});
