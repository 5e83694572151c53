"""The kernels on a processor of another kind: compiled for aarch64 and run by an emulator, they give the same logits.

Needs Debian's g++-aarch64-linux-gnu and qemu-user (other systems: a cross compiler and qemu-aarch64 of those names).
"""

import ctypes
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ponder.core.seeds import torch_rng
from ponder.engine.native import NativeModel, WeightFormat
from ponder.engine.native import model as native_model
from ponder.engine.native.library import SourceType, Variant, library
from ponder.models.config import ModelConfig
from ponder.models.presets import tiny_dense, tiny_v3
from ponder.models.transformer import Transformer

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
HERE = Path(__file__).parent
SOURCES = HERE.parent / "src/ponder"
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-pthread", "-fPIC", "-Wall", "-Wno-psabi", "-Werror"]  # as setup.py
MATRIX, PACK, VECTOR, END = 1, 2, 3, 0  # calls, as play_kernels.cpp knows them
TOKENS = 40  # more than one page of the cache, and than one tile of rows

needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"needs {COMPILER}")
needs_emulator = pytest.mark.skipif(shutil.which(EMULATOR) is None, reason=f"needs {EMULATOR}")
pytestmark = [pytest.mark.slow, needs_compiler]


class Tape:
    """The library, with a record of what a model is made of."""

    def __init__(self) -> None:
        self.written = bytearray()
        self._inputs: dict[tuple[int, ...], int] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call, note = getattr(library(), name), getattr(type(self), f"_{name}", None)

        def noted(*arguments: Any) -> Any:
            if note is not None:
                note(self, *arguments)
            return call(*arguments)

        return noted

    def _ponder_matrix_new(self, model: int, *numbers: int) -> None:
        self._inputs[numbers[:3]] = numbers[5]
        self.written += struct.pack("<8i", MATRIX, *numbers)

    def _ponder_matrix_pack(self, model: int, *numbers: int) -> None:
        *place, kind, unchanged, source, rows, first = numbers
        number = {SourceType.F32: 4, SourceType.BF16: 2}[SourceType(kind)]
        content = ctypes.string_at(source, rows * self._inputs[tuple(place)] * number)
        self.written += struct.pack("<9i", PACK, *place, kind, unchanged, rows, first, len(content)) + content

    def _ponder_vector_set(self, model: int, part: int, layer: int, source: int, count: int) -> None:
        self.written += struct.pack("<4i", VECTOR, part, layer, count) + ctypes.string_at(source, 4 * count)


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels and what calls them, compiled for the other processor."""
    path = tmp_path_factory.mktemp("aarch64") / "player"
    kernels = SOURCES / "engine/native/cpp"
    files = [str(HERE / "play_kernels.cpp"), *map(str, sorted(kernels.glob("*.cpp")))]
    subprocess.run([COMPILER, *FLAGS, "-static", f"-I{kernels}", *files, "-o", str(path)], check=True)
    return path


def test_the_kernels_of_training_compile_without_a_warning(tmp_path: Path) -> None:
    files = map(str, sorted((SOURCES / "algo/native/cpp").glob("*.cpp")))
    subprocess.run([COMPILER, *FLAGS, "-shared", *files, "-o", str(tmp_path / "training.so")], check=True)


@needs_emulator
@pytest.mark.parametrize("weights", ["fp32", "bf16", "q8", "q4"])
@pytest.mark.parametrize("shape", [tiny_dense, tiny_v3])
def test_logits_are_those_of_this_processor(
    shape: Callable[[int], ModelConfig],
    weights: WeightFormat,
    player: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tape = Tape()
    monkeypatch.setattr(native_model, "library", lambda: tape)
    config = shape(96)
    model = NativeModel(Transformer(config, torch_rng(0, "weights")), weights=weights, threads=2, variant=Variant.PLAIN)
    rows = np.arange(TOKENS, dtype=np.int32)
    tokens = (rows * 7 % config.vocab_size).astype(np.int32)
    pages = -(-TOKENS // native_model.PAGE)
    table = np.arange(pages, dtype=np.int32)[None]
    here = model.forward(model.new_cache(pages), tokens, np.zeros_like(rows), rows, table, rows).logits
    assert here is not None

    cos, sin = model._tables
    file, out = tmp_path / "tape", tmp_path / "logits"
    turned = struct.pack("<i", cos.numel()) + cos.numpy().tobytes() + sin.numpy().tobytes()
    asked = struct.pack("<2i", END, TOKENS) + tokens.tobytes()
    form = bytes(native_model._shape(config, half_cache=weights != "fp32", mtp=False))
    file.write_bytes(form + turned + bytes(tape.written) + asked)
    subprocess.run([EMULATOR, str(player), str(file), str(out)], check=True)
    there = torch.from_numpy(np.fromfile(out, np.float32)).view(TOKENS, -1)
    assert (there - here).abs().max().item() < (1e-5 if weights == "fp32" else 1e-2) * here.abs().max().item()
    assert (there.argmax(-1) == here.argmax(-1)).double().mean().item() > (0.999 if weights == "fp32" else 0.95)
