"""Named model shapes, and how many parameters a shape has."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from ponder.models.config import GqaConfig, MlaConfig, ModelConfig, MoeConfig, YarnConfig
from ponder.models.transformer import Transformer


def tiny_v3(vocab_size: int) -> ModelConfig:
    """DeepSeek-V3 in under a million parameters: latent attention, experts and multi-token prediction."""
    return ModelConfig(
        vocab_size=vocab_size,
        hidden_size=96,
        layers=3,
        heads=4,
        attention=MlaConfig(kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=16, v_head_dim=24),
        intermediate_size=256,
        moe=MoeConfig(
            routed_experts=16,
            experts_per_token=2,
            shared_experts=1,
            expert_intermediate_size=48,
            bias_update_speed=0.02,
        ),
        mtp_depth=1,
        max_positions=512,
    )


def tiny_v3_128k(vocab_size: int) -> ModelConfig:
    """`tiny_v3` with DeepSeek-V3's context: 40 · 4096 positions by YaRN, in whose 128K V3 was tested (section 4.3)."""
    return replace(
        tiny_v3(vocab_size), max_positions=163840, rope_scaling=YarnConfig(factor=40.0, original_positions=4096)
    )


def tiny_dense(vocab_size: int) -> ModelConfig:
    """A Llama of the size of `tiny_v3`: grouped-query attention, no experts."""
    return ModelConfig(
        vocab_size=vocab_size,
        hidden_size=128,
        layers=4,
        heads=4,
        attention=GqaConfig(kv_heads=2, head_dim=32),
        intermediate_size=384,
        max_positions=512,
        rope_layout="halves",
    )


def deepseek_v3_mini(vocab_size: int) -> ModelConfig:
    """DeepSeek-V3's proportions at a width of 768: query compression, expert groups, 9 of 65 experts per token."""
    return ModelConfig(
        vocab_size=vocab_size,
        hidden_size=768,
        layers=12,
        heads=12,
        attention=MlaConfig(q_lora_rank=256, kv_lora_rank=128, qk_nope_head_dim=64, qk_rope_head_dim=32, v_head_dim=64),
        intermediate_size=1728,
        moe=MoeConfig(
            routed_experts=64,
            experts_per_token=8,
            shared_experts=1,
            expert_intermediate_size=192,
            groups=8,
            groups_per_token=4,
            route_scale=2.5,
        ),
        mtp_depth=1,
        max_positions=4096,
    )


def deepseek_v3(vocab_size: int) -> ModelConfig:
    """DeepSeek-V3 and R1 (V3 section 4.2; context as extended in section 4.3). Its vocabulary has 129,280 entries."""
    return ModelConfig(
        vocab_size=vocab_size,
        hidden_size=7168,
        layers=61,
        heads=128,
        attention=MlaConfig(
            q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128
        ),
        intermediate_size=18432,
        moe=MoeConfig(
            routed_experts=256,
            experts_per_token=8,
            shared_experts=1,
            expert_intermediate_size=2048,
            first_dense_layers=3,
            groups=8,
            groups_per_token=4,
            route_scale=2.5,
            bias_update_speed=0.001,
            sequence_balance_weight=0.0001,
        ),
        mtp_depth=1,
        max_positions=163840,  # 40 · 4096, as in the published config; 128K of it are tested by the report
        rope_scaling=YarnConfig(factor=40.0, original_positions=4096),
        init_std=0.006,
    )


PRESETS: Mapping[str, Callable[[int], ModelConfig]] = {
    "tiny-v3": tiny_v3,
    "tiny-v3-128k": tiny_v3_128k,
    "tiny-dense": tiny_dense,
    "deepseek-v3-mini": deepseek_v3_mini,
    "deepseek-v3": deepseek_v3,
}


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a shape. Routing biases, which no gradient moves, are not among them."""

    total: int  # without the multi-token prediction modules
    active: int  # as publishers count them: all of a dense model; of one with experts, `per_token`
    per_token: int  # what one token's forward pass uses: one row of an untied embedding, and the chosen experts
    embedding: int  # of the total: token embedding and, where it is not tied to it, output head
    mtp: int  # of the multi-token prediction modules, without the embedding and head that they share


def count_parameters(config: ModelConfig) -> ParameterCount:
    """Count from the shapes, without taking memory for them.

    The multi-token prediction modules are part of neither headline number. DeepSeek-V3 counts 671B in all and
    37B active (36.7B in its README_WEIGHTS), embedding and head included.
    """
    with torch.device("meta"):
        model = Transformer(config)
    total = _count([model.embedding, model.blocks, model.norm, model.head])
    idle = 0 if config.tie_embeddings else (config.vocab_size - 1) * config.hidden_size
    if config.moe is not None:
        of_experts = [_count([m.experts]) for layer, m in model.moe_layers().items() if layer < config.layers]
        moe = config.moe
        idle += sum(of_experts) // moe.routed_experts * (moe.routed_experts - moe.experts_per_token)
    return ParameterCount(
        total=total,
        active=total if config.moe is None else total - idle,
        per_token=total - idle,
        embedding=_count([model.embedding, model.head]),
        mtp=_count([model.mtp]),
    )


def _count(modules: Iterable[nn.Module]) -> int:
    parameters = {id(p): p.numel() for module in modules for p in module.parameters()}
    return sum(parameters.values())
