"""`ModelConfig` ↔ the metadata of a GGUF file.

llama.cpp's names of the architectures: `llama` is grouped-query attention, `qwen2` the same with biases on the
projections, `qwen3` with a norm on queries and keys, `deepseek` the same as `llama` with DeepSeekMoE's experts, and
`deepseek2` multi-head latent attention with or without experts (V2, V3, R1).
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ponder.core.errors import CheckpointError, ConfigError
from ponder.models.config import (
    GqaConfig,
    LinearRopeConfig,
    Llama3RopeConfig,
    MlaConfig,
    ModelConfig,
    MoeConfig,
    RopeScaling,
    YarnConfig,
)
from ponder.weights.fields import Fields

ARCHITECTURES = ("llama", "qwen2", "qwen3", "deepseek", "deepseek2")
GATES = {1: "softmax", 2: "sigmoid"}  # gguf.ExpertGatingFuncType
# llama.cpp's fixed weight of ln(factor) in the factor that YaRN puts on rotated vectors
YARN_WEIGHT = 0.1
ROPE_FREQUENCIES = "rope_freqs.weight"  # by how much each frequency is divided (Llama 3.1)


class _Metadata(Fields):
    """Metadata below the architecture's prefix. A number may be given once for each layer."""

    def __init__(self, metadata: Mapping[str, Any], architecture: str, where: str) -> None:
        super().__init__(metadata, where, f"{architecture}.")
        self.architecture = architecture

    def value(self, name: str) -> Any:
        value = super().value(name)
        if isinstance(value, np.ndarray):
            if value.size == 0 or (value != value[0]).any():
                key = self.prefix + name
                raise CheckpointError(f"{self.where}: {key!r} differs between layers, which is not supported")
            value = value[0].item()
        return _shortest(value) if isinstance(value, float) else value


def _shortest(value: float) -> float:
    """The shortest decimal that is stored as this single-precision number: 1e-05 for 9.999999747378752e-06."""
    if abs(value) > float(np.finfo(np.float32).max):
        return value
    single = np.float32(value)
    return float(str(single)) if float(single) == value else value


def architecture_of(metadata: Mapping[str, Any], where: str) -> str:
    """llama.cpp's name of the architecture. Raises `CheckpointError` for one that Ponder does not have."""
    name = metadata.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise CheckpointError(
            f"{where}: architecture {name!r:.80} is not supported; expected one of {', '.join(ARCHITECTURES)}"
        )
    return name


def config_from_metadata(
    metadata: Mapping[str, Any],
    tensors: Mapping[str, tuple[int, ...]],
    rope_frequencies: torch.Tensor | None,
    where: str,
) -> ModelConfig:
    """The shape of the model whose metadata and tensors (by GGUF's name, with their shapes) these are.

    `rope_frequencies`: the numbers of the tensor `rope_freqs.weight` where the file has it. Raises
    `CheckpointError` for an unknown architecture, metadata that is missing, and settings that Ponder does not have.
    """
    architecture = architecture_of(metadata, where)
    fields = _Metadata(metadata, architecture, where)
    if "token_embd.weight" not in tensors:
        raise CheckpointError(f"{where} has no tensor 'token_embd.weight'; it is not the whole of a model")
    if len(shape := tensors["token_embd.weight"]) != 2:
        raise CheckpointError(f"{where}: token_embd.weight has the shape {shape}; expected a row for each token")
    mtp_depth = fields.get("nextn_predict_layers", int, 0)
    try:
        config = ModelConfig(
            vocab_size=shape[0],
            hidden_size=fields.get("embedding_length", int),
            layers=fields.get("block_count", int) - mtp_depth,
            heads=fields.get("attention.head_count", int),
            attention=_latent(fields) if architecture == "deepseek2" else _grouped_query(fields, tensors),
            intermediate_size=fields.get("feed_forward_length", int),
            moe=_mixture(fields, tensors) if architecture in ("deepseek", "deepseek2") else None,
            mtp_depth=mtp_depth if f"blk.{fields.get('block_count', int) - 1}.nextn.eh_proj.weight" in tensors else 0,
            max_positions=fields.get("context_length", int),
            rope_theta=fields.get("rope.freq_base", float, 10000.0),
            rope_layout="interleaved" if architecture == "deepseek2" else "halves",
            norm_eps=fields.get("attention.layer_norm_rms_epsilon", float),
            tie_embeddings="output.weight" not in tensors,
        )
        config = replace(config, rope_scaling=_rope_scaling(fields, rope_frequencies))
        return _with_own_settings(config, metadata)
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from error


