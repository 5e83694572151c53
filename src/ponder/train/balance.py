"""The balance of experts, moved after a step by how many tokens each of them got."""

from collections.abc import Mapping, Sequence

import torch

from ponder.models.transformer import Transformer


def balance_experts(model: Transformer, loads: Sequence[Mapping[int, torch.Tensor]]) -> float:
    """Move the routing biases by the load of a whole step; returns the busiest expert's load over the mean.

    `loads`: for each micro-batch, the tokens of every expert by layer.
    """
    worst = 1.0
    for layer, mixture in model.moe_layers().items():
        here = [load[layer] for load in loads if layer in load]
        if here:
            load_E = torch.stack(here).sum(dim=0)
            mixture.update_balance_bias(load_E)
            worst = max(worst, float(load_E.max() / load_E.float().mean()))
    return worst
