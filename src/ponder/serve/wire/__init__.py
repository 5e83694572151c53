"""The OpenAI and DeepSeek dialect over HTTP, and what every dialect needs: strict bodies, errors, delivery."""
