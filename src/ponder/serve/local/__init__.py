"""The own engine as a `Backend`: asks become token requests, the engine's pieces become events."""
