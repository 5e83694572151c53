// The AI SDK's provider for servers like OpenAI's.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { chatModelTests } from "./ai_sdk.mjs";
import { model, url } from "./target.mjs";

const ponder = createOpenAICompatible({
  name: "ponder", baseURL: `${url}/v1`, apiKey: "sk-any", includeUsage: true, supportsStructuredOutputs: true,
});

chatModelTests(ponder(model), { schemas: true });