def _grouped_query(fields: _Metadata, tensors: Collection[str]) -> GqaConfig:
    heads = fields.get("attention.head_count", int)
    width = fields.get("attention.key_length", int, fields.get("embedding_length", int) // max(heads, 1))
    for name in ("attention.value_length", "rope.dimension_count"):
        if (found := fields.get(name, int, width)) != width:
            raise CheckpointError(f"{fields.where}: {name} is {found} where a head has {width} dimensions")
    if fields.get("expert_count", int, 0) and fields.architecture not in ("deepseek", "deepseek2"):
        raise CheckpointError(f"{fields.where}: {fields.architecture} with experts is not supported")
    return GqaConfig(
        kv_heads=fields.get("attention.head_count_kv", int, heads),
        head_dim=width,
        qkv_bias="blk.0.attn_q.bias" in tensors,
        qk_norm="blk.0.attn_q_norm.weight" in tensors,
    )


def _latent(fields: _Metadata) -> MlaConfig:
    rotated = fields.get("rope.dimension_count", int)
    # files with a split kv_b describe the absorbed form under the plain names, and the heads' own under `_mla`
    suffix = "_mla" if fields.has("attention.key_length_mla") else ""
    return MlaConfig(
        kv_lora_rank=fields.get("attention.kv_lora_rank", int),
        qk_nope_head_dim=fields.get("attention.key_length" + suffix, int) - rotated,
        qk_rope_head_dim=rotated,
        v_head_dim=fields.get("attention.value_length" + suffix, int),
        q_lora_rank=fields.get("attention.q_lora_rank", int, 0) or None,
    )


def _mixture(fields: _Metadata, tensors: Collection[str]) -> MoeConfig | None:
    dense, layers = fields.get("leading_dense_block_count", int, 0), fields.get("block_count", int)
    if not fields.get("expert_count", int, 0) or dense >= layers:
        return None
    gate = fields.get("expert_gating_func", int, 1)
    if gate not in GATES:
        raise CheckpointError(f"{fields.where}: expert_gating_func = {gate} is not supported; expected one of {GATES}")
    return MoeConfig(
        routed_experts=fields.get("expert_count", int),
        experts_per_token=fields.get("expert_used_count", int),
        shared_experts=fields.get("expert_shared_count", int, 0),
        expert_intermediate_size=fields.get("expert_feed_forward_length", int),
        first_dense_layers=dense,
        groups=fields.get("expert_group_count", int, 1) or 1,
        groups_per_token=fields.get("expert_group_used_count", int, 1) or 1,
        scoring="sigmoid" if gate == 2 else "softmax",
        group_score="top2_sum" if gate == 2 else "max",
        normalize_weights=fields.get("expert_weights_norm", bool, False),
        balance_bias=f"blk.{dense}.exp_probs_b.bias" in tensors,
        route_scale=fields.get("expert_weights_scale", float, 1.0) or 1.0,
    )


def _rope_scaling(fields: _Metadata, rope_frequencies: torch.Tensor | None) -> RopeScaling | None:
    if rope_frequencies is not None:
        return _llama3(fields, rope_frequencies)
    kind = fields.get("rope.scaling.type", str, "linear")
    factor = fields.get("rope.scaling.factor", float, fields.get("rope.scale_linear", float, 0.0)) or 1.0
    if kind == "none" or (kind == "linear" and factor == 1.0):
        return None
    if kind == "linear":
        return LinearRopeConfig(factor=factor)
    if kind != "yarn":
        raise CheckpointError(
            f"{fields.where}: rope scaling {kind!r} is not supported; expected none, linear, yarn or {ROPE_FREQUENCIES}"
        )
    yarn = YarnConfig(
        factor=factor,
        original_positions=fields.get("rope.scaling.original_context_length", int),
        beta_fast=fields.get("rope.scaling.yarn_beta_fast", float, 32.0),
        beta_slow=fields.get("rope.scaling.yarn_beta_slow", float, 1.0),
    )
    mscale, mscale_all_dim = _yarn_weights(fields, yarn.factor)
    return replace(yarn, mscale=mscale, mscale_all_dim=mscale_all_dim)


def _yarn_weights(fields: _Metadata, factor: float) -> tuple[float, float]:
    """YaRN's mscale and mscale_all_dim."""
    if fields.architecture == "deepseek2":
        weight = round(fields.get("rope.scaling.yarn_log_multiplier", float, 0.0) / YARN_WEIGHT, 9)
        return (weight, weight) if weight else (1.0, 0.0)
    log_factor = YARN_WEIGHT * math.log(factor)
    on_vectors = fields.get("rope.scaling.attn_factor", float, 1.0) * (1.0 + log_factor)
    weight = round((on_vectors - 1.0) / log_factor, 6) if log_factor else 1.0
    return weight, weight  # every dimension is rotated: only the product on the scores matters


def _llama3(fields: _Metadata, divisors: torch.Tensor) -> Llama3RopeConfig:
    """The scaling that divides the frequencies as the file says.

    Between the long waves and the short, 1/divisor is linear in the frequency, by two numbers that stand for three:
    the original context, and the borders as parts of it. Without the first, a file is read as if the lower border
    were 1, as it is in every published model.
    """
    strange = CheckpointError(f"{fields.where}: {ROPE_FREQUENCIES} does not scale frequencies as Llama 3.1 does")
    if divisors.ndim != 1 or not ((divisors > 0.0) & divisors.isfinite()).all():
        raise strange
    width = 2 * len(divisors)
    theta = fields.get("rope.freq_base", float, 10000.0)
    frequencies = theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    factor = _shortest(divisors.max().item())
    ramp = (divisors > 1.0) & (divisors < factor)
    if ramp.sum() >= 2:
        kept = (1.0 / divisors[ramp].double() - 1.0 / factor) / (1.0 - 1.0 / factor)
        x, y = frequencies[ramp] / (2 * math.pi), kept
        slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
        ratio = float(slope * x.mean() - y.mean())  # low / (high - low)
        low = 1.0
        if ratio > 0.0 and fields.has("rope.scaling.original_context_length"):
            low = fields.get("rope.scaling.original_context_length", int) * ratio / slope
        high = low / ratio + low if ratio > 0.0 else 0.0
        if not all(map(math.isfinite, (slope, low, high))):
            raise strange
        original, low, high = round(slope * (high - low)), round(low, 3), round(high, 3)
    else:
        original, low, high = fields.get("rope.scaling.original_context_length", int, 8192), 1.0, 4.0
    try:
        scaling = Llama3RopeConfig(
            factor=factor, original_positions=original, low_freq_factor=low, high_freq_factor=high
        )
        if torch.allclose(llama3_divisors(scaling, theta, width), divisors.float(), rtol=1e-4):
            return scaling
    except ConfigError:
        pass
    raise strange


def llama3_divisors(scaling: Llama3RopeConfig, theta: float, width: int) -> torch.Tensor:
    """By how much each of the `width` / 2 frequencies is divided, fp32."""
    frequencies = theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    waves = scaling.original_positions * frequencies / (2 * math.pi)  # in the original context
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = ((waves - low) / (high - low)).clamp(0.0, 1.0)
    return (1.0 / (kept + (1.0 - kept) / scaling.factor)).float()


def _with_own_settings(config: ModelConfig, metadata: Mapping[str, Any]) -> ModelConfig:
    """What only matters to further training, where Ponder wrote the file."""
    own = {name: metadata[f"ponder.{name}"] for name in OWN if isinstance(metadata.get(f"ponder.{name}"), float)}
    if "init_std" in own:
        config = replace(config, init_std=own.pop("init_std"))
    return replace(config, moe=replace(config.moe, **own)) if config.moe is not None and own else config


OWN = ("init_std", "bias_update_speed", "sequence_balance_weight")


def gguf_architecture(config: ModelConfig) -> str:
    """llama.cpp's name for a model of this shape. Raises `CheckpointError` where it has none, with the reason."""
    attention, moe = config.attention, config.moe
    if isinstance(attention, MlaConfig):
        reason = _why_not_deepseek2(config)
        name = "deepseek2"
    elif moe is not None:
        reason = _why_not_deepseek(config, attention, moe)
        name = "deepseek"
    elif attention.qkv_bias and attention.qk_norm:
        reason, name = "grouped-query attention has either biases (qwen2) or norms on queries and keys (qwen3)", ""
    else:
        name = "qwen2" if attention.qkv_bias else "qwen3" if attention.qk_norm else "llama"
        scaled = isinstance(config.rope_scaling, Llama3RopeConfig) and name != "llama"
        reason = f"{name} has no Llama 3 rope scaling" if scaled else None
    if reason is not None:
        raise CheckpointError(f"llama.cpp has no architecture for this model: {reason}; export it as hf instead")
    return name


def _why_not_deepseek2(config: ModelConfig) -> str | None:
    yarn, moe = config.rope_scaling, config.moe
    if config.rope_layout != "interleaved":
        return "with latent attention it rotates neighbouring dimensions together, this model dimensions in halves"
    if isinstance(yarn, Llama3RopeConfig):
        return "with latent attention it has no Llama 3 rope scaling"
    if isinstance(yarn, YarnConfig) and (yarn.mscale != yarn.mscale_all_dim or not yarn.mscale):
        return f"it has one YaRN mscale, this model two ({yarn.mscale:g} and {yarn.mscale_all_dim:g})"
    if moe is not None and not moe.shared_experts:
        return "it expects shared experts"
    return None


def _why_not_deepseek(config: ModelConfig, attention: GqaConfig, moe: MoeConfig) -> str | None:
    wanted = {
        "scoring": "softmax",
        "normalize_weights": False,
        "balance_bias": False,
        "groups": 1,
    }
    for name, value in wanted.items():
        if getattr(moe, name) != value:
            return f"experts with grouped-query attention have {name} = {value}, this model {getattr(moe, name)}"
    if attention.qkv_bias or attention.qk_norm:
        return "experts with grouped-query attention have no biases or norms there"
    if attention.head_dim * config.heads != config.hidden_size or not moe.shared_experts:
        return "experts with grouped-query attention need heads as wide as the model, and shared experts"
    if isinstance(config.rope_scaling, Llama3RopeConfig):
        return "experts with grouped-query attention have no Llama 3 rope scaling"
    return None


def config_to_metadata(config: ModelConfig) -> dict[str, int | float | bool | str]:
    """The metadata of a model without its multi-token prediction modules, which llama.cpp's files leave out.

    Raises `CheckpointError` for a model that llama.cpp has no architecture for.
    """
    architecture = gguf_architecture(config)
    attention, moe = config.attention, config.moe
    fields: dict[str, int | float | bool | str] = {
        "vocab_size": config.vocab_size,
        "context_length": config.max_positions,
        "embedding_length": config.hidden_size,
        "block_count": config.layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.heads,
        "attention.layer_norm_rms_epsilon": config.norm_eps,
        "rope.freq_base": config.rope_theta,
        "rope.dimension_count": config.rope_dim,
    }
    if isinstance(attention, MlaConfig):
        fields |= {
            "attention.head_count_kv": 1,  # the absorbed form: all heads share one key, the latent and the rotated part
            "attention.key_length": config.cache_width,
            "attention.value_length": attention.kv_lora_rank,
            "attention.key_length_mla": attention.qk_nope_head_dim + attention.qk_rope_head_dim,
            "attention.value_length_mla": attention.v_head_dim,
            "attention.kv_lora_rank": attention.kv_lora_rank,
            "attention.q_lora_rank": attention.q_lora_rank or 0,
        }
    else:
        fields["attention.head_count_kv"] = attention.kv_heads
        fields |= dict.fromkeys(("attention.key_length", "attention.value_length"), attention.head_dim)
    if moe is not None:
        fields |= _mixture_to_metadata(moe)
    elif architecture == "deepseek2":
        fields |= {
            "leading_dense_block_count": config.layers,
            "expert_shared_count": 0,
            "expert_feed_forward_length": config.intermediate_size,
        }
    fields |= _rope_scaling_to_metadata(config.rope_scaling, architecture)
    own = {"init_std": config.init_std}
    if moe is not None:
        own |= {name: getattr(moe, name) for name in OWN[1:]}
    return {f"{architecture}.{name}": value for name, value in fields.items()} | {
        f"ponder.{name}": value for name, value in own.items() if value is not None
    }


def _mixture_to_metadata(moe: MoeConfig) -> dict[str, int | float | bool | str]:
    fields: dict[str, int | float | bool | str] = {
        "expert_count": moe.routed_experts,
        "expert_used_count": moe.experts_per_token,
        "expert_shared_count": moe.shared_experts,
        "expert_feed_forward_length": moe.expert_intermediate_size,
        "leading_dense_block_count": moe.first_dense_layers,
        "expert_weights_scale": moe.route_scale,
        "expert_weights_norm": moe.normalize_weights,
        "expert_gating_func": 2 if moe.scoring == "sigmoid" else 1,
    }
    if moe.groups > 1 and moe.groups_per_token < moe.groups:  # all groups at once are no groups
        fields |= {"expert_group_count": moe.groups, "expert_group_used_count": moe.groups_per_token}
    return fields


def _rope_scaling_to_metadata(scaling: RopeScaling | None, architecture: str) -> dict[str, int | float | bool | str]:
    if scaling is None:
        return {"rope.scaling.type": "none"}
    if isinstance(scaling, LinearRopeConfig):
        return {"rope.scaling.type": "linear", "rope.scaling.factor": scaling.factor}
    if isinstance(scaling, Llama3RopeConfig):  # a tensor says the rest
        return {"rope.scaling.original_context_length": scaling.original_positions}
    fields: dict[str, int | float | bool | str] = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": scaling.factor,
        "rope.scaling.original_context_length": scaling.original_positions,
        "rope.scaling.yarn_beta_fast": scaling.beta_fast,
        "rope.scaling.yarn_beta_slow": scaling.beta_slow,
    }
    if architecture == "deepseek2":
        fields["rope.scaling.yarn_log_multiplier"] = YARN_WEIGHT * scaling.mscale_all_dim
    else:
        log_factor = YARN_WEIGHT * math.log(scaling.factor)
        fields["rope.scaling.attn_factor"] = (1.0 + scaling.mscale * log_factor) / (1.0 + log_factor)
    return fields
