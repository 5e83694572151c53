"""Ponder: teaches a small language model to think before it answers, and measures what that gained."""

__version__ = "0.1.0"
