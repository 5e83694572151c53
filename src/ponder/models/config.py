"""The shape of a model. One transformer is built from parts by this config."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ponder.core.errors import ConfigError

# The largest that a size may be: several times what any published model has, and small enough that the products of
# sizes can be counted and a shape can be laid out at once, however wrong the file that it comes from.
LARGEST: Mapping[str, int] = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 20,
    "layers": 1 << 10,
    "heads": 1 << 14,
    "intermediate_size": 1 << 22,
    "max_positions": 1 << 24,
    "mtp_depth": 1 << 6,
    "kv_heads": 1 << 14,
    "head_dim": 1 << 14,
    "kv_lora_rank": 1 << 20,
    "qk_nope_head_dim": 1 << 14,
    "qk_rope_head_dim": 1 << 14,
    "v_head_dim": 1 << 14,
    "q_lora_rank": 1 << 20,
    "routed_experts": 1 << 14,
    "shared_experts": 1 << 10,
    "expert_intermediate_size": 1 << 22,
    "first_dense_layers": 1 << 11,
    "groups": 1 << 14,
    "original_positions": 1 << 24,
}


def _require_positive(record: object, where: str, *names: str) -> None:
    for name in names:
        if getattr(record, name) < 1:
            raise ConfigError(f"{where}.{name} = {getattr(record, name)}; expected a positive number")
        _require_at_most(record, where, name)


def _require_not_negative(record: object, where: str, *names: str) -> None:
    for name in names:
        if getattr(record, name) < 0:
            raise ConfigError(f"{where}.{name} = {getattr(record, name)}; expected 0 or more")
        _require_at_most(record, where, name)


def _require_at_most(record: object, where: str, name: str) -> None:
    if getattr(record, name) > LARGEST[name]:
        raise ConfigError(f"{where}.{name} = {getattr(record, name)!s:.40}; expected at most {LARGEST[name]:,}")


def _require_between(record: object, where: str, low: float, high: float, *names: str) -> None:
    for name in names:
        if not low <= getattr(record, name) <= high:  # nor is nan
            raise ConfigError(f"{where}.{name} = {getattr(record, name)}; expected a number from {low:g} to {high:g}")


LARGEST_FACTOR = 1e6  # by which a context may be stretched


@dataclass(frozen=True, kw_only=True)
class YarnConfig:
    """YaRN context extension (Peng et al. 2023, arXiv 2309.00071; V3 section 4.3)."""

    factor: float  # s: the context grows by this factor
    original_positions: int  # the context that the model was trained on
    beta_fast: float = 32.0  # dimensions that turn more often than this keep their frequency
    beta_slow: float = 1.0  # dimensions that turn less often than this are interpolated by `factor`
    mscale: float = 1.0  # weight of ln(s) in the factor on the rotated vectors
    mscale_all_dim: float = 1.0  # weight of ln(s) in the factor on the softmax scale

    def __post_init__(self) -> None:
        where = "model.rope_scaling"
        _require_between(self, where, 1.0, LARGEST_FACTOR, "factor")
        _require_positive(self, where, "original_positions")
        _require_between(self, where, 1e-3, 1e6, "beta_fast", "beta_slow")
        if self.beta_slow > self.beta_fast:
            raise ConfigError(
                f"{where}: beta_slow = {self.beta_slow}, beta_fast = {self.beta_fast}; expected beta_slow <= beta_fast"
            )
        for name in ("mscale", "mscale_all_dim"):
            weight = getattr(self, name)
            if not 0.0 < 0.1 * weight * math.log(self.factor) + 1.0 < 1e6:
                raise ConfigError(
                    f"{where}.{name} = {weight}; expected one with which 0.1 {name} ln(factor) + 1 is positive"
                )


@dataclass(frozen=True, kw_only=True)
class LinearRopeConfig:
    """Position interpolation (Chen et al. 2023, arXiv 2306.15595): every position is divided by `factor`."""

    factor: float

    def __post_init__(self) -> None:
        _require_between(self, "model.rope_scaling", 1.0, LARGEST_FACTOR, "factor")


@dataclass(frozen=True, kw_only=True)
class Llama3RopeConfig:
    """Llama 3.1's scaling by wavelength: long waves are divided by `factor`, short ones kept, a ramp between."""

    factor: float
    original_positions: int
    low_freq_factor: float = 1.0  # waves longer than original_positions / this are divided
    high_freq_factor: float = 4.0  # waves shorter than original_positions / this are kept

    def __post_init__(self) -> None:
        _require_between(self, "model.rope_scaling", 1.0, LARGEST_FACTOR, "factor")
        _require_positive(self, "model.rope_scaling", "original_positions")
        if not 0 < self.low_freq_factor < self.high_freq_factor < math.inf:
            raise ConfigError(
                f"model.rope_scaling: low_freq_factor = {self.low_freq_factor}, high_freq_factor = "
                f"{self.high_freq_factor}; expected 0 < low < high"
            )


