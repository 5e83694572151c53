"""Safetensors folders: every claim of a header and an index is checked; numbers come back bit for bit."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ponder.core.errors import CheckpointError
from ponder.weights.hf.header import header_bytes, read_header
from ponder.weights.hf.safetensors import SafetensorsFolder


def write_raw(path: Path, header: Mapping[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def tensor(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


# ---- headers

BROKEN_HEADERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "nothing": (lambda p: p.write_bytes(b""), r"it has 0 bytes"),
    "a header of 10^12 bytes": (
        lambda p: write_raw(p, {}, length=10**12),
        r"damaged or cut short \(its header claims 1,000,000,000,000 bytes; expected at most 100,000,000\)",
    ),
    "a header longer than the file": (lambda p: write_raw(p, {}, length=500), r"claims 500 bytes and the file has 10"),
    "not JSON": (lambda p: write_raw(p, b"{'a'}"), r"header is not JSON"),
    "not UTF-8": (lambda p: write_raw(p, b'{"\xff": 1}'), r"header is not JSON"),
    "deep": (lambda p: write_raw(p, b"[" * 100_000), r"header is not JSON"),
    "a list": (lambda p: write_raw(p, b"[]"), r"header is a JSON list; expected an object"),
    "the same name twice": (
        lambda p: write_raw(p, b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}, "a": 1}'),
        r"'a' stands in it twice",
    ),
    "no offsets": (lambda p: write_raw(p, {"a": {"dtype": "F32"}}), r"expected dtype, shape and data_offsets"),
    "unknown type": (
        lambda p: write_raw(p, {"a": tensor("F4")}),
        r"a is of the unknown type 'F4'; expected one of F64",
    ),
    "negative shape": (lambda p: write_raw(p, {"a": tensor(shape=[-2, -1])}), r"a has the shape \[-2, -1\]"),
    "fractional shape": (lambda p: write_raw(p, {"a": tensor(shape=[2.0])}), r"a has the shape \[2\.0\]"),
    "true as a size": (lambda p: write_raw(p, {"a": tensor(shape=[True, 2])}), r"a has the shape \[True, 2\]"),
    "huge shape": (lambda p: write_raw(p, {"a": tensor(shape=[2**62, 2**62])}), r"its offsets are \[0, 8\]"),
    "three offsets": (lambda p: write_raw(p, {"a": tensor(offsets=[0, 8, 16])}), r"the offsets \[0, 8, 16\]"),
    "offsets of another length": (
        lambda p: write_raw(p, {"a": tensor(shape=[3])}, b"\0" * 12),
        r"a, F32 \[3\], takes 12 bytes; its offsets are \[0, 8\]",
    ),
    "a gap": (
        lambda p: write_raw(p, {"a": tensor(), "b": tensor(offsets=[9, 17])}, b"\0" * 17),
        r"b begins at byte \d+, where byte \d+ is next",
    ),
    "an overlap": (
        lambda p: write_raw(p, {"a": tensor(), "b": tensor(offsets=[4, 12])}, b"\0" * 12),
        r"b begins at byte \d+, where byte \d+ is next",
    ),
    "cut short": (
        lambda p: write_raw(p, {"a": tensor()}, b"\0" * 7),
        r"header asks for \d+ bytes and the file has \d+",
    ),
    "too long": (lambda p: write_raw(p, {"a": tensor()}, b"\0" * 9), r"header asks for \d+ bytes and the file has \d+"),
}


@pytest.mark.parametrize("fault", BROKEN_HEADERS)
def test_broken_headers(fault: str, tmp_path: Path) -> None:
    break_it, message = BROKEN_HEADERS[fault]
    break_it(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        SafetensorsFolder(tmp_path)


def test_header_agrees_with_the_library(tmp_path: Path) -> None:
    """What we write is what safetensors reads, and the reverse."""
    tensors = {"b": torch.arange(6.0).view(2, 3), "a": torch.tensor(7, dtype=torch.int64), "é": torch.zeros(0, 4)}
    save_file(tensors, tmp_path / "theirs")
    found = read_header(tmp_path / "theirs")
    assert {name: (entry.dtype, entry.shape, entry.bytes) for name, entry in found.items()} == {
        "b": ("F32", (2, 3), 24), "a": ("I64", (), 8), "é": ("F32", (0, 4), 0)
    }  # fmt: skip
    ours = header_bytes([("b", "F32", (2, 3)), ("a", "I64", ())])
    assert len(ours) % 8 == 0
    (tmp_path / "ours").write_bytes(ours + torch.arange(6.0).numpy().tobytes() + (7).to_bytes(8, "little"))
    from_library = load_file(tmp_path / "ours")
    assert torch.equal(from_library["b"], tensors["b"])
    assert from_library["a"].item() == 7


# ---- numbers


def test_every_precision_and_every_memory(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(1800, 1400, generator=generator)  # 10 MB: several pieces, two threads
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    save_file(
        {str(kind): whole.to(kind) for kind in kinds} | {"one": torch.tensor(3.0)}, tmp_path / "model.safetensors"
    )
    with SafetensorsFolder(tmp_path) as source:
        assert source.read("one").item() == 3.0
        for kind in kinds:
            stored = whole.to(kind)
            for wanted in kinds:
                assert torch.equal(source.read(str(kind), wanted), stored.to(wanted)), (kind, wanted)
            for out in (
                torch.empty(1400, 1800).t(),
                torch.empty(3, 2, 300, 1400).transpose(1, 2),
                torch.empty(1800, 2800)[:, ::2],
                torch.empty(1800 * 1400 * 2)[::2],
            ):
                source.read_into(str(kind), out)
                assert torch.equal(out.reshape(1800, 1400), stored.float())
        with pytest.raises(CheckpointError, match=r"one has shape \(\); expected \(2,\)"):
            source.read_into("one", torch.empty(2))


def test_a_file_that_shrinks_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1000)}, path)
    with SafetensorsFolder(tmp_path) as source:
        os.truncate(path, 2000)
        with pytest.raises(CheckpointError, match="it ends at byte 2,000, inside a tensor"):
            source.read("a")


# ---- shards and index

NAMES = {"model-1.safetensors": ("a", "b"), "model-2.safetensors": ("c",)}


def write_shards(folder: Path, **index: object) -> None:
    for shard, names in NAMES.items():
        save_file({name: torch.full((3,), float(ord(name))) for name in names}, folder / shard)
    weight_map = {name: shard for shard, names in NAMES.items() for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {**weight_map, **index}}))


def test_shards_that_are_symbolic_links(tmp_path: Path) -> None:
    """The cache of huggingface_hub: a snapshot's files are links to blobs elsewhere."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    write_shards(tmp_path / "blobs")
    for path in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(Path("..", "blobs", path.name))
    with SafetensorsFolder(tmp_path / "snapshot") as source:
        assert [source.read(name)[0].item() for name in "abc"] == [97, 98, 99]


