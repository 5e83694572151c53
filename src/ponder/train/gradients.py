"""The gradient of a step from its micro-batches, worked side by side and summed in a fixed order."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn

from ponder.core.workers import Workers

Report = TypeVar("Report")
MicroBatch = list[int]


def accumulate_gradients(
    model: nn.Module,
    micro_batches: Sequence[MicroBatch],
    loss_of: Callable[[MicroBatch], tuple[torch.Tensor, Report]],
    workers: Workers,
) -> list[Report]:
    """Set every parameter's `.grad` to the sum over the micro-batches of the gradient of `loss_of`.

    `loss_of` must already carry the divisor of the whole step. The sum runs in the order of `micro_batches`, so
    it does not depend on the number of workers. Returns the reports in that order. The gradient of a parameter
    that no loss reaches is None.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]

    def differentiate(micro_batch: MicroBatch) -> tuple[tuple[torch.Tensor | None, ...], Report]:
        loss, report = loss_of(micro_batch)
        return torch.autograd.grad(loss, parameters, allow_unused=True), report

    total: list[torch.Tensor | None] = [None] * len(parameters)
    reports = []
    for gradients, report in workers.map(differentiate, micro_batches):
        reports.append(report)
        for i, gradient in enumerate(gradients):
            if gradient is not None:
                so_far = total[i]
                total[i] = gradient if so_far is None else so_far.add_(gradient)
    for parameter, gradient in zip(parameters, total, strict=True):
        parameter.grad = gradient
    return reports
