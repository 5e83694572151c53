"""`ModelConfig` ↔ Hugging Face's config.json.

`FAMILIES` says which architectures there are and what each is made of. What Hugging Face has no name for stands
under "ponder". A setting that would change the result and that Ponder does not have is refused.

The published code of DeepSeek-V2 (its modeling_deepseek.py, and inference/model.py of DeepSeek-V3, which runs V2's
shapes too) and transformers' `deepseek_v2` agree wherever `norm_topk_prob` is false, as in every published
DeepSeek-V2. With true they do not: one normalises and then leaves `routed_scaling_factor` out, one normalises for
sigmoid gates alone, one ignores it. So true is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from ponder.core.errors import CheckpointError, ConfigError
from ponder.models.config import GqaConfig, MlaConfig, ModelConfig, MoeConfig, YarnConfig
from ponder.text.tokenizer import ControlIds
from ponder.weights.fields import Fields
from ponder.weights.hf.rope import require_whole_rotation, rope_from_json, rope_theta_from_json, rope_to_json

# settings that may be absent or have these values; anything else asks for a part that Ponder does not have
Fixed = Mapping[str, tuple[object, ...]]
NO_BIAS: Fixed = {"attention_bias": (False,)}  # with it, the output projection has a bias too
V3_GATE: Fixed = {"scoring_func": ("sigmoid",), "topk_method": ("noaux_tc",)}
V2_GATE: Fixed = {
    "scoring_func": ("softmax",),
    "topk_method": ("greedy", "group_limited_greedy"),
    "norm_topk_prob": (False,),
}
FIXED: Fixed = {
    "hidden_act": ("silu",),
    "mlp_bias": (False,),
    "moe_layer_freq": (1,),
    "use_sliding_window": (False,),
}
# the code of DeepSeekMoE 16B, which transformers fetches from there when it is told to trust it
DEEPSEEK_MOE_CODE = "deepseek-ai/deepseek-moe-16b-base--"


@dataclass(frozen=True)
class Family:
    """What one `model_type` is made of."""

    architecture: str
    attention: Literal["latent", "grouped"]
    gate: Literal["sigmoid", "softmax"] | None = None  # None: no experts
    fixed: Fixed = field(default_factory=dict)


FAMILIES: Mapping[str, Family] = {
    "deepseek": Family("DeepseekForCausalLM", "grouped", "softmax", {**NO_BIAS, "scoring_func": ("softmax",)}),
    "deepseek_v2": Family(
        "DeepseekV2ForCausalLM", "latent", "softmax", {**NO_BIAS, **V2_GATE, "rope_interleave": (True,)}
    ),
    "deepseek_v3": Family("DeepseekV3ForCausalLM", "latent", "sigmoid", {**NO_BIAS, **V3_GATE}),
    "glm4_moe": Family("Glm4MoeForCausalLM", "grouped", "sigmoid", V3_GATE),
    "llama": Family("LlamaForCausalLM", "grouped", None, NO_BIAS),
    "qwen2": Family("Qwen2ForCausalLM", "grouped"),
    "qwen3": Family("Qwen3ForCausalLM", "grouped", None, NO_BIAS),
}


def model_type(config: ModelConfig) -> str:
    """Hugging Face's name for the architecture. Raises `CheckpointError` where it has none for this combination."""
    moe, attention = config.moe, config.attention
    softmax = moe is not None and moe.scoring == "softmax"
    if isinstance(attention, MlaConfig):
        if softmax and moe is not None and (moe.normalize_weights or config.rope_layout != "interleaved"):
            raise CheckpointError(
                "no Hugging Face architecture has latent attention and a softmax gate with normalize_weights = "
                f"{moe.normalize_weights}, rope_layout = {config.rope_layout!r}; DeepSeek-V2 has false, 'interleaved'"
            )
        return "deepseek_v2" if softmax else "deepseek_v3"
    if softmax and moe is not None:
        if moe.groups > 1 or moe.route_scale != 1.0 or attention.qkv_bias or attention.qk_norm:
            raise CheckpointError(
                f"no Hugging Face architecture has grouped-query attention (qkv_bias = {attention.qkv_bias}, qk_norm = "
                f"{attention.qk_norm}) and a softmax gate with groups = {moe.groups}, route_scale = {moe.route_scale}; "
                "DeepSeekMoE has false, false, 1, 1.0"
            )
        return "deepseek"
    if moe is not None or (attention.qkv_bias and attention.qk_norm):
        return "glm4_moe"
    if attention.qkv_bias:
        return "qwen2"
    return "qwen3" if attention.qk_norm else "llama"


# ---- writing


def config_to_json(config: ModelConfig, control: ControlIds | None, dtype: torch.dtype) -> dict[str, object]:
    """The object for config.json. `control` None: the model has no tokenizer, so no ids that begin or end a text."""
    kind = model_type(config)
    fields: dict[str, object] = {
        "architectures": [FAMILIES[kind].architecture],
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
        "rope_scaling": rope_to_json(config),
        "initializer_range": config.init_std or 0.02,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_dropout": 0.0,
        "num_nextn_predict_layers": config.mtp_depth,
        "use_cache": True,
        "ponder": _ponder_to_json(config),
    }
    return fields | _ids_to_json(control) | _attention_to_json(config, kind) | _moe_to_json(config, kind)


