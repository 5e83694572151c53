"""Checkpoints written in Hugging Face's form: the same numbers, the published layout, bounded memory, whole or not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from ponder.core.errors import CheckpointError, RunError
from ponder.models.config import GqaConfig, ModelConfig
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import load_model, open_checkpoint, save_model
from ponder.weights.hf.fp8 import is_quantised
from ponder.weights.hf.names import file_tensors
from ponder.weights.hf.writer import write_hf_folder
from small_models import random_ids, random_model, small_dense, small_moe, small_v3
from sparse_checkpoint import write_sparse

TOKENIZER = Tokenizer.for_arithmetic()
# matrices of more than a block, with ragged edges
LARGER = small_v3(hidden_size=144, intermediate_size=200, mtp_depth=1, moe=small_moe(expert_intermediate_size=132))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path / "saved", random_model(LARGER), TOKENIZER, "{{ messages }}")
    return tmp_path / "saved"


def convert(source: Path, target: Path, **options: Any) -> Path:
    with open_checkpoint(source) as opened:
        write_hf_folder(target, opened, **options)
    return target


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """As the safetensors library reads them."""
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
def test_numbers_in_shards(dtype: str, saved: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    target = convert(
        saved, tmp_path / "out", dtype=dtype, shard_bytes=300_000, on_progress=lambda *done: seen.append(done)
    )
    kind = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[dtype]
    originals = {name: tensor.read() for name, tensor in file_tensors(random_model(LARGER)).items()}
    written = tensors_of(target)
    for name, tensor in originals.items():
        kept = torch.float32 if name.endswith("e_score_correction_bias") else kind
        assert torch.equal(written[name], tensor.to(kept)), name
    index = json.loads((target / "model.safetensors.index.json").read_text())
    shards = sorted(path.name for path in target.glob("*.safetensors"))
    assert len(shards) > 2
    assert shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    assert index["weight_map"].keys() == written.keys()
    assert sorted(set(index["weight_map"].values())) == shards
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in written.values()) == seen[-1][0] == seen[-1][1]
    assert seen == sorted(seen)
    loaded = load_model(target)
    assert loaded.chat_template == "{{ messages }}"
    assert loaded.model.config == LARGER


def test_copies_of_the_prediction_module(saved: Path, tmp_path: Path) -> None:
    """As published: layer 61 of DeepSeek-V3 has `embed_tokens` and `shared_head.head`. Here it is layer 2."""
    written = tensors_of(convert(saved, tmp_path / "out", dtype="f32"))
    assert torch.equal(written["model.layers.2.embed_tokens.weight"], written["model.embed_tokens.weight"])
    assert torch.equal(written["model.layers.2.shared_head.head.weight"], written["lm_head.weight"])
    again = tensors_of(convert(tmp_path / "out", tmp_path / "again", dtype="f32"))
    assert again.keys() == written.keys()


def test_fp8_as_published(saved: Path, tmp_path: Path) -> None:
    target = convert(saved, tmp_path / "fp8", dtype="fp8", extra_files={"README.md": "# Größe"})
    assert (target / "README.md").read_text(encoding="utf-8") == "# Größe"
    originals = {name: tensor.read() for name, tensor in file_tensors(random_model(LARGER)).items()}
    written = tensors_of(target)
    for name, tensor in written.items():
        if name.endswith("_scale_inv"):
            assert is_quantised(name.removesuffix("_scale_inv"))
            continue
        expected = torch.float8_e4m3fn if is_quantised(name) else torch.bfloat16
        assert tensor.dtype == (torch.float32 if name.endswith("e_score_correction_bias") else expected), name
    assert json.loads((target / "config.json").read_text())["quantization_config"] == {
        "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]
    }  # fmt: skip
    with open_checkpoint(target) as opened:
        assert opened.source.infos["model.layers.2.eh_proj.weight"].stored == "BF16"
        for name, original in originals.items():
            read = opened.source.read(name)
            step = original.abs() / 16 if is_quantised(name) else original.abs() / 256
            floor = original.abs().max() / 448 / 1024 if is_quantised(name) else 0
            assert ((read - original).abs() <= step * 1.0001 + floor).all(), name
    # quantised again, the same bytes: the largest number of a block is kept, so its scale is
    again = tensors_of(convert(target, tmp_path / "again", dtype="fp8"))
    for name, tensor in written.items():
        if tensor.dtype == torch.float8_e4m3fn:
            assert torch.equal(again[name].view(torch.uint8), tensor.view(torch.uint8)), name


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_transformers_reads_the_shards(tmp_path: Path) -> None:
    model = random_model(small_dense())
    save_model(tmp_path / "saved", model, TOKENIZER)
    target = convert(tmp_path / "saved", tmp_path / "out", dtype="f32", shard_bytes=40_000)
    theirs = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)
    ids_BT = random_ids(2, 9)
    with torch.no_grad():
        assert torch.allclose(theirs(ids_BT).logits, model.head(model(ids_BT)), atol=1e-5)


# ---- what is refused


def test_a_number_too_large_for_f16(tmp_path: Path) -> None:
    model = random_model(small_dense())
    with torch.no_grad():
        model.norm.weight[3] = 70_000.0
    save_model(tmp_path / "saved", model, TOKENIZER)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight holds numbers beyond 65,504.*choose bf16"):
        convert(tmp_path / "saved", tmp_path / "out", dtype="f16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved"]


def test_no_number_in_what_fp8_leaves_as_it_is(tmp_path: Path) -> None:
    model = random_model(small_v3())
    with torch.no_grad():
        model.norm.weight[3] = float("nan")
    save_model(tmp_path / "saved", model, TOKENIZER)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight holds numbers that are none \(inf, nan\)"):
        convert(tmp_path / "saved", tmp_path / "out", dtype="fp8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved"]


def test_a_source_that_is_cut_short_on_the_way(saved: Path, tmp_path: Path) -> None:
    with open_checkpoint(saved) as opened:
        os.truncate(saved / "model.safetensors", 100_000)
        with pytest.raises(CheckpointError, match="inside a tensor"):
            write_hf_folder(tmp_path / "out", opened, dtype="bf16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved"]


def test_folders_that_are_in_use(saved: Path) -> None:
    with pytest.raises(RunError, match="holds something already; choose another name"):
        convert(saved, saved, dtype="bf16")
    assert load_model(saved).model.config == LARGER


def test_more_than_the_disk_holds(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(RunError, match=r"it takes 0\.0 GB and the disk has 0\.0 GB left; make room"):
        convert(saved, tmp_path / "out", dtype="bf16")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_on_the_way(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_full(path: Path, mode: str = "r", **options: Any) -> Any:
        return open("/dev/full" if mode == "xb" else path, "wb" if mode == "xb" else mode, **options)

    monkeypatch.setattr("ponder.weights.hf.writer.open", open_full, raising=False)
    with pytest.raises(RunError, match="the disk is full"):
        convert(saved, tmp_path / "out", dtype="bf16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved"]


# ---- memory

LLAMA_200MB = ModelConfig(  # 100 million parameters; its largest tensor has 2.6 million
    vocab_size=2048,
    hidden_size=1024,
    layers=8,
    heads=8,
    attention=GqaConfig(kv_heads=8, head_dim=128),
    intermediate_size=2560,
    rope_layout="halves",
)
PEAKS = """
import os, re, sys
from pathlib import Path
import torch
from ponder.weights.checkpoint import load_model, open_checkpoint
from ponder.weights.hf.writer import write_hf_folder

