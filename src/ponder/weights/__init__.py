"""Models on disk: opened, inspected, loaded, saved and converted, as Hugging Face folders and as GGUF files (`hf`,
`gguf`); the published ones by name (`catalogue`) and how they get here (`pull`).
"""
