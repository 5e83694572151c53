"""Parity with transformers' DeepSeek-V3, Llama and GLM-4.5, which no one here wrote: random weights, logits in fp32."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.modeling_layers import MtpModel

from ponder.models.config import GqaConfig, MlaConfig, ModelConfig, YarnConfig
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import load_model, save_model
from small_models import VOCABULARY, random_ids, random_model, small_dense, small_moe, small_v3

TOLERANCE = 1e-4  # the largest seen is 3e-6; leaving out one part gives 0.03 to 0.6
LENGTH = 60

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

COMPRESSED = MlaConfig(kv_lora_rank=16, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10, q_lora_rank=24)
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


@pytest.mark.parametrize("name", SHAPES)
def test_what_transformers_saves_again_we_load(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = random_model(SHAPES[name])
    save_model(tmp_path / "ours", model, tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save(tmp_path / "theirs" / "tokenizer.json")
    loaded = load_model(tmp_path / "theirs").model
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
    "initializer_range": 0.1,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
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
    "glm4": transformers.Glm4MoeConfig(**DENSE, head_dim=8, partial_rotary_factor=1.0, n_routed_experts=8),
}


@pytest.mark.parametrize("name", THEIR_CONFIGS)
def test_models_made_by_transformers(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Nothing of ours takes part in making these: their config class, their initialisation, their writer."""
    torch.manual_seed(0)
    theirs = transformers.AutoModelForCausalLM.from_config(THEIR_CONFIGS[name]).eval()
    for key, value in theirs.state_dict().items():
        if key.endswith("e_score_correction_bias"):
            value.normal_(0.0, 0.1)
    theirs.save_pretrained(tmp_path)
    tokenizer.save(tmp_path / "tokenizer.json")
    ids_BT = random_ids(2, LENGTH)
    assert_close(logits_of(load_model(tmp_path).model, ids_BT), their_logits(theirs, ids_BT))


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
