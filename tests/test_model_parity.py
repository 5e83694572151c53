"""Parity with the models of transformers, which no one here wrote: random weights, logits in fp32, greedy tokens."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.modeling_layers import MtpModel

from ponder.models.cache import Cache
from ponder.models.config import GqaConfig, LinearRopeConfig, Llama3RopeConfig, MlaConfig, ModelConfig, YarnConfig
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import load_model, save_model
from small_models import VOCABULARY, random_ids, random_model, small_dense, small_moe, small_softmax_moe, small_v3

TOLERANCE = 1e-4  # the largest seen is 3e-6; leaving out one part gives 0.03 to 0.6
LENGTH = 60
PROMPT, STEPS = 44, 16  # of greedy generation: all of it beyond the original positions of LONG

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

COMPRESSED = MlaConfig(kv_lora_rank=16, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10, q_lora_rank=24)
BIASED = GqaConfig(kv_heads=2, head_dim=8, qkv_bias=True)
NORMED = GqaConfig(kv_heads=3, head_dim=12, qk_norm=True)
LONG = YarnConfig(factor=4.0, original_positions=16)  # LENGTH goes far beyond the original positions

SHAPES = {
    "v3": small_v3(),
    "v3 with query compression": small_v3(attention=COMPRESSED),
    "v3 with groups": small_v3(
        attention=COMPRESSED,
        layers=3,
        moe=small_moe(routed_experts=16, experts_per_token=3, groups=4, groups_per_token=2, route_scale=2.5),
    ),
    "v3 with two shared experts": small_v3(moe=small_moe(shared_experts=2, first_dense_layers=0)),
    "v3 without experts": small_v3(moe=None),
    "v3 with yarn": small_v3(attention=COMPRESSED, rope_scaling=LONG),
    "v3 with yarn as in v2-lite": small_v3(
        rope_scaling=YarnConfig(factor=4.0, original_positions=16, mscale=0.707, mscale_all_dim=0.707)
    ),
    "v3 with yarn's factor on the vectors": small_v3(
        rope_scaling=YarnConfig(factor=4.0, original_positions=16, mscale=0.5, mscale_all_dim=0.0)
    ),
    "v3 with another epsilon": small_v3(attention=COMPRESSED, norm_eps=1e-2),
    "v3 with rope in halves": small_v3(rope_layout="halves"),
    "v3 tied": small_v3(tie_embeddings=True),
    "dense": small_dense(),
    "dense with one key-value head": small_dense(attention=GqaConfig(kv_heads=1, head_dim=16)),
    "dense multi-head": small_dense(attention=GqaConfig(kv_heads=6, head_dim=8), rope_theta=500000.0),
    "dense interleaved": small_dense(rope_layout="interleaved"),
    "dense tied": small_dense(tie_embeddings=True),
    "dense with yarn": small_dense(rope_scaling=LONG),
    "dense with yarn of another weight": small_dense(
        rope_scaling=YarnConfig(factor=4.0, original_positions=16, mscale=0.7, mscale_all_dim=0.2)
    ),
    "grouped-query with experts": small_dense(
        moe=small_moe(groups=2, groups_per_token=1, route_scale=1.5), rope_layout="interleaved"
    ),
    "v3 with weights as they are": small_v3(moe=small_moe(normalize_weights=False)),
    "v2": small_v3(
        attention=COMPRESSED,
        moe=small_softmax_moe(
            routed_experts=16, experts_per_token=3, shared_experts=2, groups=4, groups_per_token=2, route_scale=16.0
        ),
        rope_scaling=LONG,
    ),
    "v2-lite": small_v3(
        moe=small_softmax_moe(shared_experts=2),
        rope_scaling=YarnConfig(factor=4.0, original_positions=16, mscale=0.707, mscale_all_dim=0.707),
    ),
    "dense linear": small_dense(rope_scaling=LinearRopeConfig(factor=4.0), rope_theta=100000.0),
    "dense llama3": small_dense(
        attention=GqaConfig(kv_heads=2, head_dim=16),
        rope_scaling=Llama3RopeConfig(factor=8.0, original_positions=32),
        rope_theta=50.0,
    ),
    "qwen2": small_dense(attention=BIASED, rope_theta=1e6),
    "qwen2 interleaved, with yarn": small_dense(attention=BIASED, rope_scaling=LONG, rope_layout="interleaved"),
    "qwen3": small_dense(attention=NORMED, tie_embeddings=True),
    "qwen3 interleaved, with yarn": small_dense(attention=NORMED, rope_scaling=LONG, rope_layout="interleaved"),
    "biases and norms": small_dense(attention=replace(NORMED, qkv_bias=True)),
    "biases and norms with experts": small_dense(
        attention=replace(NORMED, qkv_bias=True), moe=small_moe(), rope_layout="interleaved"
    ),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.for_arithmetic()


def logits_of(model: Transformer, ids_BT: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.head(model(ids_BT))


def their_logits(model: Any, ids_BT: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(ids_BT).logits


def greedy(model: Transformer, ids_BT: torch.Tensor, steps: int) -> torch.Tensor:
    """The most likely tokens one after another, with a cache."""
    B, T = ids_BT.shape
    cache = Cache.empty(model.config, B, T + steps)
    positions_BT, chosen = torch.arange(T).expand(B, T), []
    with torch.no_grad():
        for step in range(steps):
            hidden = model(ids_BT, cache=cache, positions_BT=positions_BT)
            ids_BT = model.head(hidden[:, -1:]).argmax(dim=-1)
            positions_BT = torch.full((B, 1), T + step)
            chosen.append(ids_BT)
    return torch.cat(chosen, dim=1)


def assert_same_greedy_tokens(ours: Transformer, theirs: Any) -> None:
    prompts = random_ids(3, PROMPT, seed=7)
    theirs.generation_config.eos_token_id = None
    tokens = theirs.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=STEPS,
        do_sample=False,
        pad_token_id=0,
    )
    assert greedy(ours, prompts, STEPS).tolist() == tokens[:, PROMPT:].tolist()


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert theirs.abs().max() > 0.1, "logits near zero would agree whatever the model"
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=TOLERANCE)


@pytest.mark.parametrize("name", SHAPES)
def test_what_we_save_transformers_loads(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = random_model(SHAPES[name])
    save_model(tmp_path, model, tokenizer)
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ids_BT = random_ids(2, LENGTH)
    assert_close(logits_of(model, ids_BT), their_logits(theirs, ids_BT))
    assert theirs.config.architectures == [type(theirs).__name__]


@pytest.mark.parametrize("name", SHAPES)
def test_what_transformers_saves_again_we_load(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = random_model(SHAPES[name])
    save_model(tmp_path / "ours", model, tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save(tmp_path / "theirs" / "tokenizer.json")
    loaded = load_model(tmp_path / "theirs").model
    assert type(loaded.config.attention) is type(model.config.attention)
    ids_BT = random_ids(2, LENGTH)
    torch.testing.assert_close(logits_of(loaded, ids_BT), logits_of(model, ids_BT), rtol=0.0, atol=1e-6)


V3 = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 64,
    "moe_intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_routed_experts": 16,
    "num_experts_per_tok": 4,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 1,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "max_position_embeddings": 64,
    "eos_token_id": 1,
    "pad_token_id": None,
    "initializer_range": 0.1,
}
DENSE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "eos_token_id": 1,
    "initializer_range": 0.1,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
LINEAR = {"rope_type": "linear", "factor": 4.0}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 50.0,  # so that the four frequencies of a small head lie on both sides of the ramp and on it
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
THEIR_CONFIGS = {
    "v3": transformers.DeepseekV3Config(**V3),
    "v3 without query compression": transformers.DeepseekV3Config(**{**V3, "q_lora_rank": None}),
    "v3 with yarn": transformers.DeepseekV3Config(
        **V3, rope_parameters={**YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "beta_fast": 4, "beta_slow": 1}
    ),
    "v3 with bare yarn": transformers.DeepseekV3Config(**V3, rope_parameters=YARN),
    "llama": transformers.LlamaConfig(**DENSE),
    "llama with wide heads, tied": transformers.LlamaConfig(**DENSE, head_dim=16, tie_word_embeddings=True),
    "llama with yarn": transformers.LlamaConfig(**DENSE, rope_parameters=YARN),
    "llama with yarn and attention factor": transformers.LlamaConfig(
        **DENSE, rope_parameters={**YARN, "attention_factor": 1.3}
    ),
    "llama with linear scaling": transformers.LlamaConfig(**DENSE, rope_parameters={**LINEAR, "rope_theta": 1e5}),
    "llama 3": transformers.LlamaConfig(**DENSE, rope_parameters=LLAMA3),
    "qwen2": transformers.Qwen2Config(**DENSE, tie_word_embeddings=True),
    "qwen2 with yarn": transformers.Qwen2Config(**DENSE, rope_parameters={**YARN, "rope_theta": 1e6}),
    "qwen3": transformers.Qwen3Config(**DENSE, head_dim=16),
    "qwen3 with yarn": transformers.Qwen3Config(**DENSE, head_dim=12, rope_parameters=YARN),
    "glm4": transformers.Glm4MoeConfig(**DENSE, head_dim=8, partial_rotary_factor=1.0, n_routed_experts=8),
    "glm4 with biases and norms": transformers.Glm4MoeConfig(
        **DENSE,
        head_dim=8,
        partial_rotary_factor=1.0,
        n_routed_experts=8,
        n_group=2,
        topk_group=2,
        num_experts_per_tok=3,
        attention_bias=True,
        use_qk_norm=True,
    ),
    "v2": transformers.DeepseekV2Config(
        **{**V3, "num_experts_per_tok": 3},
        topk_method="group_limited_greedy",
        routed_scaling_factor=16.0,
        rope_parameters={**YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "beta_fast": 32, "beta_slow": 1},
    ),
    "v2-lite": transformers.DeepseekV2Config(
        **{**V3, "q_lora_rank": None, "n_group": 1, "topk_group": 1},
        topk_method="greedy",
        rope_parameters={**YARN, "mscale": 0.707, "mscale_all_dim": 0.707},
    ),
    "v2, greedy whatever its groups": transformers.DeepseekV2Config(**V3, topk_method="greedy"),
}


@pytest.mark.parametrize("name", THEIR_CONFIGS)
def test_models_made_by_transformers(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Nothing of ours takes part in making these: their config class, their initialisation, their writer."""
    torch.manual_seed(0)
    theirs = transformers.AutoModelForCausalLM.from_config(THEIR_CONFIGS[name]).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    tokenizer.save(tmp_path / "tokenizer.json")
    ids_BT, ours = random_ids(2, LENGTH), load_model(tmp_path).model
    assert_close(logits_of(ours, ids_BT), their_logits(theirs, ids_BT))
    assert_same_greedy_tokens(ours, theirs)