RopeScaling = YarnConfig | LinearRopeConfig | Llama3RopeConfig


@dataclass(frozen=True, kw_only=True)
class MlaConfig:
    """Multi-head latent attention (DeepSeek-V2 section 2.1, V3 section 2.1.1)."""

    kv_lora_rank: int  # numbers of the latent that stands for all keys and values of a token
    qk_nope_head_dim: int  # per head, without position
    qk_rope_head_dim: int  # per head, rotated; the key's part is shared by all heads
    v_head_dim: int
    q_lora_rank: int | None = None  # None: queries are not compressed (V2-Lite)

    def __post_init__(self) -> None:
        _require_positive(self, "model.attention", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
        if self.q_lora_rank is not None:
            _require_positive(self, "model.attention", "q_lora_rank")


@dataclass(frozen=True, kw_only=True)
class GqaConfig:
    """Grouped-query attention (Ainslie et al. 2023); `kv_heads == heads` is plain multi-head attention."""

    kv_heads: int
    head_dim: int
    qkv_bias: bool = False  # on the three projections (Qwen2)
    qk_norm: bool = False  # RMSNorm over each head's query and key, before the rotation (Qwen3)

    def __post_init__(self) -> None:
        _require_positive(self, "model.attention", "kv_heads", "head_dim")


@dataclass(frozen=True, kw_only=True)
class MoeConfig:
    """DeepSeekMoE (arXiv 2401.06066): V3's bias-balanced sigmoid gate (V3 section 2.1.2), or the softmax gate of the
    first DeepSeekMoE and of V2.
    """

    routed_experts: int
    experts_per_token: int
    shared_experts: int
    expert_intermediate_size: int
    first_dense_layers: int = 1  # these keep a dense feed-forward layer
    groups: int = 1  # experts are split into this many groups (nodes, in V3)
    groups_per_token: int = 1  # a token's experts come from at most this many groups
    scoring: Literal["sigmoid", "softmax"] = "sigmoid"  # affinities from the gate's logits
    group_score: Literal["top2_sum", "max"] = "top2_sum"  # of its experts' affinities: V3, V2
    normalize_weights: bool = True  # the chosen experts' weights add up to 1 (before route_scale)
    balance_bias: bool = True  # the gate has a bias that only the choice sees (V3)
    route_scale: float = 1.0  # on the weights of the chosen experts
    bias_update_speed: float = 0.001  # gamma: how far a bias moves after a step
    sequence_balance_weight: float = 0.0001  # alpha of the sequence-wise auxiliary loss

    def __post_init__(self) -> None:
        _require_positive(self, "model.moe", "routed_experts", "expert_intermediate_size", "groups")
        _require_not_negative(self, "model.moe", "shared_experts", "first_dense_layers")
        _require_between(self, "model.moe", 1e-6, 1e6, "route_scale")
        _require_between(self, "model.moe", 0.0, 1e6, "bias_update_speed", "sequence_balance_weight")
        if self.routed_experts % self.groups:
            raise ConfigError(
                f"model.moe.routed_experts = {self.routed_experts} does not split into groups = {self.groups}"
            )
        reachable = self.routed_experts // self.groups * self.groups_per_token
        if not 1 <= self.groups_per_token <= self.groups:
            raise ConfigError(
                f"model.moe.groups_per_token = {self.groups_per_token}; expected 1 to groups = {self.groups}"
            )
        if not 1 <= self.experts_per_token <= reachable:
            raise ConfigError(
                f"model.moe.experts_per_token = {self.experts_per_token}; expected 1 to {reachable}, "
                "the experts in the groups that a token may use"
            )
        v3_gate = self.scoring == "sigmoid"
        if v3_gate != self.balance_bias or v3_gate != (self.group_score == "top2_sum"):
            raise ConfigError(
                f"model.moe: scoring = {self.scoring!r}, group_score = {self.group_score!r}, balance_bias = "
                f"{self.balance_bias}; expected V3's gate (sigmoid, top2_sum, true) or V2's (softmax, max, false)"
            )
        if v3_gate and self.groups > 1 and self.routed_experts // self.groups < 2:
            raise ConfigError("model.moe: a group's score is the sum of its two best experts, so a group needs two")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A decoder-only transformer: MLA or GQA; dense or mixture of experts; with or without multi-token prediction."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    attention: MlaConfig | GqaConfig
    intermediate_size: int  # of the dense feed-forward layers
    moe: MoeConfig | None = None
    mtp_depth: int = 0  # multi-token prediction modules (V3 section 2.2)
    max_positions: int = 4096
    rope_theta: float = 10000.0
    rope_layout: Literal["interleaved", "halves"] = "interleaved"  # which pairs of dimensions turn together
    rope_scaling: RopeScaling | None = None
    norm_eps: float = 1e-6
    init_std: float | None = None  # of every matrix; None: 1/sqrt(fan_in), 0.02 for embedding, head and gates
    tie_embeddings: bool = False

    def __post_init__(self) -> None:
        _require_positive(
            self, "model", "vocab_size", "hidden_size", "layers", "heads", "intermediate_size", "max_positions"
        )
        if isinstance(self.attention, GqaConfig) and self.heads % self.attention.kv_heads:
            raise ConfigError(f"model.heads = {self.heads} is not a multiple of kv_heads = {self.attention.kv_heads}")
        _require_not_negative(self, "model", "mtp_depth")
        # a base below 2 would not spread the frequencies; single precision, which GGUF has, ends at 1e38
        _require_between(self, "model", 2.0, 1e30, "rope_theta")
        _require_between(self, "model", 1e-30, 1.0, "norm_eps")
        if self.init_std is not None:
            _require_between(self, "model", 0.0, 1e6, "init_std")
        if self.rope_dim % 2:
            raise ConfigError(f"model: {self.rope_dim} rotated dimensions a head; expected an even number")

    @property
    def rope_dim(self) -> int:
        """Rotated dimensions per head."""
        return self.attention.qk_rope_head_dim if isinstance(self.attention, MlaConfig) else self.attention.head_dim

    @property
    def cache_width(self) -> int:
        """Numbers that the cache keeps per token and layer (V3: 512 + 64)."""
        if isinstance(self.attention, MlaConfig):
            return self.attention.kv_lora_rank + self.attention.qk_rope_head_dim
        return 2 * self.attention.kv_heads * self.attention.head_dim

    @property
    def routed_layers(self) -> list[int]:
        """The layers that have experts, MTP blocks left out."""
        return [layer for layer in range(self.layers) if self.is_moe_layer(layer)]

    def is_moe_layer(self, layer: int) -> bool:
        """Whether this layer (counted from 0; MTP blocks follow the last) has experts."""
        return self.moe is not None and layer >= self.moe.first_dense_layers
