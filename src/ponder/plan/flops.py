"""FLOPs of one token, counted from a model's shape.

A multiply-add is two FLOPs. Counted is every product with a weight matrix, and attention's scores and weighted values.
Norms, rotations, softmax and the embedding's lookup multiply no matrices and are left out.

Symbols: D hidden size, H heads, K key-value heads, N query-key dimensions of a head without position, R with,
V value dimensions of a head, C latent (kv_lora_rank), Q query latent (q_lora_rank), F feed-forward width.
"""

from dataclasses import dataclass, fields
from typing import Literal

from ponder.models.config import MlaConfig, ModelConfig

# What is computed a second time in the backward pass, so that it need not be kept: nothing; MLA's expansions of the
# latents (V3 section 3.2.3); or every block (activation checkpointing).
Recompute = Literal["none", "expansion", "blocks"]


@dataclass(frozen=True, kw_only=True)
class Flops:
    """FLOPs of one token's forward pass, by part."""

    projection: float  # attention's maps from and to the residual stream
    expansion: float  # MLA's maps from the latents to queries, keys and values of every head
    feed_forward: float  # dense layers, the active experts, shared experts, and MTP's projection
    gate: float  # the experts' scores
    head: float  # logits
    attention_scores: float  # queries times keys
    attention_values: float  # weights times values

    @property
    def linear(self) -> float:
        """What V3 computes in FP8: every linear map but gate and head (V3 section 3.3.1)."""
        return self.projection + self.expansion + self.feed_forward

    @property
    def attention(self) -> float:
        return self.attention_scores + self.attention_values

    @property
    def total(self) -> float:
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, kw_only=True)
class TrainingFlops:
    """FLOPs of one token, forward and backward."""

    linear: float  # in the format of the linear maps
    rest: float  # in BF16 at least: gate, head, attention
    model: float  # 3 × forward: without anything computed twice

    @property
    def total(self) -> float:
        return self.linear + self.rest


def causal_keys(length: float) -> float:
    """Positions that a token attends to, on average over a sequence of this length: (length + 1) / 2."""
    return (length + 1) / 2


def forward_flops(config: ModelConfig, keys: float, *, mtp: bool = False) -> Flops:
    """One token of training or prefill, attending to `keys` positions. `mtp`: with the MTP modules."""
    depth = config.mtp_depth if mtp else 0
    layers = config.layers + depth
    moe_layers = sum(config.is_moe_layer(layer) for layer in range(layers))
    projection, expansion = _attention_weights(config)
    D, moe = config.hidden_size, config.moe
    feed_forward = (layers - moe_layers) * 3 * D * config.intermediate_size + depth * 2 * D * D
    gate = 0
    if moe is not None:
        used = moe.experts_per_token + moe.shared_experts
        feed_forward += moe_layers * used * 3 * D * moe.expert_intermediate_size
        gate = moe_layers * D * moe.routed_experts
    scores, values = _attention_dims(config)
    return Flops(
        projection=2.0 * layers * projection,
        expansion=2.0 * layers * expansion,
        feed_forward=2.0 * feed_forward,
        gate=2.0 * gate,
        head=2.0 * (1 + depth) * D * config.vocab_size,
        attention_scores=2.0 * layers * scores * keys,
        attention_values=2.0 * layers * values * keys,
    )


def decode_flops(config: ModelConfig, keys: float, *, absorbed: bool = True) -> Flops:
    """One new token against a cache of `keys` positions, itself among them.

    MLA absorbed: the expansions of keys and values are folded into query and output, at the same price as expanding
    one token, and attention runs on the latents: 2·H·(C + R) and 2·H·C per position. Naive: the latents of all
    positions are expanded again, 2·C·H·(N + V) each. GQA has one form.
    """
    flops = forward_flops(config, keys)
    shape = config.attention
    if not isinstance(shape, MlaConfig):
        return flops
    parts = {field.name: getattr(flops, field.name) for field in fields(flops)}
    layers, C = config.layers, shape.kv_lora_rank
    if absorbed:
        parts["attention_scores"] = 2.0 * layers * config.heads * (C + shape.qk_rope_head_dim) * keys
        parts["attention_values"] = 2.0 * layers * config.heads * C * keys
    else:
        key_value = C * config.heads * (shape.qk_nope_head_dim + shape.v_head_dim)
        parts["expansion"] += 2.0 * layers * key_value * (keys - 1)
    return Flops(**parts)


def training_flops(
    config: ModelConfig, length: float, *, recompute: Recompute = "none", mtp: bool = True
) -> TrainingFlops:
    """One token in causal sequences of `length` tokens, forward and backward.

    A linear map costs as much again for each of the gradients of its input and its weight. Attention's backward pass
    computes the scores again rather than keep them, then four gradients: 3 × scores + 2 × values (FlashAttention,
    arXiv 2205.14135).
    """
    forward = forward_flops(config, causal_keys(length), mtp=mtp)
    linear = 3 * forward.linear
    rest = 3 * (forward.gate + forward.head) + 4 * forward.attention_scores + 3 * forward.attention_values
    if recompute == "expansion":
        linear += forward.expansion
    elif recompute == "blocks":
        linear += forward.linear
        rest += forward.gate + forward.attention
    return TrainingFlops(linear=linear, rest=rest, model=3 * forward.total)


def _attention_weights(config: ModelConfig) -> tuple[int, int]:
    """Numbers in the matrices of one attention layer: from and to the residual stream, and from the latents."""
    D, H, shape = config.hidden_size, config.heads, config.attention
    if not isinstance(shape, MlaConfig):
        return 2 * D * shape.head_dim * (H + shape.kv_heads), 0
    query = H * (shape.qk_nope_head_dim + shape.qk_rope_head_dim)
    projection = D * (shape.kv_lora_rank + shape.qk_rope_head_dim) + H * shape.v_head_dim * D
    expansion = shape.kv_lora_rank * H * (shape.qk_nope_head_dim + shape.v_head_dim)
    if shape.q_lora_rank is None:
        return projection + D * query, expansion
    return projection + D * shape.q_lora_rank, expansion + shape.q_lora_rank * query


def _attention_dims(config: ModelConfig) -> tuple[int, int]:
    """Multiply-adds of one layer per position attended to: of the scores, of the weighted values."""
    shape = config.attention
    if isinstance(shape, MlaConfig):
        return config.heads * (shape.qk_nope_head_dim + shape.qk_rope_head_dim), config.heads * shape.v_head_dim
    return config.heads * shape.head_dim, config.heads * shape.head_dim