def _ids_to_json(control: ControlIds | None) -> dict[str, object]:
    if control is None:
        return {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    others = [i for i in control.stop if i != control.eos]
    return {
        "bos_token_id": control.bos,
        "eos_token_id": [control.eos, *others] if others else control.eos,
        "pad_token_id": control.pad,
    }


def _ponder_to_json(config: ModelConfig) -> dict[str, object]:
    fields: dict[str, object] = {"init_std": config.init_std, "rope_layout": config.rope_layout}
    if config.moe is not None:
        fields["bias_update_speed"] = config.moe.bias_update_speed
        fields["sequence_balance_weight"] = config.moe.sequence_balance_weight
    if isinstance(config.rope_scaling, YarnConfig):
        # Hugging Face's fields give their effect, to rounding; these the very numbers
        fields["mscale"] = config.rope_scaling.mscale
        fields["mscale_all_dim"] = config.rope_scaling.mscale_all_dim
    return fields


def _attention_to_json(config: ModelConfig, kind: str) -> dict[str, object]:
    shape = config.attention
    if isinstance(shape, GqaConfig):
        fields: dict[str, object] = {"num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim}
        if kind == "glm4_moe":
            return fields | {
                "attention_bias": shape.qkv_bias,
                "use_qk_norm": shape.qk_norm,
                "partial_rotary_factor": 1.0,
            }
        if kind == "qwen2":  # which has its biases without saying so
            return fields | {"use_sliding_window": False}
        return fields | {"attention_bias": False}
    return {
        "attention_bias": False,
        "num_key_value_heads": config.heads,
        "q_lora_rank": shape.q_lora_rank,
        "kv_lora_rank": shape.kv_lora_rank,
        "qk_nope_head_dim": shape.qk_nope_head_dim,
        "qk_rope_head_dim": shape.qk_rope_head_dim,
        "v_head_dim": shape.v_head_dim,
        "rope_interleave": config.rope_layout == "interleaved",
    }


def _moe_to_json(config: ModelConfig, kind: str) -> dict[str, object]:
    moe, gate = config.moe, FAMILIES[kind].gate
    if gate is None:
        return {}
    if moe is None:  # every layer is dense, so the experts' numbers are never looked at
        return {"n_routed_experts": 0, "first_k_dense_replace": config.layers + config.mtp_depth}
    fields: dict[str, object] = {
        "n_routed_experts": moe.routed_experts,
        "num_experts_per_tok": moe.experts_per_token,
        "n_shared_experts": moe.shared_experts,
        "moe_intermediate_size": moe.expert_intermediate_size,
        "first_k_dense_replace": moe.first_dense_layers,
        "moe_layer_freq": 1,
        "scoring_func": gate,
        "norm_topk_prob": moe.normalize_weights,
    }
    if kind == "deepseek":
        names = {"AutoConfig": "configuration_deepseek.DeepseekConfig"}
        names |= {"AutoModelForCausalLM": "modeling_deepseek.DeepseekForCausalLM"}
        return fields | {
            "n_shared_experts": moe.shared_experts or None,
            "auto_map": {name: DEEPSEEK_MOE_CODE + place for name, place in names.items()},
        }
    topk_method = "noaux_tc" if gate == "sigmoid" else "group_limited_greedy" if moe.groups > 1 else "greedy"
    return fields | {
        "n_group": moe.groups,
        "topk_group": moe.groups_per_token,
        "topk_method": topk_method,
        "routed_scaling_factor": moe.route_scale,
    }


# ---- reading


def config_from_json(content: Mapping[str, Any], where: str) -> ModelConfig:
    """The config that the object of a config.json asks for; `where` names the file in errors.

    Raises `CheckpointError` for an unknown `model_type`, a missing or mistyped field, and settings that Ponder
    does not have. How the weights are stored (`quantization_config`) is no part of the shape: their reader checks it.
    """
    fields = Fields(content, where)
    if not fields.has("model_type"):
        raise CheckpointError(f"{where}: 'model_type' is missing; expected one of {', '.join(FAMILIES)}")
    kind = fields.get("model_type", str)
    if kind not in FAMILIES:
        raise CheckpointError(f"{where}: model_type {kind!r:.80} is unknown; expected one of {', '.join(FAMILIES)}")
    family = FAMILIES[kind]
    _refuse_other_parts(fields, family)
    require_whole_rotation(fields, default=0.5 if kind == "glm4_moe" else 1.0)
    ponder = fields.inner("ponder")
    latent = family.attention == "latent"
    experts = fields.get("n_routed_experts", int, 0) if family.gate else 0
    try:
        return ModelConfig(
            vocab_size=fields.get("vocab_size", int),
            hidden_size=fields.get("hidden_size", int),
            layers=fields.get("num_hidden_layers", int),
            heads=fields.get("num_attention_heads", int),
            attention=_mla_from_json(fields) if latent else _gqa_from_json(fields, kind),
            intermediate_size=fields.get("intermediate_size", int),
            moe=_moe_from_json(fields, kind, ponder) if experts else None,
            mtp_depth=fields.get("num_nextn_predict_layers", int, fields.get("num_mtp_layers", int, 0)),
            max_positions=fields.get("max_position_embeddings", int),
            rope_theta=rope_theta_from_json(fields),
            rope_layout=_rope_layout(fields, ponder, latent=latent),
            rope_scaling=rope_from_json(fields, ponder, latent=latent),
            norm_eps=fields.get("rms_norm_eps", float, 1e-5 if kind == "glm4_moe" else 1e-6),
            init_std=_init_std(fields, ponder),
            tie_embeddings=fields.get("tie_word_embeddings", bool, False),
        )
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from error


def _refuse_other_parts(fields: Fields, family: Family) -> None:
    for name, allowed in {**FIXED, **family.fixed}.items():
        if fields.has(name) and fields.fields[name] not in allowed:
            expected = " or ".join(repr(value) for value in allowed)
            raise CheckpointError(
                f"{fields.where}: {name} = {fields.fields[name]!r:.80} is not supported for {family.architecture}; "
                f"expected {expected}"
            )
    kinds = fields.fields.get("layer_types") or ["full_attention"]
    if not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds):
        raise CheckpointError(
            f"{fields.where}: layer_types = {kinds!r:.80} is not supported; expected 'full_attention'"
        )


def _rope_layout(fields: Fields, ponder: Fields, *, latent: bool) -> Any:
    if latent:
        return "interleaved" if fields.get("rope_interleave", bool, True) else "halves"
    layout = ponder.get("rope_layout", str, "halves")
    if layout not in ("interleaved", "halves"):
        raise CheckpointError(f"{ponder.where}: rope_layout = {layout!r:.80}; expected 'interleaved' or 'halves'")
    return layout


def _init_std(fields: Fields, ponder: Fields) -> float | None:
    if "init_std" not in ponder.fields:
        return fields.get("initializer_range", float, 0.02)
    return ponder.get("init_std", float) if ponder.has("init_std") else None


def _mla_from_json(fields: Fields) -> MlaConfig:
    return MlaConfig(
        kv_lora_rank=fields.get("kv_lora_rank", int),
        qk_nope_head_dim=fields.get("qk_nope_head_dim", int),
        qk_rope_head_dim=fields.get("qk_rope_head_dim", int),
        v_head_dim=fields.get("v_head_dim", int),
        q_lora_rank=fields.get("q_lora_rank", int) if fields.has("q_lora_rank") else None,
    )


def _gqa_from_json(fields: Fields, kind: str) -> GqaConfig:
    heads = fields.get("num_attention_heads", int)
    head_dim = 128 if kind == "qwen3" else fields.get("hidden_size", int) // max(heads, 1)
    glm = kind == "glm4_moe"
    return GqaConfig(
        kv_heads=fields.get("num_key_value_heads", int, heads),
        head_dim=fields.get("head_dim", int, head_dim),
        qkv_bias=kind == "qwen2" or (glm and fields.get("attention_bias", bool, False)),
        qk_norm=kind == "qwen3" or (glm and fields.get("use_qk_norm", bool, False)),
    )


def _moe_from_json(fields: Fields, kind: str, ponder: Fields) -> MoeConfig:
    sigmoid = FAMILIES[kind].gate == "sigmoid"
    experts_per_token = fields.get("num_experts_per_tok", int)
    normalize = fields.get("norm_topk_prob", bool, sigmoid)
    # V2-Lite's config has groups that its method does not look at; DeepSeekMoE knows neither groups nor a scale
    grouped = sigmoid or (kind == "deepseek_v2" and fields.get("topk_method", str, "greedy") == "group_limited_greedy")
    return MoeConfig(
        routed_experts=fields.get("n_routed_experts", int),
        experts_per_token=experts_per_token,
        shared_experts=fields.get("n_shared_experts", int, 0),
        expert_intermediate_size=fields.get("moe_intermediate_size", int),
        first_dense_layers=fields.get("first_k_dense_replace", int, 0),
        groups=fields.get("n_group", int, 1) if grouped else 1,
        groups_per_token=fields.get("topk_group", int, 1) if grouped else 1,
        scoring="sigmoid" if sigmoid else "softmax",
        group_score="top2_sum" if sigmoid else "max",
        balance_bias=sigmoid,
        # the code of DeepSeekMoE leaves a single expert's weight as it is
        normalize_weights=normalize and not (kind == "deepseek" and experts_per_token == 1),
        route_scale=1.0 if kind == "deepseek" else fields.get("routed_scaling_factor", float, 1.0),
        bias_update_speed=ponder.get("bias_update_speed", float, MoeConfig.bias_update_speed),
        sequence_balance_weight=ponder.get("sequence_balance_weight", float, MoeConfig.sequence_balance_weight),
    )
