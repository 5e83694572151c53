"""Small shapes with random weights, for tests."""

from dataclasses import replace
from typing import Any

import torch

from ponder.models.config import GqaConfig, MlaConfig, ModelConfig, MoeConfig
from ponder.models.layers import Linear, RMSNorm
from ponder.models.transformer import Transformer

VOCABULARY = 299  # of Tokenizer.for_arithmetic()


def small_moe(**changes: Any) -> MoeConfig:
    """8 experts, 2 of them per token, and a shared one."""
    moe = MoeConfig(routed_experts=8, experts_per_token=2, shared_experts=1, expert_intermediate_size=20)
    return replace(moe, **changes)


def small_softmax_moe(**changes: Any) -> MoeConfig:
    """`small_moe` with the gate of DeepSeek-V2: softmax, weights as they are, no bias."""
    gate: dict[str, Any] = {
        "scoring": "softmax", "group_score": "max", "balance_bias": False, "normalize_weights": False,
    }  # fmt: skip
    return small_moe(**{**gate, **changes})


def small_v3(**changes: Any) -> ModelConfig:
    """Latent attention, one dense layer and one of experts, no multi-token prediction unless asked for."""
    config = ModelConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        layers=2,
        heads=4,
        attention=MlaConfig(kv_lora_rank=16, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10),
        intermediate_size=64,
        moe=small_moe(),
        max_positions=64,
    )
    return replace(config, **changes)


def small_dense(**changes: Any) -> ModelConfig:
    """Grouped-query attention without experts."""
    config = ModelConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        layers=2,
        heads=6,
        attention=GqaConfig(kv_heads=2, head_dim=8),
        intermediate_size=64,
        max_positions=64,
        rope_layout="halves",
    )
    return replace(config, **changes)


@torch.no_grad()
def random_model(config: ModelConfig, seed: int = 0) -> Transformer:
    """Random weights, norms and biases included, so that no part is invisible."""
    generator = torch.Generator().manual_seed(seed)
    model = Transformer(config, generator)
    for module in model.modules():
        if isinstance(module, RMSNorm):
            module.weight.normal_(1.0, 0.2, generator=generator)
        elif isinstance(module, Linear) and module.bias is not None:
            module.bias.normal_(0.0, 0.3, generator=generator)
    for mixture in model.moe_layers().values():
        mixture.gate.weight.normal_(0.0, 0.3, generator=generator)
        if mixture.balance_bias is not None:
            mixture.balance_bias.normal_(0.0, 0.1, generator=generator)
    return model


def random_ids(sequences: int, length: int, seed: int = 1) -> torch.Tensor:
    """Token ids, (sequences, length)."""
    return torch.randint(0, VOCABULARY, (sequences, length), generator=torch.Generator().manual_seed(seed))
