"""`ModelConfig` ↔ Hugging Face's config.json.

`deepseek_v3` is multi-head latent attention, with or without experts; `llama` grouped-query attention without;
`glm4_moe` grouped-query attention with DeepSeek-V3's experts. What Hugging Face has no name for stands under
"ponder". A setting that would change the result and that Ponder does not have is refused.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import torch

from ponder.core.errors import CheckpointError, ConfigError
from ponder.models.config import GqaConfig, MlaConfig, ModelConfig, MoeConfig, YarnConfig
from ponder.text.tokenizer import ControlIds

T = TypeVar("T", int, float, bool, str)

ARCHITECTURES = {
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "glm4_moe": "Glm4MoeForCausalLM",
    "llama": "LlamaForCausalLM",
}
# settings that may be absent or have this value; anything else asks for a part that Ponder does not have
FIXED: Mapping[str, tuple[object, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_qk_norm": (False,),
    "scoring_func": ("sigmoid",),
    "topk_method": ("noaux_tc",),
    "norm_topk_prob": (True,),
    "moe_layer_freq": (1,),
    "quantization_config": (),
}


def model_type(config: ModelConfig) -> str:
    """Hugging Face's name for the architecture."""
    if isinstance(config.attention, MlaConfig):
        return "deepseek_v3"
    return "llama" if config.moe is None else "glm4_moe"


def config_to_json(config: ModelConfig, control: ControlIds, dtype: torch.dtype) -> dict[str, object]:
    """The object for config.json."""
    kind = model_type(config)
    fields: dict[str, object] = {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.intermediate_size,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": _rope_scaling_to_json(config, kind),
        "initializer_range": config.init_std or 0.02,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "num_nextn_predict_layers": config.mtp_depth,
        "bos_token_id": None,
        "eos_token_id": control.eos,
        "pad_token_id": control.pad,
        "use_cache": True,
        "ponder": _ponder_to_json(config),
    }
    fields |= _attention_to_json(config)
    if kind == "glm4_moe":
        fields |= {"partial_rotary_factor": 1.0, "use_qk_norm": False}
    if kind != "llama":
        fields |= _moe_to_json(config)
    return fields


def _ponder_to_json(config: ModelConfig) -> dict[str, object]:
    fields: dict[str, object] = {"init_std": config.init_std, "rope_layout": config.rope_layout}
    if config.moe is not None:
        fields["bias_update_speed"] = config.moe.bias_update_speed
        fields["sequence_balance_weight"] = config.moe.sequence_balance_weight
    if isinstance(
        config.rope_scaling, YarnConfig
    ):  # Hugging Face's fields give their effect, to rounding; these the very numbers
        fields["mscale"] = config.rope_scaling.mscale
        fields["mscale_all_dim"] = config.rope_scaling.mscale_all_dim
    return fields


