"""Models on disk: what is saved comes back bit for bit, and what does not fit is refused with a clear message."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ponder.core.errors import CheckpointError
from ponder.models.config import MlaConfig, ModelConfig, YarnConfig
from ponder.models.presets import PRESETS
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import load_model, read_config, save_model
from ponder.weights.hf.config import config_from_json, config_to_json
from ponder.weights.hf.names import file_tensors
from small_models import random_ids, random_model, small_dense, small_moe, small_v3

COMPRESSED = MlaConfig(kv_lora_rank=16, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10, q_lora_rank=24)
SHAPES = {
    "tiny-v3": PRESETS["tiny-v3"](299),
    "tiny-dense": PRESETS["tiny-dense"](299),
    "mini": replace(PRESETS["deepseek-v3-mini"](299), hidden_size=32, layers=2),
    "two mtp modules": small_v3(attention=COMPRESSED, mtp_depth=2, moe=small_moe(bias_update_speed=0.02)),
    "no experts": small_v3(moe=None, mtp_depth=1, rope_layout="halves"),
    "dense with mtp": small_dense(rope_layout="interleaved", mtp_depth=1, tie_embeddings=True),
    "grouped-query with experts": small_dense(
        moe=small_moe(groups=2, groups_per_token=1, sequence_balance_weight=0.003), mtp_depth=1
    ),
    "yarn": small_v3(rope_scaling=YarnConfig(factor=40.0, original_positions=16, mscale=0.707, mscale_all_dim=0.707)),
    "yarn, unequal": small_v3(
        rope_scaling=YarnConfig(factor=3.0, original_positions=16, mscale=1 / 3, mscale_all_dim=0.0)
    ),
    "dense with yarn": small_dense(rope_scaling=YarnConfig(factor=40.0, original_positions=16, beta_fast=20.0)),
    "dense with yarn, unequal": small_dense(
        rope_scaling=YarnConfig(factor=3.0, original_positions=16, mscale=1 / 3, mscale_all_dim=0.2)
    ),
    "initialisation": small_dense(init_std=0.006, norm_eps=1e-5, rope_theta=1e6),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.for_arithmetic()


def state_of(model: Transformer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", SHAPES)
def test_round_trip_is_bit_equal(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = random_model(SHAPES[name])
    save_model(tmp_path, model, tokenizer)
    loaded = load_model(tmp_path)
    assert loaded.model.config == model.config == read_config(tmp_path)
    ours, theirs = state_of(model), state_of(loaded.model)
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    ids_BT = random_ids(2, 12)
    assert torch.equal(loaded.model(ids_BT), model(ids_BT))
    assert loaded.tokenizer.encode("7 * 12 = 84") == tokenizer.encode("7 * 12 = 84")


@pytest.mark.parametrize("name", PRESETS)
def test_config_round_trip(name: str, tokenizer: Tokenizer) -> None:
    config = PRESETS[name](129280)
    content = json.loads(json.dumps(config_to_json(config, tokenizer.control, torch.float32)))
    assert config_from_json(content, "config.json") == config


def test_names_of_deepseek_v3() -> None:
    """The names in the published index, and for each the shape that the config gives it."""
    with torch.device("meta"):
        tensors = file_tensors(Transformer(replace(PRESETS["deepseek-v3"](129280), max_positions=1)))
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    expected = {
        "model.embed_tokens.weight": (129280, 7168),
        "model.norm.weight": (7168,),
        "lm_head.weight": (129280, 7168),
        "model.layers.0.input_layernorm.weight": (7168,),
        "model.layers.0.self_attn.q_a_proj.weight": (1536, 7168),
        "model.layers.0.self_attn.q_a_layernorm.weight": (1536,),
        "model.layers.0.self_attn.q_b_proj.weight": (128 * 192, 1536),
        "model.layers.0.self_attn.kv_a_proj_with_mqa.weight": (576, 7168),
        "model.layers.0.self_attn.kv_a_layernorm.weight": (512,),
        "model.layers.0.self_attn.kv_b_proj.weight": (128 * 256, 512),
        "model.layers.0.self_attn.o_proj.weight": (7168, 128 * 128),
        "model.layers.2.mlp.gate_proj.weight": (18432, 7168),
        "model.layers.2.mlp.up_proj.weight": (18432, 7168),
        "model.layers.2.mlp.down_proj.weight": (7168, 18432),
        "model.layers.3.post_attention_layernorm.weight": (7168,),
        "model.layers.3.mlp.gate.weight": (256, 7168),
        "model.layers.3.mlp.gate.e_score_correction_bias": (256,),
        "model.layers.60.mlp.experts.255.gate_proj.weight": (2048, 7168),
        "model.layers.60.mlp.experts.255.up_proj.weight": (2048, 7168),
        "model.layers.60.mlp.experts.255.down_proj.weight": (7168, 2048),
        "model.layers.60.mlp.shared_experts.down_proj.weight": (7168, 2048),
        "model.layers.61.enorm.weight": (7168,),
        "model.layers.61.hnorm.weight": (7168,),
        "model.layers.61.eh_proj.weight": (7168, 14336),
        "model.layers.61.shared_head.norm.weight": (7168,),
        "model.layers.61.mlp.experts.0.gate_proj.weight": (2048, 7168),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    # 3 outer; 9 of attention and norms a layer; 3 dense layers of 3; 59 of 256 · 3 + 3 + 2; 4 more of the MTP layer
    assert len(shapes) == 3 + 62 * 9 + 3 * 3 + 59 * (256 * 3 + 3 + 2) + 4


def test_fused_and_stacked_tensors_are_cut_where_they_should_be() -> None:
    model = random_model(small_v3())
    tensors = {name: tensor.read() for name, tensor in file_tensors(model).items()}
    experts = model.moe_layers()[1].experts
    assert torch.equal(tensors["model.layers.1.mlp.experts.5.gate_proj.weight"], experts.gate_up[5, :20])
    assert torch.equal(tensors["model.layers.1.mlp.experts.5.up_proj.weight"], experts.gate_up[5, 20:])
    assert torch.equal(tensors["model.layers.1.mlp.experts.5.down_proj.weight"], experts.down[5])
    assert torch.equal(tensors["model.layers.1.mlp.gate.e_score_correction_bias"], model.moe_layers()[1].balance_bias)


# ---- files from elsewhere


@pytest.fixture
def saved(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    save_model(tmp_path, random_model(small_v3(mtp_depth=1)), tokenizer)
    return tmp_path


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_weights_in_several_files(saved: Path) -> None:
    whole = state_of(load_model(saved).model)
    tensors = load_file(saved / "model.safetensors")
    (saved / "model.safetensors").unlink()
    weight_map = {name: f"model-0000{i % 3 + 1}-of-00003.safetensors" for i, name in enumerate(tensors)}
    for shard in set(weight_map.values()):
        save_file({name: tensors[name] for name in tensors if weight_map[name] == shard}, saved / shard)
    (saved / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    again = state_of(load_model(saved).model)
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    (saved / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model-00002-of-00003\.safetensors, which .* names"):
        load_model(saved)


def test_half_precision_is_read_into_fp32(saved: Path) -> None:
    whole = state_of(load_model(saved).model)
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(saved / "model.safetensors").items()}
    save_file(tensors, saved / "model.safetensors")
    for name, tensor in state_of(load_model(saved).model).items():
        assert torch.equal(tensor, whole[name].bfloat16().float())


def test_a_model_in_bf16(saved: Path) -> None:
    """Weights in bf16, routing biases in fp32, and logits as near as 8 bits of mantissa allow."""
    full, half = load_model(saved).model, load_model(saved, torch.bfloat16).model
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    for layer, mixture in full.moe_layers().items():
        assert torch.equal(half.moe_layers()[layer].balance_bias, mixture.balance_bias)
    ids_BT = random_ids(2, 12)
    logits = half.head(half(ids_BT))
    assert logits.dtype == torch.bfloat16
    expected = full.head(full(ids_BT))
    assert (logits.float() - expected).pow(2).mean().sqrt() < 0.03 * expected.std()
    with pytest.raises(CheckpointError, match=r"cannot be held in torch\.float64"):
        load_model(saved, torch.float64)


def test_a_tied_head_stays_one_tensor(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_model(tmp_path, random_model(small_dense(tie_embeddings=True)), tokenizer)
    loaded = load_model(tmp_path).model
    assert loaded.head.weight is loaded.embedding.weight


def test_copies_in_the_published_layout_are_passed_over(saved: Path) -> None:
    copies = {"model.layers.2.embed_tokens.weight": 0, "model.layers.2.shared_head.head.weight": 0}
    change_tensors(saved, lambda tensors: tensors.update({name: torch.zeros(299, 48) for name in copies}))
    assert load_model(saved).model.config.mtp_depth == 1


def test_weights_without_the_prediction_module(saved: Path) -> None:
    def drop(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.startswith("model.layers.2.")]:
            del tensors[name]

    change_tensors(saved, drop)
    assert load_model(saved).model.config == small_v3(mtp_depth=0)


# ---- what is refused

EXPERT = "model.layers.1.mlp.experts.3.up_proj.weight"
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), r"has no config\.json"),
    "config is not JSON": (lambda f: (f / "config.json").write_text("{"), r"cannot read .*config\.json"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), r"expected a JSON object, got list"),
    "config is binary": (lambda f: (f / "config.json").write_bytes(b"\xff\x00"), r"cannot read .*config\.json"),
    "unknown type": (
        lambda f: change_config(f, model_type="gpt2"),
        r"model_type 'gpt2' is unknown; expected one of deepseek, deepseek_v2, deepseek_v3, glm4_moe",
    ),
    "no type": (lambda f: change_config(f, model_type=None), r"'model_type' is missing; expected one of deepseek, "),
    "far more experts": (
        lambda f: change_config(f, n_routed_experts=16_384),
        r"lacks at least 98,\d\d\d of the 98,\d\d\d tensors that its config asks for; config\.json and the weights",
    ),
    "no size": (lambda f: change_config(f, hidden_size=None), r"'hidden_size' is missing"),
    "size of another kind": (lambda f: change_config(f, hidden_size="48"), r"'hidden_size' is '48'; expected int"),
    "size that cannot be": (lambda f: change_config(f, num_hidden_layers=0), r"layers = 0; expected a positive"),
    "no latent": (lambda f: change_config(f, kv_lora_rank=0), r"kv_lora_rank = 0; expected a positive"),
    "no groups": (lambda f: change_config(f, n_group=0), r"groups = 0; expected a positive"),
    "other activation": (lambda f: change_config(f, hidden_act="gelu"), r"hidden_act = 'gelu' is not supported"),
    "softmax gate": (lambda f: change_config(f, scoring_func="softmax"), r"scoring_func = 'softmax' is not supported"),
    "other rope": (
        lambda f: change_config(f, rope_scaling={"rope_type": "dynamic", "factor": 8.0}),
        r"rope type 'dynamic' is not supported",
    ),
    "rope is no object": (lambda f: change_config(f, rope_scaling=3), r"'rope_scaling' is 3; expected an object"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"has no tokenizer\.json"),
    "broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), r"cannot read the tokenizer"),
    "other vocabulary": (lambda f: change_config(f, vocab_size=298), r"vocabulary of 298 and its tokenizer one of 299"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"has no model\.safetensors"),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), r"damaged or cut short"),
    "garbage": (lambda f: (f / "model.safetensors").write_bytes(b"x" * 5000), r"damaged or cut short"),
    "cut short": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
        r"damaged or cut short",
    ),
    "missing tensor": (
        lambda f: change_tensors(f, lambda t: t.pop(EXPERT)),
        rf"lacks {EXPERT}; config\.json and the weights are of different models",
    ),
    "unexpected tensor": (
        lambda f: change_tensors(f, lambda t: t.update(extra=torch.zeros(2))),
        r"holds extra, which the model has no place for",
    ),
    "a layer's number without end": (
        lambda f: change_tensors(f, lambda t: t.update({f"model.layers.{'9' * 5000}.x": torch.zeros(2)})),
        r"holds model\.layers\.9{5000}\.x, which the model has no place for",
    ),
    "fewer layers": (
        lambda f: change_config(f, num_hidden_layers=1, num_nextn_predict_layers=0),
        r"holds (model\.layers\.[12]\.\S+, ){2}model\.layers\.[12]\.\S+ and \d+ more, which the model has no place",
    ),
    "other shape": (
        lambda f: change_tensors(f, lambda t: t.update({EXPERT: torch.zeros(20, 47)})),
        rf"{EXPERT} has shape \(20, 47\); expected \(20, 48\)",
    ),
    "transposed": (
        lambda f: change_tensors(f, lambda t: t.update({EXPERT: torch.zeros(48, 20)})),
        rf"{EXPERT} has shape \(48, 20\); expected \(20, 48\)",
    ),
    "integers": (
        lambda f: change_tensors(f, lambda t: t.update({EXPERT: torch.zeros(20, 48, dtype=torch.int64)})),
        rf"holds {EXPERT} as I64, which cannot be read; expected one of F32",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_folders_are_refused(fault: str, saved: Path) -> None:
    break_it, message = BROKEN[fault]
    break_it(saved)
    with pytest.raises(CheckpointError, match=message):
        load_model(saved)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent does not exist; expected a folder with config\.json"):
        load_model(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="is a file, not a folder"):
        load_model(tmp_path / "file")


def test_saving_with_a_tokenizer_of_another_size(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="vocabulary of 298 and its tokenizer one of 299"):
        save_model(tmp_path, random_model(small_v3(vocab_size=298)), tokenizer)


def test_rows_without_a_token_are_padding(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """As Qwen2.5 and DeepSeek-V3 have them."""
    model = random_model(small_v3(vocab_size=320))
    save_model(tmp_path, model, tokenizer)
    loaded = load_model(tmp_path)
    assert (loaded.model.config.vocab_size, loaded.tokenizer.vocab_size) == (320, 299)
    assert torch.equal(loaded.model.head.weight, model.head.weight)


def test_a_huge_config_is_refused_before_memory_is_taken(saved: Path) -> None:
    change_config(saved, hidden_size=7168 * 64, intermediate_size=10**6)
    with pytest.raises(CheckpointError, match=r"expected \(299, 458752\)"):
        load_model(saved)


@pytest.mark.parametrize("layout", ["interleaved", "halves"])
def test_llama_rows_are_written_in_halves(layout: str) -> None:
    config: ModelConfig = small_dense(rope_layout=layout)
    model = random_model(config)
    written = file_tensors(model)["model.layers.0.self_attn.k_proj.weight"].read()
    ours = model.blocks[0].attention.k.weight
    if layout == "interleaved":  # of each head of 8 rows, first the even ones
        ours = torch.cat([ours[head + part : head + 8 : 2] for head in (0, 8) for part in (0, 1)])
    assert torch.equal(written, ours)


def test_one_file_of_a_model(saved: Path) -> None:
    for name in ("model.safetensors", "config.json"):
        with pytest.raises(CheckpointError, match=rf"{name} is one file of a model; name the folder .*: {saved}$"):
            load_model(saved / name)


def test_pickles_alone(tmp_path: Path) -> None:
    (tmp_path / "PyTorch_Model.BIN").write_bytes(b"")
    for path in (tmp_path, tmp_path / "PyTorch_Model.BIN"):
        with pytest.raises(CheckpointError, match=r"opening a pickle executes .* Take the model's safetensors or GGUF"):
            load_model(path)


def test_what_the_disk_refuses(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder or file that may not be read, as root can read everything and this test may be run by root."""

    def refuse(path: Path, *args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (saved / "empty").mkdir()
    for method, read, path in (
        ("stat", load_model, saved),
        ("stat", read_config, saved),
        ("read_text", load_model, saved),
        ("read_text", read_config, saved),
        ("iterdir", load_model, saved / "empty"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refuse)
            with pytest.raises(CheckpointError, match=rf"cannot read {path}.*: .*Permission denied"):
                read(path)
