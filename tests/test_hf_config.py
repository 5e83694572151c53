"""config.json both ways: what the published files of the families give, and what is refused."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from ponder.core.errors import CheckpointError
from ponder.models.config import (
    GqaConfig,
    LinearRopeConfig,
    Llama3RopeConfig,
    MlaConfig,
    ModelConfig,
    MoeConfig,
    YarnConfig,
)
from ponder.models.presets import PRESETS, count_parameters
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import ControlIds
from ponder.weights.hf.config import FAMILIES, config_from_json, config_to_json, model_type
from ponder.weights.hf.names import file_tensors
from small_models import small_dense, small_moe, small_softmax_moe, small_v3

CONTROL = ControlIds(eos=1, pad=0)

# ---- what was published: the file's fields (those that say nothing of the model shortened), and what they mean

COMMON: dict[str, Any] = {
    "attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02, "torch_dtype": "bfloat16",
    "use_cache": True, "rms_norm_eps": 1e-06, "tie_word_embeddings": False,
}  # fmt: skip
DEEPSEEK_YARN = {
    "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 4096, "type": "yarn",
}  # fmt: skip
REMOTE_CODE = {
    "AutoConfig": "configuration_deepseek.DeepseekConfig",
    "AutoModelForCausalLM": "modeling_deepseek.DeepseekForCausalLM",
}
LLAMA3 = {
    "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}  # fmt: skip
PUBLISHED: dict[str, dict[str, Any]] = {
    "DeepSeek-R1": COMMON | {
        "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": False, "auto_map": REMOTE_CODE,
        "aux_loss_alpha": 0.001, "bos_token_id": 0, "eos_token_id": 1, "ep_size": 1, "first_k_dense_replace": 3,
        "hidden_size": 7168, "intermediate_size": 18432, "kv_lora_rank": 512, "max_position_embeddings": 163840,
        "model_type": "deepseek_v3", "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8,
        "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": True, "num_attention_heads": 128,
        "num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128, "num_nextn_predict_layers": 1,
        "pretraining_tp": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
        "quantization_config": {
            "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128],
        },
        "rope_scaling": DEEPSEEK_YARN, "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid",
        "seq_aux": True, "topk_group": 4, "topk_method": "noaux_tc", "v_head_dim": 128, "vocab_size": 129280,
    },
    "DeepSeek-V2": COMMON | {
        "architectures": ["DeepseekV2ForCausalLM"], "attention_bias": False, "auto_map": REMOTE_CODE,
        "aux_loss_alpha": 0.001, "bos_token_id": 100000, "eos_token_id": 100001, "ep_size": 1,
        "first_k_dense_replace": 1, "hidden_size": 5120, "intermediate_size": 12288, "kv_lora_rank": 512,
        "max_position_embeddings": 163840, "model_type": "deepseek_v2", "moe_intermediate_size": 1536,
        "moe_layer_freq": 1, "n_group": 8, "n_routed_experts": 160, "n_shared_experts": 2, "norm_topk_prob": False,
        "num_attention_heads": 128, "num_experts_per_tok": 6, "num_hidden_layers": 60, "num_key_value_heads": 128,
        "pretraining_tp": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
        "rope_scaling": DEEPSEEK_YARN, "rope_theta": 10000, "routed_scaling_factor": 16.0, "scoring_func": "softmax",
        "seq_aux": True, "topk_group": 3, "topk_method": "group_limited_greedy", "v_head_dim": 128,
        "vocab_size": 102400,
    },
    "DeepSeek-V2-Lite": COMMON | {
        "architectures": ["DeepseekV2ForCausalLM"], "attention_bias": False, "aux_loss_alpha": 0.001,
        "first_k_dense_replace": 1, "hidden_size": 2048, "intermediate_size": 10944, "kv_lora_rank": 512,
        "max_position_embeddings": 163840, "model_type": "deepseek_v2", "moe_intermediate_size": 1408,
        "moe_layer_freq": 1, "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": False,
        "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 27, "num_key_value_heads": 16,
        "pretraining_tp": 1, "q_lora_rank": None, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
        "rope_scaling": {**DEEPSEEK_YARN, "mscale": 0.707, "mscale_all_dim": 0.707}, "rope_theta": 10000,
        "routed_scaling_factor": 1.0, "scoring_func": "softmax", "seq_aux": True, "topk_group": 1,
        "topk_method": "greedy", "v_head_dim": 128, "vocab_size": 102400,
    },
    "deepseek-moe-16b": COMMON | {
        "architectures": ["DeepseekForCausalLM"], "attention_bias": False, "auto_map": REMOTE_CODE,
        "bos_token_id": 100000, "eos_token_id": 100001, "first_k_dense_replace": 1, "hidden_size": 2048,
        "intermediate_size": 10944, "max_position_embeddings": 4096, "model_type": "deepseek",
        "moe_intermediate_size": 1408, "moe_layer_freq": 1, "n_routed_experts": 64, "n_shared_experts": 2,
        "norm_topk_prob": False, "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 28,
        "num_key_value_heads": 16, "pretraining_tp": 1, "rope_scaling": None, "rope_theta": 10000,
        "scoring_func": "softmax", "vocab_size": 102400,
    },
    "deepseek-llm-67b": COMMON | {
        "architectures": ["LlamaForCausalLM"], "bos_token_id": 100000, "eos_token_id": 100001, "hidden_size": 8192,
        "intermediate_size": 22016, "max_position_embeddings": 4096, "model_type": "llama", "num_attention_heads": 64,
        "num_hidden_layers": 95, "num_key_value_heads": 8, "pretraining_tp": 1, "rope_scaling": None,
        "rope_theta": 10000.0, "vocab_size": 102400,
    },
    "deepseek-coder-6.7b": COMMON | {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 32013, "eos_token_id": 32014,
        "hidden_size": 4096, "intermediate_size": 11008, "max_position_embeddings": 16384, "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "pretraining_tp": 1,
        "rope_scaling": {"factor": 4.0, "type": "linear"}, "rope_theta": 100000, "vocab_size": 32256,
    },
    "R1-Distill-Llama-70B": COMMON | {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 128000,
        "eos_token_id": [128001, 128008, 128009], "head_dim": 128, "hidden_size": 8192, "intermediate_size": 28672,
        "max_position_embeddings": 131072, "mlp_bias": False, "model_type": "llama", "num_attention_heads": 64,
        "num_hidden_layers": 80, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_scaling": LLAMA3, "rope_theta": 500000.0, "vocab_size": 128256,
    },
    "R1-Distill-Llama-8B": COMMON | {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 128000,
        "eos_token_id": 128001, "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 131072,
        "mlp_bias": False, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": LLAMA3,
        "rope_theta": 500000.0, "vocab_size": 128256,
    },
    "R1-Distill-Qwen-7B": COMMON | {
        "architectures": ["Qwen2ForCausalLM"], "bos_token_id": 151643, "eos_token_id": 151643, "hidden_size": 3584,
        "intermediate_size": 18944, "max_position_embeddings": 131072, "max_window_layers": 28, "model_type": "qwen2",
        "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4, "rope_theta": 10000,
        "sliding_window": 4096, "use_mrope": False, "use_sliding_window": False, "vocab_size": 152064,
    },
    "Qwen2.5-0.5B": COMMON | {
        "architectures": ["Qwen2ForCausalLM"], "bos_token_id": 151643, "eos_token_id": 151643, "hidden_size": 896,
        "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 24, "model_type": "qwen2",
        "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2, "rope_theta": 1000000.0,
        "sliding_window": 32768, "tie_word_embeddings": True, "use_mrope": False, "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "Qwen3-8B": COMMON | {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "bos_token_id": 151643,
        "eos_token_id": 151645, "head_dim": 128, "hidden_size": 4096, "intermediate_size": 12288,
        "max_position_embeddings": 40960, "max_window_layers": 36, "model_type": "qwen3", "num_attention_heads": 32,
        "num_hidden_layers": 36, "num_key_value_heads": 8, "rope_scaling": None, "rope_theta": 1000000,
        "sliding_window": None, "use_sliding_window": False, "vocab_size": 151936,
    },
    "SmolLM2-135M": COMMON | {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2,
        "hidden_size": 576, "initializer_range": 0.041666666666666664, "intermediate_size": 1536,
        "is_llama_config": True, "max_position_embeddings": 8192, "mlp_bias": False, "model_type": "llama",
        "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": 2,
        "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": False, "rope_scaling": None,
        "rope_theta": 100000, "tie_word_embeddings": True, "vocab_size": 49152,
    },
}  # fmt: skip

V2_MLA = MlaConfig(kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128)
V2_GATE: dict[str, Any] = {
    "scoring": "softmax", "group_score": "max", "normalize_weights": False, "balance_bias": False,
}  # fmt: skip
V3 = PRESETS["deepseek-v3"](129280)
LLAMA_8B = ModelConfig(
    vocab_size=128256, hidden_size=4096, layers=32, heads=32, attention=GqaConfig(kv_heads=8, head_dim=128),
    intermediate_size=14336, max_positions=131072, rope_theta=500000.0, rope_layout="halves",
    rope_scaling=Llama3RopeConfig(factor=8.0, original_positions=8192, low_freq_factor=1.0, high_freq_factor=4.0),
    norm_eps=1e-5, init_std=0.02,
)  # fmt: skip
LLM_67B = ModelConfig(
    vocab_size=102400, hidden_size=8192, layers=95, heads=64, attention=GqaConfig(kv_heads=8, head_dim=128),
    intermediate_size=22016, max_positions=4096, rope_layout="halves", init_std=0.02,
)  # fmt: skip
MEANT: dict[str, ModelConfig] = {
    "DeepSeek-R1": replace(V3, init_std=0.02),
    "DeepSeek-V2": replace(
        V3, vocab_size=102400, hidden_size=5120, layers=60, attention=replace(V2_MLA, q_lora_rank=1536),
        intermediate_size=12288, mtp_depth=0, init_std=0.02,
        moe=MoeConfig(
            routed_experts=160, experts_per_token=6, shared_experts=2, expert_intermediate_size=1536, groups=8,
            groups_per_token=3, route_scale=16.0, **V2_GATE,
        ),
    ),
    "DeepSeek-V2-Lite": replace(
        V3, vocab_size=102400, hidden_size=2048, layers=27, heads=16, attention=V2_MLA, intermediate_size=10944,
        mtp_depth=0, init_std=0.02,
        rope_scaling=YarnConfig(factor=40.0, original_positions=4096, mscale=0.707, mscale_all_dim=0.707),
        moe=MoeConfig(
            routed_experts=64, experts_per_token=6, shared_experts=2, expert_intermediate_size=1408, **V2_GATE
        ),
    ),
    "deepseek-moe-16b": replace(
        LLM_67B, hidden_size=2048, layers=28, heads=16, attention=GqaConfig(kv_heads=16, head_dim=128),
        intermediate_size=10944,
        moe=MoeConfig(
            routed_experts=64, experts_per_token=6, shared_experts=2, expert_intermediate_size=1408, **V2_GATE
        ),
    ),
    "deepseek-llm-67b": LLM_67B,
    "deepseek-coder-6.7b": replace(
        LLM_67B, vocab_size=32256, hidden_size=4096, layers=32, heads=32,
        attention=GqaConfig(kv_heads=32, head_dim=128), intermediate_size=11008, max_positions=16384,
        rope_theta=100000.0, rope_scaling=LinearRopeConfig(factor=4.0),
    ),
    "R1-Distill-Llama-70B": replace(LLAMA_8B, hidden_size=8192, layers=80, heads=64, intermediate_size=28672),
    "R1-Distill-Llama-8B": LLAMA_8B,
    "R1-Distill-Qwen-7B": replace(
        LLM_67B, vocab_size=152064, hidden_size=3584, layers=28, heads=28,
        attention=GqaConfig(kv_heads=4, head_dim=128, qkv_bias=True), intermediate_size=18944, max_positions=131072,
    ),
    "Qwen2.5-0.5B": replace(
        LLM_67B, vocab_size=151936, hidden_size=896, layers=24, heads=14,
        attention=GqaConfig(kv_heads=2, head_dim=64, qkv_bias=True), intermediate_size=4864, max_positions=32768,
        rope_theta=1e6, tie_embeddings=True,
    ),
    "Qwen3-8B": replace(
        LLM_67B, vocab_size=151936, hidden_size=4096, layers=36, heads=32,
        attention=GqaConfig(kv_heads=8, head_dim=128, qk_norm=True), intermediate_size=12288, max_positions=40960,
        rope_theta=1e6,
    ),
    "SmolLM2-135M": replace(
        LLM_67B, vocab_size=49152, hidden_size=576, layers=30, heads=9, attention=GqaConfig(kv_heads=3, head_dim=64),
        intermediate_size=1536, max_positions=8192, rope_theta=100000.0, norm_eps=1e-5, tie_embeddings=True,
        init_std=0.041666666666666664,
    ),
}  # fmt: skip
# the number of parameters that the Hub shows for the published weights
PARAMETERS = {
    "DeepSeek-V2": 235_741_434_880,
    "DeepSeek-V2-Lite": 15_706_484_224,
    "deepseek-moe-16b": 16_375_728_128,
    "deepseek-coder-6.7b": 6_740_512_768,
    "R1-Distill-Llama-70B": 70_553_706_496,
    "R1-Distill-Llama-8B": 8_030_261_248,
    "R1-Distill-Qwen-7B": 7_615_616_512,
    "Qwen2.5-0.5B": 494_032_768,
    "Qwen3-8B": 8_190_735_360,
    "SmolLM2-135M": 134_515_008,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs(name: str) -> None:
    content = PUBLISHED[name]
    config = config_from_json(content, "config.json")
    assert config == MEANT[name]
    written = json.loads(json.dumps(config_to_json(config, CONTROL, torch.bfloat16)))
    assert (written["model_type"], written["architectures"]) == (content["model_type"], content["architectures"])
    assert config_from_json(written, "config.json") == config
    same = [key for key in content if key in written and not key.endswith("token_id") and key != "auto_map"]
    differ = {key for key in same if written[key] != content[key]} - {"rope_scaling"}
    assert differ == set()


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_sizes(name: str) -> None:
    assert count_parameters(MEANT[name]).total == PARAMETERS[name]


def test_rotation_as_transformers_5_writes_it() -> None:
    content = {**PUBLISHED["R1-Distill-Llama-8B"], "dtype": "bfloat16"}
    for old in ("rope_scaling", "rope_theta", "torch_dtype"):
        del content[old]
    content["rope_parameters"] = {**LLAMA3, "rope_theta": 500000.0}
    assert config_from_json(content, "config.json") == LLAMA_8B
    content["rope_parameters"] = {"rope_type": "default", "rope_theta": 500000.0}
    assert config_from_json(content, "config.json") == replace(LLAMA_8B, rope_scaling=None)


def test_yarn_of_qwen() -> None:
    """Factor 4 without more gives 0.1 ln 4 + 1 on queries and keys, so its square on the scores."""
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    content = {**PUBLISHED["Qwen3-8B"], "rope_scaling": scaling, "max_position_embeddings": 131072}
    config = config_from_json(content, "config.json")
    assert config.rope_scaling == YarnConfig(factor=4.0, original_positions=32768, mscale=1.0, mscale_all_dim=1.0)


def test_qwen3_without_a_head_size_has_128() -> None:
    content = {key: value for key, value in PUBLISHED["Qwen3-8B"].items() if key != "head_dim"}
    assert config_from_json({**content, "hidden_size": 1024}, "config.json").attention == MEANT["Qwen3-8B"].attention


def test_ids_that_begin_and_end_a_text() -> None:
    def ids(control: ControlIds | None) -> list[object]:
        written = config_to_json(small_dense(), control, torch.float32)
        return [written[f"{name}_token_id"] for name in ("bos", "eos", "pad")]

    assert ids(CONTROL) == [None, 1, 0]
    assert ids(ControlIds(bos=5, eos=7, pad=7, stop=(9, 7, 8))) == [5, [7, 9, 8], 7]
    assert ids(None) == [None, None, None]


# ---- names


def names_of(config: ModelConfig, prefix: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        tensors = file_tensors(Transformer(config))
    return {name.removeprefix(prefix): t.shape for name, t in tensors.items() if name.startswith(prefix)}


def test_names_of_the_parts() -> None:
    """As in the published indexes of Qwen2.5-0.5B, Qwen3-8B and deepseek-moe-16b."""
    qwen2 = names_of(MEANT["Qwen2.5-0.5B"], "model.layers.23.self_attn.")
    assert {name: shape for name, shape in qwen2.items() if name.endswith("bias")} == {
        "q_proj.bias": (896,),
        "k_proj.bias": (128,),
        "v_proj.bias": (128,),
    }
    qwen3 = names_of(MEANT["Qwen3-8B"], "model.layers.35.self_attn.")
    assert qwen3 == {
        "q_proj.weight": (4096, 4096),
        "k_proj.weight": (1024, 4096),
        "v_proj.weight": (1024, 4096),
        "o_proj.weight": (4096, 4096),
        "q_norm.weight": (128,),
        "k_norm.weight": (128,),
    }
    moe = names_of(replace(MEANT["deepseek-moe-16b"], layers=2), "model.layers.1.mlp.")
    assert {name: shape for name, shape in moe.items() if not name.startswith("experts.")} == {
        "gate.weight": (64, 2048),
        "shared_experts.gate_proj.weight": (2816, 2048),
        "shared_experts.up_proj.weight": (2816, 2048),
        "shared_experts.down_proj.weight": (2048, 2816),
    }
    assert len(moe) == 4 + 64 * 3
    lite = names_of(replace(MEANT["DeepSeek-V2-Lite"], layers=2), "model.layers.1.self_attn.")
    assert set(lite) == {
        "q_proj.weight", "kv_a_proj_with_mqa.weight", "kv_a_layernorm.weight", "kv_b_proj.weight", "o_proj.weight"
    }  # fmt: skip


# ---- what is refused

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "bias of Llama": (
        "R1-Distill-Llama-8B",
        {"attention_bias": True},
        r"attention_bias = True is not supported for LlamaForCausalLM; expected False",
    ),
    "bias of Qwen3": ("Qwen3-8B", {"attention_bias": True}, "attention_bias = True is not supported for Qwen3"),
    "bias of V2": ("DeepSeek-V2", {"attention_bias": True}, "attention_bias = True is not supported"),
    "bias of a feed-forward layer": ("SmolLM2-135M", {"mlp_bias": True}, "mlp_bias = True is not supported"),
    "sliding window": (
        "R1-Distill-Qwen-7B",
        {"use_sliding_window": True},
        "use_sliding_window = True is not supported for Qwen2ForCausalLM; expected False",
    ),
    "some layers with a window": (
        "Qwen3-8B",
        {"layer_types": ["full_attention", "sliding_attention"]},
        "layer_types = .* is not supported; expected 'full_attention'",
    ),
    "layers as a word": ("Qwen3-8B", {"layer_types": "full_attention"}, "layer_types = 'full_attention' is not"),
    "V2 normalised": ("DeepSeek-V2", {"norm_topk_prob": True}, "norm_topk_prob = True is not supported"),
    "V2 with V3's gate": ("DeepSeek-V2", {"scoring_func": "sigmoid"}, "scoring_func = 'sigmoid' is not supported"),
    "V3 with V2's gate": ("DeepSeek-R1", {"scoring_func": "softmax"}, "scoring_func = 'softmax' is not supported"),
    "V2 by another method": (
        "DeepSeek-V2",
        {"topk_method": "noaux_tc"},
        "topk_method = 'noaux_tc' is not supported for DeepseekV2ForCausalLM; "
        "expected 'greedy' or 'group_limited_greedy'",
    ),
    "every second layer": ("deepseek-moe-16b", {"moe_layer_freq": 2}, "moe_layer_freq = 2 is not supported"),
    "dynamic rotation": (
        "deepseek-llm-67b",
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
        "rope type 'dynamic' is not supported; expected one of default, linear, llama3, yarn",
    ),
    "half a head rotated": (
        "deepseek-llm-67b",
        {"partial_rotary_factor": 0.5},
        "partial_rotary_factor = 0.5 is not supported",
    ),
    "half a head rotated, as transformers 5 says it": (
        "deepseek-llm-67b",
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
        "partial_rotary_factor = 0.5 is not supported",
    ),
    "yarn without rounding": (
        "Qwen3-8B",
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "truncate": False}},
        "truncate = False is not supported",
    ),
    "llama3 without its ramp": (
        "R1-Distill-Llama-8B",
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}},
        "rope_scaling: 'low_freq_factor' is missing",
    ),
    "llama3 with an empty ramp": (
        "R1-Distill-Llama-8B",
        {"rope_scaling": {**LLAMA3, "low_freq_factor": 4.0}},
        "low_freq_factor = 4.0, high_freq_factor = 4.0; expected 0 < low < high",
    ),
    "linear by nothing": (
        "deepseek-coder-6.7b",
        {"rope_scaling": {"type": "linear", "factor": 0}},
        "factor = 0.0; expected a number from 1 to 1e\\+06",
    ),
    **{
        f"{name} = {value!s:.12}": ("Qwen3-8B", {name: value}, message)
        for name, value, message in (
            ("num_hidden_layers", 10**9, "layers = 1000000000; expected at most 1,024"),
            ("vocab_size", 10**30, "vocab_size = 10+; expected at most 16,777,216"),
            ("hidden_size", 10**30, "hidden_size = 10+; expected at most 1,048,576"),
            ("intermediate_size", 10**30, "intermediate_size = 10+; expected at most"),
            ("head_dim", 10**30, "head_dim = 10+; expected at most 16,384"),
            ("rope_theta", 10**400, "'rope_theta' is inf; expected a finite number"),
            ("rope_theta", -1, "rope_theta = -1.0; expected a number from 2 to 1e\\+30"),
            ("rope_theta", 0, "rope_theta = 0.0; expected a number from 2"),
            ("rope_theta", 1.0, "rope_theta = 1.0; expected a number from 2"),
            ("rope_theta", float("nan"), "'rope_theta' is nan; expected a finite number"),
            ("rms_norm_eps", 10**400, "'rms_norm_eps' is inf; expected a finite number"),
            ("rms_norm_eps", -1, "norm_eps = -1.0; expected a number from 1e-30 to 1"),
            ("rms_norm_eps", float("nan"), "'rms_norm_eps' is nan; expected a finite number"),
            ("initializer_range", -0.02, "init_std = -0.02; expected a number from 0"),
            ("rope_scaling", {"type": "linear", "factor": float("inf")}, "'factor' is inf; expected a finite"),
            ("rope_scaling", {**LLAMA3, "factor": float("nan")}, "'factor' is nan; expected a finite number"),
            ("model_type", None, "'model_type' is missing; expected one of deepseek, "),
        )
    },
    "more experts than there can be": (
        "DeepSeek-R1",
        {"n_routed_experts": 10**8},
        "routed_experts = .* at most 16,384",
    ),
    "an infinite scale": ("DeepSeek-R1", {"routed_scaling_factor": float("inf")}, "'routed_scaling_factor' is inf"),
    "yarn that turns nothing": (
        "DeepSeek-R1",
        {"rope_scaling": {**DEEPSEEK_YARN, "beta_fast": 0, "beta_slow": 0}},
        "beta_fast = 0.0; expected a number from 0.001 to 1e\\+06",
    ),
    "yarn that shrinks to nothing": (
        "DeepSeek-R1",
        {"rope_scaling": {**DEEPSEEK_YARN, "mscale": -1.0, "mscale_all_dim": -10.0}},
        "mscale_all_dim = -10.0; expected one with which 0.1 mscale_all_dim ln",
    ),
    "another architecture": (
        "Qwen3-8B",
        {"model_type": "qwen3_moe"},
        "model_type 'qwen3_moe' is unknown; expected one of deepseek, deepseek_v2, deepseek_v3, glm4_moe, llama, "
        "qwen2, qwen3",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    name, changes, message = REFUSED[case]
    with pytest.raises(CheckpointError, match=f"config.json.*{message}"):
        config_from_json({**PUBLISHED[name], **changes}, "config.json")


def test_every_combination_has_the_name_of_its_family() -> None:
    gqa = GqaConfig(kv_heads=2, head_dim=8)
    biased, normed = replace(gqa, qkv_bias=True), replace(gqa, qk_norm=True)
    both = replace(biased, qk_norm=True)
    kinds = {
        "deepseek": small_dense(moe=small_softmax_moe(normalize_weights=True)),
        "deepseek_v2": small_v3(moe=small_softmax_moe(groups=2, groups_per_token=1)),
        "deepseek_v3": small_v3(),
        "glm4_moe": small_dense(attention=both, moe=small_moe()),
        "llama": small_dense(),
        "qwen2": small_dense(attention=biased),
        "qwen3": small_dense(attention=normed),
    }
    assert {name: model_type(config) for name, config in kinds.items()} == {name: name for name in FAMILIES}
    assert model_type(small_dense(attention=both)) == "glm4_moe"
    assert model_type(small_v3(moe=None)) == "deepseek_v3"
    for config in kinds.values():
        assert config_from_json(config_to_json(config, CONTROL, torch.float32), "config.json") == config


@pytest.mark.parametrize(
    "config",
    [
        small_v3(moe=small_softmax_moe(normalize_weights=True)),
        small_v3(moe=small_softmax_moe(), rope_layout="halves"),
        small_dense(moe=small_softmax_moe(groups=2, groups_per_token=1)),
        small_dense(moe=small_softmax_moe(route_scale=2.0)),
        small_dense(moe=small_softmax_moe(), attention=GqaConfig(kv_heads=2, head_dim=8, qkv_bias=True)),
    ],
)
def test_combinations_without_a_name_are_not_written(config: ModelConfig) -> None:
    with pytest.raises(CheckpointError, match="no Hugging Face architecture has"):
        config_to_json(config, CONTROL, torch.float32)
