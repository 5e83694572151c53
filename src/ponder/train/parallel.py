"""Several processes that train one model together, as `torchrun` starts them.

All of them go through the same program with the same data and seeds, so that each knows what a step is made of. What
is divided is the work: micro-batches, completions, grading. Under full training the weights, gradients and moments lie
in shards (FSDP2, `ponder.train.shards`); a model with an adapter is held by each process as a whole, and
the gradients of the adapter are summed.
"""

import importlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from ponder.core.errors import ConfigError, TrainingError
from ponder.core.workers import Device
from ponder.models.transformer import Transformer

Value = TypeVar("Value")
Job = TypeVar("Job")

CPU = torch.device("cpu")
SHARDS = "ponder.train.shards"
PATIENCE = timedelta(days=7)  # one process may have to wait this long: torchrun ends all of them where one fails
GONE = ("connection closed", "connection reset", "connection was likely closed", "broken pipe")  # in gloo's words


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """This process among those that train together."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU  # where the trained weights lie
    mesh: DeviceMesh | None = None

    @property
    def alone(self) -> bool:
        return self.world_size == 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def share(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Those of the jobs that are this process's: every one of them is somebody's."""
        return jobs[self.rank :: self.world_size]

    def gather(self, mine: Sequence[Value]) -> list[Value]:
        """The results of all shares, in the order of the jobs that `share` divided."""
        if self.alone:
            return list(mine)
        parts: list[Sequence[Value]] = [[] for _ in range(self.world_size)]
        dist.all_gather_object(parts, mine)
        total = sum(map(len, parts))
        return [parts[i % self.world_size][i // self.world_size] for i in range(total)]

    def map(self, function: Callable[[Job], Value], jobs: Sequence[Job]) -> list[Value]:
        """`function` of every job, each worked by one process and known to all of them."""
        return self.gather([function(job) for job in self.share(jobs)])

    def from_first(self, value: Value) -> Value:
        """The first process's value: for whatever may come out otherwise elsewhere, such as a clock or a verdict."""
        if self.alone:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def require_same(self, what: str, value: object) -> None:
        """Raises `TrainingError` where the processes do not have the same: better than to wait for each other."""
        if self.alone:
            return
        values: list[object] = [None] * self.world_size
        dist.all_gather_object(values, value)
        if any(other != values[0] for other in values):
            raise TrainingError(
                f"the processes differ in {what}: process {self.rank} has {str(value)[:80]}, and all of them should "
                "have the same; start them with the same recipe, files and versions"
            )

    @property
    def on_cpu(self) -> bool:
        """Whether the trained weights lie in main memory."""
        return self.device == CPU

    def on_device(self) -> AbstractContextManager[object]:
        """Within it, new tensors are made where the trained weights lie."""
        return nullcontext() if self.on_cpu else self.device

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Put the sum over the processes into every `.grad`; None stays where no process has one."""
        if self.alone or not parameters:
            return
        has = [float(p.grad is not None) for p in parameters]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([part.flatten().float() for part in parts] + [torch.tensor(has, device=parts[0].device)])
        dist.all_reduce(flat)  # one for all of them; every process gets the same numbers, bit for bit
        *sums, counts = flat.split([*(part.numel() for part in parts), len(has)])
        for parameter, total, count in zip(parameters, sums, counts.tolist(), strict=True):
            parameter.grad = total.view_as(parameter).to(parameter.dtype) if count else None


_alone = Parallel()
_joined: list[Parallel] = []  # this process's place, once it has one


def current() -> Parallel:
    """This process's place among those that train together; alone unless `joined` says otherwise."""
    return _joined[-1] if _joined else _alone


@contextmanager
def joined(wanted: Device = "auto") -> Iterator[Parallel]:
    """Within it, the processes that `torchrun` started with this one are there; alone where it started none.

    Training is on the CPU, with gloo, or on one GPU for each process, with NCCL. "auto" takes GPUs where several
    processes see them. Where another process ends early, whoever waits for it gets `TrainingError`. Raises
    `ConfigError` for a GPU that PyTorch does not see.
    """
    alone = not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1
    if _joined:
        yield current()
        return
    device = _device(wanted, alone=alone)
    if alone:
        with _placed(Parallel(device=device)) as parallel:
            yield parallel
        return
    on_gpu = device != CPU
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        place = Parallel(rank=dist.get_rank(), world_size=dist.get_world_size(), device=device, mesh=mesh)
        with _placed(place) as parallel:
            yield parallel
    except RuntimeError as error:
        if not any(words in str(error).lower() for words in GONE):
            raise
        raise TrainingError("another process of this training has ended; what it says tells why") from error
    finally:
        dist.destroy_process_group()


@contextmanager
def _placed(place: Parallel) -> Iterator[Parallel]:
    _joined.append(place)
    try:
        yield place
    finally:
        _joined.clear()


def _device(wanted: Device, *, alone: bool) -> torch.device:
    """Where this process's weights are to lie."""
    seen = torch.cuda.is_available()
    if wanted == "cuda" and not seen:
        raise ConfigError(
            f"compute.device = 'cuda', but PyTorch {torch.__version__} sees no GPU here; install a build of it for "
            "CUDA and the GPU's driver, or take compute.device = 'cpu'"
        )
    if wanted == "cpu" or not seen or (wanted == "auto" and alone):
        return CPU
    return torch.device("cuda", 0 if alone else int(os.environ["LOCAL_RANK"]))


def shard(model: Transformer, dtype: torch.dtype) -> Transformer:
    """A copy of a model whose parameters lie in shards over all processes; see `ponder.train.shards`."""
    parallel = current()
    return importlib.import_module(SHARDS).shard(model, dtype, parallel.mesh, parallel.device)


def close_shards(model: nn.Module) -> None:
    """Let go of what a forward pass without a backward pass has left gathered in a model in shards."""
    importlib.import_module(SHARDS).close_shards(model)


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether a process holds only a part of it, by rows: a DTensor, which only FSDP makes."""
    return hasattr(tensor, "full_tensor")


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor; all of it where it is not sharded."""
    local: Any = tensor
    return local.to_local() if is_sharded(tensor) else tensor


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor. All processes must ask for it."""
    part: Any = tensor
    return part.full_tensor() if is_sharded(tensor) else tensor


def for_first(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor on the first process, and nothing of it elsewhere. All processes must ask for it."""
    whole = gathered(tensor)
    return whole.cpu() if current().first else whole.new_empty(0)


def rows_of_process(whole: torch.Tensor) -> torch.Tensor:
    """The rows of a tensor that FSDP gives to this process: none where there are fewer than processes."""
    parts = whole.chunk(current().world_size)
    return parts[current().rank] if current().rank < len(parts) else whole[:0]


def parted_like(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`value`, which every process has as a whole, in shards as `like` is; a copy of it where that is not sharded."""
    if is_sharded(like):
        return shard_of(rows_of_process(value).to(like.device).clone(), like)
    return value.to(like.device, copy=True)


def shard_of(part: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """What has `part` on this process, as a tensor in shards as `like` is."""
    kind: Any = like
    return type(kind).from_local(
        part, kind.device_mesh, kind.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def total_norm(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """The norm of all gradients as one vector, shards of other processes included."""
    if not any(map(is_sharded, gradients)):
        return torch.nn.utils.get_total_norm(gradients)
    parts = [own_part(g) for g in gradients if is_sharded(g)]
    squares = torch.nn.utils.get_total_norm(parts).square()
    dist.all_reduce(squares)
    wholes = [g for g in gradients if not is_sharded(g)]
    return (squares + torch.nn.utils.get_total_norm(wholes).square()).sqrt() if wholes else squares.sqrt()


@torch.no_grad()
def copy_to_shards(whole: nn.Module, sharded: nn.Module) -> None:
    """Write parameters and buffers of a model into its sharded copy."""
    for theirs, ours in zip(sharded.parameters(), whole.parameters(), strict=True):
        own_part(theirs).copy_(rows_of_process(ours) if is_sharded(theirs) else ours)
    _copy_buffers(whole, sharded)


@torch.no_grad()
def copy_from_shards(sharded: nn.Module, whole: nn.Module) -> None:
    """Write the parameters and buffers of a sharded copy into the model. All processes must ask for it."""
    for theirs, ours in zip(sharded.parameters(), whole.parameters(), strict=True):
        ours.copy_(gathered(theirs))
    _copy_buffers(sharded, whole)


def _copy_buffers(source: nn.Module, target: nn.Module) -> None:
    # duplicates too: `to` parts buffers that modules share
    ours, theirs = (model.named_buffers(remove_duplicate=False) for model in (target, source))
    for (name, mine), (_, other) in zip(ours, theirs, strict=True):
        if name != "rotations":  # a table that each of them grows on its own
            mine.copy_(other)


def turns(jobs: int) -> int:
    """Micro-batches that every process goes through, so that all of them gather the shards as often."""
    return math.ceil(jobs / current().world_size)
