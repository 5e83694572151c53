"""`ponder inspect`: what a checkpoint is, from headers alone, however large it is."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ponder.cli.main import main
from ponder.models.presets import PRESETS
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import open_checkpoint, save_model
from ponder.weights.inspect import describe, inspect_checkpoint
from small_models import random_model, small_dense, small_v3
from sparse_checkpoint import write_sparse


def inspect_json(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["inspect", str(path), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_deepseek_v3_from_its_headers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """671B parameters in FP8, 689 GB on disk in holes: no number is read, and what is said is what is published."""
    config = replace(PRESETS["deepseek-v3"](129280), init_std=0.02)
    size = write_sparse(tmp_path, config, quantised=True, shards=8)
    monkeypatch.setattr(os, "preadv", None)  # what tensors are read with
    found = inspect_json(tmp_path, capsys)
    assert sum(path.stat().st_blocks * 512 for path in tmp_path.glob("*.safetensors")) < 30e6
    assert found["parameters_total"] == 671_026_404_352
    assert found["parameters_active"] == 36_625_610_752  # 36.7B with the whole embedding, in README_WEIGHTS
    assert found["parameters_mtp"] == 11_610_067_968
    assert found["architecture"] == "deepseek_v3"
    assert found["bytes"] == size
    assert sum(found["files"].values()) > size > 680e9
    # e4m3: attention's 5 and, of 62 layers, 3 dense feed-forward layers and 59 of 256 + 1 experts, 3 matrices each
    assert found["stored"]["F8_E4M3"]["tensors"] == 62 * 5 + 3 * 3 + 59 * 257 * 3
    assert found["stored"]["F32"] == {"tensors": 59, "bytes": 59 * 256 * 4}
    assert found["context"] == 163_840
    assert found["problems"] == []
    assert found["shape"] == [
        "61 layers, hidden size 7,168",
        "latent attention: 128 heads of 128 + 64 rotated, queries of rank 1,536, a latent of 512 (576 numbers cached "
        "per token and layer)",
        "256 routed experts of 2,048, 8 a token, from 4 of 8 groups and 1 shared (sigmoid gate); the first 3 dense, of "
        "18,432",
        "1 multi-token prediction module",
        "rotary base 10,000, YaRN × 40 from 4,096 positions",
        "output head of its own",
    ]


def test_what_a_person_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "m", random_model(small_dense()), Tokenizer.for_arithmetic(), "{{ messages }}")
    (tmp_path / "m" / "README.md").write_text("---\nlicense: apache-2.0\nbase_model: 'some/base'\n---\n# A model\n")
    assert main(["inspect", str(tmp_path / "m")]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    shown = {line[0]: line[1].strip() for line in lines if len(line) == 2}
    assert shown["format"] == "safetensors, llama"
    assert shown["parameters"] == "59,664 in all, 59,664 active"
    assert shown["stored"] == "F32: 21 tensors, 238.7 kB"
    assert shown["vocabulary"] == "299 rows; tokenizer: 299 tokens"
    assert shown["chat"] == "template  yes"
    assert (shown["license"], shown["base_model"]) == ("apache-2.0", "some/base")
    assert "Problem" not in str(lines)


def test_problems_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path, random_model(small_v3()), Tokenizer.for_arithmetic())
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.norm.weight"]
    tensors |= {"extra": torch.zeros(2), "lm_head.weight": torch.zeros(299, 47)}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").unlink()
    assert inspect_json(tmp_path, capsys)["problems"] == [
        "lacks model.norm.weight",
        "holds extra, which the model has no place for",
        "lm_head.weight has shape (299, 47); expected (299, 48)",
        "has no tokenizer: it can be converted, and not generate",
    ]
    assert main(["inspect", str(tmp_path)]) == 0
    assert "Problem: it lacks model.norm.weight" in capsys.readouterr().out


def test_what_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.pt").write_bytes(b"")
    for path, message in (
        (tmp_path / "model.pt", "is a pickle; opening a pickle executes whatever code"),
        (tmp_path / "absent", "there is no run or model"),
        (tmp_path, "has no model.safetensors, only model.pt; opening a pickle executes whatever code"),
    ):
        assert main(["inspect", str(path)]) == 1
        assert message in capsys.readouterr().err


def test_a_dense_model_in_words() -> None:
    assert describe(small_dense(tie_embeddings=True)) == (
        "2 layers, hidden size 48",
        "grouped-query attention: 6 heads of 8, 2 of keys and values (32 numbers cached per token and layer)",
        "feed-forward of 64",
        "rotary base 10,000",
        "output head tied to the embedding",
    )


def test_inspection_reads_nothing_of_the_tensors(tmp_path: Path) -> None:
    """The same answer with every number overwritten."""
    save_model(tmp_path, random_model(small_v3()), Tokenizer.for_arithmetic())
    with open_checkpoint(tmp_path) as opened:
        before = inspect_checkpoint(opened)
    path = tmp_path / "model.safetensors"
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    path.write_bytes(path.read_bytes()[:header] + b"\xff" * (path.stat().st_size - header))
    with open_checkpoint(tmp_path) as opened:
        assert inspect_checkpoint(opened) == before


def test_weights_that_cannot_be_read(tmp_path: Path) -> None:
    """Four- and eight-bit weights packed into integers (GPTQ, AWQ) have the names of their model."""
    save_model(tmp_path, random_model(small_v3()), Tokenizer.for_arithmetic())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = torch.zeros(299, 48, dtype=torch.int32)
    save_file(tensors, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as opened:
        assert inspect_checkpoint(opened).problems == (
            "holds lm_head.weight as I32, which cannot be read; expected one of F32, BF16, F16, F64, F8_E4M3",
        )


CARDS = {
    "license: mit  # as the code\nbase_model: a/b": {"license": "mit", "base_model": "a/b"},
    "license: [mit, apache-2.0]\nbase_model:\n- a/b\n- c/d": {"license": "mit, apache-2.0", "base_model": "a/b, c/d"},
    "license: other\nlicense_name: deepseek\nlicense_link: LICENSE-MODEL": {
        "license": "deepseek",
        "license_name": "deepseek",
        "license_link": "LICENSE-MODEL",
    },
    "license: 'a: b'\nlicense_link: 7": {"license": "a: b"},
    "license: [": {},
    "- license": {},
    "license: 2024-13-45": {},
    "[" * 5000: {},
}


@pytest.mark.parametrize("card", CARDS)
def test_what_a_card_says(card: str, tmp_path: Path) -> None:
    save_model(tmp_path, random_model(small_dense()), Tokenizer.for_arithmetic())
    (tmp_path / "README.md").write_text(f"---\n{card}\n---\n# A model\nlicense: none\n")
    with open_checkpoint(tmp_path) as opened:
        found = {name: opened.metadata[name] for name in opened.metadata if name.startswith(("license", "base"))}
    assert found == CARDS[card]