def _attention_to_json(config: ModelConfig) -> dict[str, object]:
    shape = config.attention
    if isinstance(shape, GqaConfig):
        return {"num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim}
    return {
        "num_key_value_heads": config.heads,
        "q_lora_rank": shape.q_lora_rank,
        "kv_lora_rank": shape.kv_lora_rank,
        "qk_nope_head_dim": shape.qk_nope_head_dim,
        "qk_rope_head_dim": shape.qk_rope_head_dim,
        "v_head_dim": shape.v_head_dim,
        "rope_interleave": config.rope_layout == "interleaved",
    }


def _moe_to_json(config: ModelConfig) -> dict[str, object]:
    moe = config.moe
    if moe is None:  # every layer is dense, so the experts' numbers are never looked at
        return {"n_routed_experts": 0, "first_k_dense_replace": config.layers + config.mtp_depth}
    return {
        "n_routed_experts": moe.routed_experts,
        "num_experts_per_tok": moe.experts_per_token,
        "n_shared_experts": moe.shared_experts,
        "moe_intermediate_size": moe.expert_intermediate_size,
        "first_k_dense_replace": moe.first_dense_layers,
        "moe_layer_freq": 1,
        "n_group": moe.groups,
        "topk_group": moe.groups_per_token,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "norm_topk_prob": True,
        "routed_scaling_factor": moe.route_scale,
    }


def _rope_scaling_to_json(config: ModelConfig, kind: str) -> dict[str, object] | None:
    scaling = config.rope_scaling
    return _yarn_to_json(scaling, kind) if isinstance(scaling, YarnConfig) else None


def _yarn_to_json(yarn: YarnConfig, kind: str) -> dict[str, object]:
    fields: dict[str, object] = {
        "type": "yarn",
        "rope_type": "yarn",
        "factor": yarn.factor,
        "original_max_position_embeddings": yarn.original_positions,
        "beta_fast": yarn.beta_fast,
        "beta_slow": yarn.beta_slow,
    }
    if kind == "deepseek_v3":
        fields |= {"mscale": yarn.mscale, "mscale_all_dim": yarn.mscale_all_dim}
        if not (yarn.mscale and yarn.mscale_all_dim):  # transformers takes a zero for "not given"
            fields["attention_factor"] = _mscale(yarn, yarn.mscale) / _mscale(yarn, yarn.mscale_all_dim)
    else:
        # there the factor is on queries and keys, so squared on the scores: what is left of ours is mscale alone
        fields["attention_factor"] = _mscale(yarn, yarn.mscale)
    return fields


def _mscale(yarn: YarnConfig, weight: float) -> float:
    return 1.0 if yarn.factor <= 1.0 else 0.1 * weight * math.log(yarn.factor) + 1.0


class _Fields:
    """A JSON object that is read by name and kind; `null` counts as absent."""

    def __init__(self, fields: Mapping[str, Any], where: str) -> None:
        self.fields, self.where = fields, where

    def has(self, name: str) -> bool:
        return self.fields.get(name) is not None

    def get(self, name: str, kind: type[T], default: T | None = None) -> T:
        value = self.fields.get(name)
        if value is None:
            if default is None:
                raise CheckpointError(f"{self.where}: {name!r} is missing")
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise CheckpointError(f"{self.where}: {name!r} is {value!r}; expected {kind.__name__}")
        return value

    def inner(self, name: str) -> "_Fields":
        value = self.fields.get(name) or {}
        if not isinstance(value, Mapping):
            raise CheckpointError(f"{self.where}: {name!r} is {value!r}; expected an object")
        return _Fields(value, f"{self.where}: {name}")


def config_from_json(content: Mapping[str, Any], where: str) -> ModelConfig:
    """The config that the object of a config.json asks for; `where` names the file in errors.

    Raises `CheckpointError` for an unknown `model_type`, a missing or mistyped field, and settings that Ponder
    does not have.
    """
    fields = _Fields(content, where)
    kind = fields.get("model_type", str, "")
    if kind not in ARCHITECTURES:
        raise CheckpointError(f"{where}: model_type {kind!r} is unknown; expected one of {', '.join(ARCHITECTURES)}")
    for name, allowed in FIXED.items():
        if fields.has(name) and content[name] not in allowed:
            expected = f"expected {allowed[0]!r}" if allowed else "quantised weights cannot be read"
            raise CheckpointError(f"{where}: {name} = {content[name]!r} is not supported; {expected}")
    ponder = fields.inner("ponder")
    experts = fields.get("n_routed_experts", int, 0)
    try:
        return ModelConfig(
            vocab_size=fields.get("vocab_size", int),
            hidden_size=fields.get("hidden_size", int),
            layers=fields.get("num_hidden_layers", int),
            heads=fields.get("num_attention_heads", int),
            attention=_mla_from_json(fields) if kind == "deepseek_v3" else _gqa_from_json(fields),
            intermediate_size=fields.get("intermediate_size", int),
            moe=_moe_from_json(fields, ponder) if kind != "llama" and experts else None,
            mtp_depth=fields.get("num_nextn_predict_layers", int, fields.get("num_mtp_layers", int, 0)),
            max_positions=fields.get("max_position_embeddings", int),
            rope_theta=_rope(fields).get("rope_theta", float, fields.get("rope_theta", float, 10000.0)),
            rope_layout=_rope_layout(kind, fields, ponder),
            rope_scaling=_yarn_from_json(_rope(fields), kind, ponder),
            norm_eps=fields.get("rms_norm_eps", float, 1e-6),
            init_std=_init_std(fields, ponder),
            tie_embeddings=fields.get("tie_word_embeddings", bool, False),
        )
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from error


def _rope(fields: _Fields) -> _Fields:
    """The object that describes the rotation: `rope_parameters` since transformers 5, `rope_scaling` elsewhere."""
    return fields.inner("rope_parameters" if fields.has("rope_parameters") else "rope_scaling")


def _rope_layout(kind: str, fields: _Fields, ponder: _Fields) -> Any:
    if kind == "deepseek_v3":
        return "interleaved" if fields.get("rope_interleave", bool, True) else "halves"
    partial = fields.get("partial_rotary_factor", float, 1.0 if kind == "llama" else 0.5)
    if _rope(fields).get("partial_rotary_factor", float, partial) != 1.0:
        raise CheckpointError(f"{fields.where}: partial_rotary_factor = {partial} is not supported; expected 1.0")
    layout = ponder.get("rope_layout", str, "halves")
    if layout not in ("interleaved", "halves"):
        raise CheckpointError(f"{ponder.where}: rope_layout = {layout!r}; expected 'interleaved' or 'halves'")
    return layout


def _init_std(fields: _Fields, ponder: _Fields) -> float | None:
    if "init_std" not in ponder.fields:
        return fields.get("initializer_range", float, 0.02)
    return ponder.get("init_std", float) if ponder.has("init_std") else None


def _mla_from_json(fields: _Fields) -> MlaConfig:
    return MlaConfig(
        kv_lora_rank=fields.get("kv_lora_rank", int),
        qk_nope_head_dim=fields.get("qk_nope_head_dim", int),
        qk_rope_head_dim=fields.get("qk_rope_head_dim", int),
        v_head_dim=fields.get("v_head_dim", int),
        q_lora_rank=fields.get("q_lora_rank", int) if fields.has("q_lora_rank") else None,
    )


def _gqa_from_json(fields: _Fields) -> GqaConfig:
    heads = fields.get("num_attention_heads", int)
    return GqaConfig(
        kv_heads=fields.get("num_key_value_heads", int, heads),
        head_dim=fields.get("head_dim", int, fields.get("hidden_size", int) // max(heads, 1)),
    )


def _moe_from_json(fields: _Fields, ponder: _Fields) -> MoeConfig:
    return MoeConfig(
        routed_experts=fields.get("n_routed_experts", int),
        experts_per_token=fields.get("num_experts_per_tok", int),
        shared_experts=fields.get("n_shared_experts", int, 0),
        expert_intermediate_size=fields.get("moe_intermediate_size", int),
        first_dense_layers=fields.get("first_k_dense_replace", int, 0),
        groups=fields.get("n_group", int, 1),
        groups_per_token=fields.get("topk_group", int, 1),
        route_scale=fields.get("routed_scaling_factor", float, 1.0),
        bias_update_speed=ponder.get("bias_update_speed", float, MoeConfig.bias_update_speed),
        sequence_balance_weight=ponder.get("sequence_balance_weight", float, MoeConfig.sequence_balance_weight),
    )


def _yarn_from_json(rope: _Fields, kind: str, ponder: _Fields) -> YarnConfig | None:
    """YaRN's settings, None without. What is left out is filled in as transformers does."""
    rope_type = rope.get("rope_type", str, rope.get("type", str, "default"))
    if rope_type == "default":
        return None
    if rope_type != "yarn":
        raise CheckpointError(f"{rope.where}: rope type {rope_type!r} is not supported; expected 'default' or 'yarn'")
    factor = rope.get("factor", float)
    log_factor = 0.1 * math.log(factor) if factor > 1.0 else 0.0
    mscale, mscale_all_dim = rope.get("mscale", float, 0.0), rope.get("mscale_all_dim", float, 0.0)
    if rope.has("attention_factor") or not (mscale and mscale_all_dim):
        on_vectors = rope.get("attention_factor", float, log_factor + 1.0)
    else:
        on_vectors = (mscale * log_factor + 1.0) / (mscale_all_dim * log_factor + 1.0)
    if kind == "deepseek_v3":
        on_scores = mscale_all_dim * log_factor + 1.0
        mscale = _weight_of(on_vectors * on_scores, log_factor)
    else:
        # only the product on the scores matters, as every dimension is rotated
        mscale = mscale_all_dim = _weight_of(on_vectors, log_factor)
    return YarnConfig(
        factor=factor,
        original_positions=rope.get("original_max_position_embeddings", int),
        beta_fast=rope.get("beta_fast", float, 32.0),
        beta_slow=rope.get("beta_slow", float, 1.0),
        mscale=ponder.get("mscale", float, mscale),
        mscale_all_dim=ponder.get("mscale_all_dim", float, mscale_all_dim),
    )


def _weight_of(mscale: float, log_factor: float) -> float:
    """The w of w · 0.1 ln(factor) + 1, without the rounding of the way there and back."""
    return round((mscale - 1.0) / log_factor, 12) if log_factor else 1.0
