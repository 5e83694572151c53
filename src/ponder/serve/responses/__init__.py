"""OpenAI's Responses API, without anything stored: each request carries its whole conversation."""
