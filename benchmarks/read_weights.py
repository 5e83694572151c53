"""How fast a sharded safetensors checkpoint is read, beside plainly reading the bytes of its files.

    python benchmarks/read_weights.py [--gigabytes 1] [--rounds 9] [--folder DIR] [--json]

Makes a Llama-shaped checkpoint of about that size in bf16, in shards, reads it once so that the files are in the page
cache, and then measures alternately, in one process:

  bytes    every file with `Path.read_bytes`, all of them kept, as weights are
  buffer   every file in pieces of 16 MiB into one buffer that stays: no memory is taken at all
  tensors  every tensor with `SafetensorsFolder.read`, in the precision of the file, into fresh memory
  model    `load_model` in the precision of the file: the headers, the checks, the model and its weights

and prints the medians in GB/s. The claim of the project is tensors / bytes of at least 0.8.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ponder.models.config import GqaConfig, ModelConfig
from ponder.text.tokenizer import Tokenizer
from ponder.weights.allocate import allocate
from ponder.weights.checkpoint import load_model, open_checkpoint, save_model
from ponder.weights.hf.safetensors import SafetensorsFolder
from ponder.weights.hf.writer import write_hf_folder

SHARDS = 4


def shape(gigabytes: float) -> ModelConfig:
    """A Llama of that many gigabytes in bf16: hidden size 2,048, layers of 101 MB."""
    return ModelConfig(
        vocab_size=32_000,
        hidden_size=2048,
        layers=max(1, round((gigabytes * 1e9 - 131e6) / 101e6)),
        heads=16,
        attention=GqaConfig(kv_heads=16, head_dim=128),
        intermediate_size=5504,
        rope_layout="halves",
        tie_embeddings=True,
    )


@torch.no_grad()
def make_checkpoint(folder: Path, gigabytes: float) -> None:
    """Random numbers in shards."""
    model = allocate(shape(gigabytes), torch.bfloat16)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.normal_(0.0, 0.02, generator=generator)
    save_model(folder / "whole", model, Tokenizer.for_arithmetic())
    with open_checkpoint(folder / "whole") as opened:
        write_hf_folder(folder / "sharded", opened, dtype="bf16", shard_bytes=gigabytes * 1e9 / SHARDS)


def read_bytes(folder: Path) -> int:
    kept = [path.read_bytes() for path in sorted(folder.glob("*.safetensors"))]
    return sum(map(len, kept))


def read_buffer(folder: Path, buffer: bytearray) -> int:
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb", buffering=0) as file:
            while got := file.readinto(buffer):
                total += got
    return total


def read_tensors(folder: Path) -> int:
    with SafetensorsFolder(folder) as source:
        kept = [source.read(name, torch.bfloat16) for name in source.infos]
        return sum(tensor.nbytes for tensor in kept)


def read_model(folder: Path) -> int:
    return sum(parameter.nbytes for parameter in load_model(folder, torch.bfloat16).model.parameters())


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Median GB/s of each way of reading."""
    buffer = bytearray(16 << 20)
    ways: dict[str, Callable[[], int]] = {
        "bytes": lambda: read_bytes(folder),
        "buffer": lambda: read_buffer(folder, buffer),
        "tensors": lambda: read_tensors(folder),
        "model": lambda: read_model(folder),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(-1, rounds):  # the first warms the page cache and is not counted
        for name, read in ways.items():
            began = time.perf_counter()
            size = read()
            if round_number >= 0:
                speeds[name].append(size / (time.perf_counter() - began) / 1e9)
    return {name: statistics.median(values) for name, values in speeds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where to make the checkpoint (a temporary folder)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        make_checkpoint(Path(folder), options.gigabytes)
        speeds = measure(Path(folder, "sharded"), options.rounds)
    ratios = {
        f"{name}_over_{plain}": speeds[name] / speeds[plain]
        for name in ("tensors", "model")
        for plain in ("bytes", "buffer")
    }
    if options.json:
        print(json.dumps({"gigabytes_per_second": speeds, **ratios}, indent=2))
        return
    for name, speed in speeds.items():
        print(f"{name:8} {speed:6.2f} GB/s")
    for name, ratio in ratios.items():
        print(f"{name.replace('_over_', ' / '):18} {ratio:5.2f}")


if __name__ == "__main__":
    main()
