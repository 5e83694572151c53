"""Master weights in fp32, and the copy of the model in less precision that losses are computed on."""

import copy
import ctypes
import sys
from typing import Literal

import torch
from torch import nn

from ponder.algo.rounding import round_dithered_
from ponder.core.workers import Workers
from ponder.models.layers import RMSNorm
from ponder.models.transformer import Transformer
from ponder.train.parallel import copy_from_shards, copy_to_shards, current, shard

Precision = Literal["fp32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


# parameters of glibc's mallopt: one pool for all threads, no block too large for it, nothing given back to the system
_KEEP_MEMORY = {"M_ARENA_MAX": (-8, 1), "M_MMAP_THRESHOLD": (-3, 1 << 30), "M_TRIM_THRESHOLD": (-1, (1 << 31) - 1)}


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the next step to use; without effect elsewhere than in glibc.

    A step frees gigabytes that the next one asks for again. Given back to the system, every page of them is cleared and
    mapped anew: up to a tenth of the time of a step.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        for parameter, value in _KEEP_MEMORY.values():
            mallopt(parameter, value)


class ComputeModel:
    """The model that forward and backward passes run on, among up to three copies of the weights:

        given   sampled from, measured and saved
          ↕     refresh(frozen=True) down, publish() up; one and the same but in shards or on a GPU
        master  what the optimizer moves, in fp32
          ↓     refresh(), before every step; one and the same but in bf16 (in shards, FSDP rounds)
        model   what losses are computed on

    An update too small for bf16 is not lost: it is added to the master, and the rounding lets sums over weights see it
    at once (`ponder.algo.rounding`).
    """

    def __init__(self, master: Transformer, precision: Precision, workers: Workers | None = None) -> None:
        """`workers` share out what a refresh copies."""
        keep_freed_memory()
        self._given, self.precision, self._workers = master, precision, workers
        if not current().alone and master.adapter is None:
            self.master = self.model = shard(master, DTYPES[precision])
            return
        device = current().device
        self.master = master if current().on_cpu else copy.deepcopy(master).to(device)
        self.model = self.master if precision == "fp32" else rounded_copy(self.master, DTYPES[precision])

    def refresh(self, *, frozen: bool = False) -> None:
        """Take the trained model's present weights over; with `frozen`, after weights were loaded into the given model,
        those that no gradient reaches as well.
        """
        if frozen and self.master is not self._given:
            copy_to_shards(self._given, self.master)
        if self.model is not self.master:
            copy_weights(self.master, self.model, self._workers, frozen=frozen)

    def publish(self) -> None:
        """Bring the given model up to date with what was trained. All processes must ask for it."""
        if self.master is not self._given:
            copy_from_shards(self.master, self._given)

    def masters(self) -> list[nn.Parameter]:
        """The trained model's parameters that a gradient reaches, in the order of the copy's."""
        return [p for p in self.master.parameters() if p.requires_grad]


@torch.no_grad()
def rounded_copy(model: Transformer, dtype: torch.dtype) -> Transformer:
    """A copy whose parameters have this type. The few numbers of norms, and buffers such as the balance of experts,
    keep theirs.
    """
    rounded = copy.deepcopy(model)
    of_norms = {id(m.weight) for m in rounded.modules() if isinstance(m, RMSNorm)}
    for parameter in rounded.parameters():
        if id(parameter) not in of_norms:
            parameter.data = parameter.data.to(dtype)
    return rounded


def copy_weights(source: nn.Module, target: nn.Module, workers: Workers | None = None, *, frozen: bool = True) -> None:
    """Write parameters and buffers of one model into another of the same form, rounded to the other's types: what is
    trained so that no change is lost (`ponder.algo.rounding`), the rest to nearest.

    Without `frozen`, only the parameters that a gradient reaches.
    """
    pairs = list(zip(target.parameters(), source.parameters(), strict=True))
    pairs = [(ours, theirs) for ours, theirs in pairs if frozen or theirs.requires_grad]
    pairs.sort(key=lambda pair: -pair[0].numel())

    @torch.no_grad()
    def write(pair: tuple[nn.Parameter, nn.Parameter]) -> None:
        ours, theirs = pair
        if ours.dtype == torch.bfloat16 and theirs.dtype == torch.float32 and theirs.requires_grad:
            round_dithered_(ours, theirs)
        else:
            ours.copy_(theirs)

    for _ in map(write, pairs) if workers is None else workers.map(write, pairs):
        pass
    with torch.no_grad():
        # duplicates too: `to` parts buffers that modules share
        buffers = (model.named_buffers(remove_duplicate=False) for model in (target, source))
        for (name, mine), (_, other) in zip(*buffers, strict=True):
            if name != "rotations":  # a table that each of them grows on its own
                mine.copy_(other)
