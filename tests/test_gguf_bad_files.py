"""Damaged, strange and unwritable GGUF files: one error each that says what is wrong, and nothing left behind."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gguf_files import MODELS, YARN, export, rewrite, save
from ponder.core.errors import CheckpointError, RunError
from ponder.models.config import GqaConfig, Llama3RopeConfig
from ponder.weights.checkpoint import load_model, open_checkpoint
from ponder.weights.gguf.reader import open_gguf
from ponder.weights.gguf.writer import write_gguf
from small_models import small_dense, small_softmax_moe, small_v3


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    save(folder / "hf", MODELS["llama"])
    export(folder / "hf", folder / "model.gguf", "f32")
    return folder / "model.gguf"


def refused(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(path)


@pytest.mark.parametrize("kept", [0, 3, 23, 100, 5000, 20_000, -1])
def test_a_file_cut_short(kept: int, good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[:kept])
    refused(tmp_path / "cut.gguf", r"cut\.gguf.*(fewer than a header|cut short or damaged: fetch it again)")


def test_any_byte_of_the_header_may_be_wrong(good: Path, tmp_path: Path) -> None:
    """Whatever it gives, it is a model or one error of ours: no traceback, no endless reading."""
    data, path = good.read_bytes(), tmp_path / "bad.gguf"
    rng = np.random.default_rng(0)
    outcomes = set()
    for at in [*range(4, 24), *rng.integers(24, 20_000, 180).tolist()]:
        bad = bytearray(data)
        bad[at] = int(rng.integers(256))
        path.write_bytes(bad)
        try:
            with open_gguf(path).source:
                outcomes.add("opened")
        except CheckpointError as error:
            outcomes.add("refused" if str(path) in str(error) else str(error))
    assert outcomes == {"opened", "refused"}


def patched(good: Path, target: Path, old: bytes, new: bytes) -> Path:
    """One place of a file changed."""
    data = good.read_bytes()
    assert data.count(old) == 1
    target.write_bytes(data.replace(old, new))
    return target


def test_no_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04" + bytes(100))
    refused(tmp_path / "model.gguf", r"is no GGUF file: it begins with b'PK")
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + struct.pack(">I", 3) + bytes(100))
    refused(tmp_path / "model.gguf", r"big-endian GGUF file; expected a little-endian one")
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + struct.pack("<I", 1) + bytes(100))
    refused(tmp_path / "model.gguf", r"has GGUF version 1; expected one of \(2, 3\)")
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 10**12, 10**12) + bytes(100))
    refused(tmp_path / "model.gguf", r"its header asks for 37,000,000,000,000 bytes .* the file has 124")


def test_an_unknown_architecture(good: Path, tmp_path: Path) -> None:
    path = rewrite(good, tmp_path / "bad.gguf")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0bloom", 1))
    refused(path, r"architecture 'bloom' is not supported; expected one of llama, qwen2, qwen3, deepseek, deepseek2")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("llama.block_count", None, r"'llama.block_count' is missing"),
        ("llama.block_count", 3, r"lacks the tensor 'blk.2.attn_norm.weight' that its metadata asks for"),
        ("llama.block_count", 1, r"holds 'blk.1.attn_norm.weight', which a model of its metadata has no place for"),
        ("llama.feed_forward_length", 65, r"blk.0.ffn_gate.weight has shape \(64, 48\); expected \(65, 48\)"),
        ("llama.attention.head_count", 0, r"model.heads = 0; expected a positive number"),
        ("llama.rope.dimension_count", 4, r"rope.dimension_count is 4 where a head has 8 dimensions"),
        ("llama.block_count", 100_000, r"model.layers = 100000; expected at most 1,024"),
        ("llama.rope.freq_base", 0.0, r"model.rope_theta = 0.0; expected a number from 2 to 1e\+30"),
        ("llama.rope.freq_base", np.nan, r"'llama.rope.freq_base' is nan; expected a finite number"),
        ("llama.rope.freq_base", "high", r"'llama.rope.freq_base' is 'high'; expected float"),
        ("tokenizer.ggml.model", ["gpt2"], r"tokenizer \['gpt2'\] is not supported"),
        ("tokenizer.ggml.token_type", ["a"], r"vocabulary has 299 tokens and \['a'\] for their token types"),
        ("llama.rope.scaling.type", "longrope", r"rope scaling 'longrope' is not supported; expected none, linear"),
        ("tokenizer.ggml.model", "bert", r"tokenizer 'bert' is not supported; expected one of gpt2, llama, rwkv"),
        ("tokenizer.ggml.model", "gpt2", r"its metadata lacks 'tokenizer.ggml.merges', a list of strings"),
        ("tokenizer.ggml.model", "llama", r"its metadata lacks 'tokenizer.ggml.scores', a number for each token"),
        ("tokenizer.ggml.tokens", ["a", "b"], r"its vocabulary has 2 tokens and its model 299"),
        ("tokenizer.ggml.tokens", ["a"] * 299, r"two tokens of its vocabulary are the same"),
        ("tokenizer.ggml.tokens", [str(i) for i in range(299)], r"'tokenizer.huggingface.json' has other tokens than"),
        ("tokenizer.ggml.token_type", [1, 1], r"its vocabulary has 299 tokens and 2 token types"),
        ("tokenizer.ggml.eos_token_id", 299, r"its eos token is 299; expected an id below 299"),
        ("tokenizer.huggingface.json", None, r"an rwkv vocabulary can only be read with 'tokenizer.huggingface.json'"),
    ],
)
def test_metadata_that_is_wrong(key: str, value: Any, message: str, good: Path, tmp_path: Path) -> None:
    refused(rewrite(good, tmp_path / "bad.gguf", change=lambda k, v: value if k == key else v), message)


def test_an_unknown_pre_tokenizer(good: Path, tmp_path: Path) -> None:
    path = rewrite(
        good,
        tmp_path / "bad.gguf",
        change=lambda key, value: "gpt2" if key == "tokenizer.ggml.model" else value,
    )
    reader = rewrite(path, tmp_path / "worse.gguf", more={"tokenizer.ggml.pre": "chameleon"})
    refused(
        reader, r"pre-tokenizer 'chameleon' is not supported; expected one of smollm, qwen2, llama-bpe, deepseek-v3"
    )


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (16, r"model.layers.0.mlp.up_proj.weight|blk.0.ffn_up.weight is stored as IQ2_XXS, which is not supported"),
        (99, r"tensor 'blk.0.ffn_up.weight' is stored as type 99, which is unknown"),
    ],
)
def test_an_unknown_quantisation(number: int, message: str, tmp_path: Path) -> None:
    config = small_dense(hidden_size=256, heads=32, attention=GqaConfig(kv_heads=2, head_dim=8), intermediate_size=64)
    save(tmp_path / "hf", config)
    export(tmp_path / "hf", tmp_path / "good.gguf", "f16")
    name = b"blk.0.ffn_up.weight"
    start = name + struct.pack("<IQQ", 2, 256, 64)
    patched(
        tmp_path / "good.gguf",
        tmp_path / "bad.gguf",
        start + struct.pack("<I", 1),
        start + struct.pack("<I", number),
    )
    refused(tmp_path / "bad.gguf", message)


@pytest.mark.parametrize("name", ["blk.².x", f"blk.{'9' * 5000}.x", "blk", "blk.2x.y"])
def test_a_block_with_a_strange_number(name: str, good: Path, tmp_path: Path) -> None:
    path = rewrite(
        good,
        tmp_path / "bad.gguf",
        more={"llama.nextn_predict_layers": 0},
        tensors=lambda tensors: tensors | {name: np.zeros(1, np.float32)},
    )
    refused(path, f"holds '{name}', which a model of its metadata has no place for")


def test_tensors_without_dimensions(good: Path, tmp_path: Path) -> None:
    path = rewrite(
        good,
        tmp_path / "bad.gguf",
        tensors=lambda tensors: tensors | {"token_embd.weight": np.array(1.0, np.float32)},
    )
    refused(path, r"token_embd.weight has the shape \(\); expected a row for each token")
    path = rewrite(
        good,
        tmp_path / "worse.gguf",
        tensors=lambda tensors: tensors | {"rope_freqs.weight": np.array(1.0, np.float32)},
    )
    name = b"rope_freqs.weight" + struct.pack("<I", 0)
    q8_0 = patched(path, tmp_path / "worst.gguf", name + struct.pack("<I", 0), name + struct.pack("<I", 8))
    refused(q8_0, r"tensor 'rope_freqs.weight' is Q8_0 and has rows of 1 numbers")


def test_what_cannot_be_written(tmp_path: Path, good: Path) -> None:
    refusals = {
        "one YaRN mscale, this model two (0.5 and 1)": small_v3(
            rope_scaling=replace(YARN, mscale=0.5, mscale_all_dim=1.0)
        ),
        "experts with grouped-query attention have scoring = softmax, this model sigmoid": small_dense(
            moe=small_v3().moe
        ),
        "rotates neighbouring dimensions together, this model dimensions in halves": small_v3(rope_layout="halves"),
        "qwen2 has no Llama 3 rope scaling": small_dense(
            attention=GqaConfig(kv_heads=2, head_dim=8, qkv_bias=True),
            rope_scaling=Llama3RopeConfig(factor=8.0, original_positions=64),
        ),
        "it expects shared experts": small_v3(moe=small_softmax_moe(shared_experts=0)),
    }
    for number, (reason, config) in enumerate(refusals.items()):
        save(tmp_path / str(number), config)
        with pytest.raises(CheckpointError) as raised:
            export(tmp_path / str(number), tmp_path / "out.gguf", "f16")
        assert reason in str(raised.value)
        assert not list(tmp_path.glob("*out.gguf*"))
    with open_checkpoint(good) as opened:
        with pytest.raises(RunError, match="exists already"):
            write_gguf(good, opened, dtype="f16")
        with pytest.raises(CheckpointError, match="has no tokenizer"):
            write_gguf(tmp_path / "out.gguf", replace(opened, tokenizer=None), dtype="f16")
        with pytest.raises(CheckpointError, match=r"cannot be written as 'q3_k'; expected one of f32, f16, bf16"):
            write_gguf(tmp_path / "out.gguf", opened, dtype="q3_k")  # type: ignore[arg-type]


def test_numbers_beyond_the_format(tmp_path: Path, good: Path) -> None:
    """Nothing half-written is left behind."""
    for value, message in ((1e5, r"token_embd.weight holds 100000, beyond what F16 can hold"), (np.nan, "not finite")):

        def change(tensors: dict[str, np.ndarray], value: float = value) -> dict[str, np.ndarray]:
            tensors["token_embd.weight"][7, 7] = value
            return tensors

        rewrite(good, tmp_path / "big.gguf", tensors=change)
        with pytest.raises(CheckpointError, match=message):
            export(tmp_path / "big.gguf", tmp_path / "out.gguf", "f16")
        assert [path.name for path in tmp_path.iterdir()] == ["big.gguf"]
        (tmp_path / "big.gguf").unlink()


def test_yarn_by_a_negative_factor(good: Path, tmp_path: Path) -> None:
    path = rewrite(
        good,
        tmp_path / "bad.gguf",
        change=lambda key, value: "yarn" if key == "llama.rope.scaling.type" else value,
        more={"llama.rope.scaling.original_context_length": 64, "llama.rope.scaling.factor": -2.0},
    )
    refused(path, r"model\.rope_scaling\.factor = -2\.0; expected a number from 1 to 1e\+06")


def test_a_file_without_a_tokenizer(good: Path, tmp_path: Path) -> None:
    path = rewrite(good, tmp_path / "bare.gguf", change=lambda k, v: None if k.startswith("tokenizer.") else v)
    refused(path, r"has no tokenizer in its metadata; .* Take a GGUF file that was converted with one")


def test_capitals_in_a_file_s_name(good: Path, tmp_path: Path) -> None:
    """Alone, in a folder, and as a part of a split model."""
    (tmp_path / "MODEL.GGUF").write_bytes(good.read_bytes())
    for path in (tmp_path / "MODEL.GGUF", tmp_path):
        assert load_model(path).model.config == load_model(good).model.config


def test_a_licence_by_its_name(good: Path, tmp_path: Path) -> None:
    more = {"general.license": "other", "general.license.name": "deepseek"}
    with open_checkpoint(rewrite(good, tmp_path / "named.gguf", more=more)) as opened:
        assert opened.metadata["license"] == "deepseek"
