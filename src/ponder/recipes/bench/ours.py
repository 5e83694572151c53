"""Ponder's side of `ponder bench`: the native kernels, one call per step. Started by sides.py."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ponder import __version__
from ponder.engine.native import NativeModel
from ponder.engine.native.model import PAGE
from ponder.recipes.bench.turns import Ids, Timed, serve
from ponder.weights.checkpoint import load_model, open_checkpoint
from ponder.weights.gguf.reader import GgufSource

CHUNK = 512  # tokens of a prompt in one call
SEED = np.zeros(1, np.int64)


class OurSide:
    """A native model with a cache for as many sequences as are asked for."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        path = Path(job["file"])
        with open_checkpoint(path) if job["weights"] == "stored" else nullcontext() as opened:
            source = opened.source if opened is not None and isinstance(opened.source, GgufSource) else None
            self.model = NativeModel(
                load_model(path).model, weights=job["weights"], threads=job["threads"], source=source
            )
        self.facts = {
            "versions": {"ponder": __version__, "torch": torch.__version__},
            "weight_bytes": self.model.weight_bytes,
            "instructions": self.model.variant.name.lower(),
        }
        self._room = job["room"]  # positions of a sequence
        self._prefilled: tuple[list[Ids], NDArray[np.int32]] = ([], np.zeros(0, np.int32))
        self._reserve(1)

    def prefill(self, prompts: Sequence[Ids]) -> Timed:
        self._prefilled = ([], self._prefilled[1])  # the first sequence's pages are written over
        began = time.perf_counter()
        ids = [[self._read(prompt, 0)] for prompt in prompts]
        return Timed(time.perf_counter() - began, ids)

    def decode(self, prompts: Sequence[Ids], tokens: int) -> Timed:
        if self._prefilled[0] != list(prompts):
            self._reserve(len(prompts))
            self._prefilled = (
                list(prompts),
                np.array([self._read(prompt, row) for row, prompt in enumerate(prompts)], np.int32),
            )
        new, rows = self._prefilled[1], np.arange(len(prompts), dtype=np.int32)
        positions = np.array([len(prompt) for prompt in prompts], np.int32)
        seeds, chosen = np.zeros(len(prompts), np.int64), []
        began = time.perf_counter()
        for step in range(tokens):
            logits = self.model.forward(self._cache, new, rows, positions + np.int32(step), self._tables, rows).logits
            assert logits is not None
            new = self.model.sample(logits, seeds, seeds, 0.0).ids
            chosen.append(new)
        seconds = time.perf_counter() - began
        return Timed(seconds, np.array(chosen).T.tolist())

    def _reserve(self, sequences: int) -> None:
        width = -(-self._room // PAGE)
        self._cache = self.model.new_cache(sequences * width)
        self._tables = np.arange(sequences * width, dtype=np.int32).reshape(sequences, width)

    def _read(self, prompt: Ids, row: int) -> int:
        """Take a prompt into the cache as this sequence; its first new token."""
        ids, first = np.array(prompt, np.int32), -1
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            wanted = np.array([len(part) - 1] if start + CHUNK >= len(ids) else [], np.int32)
            positions = np.arange(start, start + len(part), dtype=np.int32)
            sequences = np.full(len(part), row, np.int32)
            step = self.model.forward(self._cache, part, sequences, positions, self._tables, wanted)
            if len(wanted):
                assert step.logits is not None
                first = int(self.model.sample(step.logits, SEED, SEED, 0.0).ids[0])
        return first


if __name__ == "__main__":
    serve(OurSide)