def drop(folder: Path, name: str) -> None:
    (folder / name).unlink()


DISAGREEMENTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing shard": (
        lambda f: drop(f, "model-2.safetensors"),
        r"has no model-2\.safetensors, which model\.safetensors\.index\.json names",
    ),
    "shard lacks a tensor": (
        lambda f: write_shards(f, d="model-2.safetensors"),
        r"model-2\.safetensors lacks d, which the index says it holds",
    ),
    "shard holds more": (
        lambda f: save_file({"c": torch.zeros(3), "z": torch.zeros(1)}, f / "model-2.safetensors"),
        r"model-2\.safetensors holds z, which the index does not name",
    ),
    "a tensor in two shards": (
        lambda f: save_file({"c": torch.zeros(3), "a": torch.zeros(3)}, f / "model-2.safetensors"),
        r"model-2\.safetensors holds a, which the index places in model-1\.safetensors",
    ),
    "up and out": (
        lambda f: write_shards(f, c="../model-2.safetensors"),
        r"names the file '\.\./model-2\.safetensors'",
    ),
    "absolute": (lambda f: write_shards(f, c="/etc/x.safetensors"), r"Nothing outside the folder is read"),
    "in a folder": (lambda f: write_shards(f, c="sub/x.safetensors"), r"expected the plain name"),
    "Windows": (lambda f: write_shards(f, c="C:\\x.safetensors"), r"expected the plain name"),
    "another kind": (lambda f: write_shards(f, c="passwd"), r"names the file 'passwd'"),
    "a pickle": (lambda f: write_shards(f, c="pytorch_model-2.bin"), r"opening a pickle executes whatever code"),
    "no map": (lambda f: (f / "model.safetensors.index.json").write_text("{}"), r"expected a 'weight_map'"),
    "a map of numbers": (lambda f: write_shards(f, c=2), r"expected a 'weight_map' of tensor and file names"),
    "a name twice": (
        lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "x", "a": "y"}}'),
        r"'a' stands in it twice",
    ),
}


@pytest.mark.parametrize("fault", DISAGREEMENTS)
def test_an_index_that_disagrees(fault: str, tmp_path: Path) -> None:
    break_it, message = DISAGREEMENTS[fault]
    write_shards(tmp_path)
    break_it(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        SafetensorsFolder(tmp_path)


def test_folders_without_safetensors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors; it is not the folder of a model"):
        SafetensorsFolder(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"only pytorch_model\.bin; opening a pickle executes .* GGUF files"):
        SafetensorsFolder(tmp_path)


def test_the_name_of_a_shard_that_no_disk_takes(tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "m" * 5000 + ".safetensors"}})
    )
    with pytest.raises(CheckpointError, match=r"names the file 'mmm.*; expected the plain name") as raised:
        SafetensorsFolder(tmp_path)
    assert len(str(raised.value)) < 500


def test_half_a_character(tmp_path: Path) -> None:
    """JSON can escape it, and nothing can print it."""
    write_raw(
        tmp_path / "model.safetensors", b'{"\\ud800": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', bytes(8)
    )
    with pytest.raises(CheckpointError, match="surrogates not allowed"):
        SafetensorsFolder(tmp_path)
