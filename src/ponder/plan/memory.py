"""Bytes that a model takes: its weights, what training keeps beside them, and the cache of what was read.

Symbols as in `ponder.plan.flops`; K is experts per token.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ponder.core.errors import ConfigError
from ponder.models.config import MlaConfig, ModelConfig
from ponder.models.presets import ParameterCount
from ponder.plan.flops import Recompute
from ponder.plan.hardware import Format

# Bytes per weight. FP8 has an FP32 scale for each block of 128 × 128 (V3 section 3.3.2); the others are GGUF's blocks.
WEIGHT_BYTES: Mapping[str, float] = {
    "fp32": 4.0,
    "bf16": 2.0,
    "fp8": 1.0 + 4.0 / 128**2,
    "q8_0": 34 / 32,
    "q6_k": 210 / 256,
    "q4_k": 144 / 256,
    "q4_0": 18 / 32,
}


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Bytes per parameter that training holds between steps."""

    weights: float  # as the products read them
    gradient: float
    master: float  # FP32 copy that the optimizer moves
    moments: float  # AdamW's two

    @property
    def total(self) -> float:
        return self.weights + self.gradient + self.master + self.moments


TRAINING_STATE: Mapping[Format, TrainingState] = {
    "fp8": TrainingState(weights=1, gradient=4, master=4, moments=4),  # BF16 moments (V3 section 3.3.3)
    "bf16": TrainingState(weights=2, gradient=4, master=4, moments=8),
    "fp32": TrainingState(weights=4, gradient=4, master=0, moments=8),
}


def weight_bytes(parameters: float, kind: str) -> float:
    """Bytes of the weights in one of the formats of `WEIGHT_BYTES`."""
    if kind not in WEIGHT_BYTES:
        raise ConfigError(f"weight format {kind!r} is unknown; expected one of {', '.join(WEIGHT_BYTES)}")
    return parameters * WEIGHT_BYTES[kind]


def training_bytes(count: ParameterCount, kind: Format) -> float:
    """Weights, gradients, master weights and AdamW's moments, MTP modules included."""
    return (count.total + count.mtp) * TRAINING_STATE[kind].total


# Bytes of one number that is kept for the backward pass. With FP8 linear maps their inputs are kept in FP8 (V3 section
# 3.3.3).
ACTIVATION_BYTES: Mapping[Format, int] = {"fp8": 1, "bf16": 2, "fp32": 4}


def cache_numbers(config: ModelConfig) -> int:
    """Numbers that the cache keeps per token, all layers together.

    MLA: (C + R) · layers (V3: 576 · 61). GQA: 2 · key-value heads · head dimension · layers (67B: 2 · 8 · 128 · 95).
    """
    return config.cache_width * config.layers


def cache_bytes(config: ModelConfig, bits: float = 16) -> float:
    """Bytes that the cache keeps per token, all layers together."""
    return cache_numbers(config) * bits / 8


def activation_numbers(config: ModelConfig, recompute: Recompute) -> float:
    """Numbers that the backward pass needs of each token, all layers and MTP blocks together, logits left out.

    Counted are the inputs of every matrix product and nonlinearity, with attention's scores never stored. "blocks"
    keeps each block's input, and everything of the one block that is being computed again.
    """
    layers = config.layers + config.mtp_depth
    kept = [_block_numbers(config, layer, recompute) for layer in range(layers)]
    if recompute == "blocks":
        return layers * config.hidden_size + max(kept)
    return sum(kept)


def _block_numbers(config: ModelConfig, layer: int, recompute: Recompute) -> float:
    D, H, shape = config.hidden_size, config.heads, config.attention
    residual = 2 * D  # input of each of the two norms
    normed = 0 if recompute == "expansion" else 2 * D
    if isinstance(shape, MlaConfig):
        query = H * (shape.qk_nope_head_dim + shape.qk_rope_head_dim)
        latents = shape.kv_lora_rank + shape.qk_rope_head_dim + (shape.q_lora_rank or 0)
        expanded = 2 * query + H * shape.v_head_dim
        if recompute == "expansion":
            expanded = 0
        else:
            latents += shape.kv_lora_rank + (shape.q_lora_rank or 0)  # after their norms
        attention = latents + expanded + H * shape.v_head_dim
    else:
        attention = (2 * H + 2 * shape.kv_heads) * shape.head_dim
    moe = config.moe
    if moe is None or not config.is_moe_layer(layer):
        feed_forward = 3 * config.intermediate_size  # gate, up and their product
    else:
        used = moe.experts_per_token + moe.shared_experts
        # of each expert: gate, up, their product; of the routed ones also the token sent to it and its answer
        feed_forward = used * 3 * moe.expert_intermediate_size + 2 * moe.experts_per_token * D + moe.routed_experts
    return residual + normed + attention + feed_forward
