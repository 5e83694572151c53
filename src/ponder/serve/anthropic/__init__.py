"""Anthropic's Messages API: what its clients send and what they read."""
