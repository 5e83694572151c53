"""From sequences of ids to tensors, in micro-batches: padded rows of like length, or completions behind the prompt that
they share.

Shapes: B sequences, T tokens, M tokens of completions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

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
    recorded = recorded_routes(routes, config)
    if recorded is None:
        return None
    chosen_BTLK = torch.full((len(routes), length, *recorded[0].shape[1:]), -1)
    for row, chosen_TLK in enumerate(recorded):
        chosen_BTLK[row, : len(chosen_TLK)] = chosen_TLK
    return RouteMap({layer: chosen_BTLK[:, :, i] for i, layer in enumerate(config.routed_layers)}, replay=True)


@dataclass(frozen=True)
class PackedCompletions:
    """Completions end to end in one row, those of one prompt behind it: a prompt is run once for all of them (Prefix
    Grouper, arXiv 2506.05433).

    The last token of a completion is not in the row: nothing is read from its state.
    """

    ids_1T: torch.Tensor
    lengths: list[list[int]]  # as `Transformer.forward` takes them
    states_M: torch.Tensor  # where the state stands that predicts each token of the completions, in their order
    completion_ids_M: torch.Tensor
    spans: list[tuple[int, int, int]]  # what stands in the row: tokens from … to … of a prompt and its completion i

    @classmethod
    def collate(cls, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]) -> "PackedCompletions":
        """Only completions that follow one another share a prompt. Prompts have at least one token."""
        ids: list[int] = []
        lengths: list[list[int]] = []
        states: list[int] = []
        spans: list[tuple[int, int, int]] = []
        for prompt, members in groupby(range(len(prompts)), key=lambda i: tuple(prompts[i])):
            last = len(ids) + len(prompt) - 1
            ids += prompt
            family = [len(prompt)]
            for place, i in enumerate(members):
                fed = max(len(completions[i]) - 1, 0)
                if not place:
                    spans.append((i, 0, len(prompt)))
                if completions[i]:
                    states += [last, *range(len(ids), len(ids) + fed)]
                if fed:
                    spans.append((i, len(prompt), len(prompt) + fed))
                    ids += completions[i][:fed]
                    family.append(fed)
            lengths.append(family)
        flat = [token for completion in completions for token in completion]
        states_M, flat_M = (torch.tensor(row, dtype=torch.long) for row in (states, flat))  # there may be none
        return cls(torch.tensor([ids]), lengths, states_M, flat_M, spans)

    def replayed_routes(self, routes: Sequence[bytes | None], config: ModelConfig) -> RouteMap | None:
        """The sampler's choices of experts, to be replayed; None where one is not known. A prompt's are those that its
        first completion was sampled after.
        """
        recorded = recorded_routes(routes, config)
        if recorded is None:
            return None
        chosen_TLK = torch.full((self.ids_1T.shape[1], *recorded[0].shape[1:]), -1)
        place = 0
        for i, start, end in self.spans:
            known = recorded[i][start:end]
            chosen_TLK[place : place + len(known)] = known
            place += end - start
        return RouteMap({layer: chosen_TLK[None, :, i] for i, layer in enumerate(config.routed_layers)}, replay=True)


def recorded_routes(routes: Sequence[bytes | None], config: ModelConfig) -> list[torch.Tensor] | None:
    """The sampler's choices of experts, one (tokens fed, layers, K) for each sequence; None where one is not known."""
    if config.moe is None or not config.routed_layers or any(r is None for r in routes):
        return None
    shape = (-1, len(config.routed_layers), config.moe.experts_per_token)
    return [torch.frombuffer(bytearray(r or b""), dtype=torch.int16).view(shape) for r in routes]


def packed_micro_batches(prompts: Sequence[Sequence[int]], lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices of the completions of each micro-batch: those of one prompt together, an even number of parts of about
    the same number of tokens, at most `max_tokens` each, a prompt counted once in each part that has it.

    A completion that is longer, with its prompt, than `max_tokens` gets a part of its own.
    """
    first: dict[tuple[int, ...], int] = {}
    family = [first.setdefault(tuple(prompt), i) for i, prompt in enumerate(prompts)]
    total = sum(lengths) + sum(len(prompts[i]) for i in first.values())
    pairs = max(1, math.ceil(total / (2 * max_tokens)))
    target = min(max_tokens, math.ceil(total / (2 * pairs) * 1.02))  # 2 % for prompts that are in two parts
    batches: list[list[int]] = []
    used = 0
    for index in sorted(range(len(lengths)), key=lambda i: (family[i], i)):
        follows = bool(batches) and family[batches[-1][-1]] == family[index]
        more = lengths[index] + (0 if follows else len(prompts[index]))
        if batches and used + more <= target:
            batches[-1].append(index)
            used += more
        else:
            batches.append([index])
            used = lengths[index] + len(prompts[index])
    return batches


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
