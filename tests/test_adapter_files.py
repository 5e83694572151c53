"""Adapters on disk: read and written as the PEFT library does, opened as models, and refused where they do not fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adapter_models import MODELS, NEW, adapted, ids, logits, saved_base, settings
from ponder.core.errors import CheckpointError
from ponder.models.adapter_config import AdapterConfig, BaseModel
from ponder.models.adapters import adapter_tensors, merge, with_adapter
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from ponder.weights.adapters.base import fingerprint
from ponder.weights.adapters.files import load_adapter, save_adapter, write_adapter_folder
from ponder.weights.adapters.tensors import file_tensors_of_adapter
from ponder.weights.adapters.trainable import base_record, load_trainable
from ponder.weights.checkpoint import load_model, open_checkpoint, open_whole, save_model
from small_models import random_model, small_dense

KINDS = pytest.mark.parametrize("kind", ["lora", "dora"])
ROWS = max(NEW) + 1
TOKENIZER = Tokenizer.for_arithmetic()
# peft reads a property of the model that transformers is about to rename
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def in_transformers(base: Path) -> Any:
    """The base as transformers has it, grown to the adapter's vocabulary."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    model.resize_token_embeddings(ROWS, mean_resizing=False)
    return model


def saved(folder: Path, name: str, kind: str = "lora") -> tuple[Path, Transformer]:
    """An adapter of one of `MODELS` beside its base, and the model that it was saved from."""
    _, model = adapted(name, kind, saved_base(folder / "base", name))
    save_adapter(folder / "adapter", model, TOKENIZER)
    return folder / "adapter", model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that tests do not change."""
    return saved(tmp_path_factory.mktemp("saved"), "tied llama")[0]


@KINDS
@pytest.mark.parametrize("name", MODELS)
def test_peft_reads_it_and_computes_the_same_with_the_same_gradients(name: str, kind: str, tmp_path: Path) -> None:
    folder, model = saved(tmp_path, name, kind)
    theirs = PeftModel.from_pretrained(in_transformers(tmp_path / "base"), folder, is_trainable=True)
    said = theirs(ids()).logits
    assert (said - logits(model, ids())).abs().max() < 1e-4
    said.square().mean().backward()
    model.head(model(ids())).square().mean().backward()
    gradients = {n.replace(".default", ""): p.grad for n, p in theirs.named_parameters() if p.requires_grad}
    gradients = {n.replace("magnitude_vector.weight", "magnitude_vector"): g for n, g in gradients.items()}
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.data = parameter.grad  # type: ignore[assignment]
    ours = {n: tensor.read() for n, tensor in file_tensors_of_adapter(model).items()}
    assert ours.keys() <= gradients.keys()
    assert all((ours[n] - gradients[n]).abs().max() < 1e-6 for n in ours)
    assert min(float(g.abs().max()) for g in ours.values()) > 1e-6


@KINDS
@pytest.mark.parametrize("name", ["tied llama", "llama in pairs", "qwen2"])
def test_what_peft_writes_is_opened(name: str, kind: str, tmp_path: Path) -> None:
    saved_base(tmp_path / "base", name)
    tied, torch_state = MODELS[name][0].tie_embeddings, torch.random.get_rng_state()
    torch.manual_seed(3)
    config = LoraConfig(
        r=3, lora_alpha=12, use_rslora=True, use_dora=kind == "dora", init_lora_weights=False,
        target_modules=["q_proj", "k_proj", "o_proj", "up_proj", "down_proj"], task_type="CAUSAL_LM",
        trainable_token_indices=[5, *NEW] if tied else {"embed_tokens": [5, *NEW], "lm_head": [5, *NEW]},
    )  # fmt: skip
    theirs = get_peft_model(in_transformers(tmp_path / "base"), config)
    with torch.no_grad():
        for parameter in (p for n, p in theirs.named_parameters() if "tokens_delta" in n or "magnitude" in n):
            parameter.mul_(1.3)
    theirs.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    torch.random.set_rng_state(torch_state)
    loaded = load_model(tmp_path / "adapter")
    with torch.no_grad():
        expected = theirs(ids()).logits
    assert (logits(loaded.model, ids()) - expected).abs().max() < 1e-4
    same = AdapterConfig(  # type: ignore[arg-type]
        kind=kind, rank=3, alpha=12.0, rank_stabilised=True, targets=("q", "k", "o", "up", "down")
    )
    trainable = load_trainable(tmp_path / "adapter", same).model
    assert (logits(trainable, ids()) - expected).abs().max() < 1e-4


def test_whole_tables_that_peft_saves_take_the_place_of_the_bases(tmp_path: Path) -> None:
    saved_base(tmp_path / "base", "llama in pairs")
    config = LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    theirs = get_peft_model(in_transformers(tmp_path / "base"), config)
    theirs.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    assert any("embed_tokens.weight" in n for n in load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    with torch.no_grad():
        assert (logits(load_model(tmp_path / "adapter").model, ids()) - theirs(ids()).logits).abs().max() < 1e-4


@KINDS
@pytest.mark.parametrize("name", MODELS)
def test_it_is_opened_as_the_model_that_it_makes_of_its_base(name: str, kind: str, tmp_path: Path) -> None:
    folder, model = saved(tmp_path, name, kind)
    assert (logits(load_model(folder).model, ids()) - logits(merge(model), ids())).abs().max() < 5e-6
    with open_whole(folder) as (opened, tokenizer):
        assert opened.config == model.config
        assert tokenizer.backend_json() == TOKENIZER.backend_json()
        assert opened.metadata["base_model"] == str((tmp_path / "base").resolve())
    again = load_trainable(folder, settings(name, kind)).model
    assert all(torch.equal(t, adapter_tensors(model)[n]) for n, t in adapter_tensors(again).items())
    assert torch.equal(logits(again, ids()), logits(model, ids()))
    assert again.adapter == model.adapter


def test_in_bf16_it_has_half_the_size_and_says_nearly_the_same(tmp_path: Path) -> None:
    folder, model = saved(tmp_path, "qwen2", "dora")
    file = write_adapter_folder(tmp_path / "half", folder, "bf16", {"README.md": "# card\n"})
    sizes = [path.stat().st_size for path in (file, folder / file.name)]
    numbers = sum(t.numel() for t in adapter_tensors(model).values())
    assert sizes[1] - sizes[0] == pytest.approx(2 * numbers, abs=200)
    assert (tmp_path / "half" / "README.md").read_text() == "# card\n"
    expected, said = (logits(load_model(path).model, ids()).log_softmax(-1) for path in (folder, tmp_path / "half"))
    divergence = (expected.exp() * (expected - said)).sum(-1)
    assert 0.0 < float(divergence.mean()) < 2e-5  # nats a token


def test_the_same_numbers_in_other_files_are_the_same_base(tmp_path: Path) -> None:
    model = random_model(small_dense(tie_embeddings=True)).to(torch.bfloat16)
    save_model(tmp_path / "half", model, TOKENIZER)
    save_model(tmp_path / "full", model.float(), TOKENIZER)
    with torch.no_grad():
        model.blocks[1].attention.k.weight[3, 3] += 0.01
    save_model(tmp_path / "other", model, TOKENIZER)
    prints = []
    for name in ("half", "full", "other"):
        with open_checkpoint(tmp_path / name) as opened:
            prints.append(fingerprint(opened))
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]


def test_a_base_of_the_catalogue_goes_by_its_name_and_for_others_by_its_hub_id(tmp_path: Path) -> None:
    base = BaseModel(name="smollm2-135m-instruct", fingerprint="f", vocab_size=299)
    _, model = adapted("tied llama", base=base)
    save_adapter(tmp_path, model, TOKENIZER)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert config["target_modules"] == [
        "down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj",
    ]  # fmt: skip
    assert config["trainable_token_indices"] == [5, 299, 300]
    assert json.loads((tmp_path / "base.json").read_text())["name"] == "smollm2-135m-instruct"


def test_an_adapter_over_an_adapter(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path, "tied llama")
    base, generator = load_model(folder).model, torch.Generator().manual_seed(8)
    second = with_adapter(base, AdapterConfig(kind="lora", rank=2), generator, base=base_record(folder))
    with torch.no_grad():
        for tensor in adapter_tensors(second).values():
            tensor.add_(0.05)
    save_adapter(tmp_path / "second", second, TOKENIZER)
    assert (logits(load_model(tmp_path / "second").model, ids()) - logits(second, ids())).abs().max() < 5e-6


def test_an_adapter_that_is_its_own_base(folder: Path, tmp_path: Path) -> None:
    bases = {"own": "../own", "one": str(tmp_path / "two"), "two": "../one"}
    for name, base in bases.items():
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / "base.json").unlink()
        path = tmp_path / name / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": base}))
    for name, way in (("own", "own → .*own"), ("one", "one → .*two → .*one")):
        with pytest.raises(CheckpointError, match=rf"leads back to itself by its base \(.*{way}\)"):
            load_model(tmp_path / name)


def test_a_base_that_is_gone_or_another_is_named(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path, "tied llama")
    save_model(tmp_path / "base", random_model(MODELS["tied llama"][0], seed=5), TOKENIZER)
    with pytest.raises(CheckpointError, match=r"was trained on .*base, and the weights in .* are others by now"):
        load_model(folder)
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(CheckpointError, match=r"is an adapter of .*base, which is neither here nor pulled"):
        load_model(folder)
    base = json.loads((folder / "base.json").read_text())
    (folder / "base.json").write_text(json.dumps({**base, "name": "qwen2.5-0.5b"}))
    with pytest.raises(CheckpointError, match=r"an adapter of qwen2.5-0.5b, which is not here; fetch it: ponder pull"):
        load_model(folder)
    (folder / "base.json").write_text(json.dumps({**base, "name": "HuggingFaceTB/SmolLM2-135M-Instruct"}))
    with pytest.raises(CheckpointError, match="fetch it from the Hub: ponder pull HuggingFaceTB/SmolLM2-135M-Instruct"):
        load_model(folder)
    (folder / "base.json").unlink()
    content = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**content, "base_model_name_or_path": None}))
    with pytest.raises(CheckpointError, match="does not say which model it belongs to"):
        load_model(folder)


@pytest.mark.parametrize(("changes", "message"), [
    ({"peft_type": "IA3"}, "peft_type is 'IA3'; Ponder has LORA"),
    ({"bias": "all"}, "bias is 'all'"),
    ({"rank_pattern": {"q_proj": 8}}, "rank_pattern is"),
    ({"lora_bias": True}, "lora_bias is True"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which changes the base"),
    ({"r": 0}, "adapter.rank = 0"),
    ({"r": "four"}, "'r' is 'four'; expected int"),
    ({"use_dora": True}, "without magnitudes"),
    ({"trainable_token_indices": [5]}, "has rows of shape .* names 1 trained tokens"),
    ({"trainable_token_indices": "all"}, "expected lists of token ids"),
])  # fmt: skip
def test_configs_that_cannot_be_read(changes: dict[str, object], message: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path / "adapter")


Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
NORM, EMBEDDING = "base_model.model.model.norm", "base_model.model.model.embed_tokens"


@pytest.mark.parametrize(("drop", "add", "message"), [
    (f"{Q}A.weight", {}, "the A and B of model.layers.0.self_attn.q_proj are not both there"),
    ("", {f"{Q}embedding_A": torch.zeros(2, 2)}, "is no tensor of LoRA"),
    ("", {"base_model.model.model.layers.7.mlp.up_proj.weight": torch.zeros(2)}, "which the base does not have"),
    (f"{Q}B.weight", {f"{Q}B.weight": torch.zeros(47, 4)}, "matrix of 47 × 48.* the base has 48 × 48"),
    (f"{Q}B.weight", {f"{Q}B.weight": torch.full((48, 4), float("nan"))}, "not finite; its training has diverged"),
    (f"{Q}B.weight", {f"{Q}B.weight": torch.zeros(48, 4, dtype=torch.int32)}, "is torch.int32; expected"),
    (f"{Q}B.weight", {f"{Q}B.weight": torch.zeros(48)}, "A and B of model.layers.0.self_attn.q_proj are not .* no mat"),
    ("", {f"{Q}magnitude_vector": torch.ones(2, 48)}, r"magnitudes of .*q_proj have the shape \(2, 48\); exp"),
    ("", {f"{NORM}.lora_A.weight": torch.ones(4, 1), f"{NORM}.lora_B.weight": torch.ones(48, 4)},
     r"changes model.norm.weight, which has the shape \(48,\) in the base; expected a matrix"),
    (f"{EMBEDDING}.token_adapter.trainable_tokens_delta", {f"{EMBEDDING}.weight": torch.tensor(1.0)},
     r"embed_tokens.weight has shape \(\)"),
])  # fmt: skip
def test_weights_that_do_not_fit(
    drop: str, add: dict[str, torch.Tensor], message: str, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({n: t for n, t in load_file(path).items() if n != drop} | add, path)
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path / "adapter")


def test_damaged_and_missing_files(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        load_model(tmp_path / "adapter")
    path.unlink()
    with pytest.raises(CheckpointError, match=r"has no adapter_model.safetensors; an adapter is read from safetensors"):
        load_model(tmp_path / "adapter")


def test_an_adapter_with_other_settings_is_not_loaded(folder: Path, tmp_path: Path) -> None:
    base = base_record(folder.parent / "base")
    with pytest.raises(CheckpointError, match=r"lora of rank 4, scale 2; expected dora of rank 4, scale 2"):
        load_adapter(folder, adapted("tied llama", "dora", base)[1])
    other = saved_base(tmp_path / "base", "llama in pairs")
    with pytest.raises(CheckpointError, match=r"begins from .*, whose weights are others"):
        load_adapter(folder, adapted("tied llama", base=other)[1])
    narrow = with_adapter(
        random_model(MODELS["tied llama"][0]), AdapterConfig(kind="lora", rank=4, alpha=8.0, targets=("q",)), None
    )
    with pytest.raises(CheckpointError, match=r"which the model's adapter has no place for; it is an adapter of other"):
        load_adapter(folder, narrow)
    with pytest.raises(CheckpointError, match=r"the model to load into has no adapter"):
        load_adapter(folder, random_model(small_dense()))
    with pytest.raises(CheckpointError, match=r"other settings \(lora, rank 4, alpha 8, targets .*\) than the recipe"):
        load_trainable(folder, AdapterConfig(kind="lora", rank=8))
    with pytest.raises(CheckpointError, match="has no adapter that could be saved"):
        save_adapter(tmp_path / "x", random_model(small_dense()), TOKENIZER)