def status(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

def write(folder, target):
    with open_checkpoint(folder) as opened:
        write_hf_folder(target, opened, dtype="fp8", shard_bytes=50e6)

small, plain, fp8, target = map(Path, sys.argv[1:])
for action, folder in (
    (lambda folder: load_model(folder, torch.bfloat16), plain),
    (lambda folder: load_model(folder, torch.float32), plain),
    (lambda folder: load_model(folder, torch.bfloat16), fp8),
    (lambda folder: write(folder, target / folder.name), plain),
):
    if os.fork() == 0:  # each begins with no memory of the others
        action(small)  # what is taken once, such as the library's own code, is not the model's
        Path("/proc/self/clear_refs").write_text("5")  # the peak is from here on
        before = status("VmRSS")
        action(folder)
        print(status("VmHWM") - before, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory(tmp_path: Path) -> None:
    """Loading takes at most 1.1 × the weights in the precision wanted, mapped pages of files included; writing takes
    a few tensors, whatever the size of the model.
    """
    small, plain, quantised, target = folders = [tmp_path / name for name in ("small", "plain", "fp8", "written")]
    for folder in folders:
        folder.mkdir()
    write_sparse(small, LARGER, quantised=True)
    parameters = 2 * 2048 * 1024 + 8 * (4 * 1024**2 + 3 * 1024 * 2560 + 2 * 1024) + 1024
    assert write_sparse(plain, LLAMA_200MB, shards=4) == 2 * parameters > 190e6
    write_sparse(quantised, LLAMA_200MB, quantised=True)
    command = [sys.executable, "-c", PEAKS, *map(str, folders)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    bf16, fp32, from_fp8, writing = map(int, printed.split())
    assert 2 * parameters * 0.9 < bf16 <= 1.1 * 2 * parameters
    assert 4 * parameters * 0.9 < fp32 <= 1.1 * 4 * parameters
    assert 2 * parameters * 0.9 < from_fp8 <= 1.1 * 2 * parameters
    assert writing <= 40e6
    assert len(list((target / "plain").glob("*.safetensors"))) == 3
