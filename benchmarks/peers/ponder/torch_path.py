"""Ponder's sides of benchmarks/torch_path.py: generation in PyTorch, as on a machine where nothing was compiled."""

import time
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ponder import __version__
from ponder.algo.native import functions
from ponder.engine.onednn import unavailable
from ponder.engine.onednn.model import plain_bf16
from ponder.engine.step import StepPlan
from ponder.engine.torch_runner import TorchRunner
from ponder.recipes.bench.turns import Ids, Timed, Unsupported, serve
from ponder.weights.checkpoint import load_model

PAGE = 16  # positions


class TorchSide:
    """A runner, and the pages of the prompts that were read last."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        functions.library = lambda: None  # no compiled kernels of training either
        torch.set_num_threads(job["threads"])
        model = load_model(Path(job["file"])).model.requires_grad_(False)
        if job["weights"] == "packed" and (reason := unavailable()) is not None:
            raise Unsupported(reason)
        self._width = -(-job["room"] // PAGE)
        pages, threads = self._width * job["sequences"], job["threads"]
        if job["weights"] == "plain":
            self.runner = TorchRunner(plain_bf16(model), pages=pages, page_size=PAGE, threads=threads)
        else:
            form = "fp32" if job["weights"] == "fp32" else "bf16"
            self.runner = TorchRunner(model, pages=pages, page_size=PAGE, weights=form, threads=threads)
        self.facts = {"versions": {"ponder": __version__, "torch": torch.__version__}}
        self._prompts: list[Ids] = []

    def prefill(self, prompts: Sequence[Ids]) -> Timed:
        raise Unsupported("only decoding is timed here")

    def decode(self, prompts: Sequence[Ids], tokens: int) -> Timed:
        """See `ponder.recipes.bench.turns.Side`."""
        if self._prompts != list(prompts):
            self._first = [self._step([slot], [prompt], 0)[0] for slot, prompt in enumerate(prompts)]
            self._prompts = list(prompts)
        new, chosen, length = self._first, [], len(prompts[0])
        slots = range(len(prompts))
        began = time.perf_counter()
        for step in range(tokens):
            new = self._step(slots, [[token] for token in new], length + step)
            chosen.append(new)
        return Timed(time.perf_counter() - began, [list(ids) for ids in zip(*chosen, strict=True)])

    def _step(self, slots: Sequence[int], parts: Sequence[Ids], first: int) -> list[int]:
        """Run these tokens of each sequence, from position `first` on; the likeliest token after each part."""
        lengths = [len(part) for part in parts]
        ends = [sum(lengths[: i + 1]) - 1 for i in range(len(parts))]
        prompts = lengths[0] > 1
        plan = StepPlan(
            slots=array("i", [slot for slot, part in zip(slots, parts, strict=True) for _ in part]),
            tokens=array("i", [token for part in parts for token in part]),
            positions=array("i", [first + place for part in parts for place in range(len(part))]),
            decode_rows=0 if prompts else len(parts),
            chunks=[(end + 1 - length, length) for end, length in zip(ends, lengths, strict=True)] if prompts else [],
            tables=array("i", range(self.runner.pages)),
            table_width=self._width,
            copies=[],
            logit_rows=array("i", ends),
            draws=[],
            draw_logits=array("i"),
            draw_seeds=array("q"),
            draw_indices=array("i"),
            draft_places=array("i"),
            drafts={},
            work=[],
        )
        ids: list[int] = self.runner.run(plan).argmax(-1).tolist()
        return ids


if __name__ == "__main__":
    serve(TorchSide)
