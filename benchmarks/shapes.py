"""Shapes that several benchmarks time, with imports as old as the project: earlier checkouts are timed with it too."""

from ponder.models.config import GqaConfig, ModelConfig


def smollm2(vocab_size: int) -> ModelConfig:
    """SmolLM2-135M (its config.json on Hugging Face), with the positions that the benchmarks need."""
    return ModelConfig(
        vocab_size=vocab_size,
        hidden_size=576,
        layers=30,
        heads=9,
        attention=GqaConfig(kv_heads=3, head_dim=64),
        intermediate_size=1536,
        max_positions=2048,
        rope_theta=100000.0,
        rope_layout="halves",
        norm_eps=1e-5,
        tie_embeddings=True,
    )
