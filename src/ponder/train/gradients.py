"""The gradient of a step from its micro-batches, worked side by side and summed in a fixed order."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import nn

from ponder.core.workers import Workers, kernel_threads
from ponder.train.parallel import close_shards, current, is_sharded, turns

Report = TypeVar("Report")
Result = TypeVar("Result")
MicroBatch = list[int]


def accumulate_gradients(
    model: nn.Module,
    micro_batches: Sequence[MicroBatch],
    loss_of: Callable[[MicroBatch], tuple[torch.Tensor, Report]],
    workers: Workers,
    masters: Sequence[nn.Parameter] | None = None,
) -> list[Report]:
    """Set every parameter's `.grad` to the sum over the micro-batches of the gradient of `loss_of`.

    `loss_of` must already carry the divisor of the whole step. The sum runs in the order of `micro_batches`, so
    it does not depend on the number of workers. Returns the reports in that order. The gradient of a parameter
    that no loss reaches is None.

    `masters`: the parameters that get the sum, in the order of the model's own trainable ones, where the model is a
    copy in less precision; the sum is in theirs.

    Several processes divide the micro-batches, which must be the same for all of them; each gets the whole sum, or its
    shard of it, and all reports. The order of the sum then depends on how many processes there are.
    """
    parallel = current()

    def placed(micro_batch: MicroBatch) -> tuple[torch.Tensor, Report]:
        with parallel.on_device():  # of the worker's own thread
            return loss_of(micro_batch)

    if parallel.alone:
        return _sum_here(model, micro_batches, placed, workers, masters)
    owners = list(masters) if masters is not None else [p for p in model.parameters() if p.requires_grad]
    parallel.require_same("the micro-batches of a step", list(micro_batches))
    if any(map(is_sharded, owners)):
        mine = _sum_into_shards(micro_batches, loss_of, workers, owners)
    else:
        mine = _sum_here(model, parallel.share(micro_batches), placed, workers, masters)
    parallel.sum_gradients([p for p in owners if not is_sharded(p)])
    return parallel.gather(mine)


def _sum_into_shards(
    micro_batches: Sequence[MicroBatch],
    loss_of: Callable[[MicroBatch], tuple[torch.Tensor, Report]],
    workers: Workers,
    owners: Sequence[nn.Parameter],
) -> list[Report]:
    """Work this process's share, one micro-batch after the other; FSDP sums the gradients of each into the shards."""
    parallel = current()
    mine, reports = parallel.share(micro_batches), []
    for owner in owners:
        owner.grad = None
    with parallel.on_device(), kernel_threads(workers.cores):
        for turn in range(turns(len(micro_batches))):
            own = turn < len(mine)
            loss, report = loss_of(mine[turn] if own else micro_batches[0])
            (loss if own else loss * 0.0).backward()  # who has none left still takes part in gathering and summing
            if own:
                reports.append(report)
    return reports


def score_micro_batches(
    model: nn.Module, micro_batches: Sequence[MicroBatch], score: Callable[[MicroBatch], Result], workers: Workers
) -> list[Result]:
    """`score` of every micro-batch, in order, where `score` runs `model` without gradients. Several processes divide
    them, and each gets all results.
    """
    parallel = current()
    mine = parallel.share(micro_batches)

    def placed(micro_batch: MicroBatch) -> Result:
        with parallel.on_device():  # of the worker's own thread
            return score(micro_batch)

    if not any(map(is_sharded, model.parameters())):
        return parallel.gather(list(_side_by_side(placed, mine, workers)))
    with kernel_threads(workers.cores):
        results = [
            placed(mine[turn] if turn < len(mine) else micro_batches[0]) for turn in range(turns(len(micro_batches)))
        ]
    close_shards(model)
    return parallel.gather(results[: len(mine)])


def _side_by_side(
    function: Callable[[MicroBatch], Result], micro_batches: Sequence[MicroBatch], workers: Workers
) -> Iterator[Result]:
    """Results in order: by the workers on a CPU, one after the other on a GPU, whose memory is for one of them."""
    return workers.map(function, micro_batches) if current().on_cpu else map(function, micro_batches)


def _sum_here(
    model: nn.Module,
    micro_batches: Sequence[MicroBatch],
    loss_of: Callable[[MicroBatch], tuple[torch.Tensor, Report]],
    workers: Workers,
    masters: Sequence[nn.Parameter] | None,
) -> list[Report]:
    """One process's sum, by its workers."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def differentiate(micro_batch: MicroBatch) -> tuple[tuple[torch.Tensor | None, ...], Report]:
        loss, report = loss_of(micro_batch)
        return torch.autograd.grad(loss, parameters, allow_unused=True), report

    owners = parameters if masters is None else masters
    total: list[torch.Tensor | None] = [None] * len(parameters)
    reports = []
    for number, (gradients, report) in enumerate(_side_by_side(differentiate, micro_batches, workers), 1):
        reports.append(report)

        def add(i: int, gradients: tuple[torch.Tensor | None, ...] = gradients) -> None:
            gradient, so_far = gradients[i], total[i]
            if gradient is not None:
                total[i] = gradient.to(owners[i].dtype) if so_far is None else so_far.add_(gradient)

        if number < len(micro_batches):  # the workers are busy
            for i in range(len(parameters)):
                add(i)
        else:
            for _ in workers.map(add, largest_first(parameters)):
                pass
    for owner, gradient in zip(owners, total, strict=True):
        owner.grad = gradient
    return reports


def largest_first(tensors: Sequence[torch.Tensor]) -> list[int]:
    """Indices in the order in which workers that share them out end together."""
    return sorted(range(len(tensors)), key=lambda i: -tensors[i].numel())
