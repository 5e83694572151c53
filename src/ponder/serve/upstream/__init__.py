"""Models that another server runs, behind any OpenAI-compatible address."""