def randomise(model: Any) -> None:
    """What transformers initialises to zero or one, and so would not be seen."""
    for key, value in model.state_dict().items():
        if key.endswith("bias"):
            value.normal_(0.0, 0.1)
        elif key.endswith(("norm.weight", "layernorm.weight")):
            value.normal_(1.0, 0.2)


@pytest.mark.parametrize("normalize", [False, True])
def test_deepseek_moe_16b(normalize: bool, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """DeepSeekMoE's class is not in transformers; Qwen2-MoE without biases is the same but for a gate on the shared
    experts, sigmoid(w x). With w = 0 it halves them, so theirs are doubled. The file gets the names and config that
    deepseek-moe-16b has.
    """
    settings = {**DENSE, "num_key_value_heads": 6, "num_hidden_layers": 3}
    settings |= {"moe_intermediate_size": 20, "num_experts_per_tok": 3, "norm_topk_prob": normalize}
    torch.manual_seed(0)
    theirs = transformers.Qwen2MoeForCausalLM(
        transformers.Qwen2MoeConfig(
            **settings, num_experts=8, shared_expert_intermediate_size=40, mlp_only_layers=[0], qkv_bias=False
        )
    ).eval()
    randomise(theirs)
    for key, value in theirs.state_dict().items():
        if key.endswith("shared_expert_gate.weight"):
            value.zero_()
        elif key.endswith("shared_expert.down_proj.weight"):
            value.mul_(2.0)
    theirs.save_pretrained(tmp_path)
    tensors = {
        name.replace("shared_expert.", "shared_experts."): tensor / 2 if "shared_expert.down" in name else tensor
        for name, tensor in load_file(tmp_path / "model.safetensors").items()
        if not name.endswith("shared_expert_gate.weight")
    }
    save_file(tensors, tmp_path / "model.safetensors")
    published = {**settings, "model_type": "deepseek", "scoring_func": "softmax", "rms_norm_eps": 1e-6}
    published |= {"n_routed_experts": 8, "n_shared_experts": 2, "first_k_dense_replace": 1, "moe_layer_freq": 1}
    (tmp_path / "config.json").write_text(json.dumps(published))
    tokenizer.save(tmp_path / "tokenizer.json")
    ours, ids_BT = load_model(tmp_path).model, random_ids(2, LENGTH)
    assert_close(logits_of(ours, ids_BT), their_logits(theirs, ids_BT))
    assert_same_greedy_tokens(ours, theirs)
    save_model(tmp_path / "again", ours, tokenizer)
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    "config", [small_v3(attention=COMPRESSED, rope_scaling=LONG), small_v3()], ids=["compressed", "plain"]
)
def test_multi_token_prediction(
    config: ModelConfig, depth: int, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their speculative decoder reads our modules from the file and comes to the same states."""
    model = random_model(replace(config, mtp_depth=depth))
    save_model(tmp_path, model, tokenizer)
    layers = "|".join(str(config.layers + k) for k in range(depth))
    # transformers knows where the published model has its module (layer 61); here it is another layer
    monkeypatch.setattr(
        transformers.DeepseekV3ForCausalLM,
        "_keys_to_ignore_on_load_unexpected",
        [rf"model\.layers\.({layers})\..*"],
    )
    main = transformers.DeepseekV3ForCausalLM.from_pretrained(tmp_path)
    theirs = MtpModel.from_pretrained(main)
    ids_BT = random_ids(2, 40)
    with torch.no_grad():
        hidden = model(ids_BT)
        ours = model.mtp_hidden(hidden, ids_BT)
        state = main.model(ids_BT).last_hidden_state
        for k in range(1, depth + 1):
            positions = torch.arange(k, 40)[None]
            state = theirs.forward_layer(k - 1, state[:, :-1], positions, None, input_ids=ids_BT[:, k:])
            assert_close(model.head(ours[k - 1]), theirs.shared_head(state))


def test_transformers_reads_the_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_model(tmp_path, random_model(small_v3()), tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.encode("12 + 175 = 187, yes")
    assert theirs("12 + 175 = 187, yes")["input_ids"] == ids
    assert theirs.decode(ids) == "12 + 175 = 187, yes"
    assert (theirs.eos_token_id, theirs.pad_token_id) == (tokenizer.control.eos, tokenizer.control.pad)
