"""Weights on disk: Hugging Face's safetensors, config.json and tokenizer.json, both ways."""
