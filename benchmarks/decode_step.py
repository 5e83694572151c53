"""Where the time of one decoding step goes: a layer read from memory, the same from the caches, and the head.

    .venv/bin/ponder pull smollm2-135m-instruct
    .venv/bin/python benchmarks/decode_step.py              # --weights bf16,q8,q4; --batch, --rounds, --threads

Sequences of some hundred tokens, one unless --batch says otherwise. Four models of the same shape with random weights
are timed in turns: all layers with and without the head, and one and two layers, whose weights stay in the processor's
caches between steps. What the second layer adds is what a layer costs besides its memory: instructions, attention,
threads that wait for each other. Beside them stands how long this machine takes to read the bytes. Where a layer takes
about the larger of the two, nothing is left to win but by fewer bytes or fewer instructions.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ponder.core.seeds import torch_rng
from ponder.engine.formats import FORMATS, WeightFormat
from ponder.engine.native import NativeModel
from ponder.engine.native.model import PAGE
from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer
from ponder.recipes.bench.limits import Limits
from ponder.recipes.opening import find_model, model_folder
from ponder.weights.checkpoint import load_model

CONTEXT, TOKENS = 128, 64  # where the timed tokens begin, and how many they are
NO_HEAD = 64  # rows of a vocabulary so small that its head costs nothing
BUFFER = 1 << 29  # bytes that are read to tell the bandwidth


class Timed:
    """A model of random weights and its cache."""

    def __init__(self, config: ModelConfig, weights: WeightFormat, threads: int, batch: int) -> None:
        self._model = NativeModel(Transformer(config, torch_rng(0, "bench")), weights=weights, threads=threads)
        self.weight_bytes = self._model.weight_bytes
        pages = -(-(CONTEXT + TOKENS) // PAGE)
        self._cache = self._model.new_cache(pages * batch)
        self._tables = np.arange(pages * batch, dtype=np.int32).reshape(batch, pages)
        self._sequences = np.arange(batch, dtype=np.int32)
        self.step_seconds()  # fills the cache and the buffers

    def step_seconds(self) -> float:
        """The mean of `TOKENS` steps."""
        began = time.perf_counter()
        for place in range(CONTEXT, CONTEXT + TOKENS):
            rows, tokens = self._sequences, self._sequences + 1
            self._model.forward(self._cache, tokens, rows, np.full_like(rows, place), self._tables, rows)
        return (time.perf_counter() - began) / TOKENS


def times_of(config: ModelConfig, weights: WeightFormat, threads: int, batch: int, rounds: int) -> dict[str, float]:
    """Medians in microseconds, and the bytes behind them."""
    small = replace(config, vocab_size=NO_HEAD)
    sides = {
        "step": Timed(config, weights, threads, batch),
        "layers": Timed(small, weights, threads, batch),
        "one": Timed(replace(small, layers=1), weights, threads, batch),
        "two": Timed(replace(small, layers=2), weights, threads, batch),
    }
    memory = Limits({"threads": threads, "size": 64, "buffer": BUFFER})
    taken: dict[str, list[float]] = {name: [] for name in (*sides, "read")}
    for _ in range(rounds):
        for name, side in sides.items():
            taken[name].append(side.step_seconds())
        taken["read"].append(memory.bandwidth().seconds / BUFFER)
    median = {name: statistics.median(values) for name, values in taken.items()}
    layer_bytes = sides["two"].weight_bytes - sides["one"].weight_bytes
    head_bytes = sides["step"].weight_bytes - sides["layers"].weight_bytes
    micro = 1e6
    return {
        "tokens_per_second": batch / median["step"],
        "step": median["step"] * micro,
        "layer": median["layers"] / config.layers * micro,
        "layer_from_caches": (median["two"] - median["one"]) * micro,
        "layer_read": layer_bytes * median["read"] * micro,
        "head": (median["step"] - median["layers"]) * micro,
        "head_read": head_bytes * median["read"] * micro,
        "layer_bytes": layer_bytes,
        "head_bytes": head_bytes,
        "gigabytes_per_second": 1e-9 / median["read"],
    }


def lines_of(found: dict[str, dict[str, float]], layers: int) -> Iterator[str]:
    """A table for people."""
    names = ("layer", "layer_from_caches", "layer_read", "head", "head_read")
    yield f"{'weights':8}{'tokens/s':>9}{'step, µs':>10}  " + "".join(f"{name.replace('_', ' '):>19}" for name in names)
    for weights, row in found.items():
        yield f"{weights:8}{row['tokens_per_second']:>9,.0f}{row['step']:>10,.0f}  " + "".join(
            f"{row[name]:>19,.1f}" for name in names
        )
    speeds = ", ".join(f"{row['gigabytes_per_second']:.0f}" for row in found.values())
    yield f"µs; {layers} layers; memory read at {speeds} GB/s meanwhile"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="whose shape is timed")
    parser.add_argument("--weights", default="bf16,q8,q4")
    parser.add_argument("--batch", type=int, default=1, help="sequences that take a step together")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    config = load_model(model_folder(find_model(options.model))).model.config
    found: dict[str, Any] = {}
    for weights in options.weights.split(","):
        if weights not in FORMATS:
            parser.error(f"--weights {weights}; expected some of {', '.join(FORMATS)}")
        found[weights] = times_of(config, weights, options.threads, options.batch, options.rounds)
    print("\n".join(lines_of(found, config.layers)))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
