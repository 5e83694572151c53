"""From sequences of ids to padded tensors, in micro-batches of like length.

Shapes: B sequences, T tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ponder.models.config import ModelConfig
from ponder.models.moe import RouteMap


@dataclass(frozen=True)
class PaddedBatch:
    """Sequences padded on the right. Masks come from lengths, never from token values."""

    ids_BT: torch.Tensor
    valid_BT: torch.Tensor  # true where a sequence has a token
    scored_BT: torch.Tensor  # true at the tokens of the completion: those that a loss is about

    @classmethod
    def collate(cls, sequences: Sequence[Sequence[int]], prompt_lengths: Sequence[int], pad: int) -> "PaddedBatch":
        longest = max(map(len, sequences))
        ids_BT = torch.tensor([[*s, *[pad] * (longest - len(s))] for s in sequences])
        lengths_B1 = torch.tensor([[len(s)] for s in sequences])
        position_T = torch.arange(longest)
        valid_BT = position_T < lengths_B1
        return cls(ids_BT, valid_BT, valid_BT & (position_T >= torch.tensor(prompt_lengths)[:, None]))


def replayed_routes(routes: Sequence[bytes | None], length: int, config: ModelConfig) -> RouteMap | None:
    """The sampler's choices of experts for a batch padded to `length`, to be replayed; None where one is not known.

    The last token of a sequence was never fed to the sampler: there the model chooses for itself.
    """
    layers, moe = config.routed_layers, config.moe
    if moe is None or not layers or any(r is None for r in routes):
        return None
    shape = (-1, len(layers), moe.experts_per_token)
    chosen_BTLK = torch.full((len(routes), length, *shape[1:]), -1)
    for row, recorded in enumerate(routes):
        flat = torch.frombuffer(bytearray(recorded or b""), dtype=torch.int16).view(shape)
        chosen_BTLK[row, : len(flat)] = flat
    return RouteMap({layer: chosen_BTLK[:, :, i] for i, layer in enumerate(layers)}, replay=True)


def micro_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices of the sequences of each micro-batch: like lengths together, an even number of parts of about the same
    number of padded tokens, at most `max_tokens` each. (Even, so that two workers end together.)

    A sequence longer than `max_tokens` gets a part of its own. Memory and speed only: which sequences share a
    micro-batch never changes the result beyond rounding.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    pairs = max(1, math.ceil(sum(lengths) / (2 * max_tokens)))
    target = min(max_tokens, math.ceil(sum(lengths) / (2 * pairs) * 1.02))  # 2 % for padding
    batches: list[list[int]] = []
    for index in order:
        if batches and (len(batches[-1]) + 1) * lengths[index] <= target:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
