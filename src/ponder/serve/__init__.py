"""The server: an OpenAI-, DeepSeek- and Anthropic-compatible API, accounts, and the app in the browser."""
