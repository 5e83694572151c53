"""The side of `ponder bench --contexts`: one sequence in the native kernels' cache, read on and on.

It reads as the engine does, a chunk of the prompt in each call, and makes tokens at the end of what was read.
sides.py starts it.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ponder import __version__
from ponder.engine.native import NativeModel
from ponder.engine.native.model import PAGE, Int32s
from ponder.recipes.bench.turns import Timed, serve
from ponder.weights.checkpoint import open_checkpoint

SEED = np.zeros(1, np.int64)


class Reader:
    """A native model with a cache for one sequence of `room` positions, whose memory is taken as it is read."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        with open_checkpoint(Path(job["file"])) as opened:
            self._model = NativeModel.from_source(
                opened.config, opened.source, weights=job["weights"], threads=job["threads"]
            )
        self._chunk: int = job["chunk"]
        pages = -(-job["room"] // PAGE)
        self._cache = self._model.new_cache(pages)
        self._tables = np.arange(pages, dtype=np.int32)[None]
        self.facts = {
            "versions": {"ponder": __version__, "torch": torch.__version__},
            "weight_bytes": self._model.weight_bytes,
            "instructions": self._model.variant.name.lower(),
            "page_bytes": self._cache.page_bytes,
            "page_positions": PAGE,
        }

    def read(self, ids: Sequence[int], start: int) -> Timed:
        """Take these tokens into the cache, the first of them at position `start`; the token after the last."""
        tokens, first = np.array(ids, np.int32), -1
        began = time.perf_counter()
        for at in range(0, len(tokens), self._chunk):
            part = tokens[at : at + self._chunk]
            first = self._forward(part, start + at)
        return Timed(time.perf_counter() - began, [[first]])

    def make(self, ids: Sequence[int], start: int) -> Timed:
        """A step of one token for each of these, which are what the cache holds from `start` on: so a step costs what
        it costs there, and the cache is the same afterwards. The token that each step would have chosen.
        """
        tokens, chosen = np.array(ids, np.int32), []
        began = time.perf_counter()
        for at in range(len(tokens)):
            chosen.append(self._forward(tokens[at : at + 1], start + at))
        return Timed(time.perf_counter() - began, [chosen])

    def _forward(self, tokens: Int32s, start: int) -> int:
        count = len(tokens)
        step = self._model.forward(
            self._cache,
            tokens,
            np.zeros(count, np.int32),
            np.arange(start, start + count, dtype=np.int32),
            self._tables,
            np.array([count - 1], np.int32),
        )
        assert step.logits is not None
        return int(self._model.sample(step.logits, SEED, SEED, 0.0).ids[0])


if __name__ == "__main__":
    serve(Reader)
