"""Sampling with a random stream per sequence, so that a sample does not depend on its batch.

Shapes: B sequences, V vocabulary.
"""

from typing import NamedTuple

import torch

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def counter_uniform(seed_B: torch.Tensor, counter_B: torch.Tensor) -> torch.Tensor:
    """A uniform number in (0, 1) for each (seed, counter): the SplitMix64 finaliser (Steele et al. 2014), fp32.

    Stateless: the same pair always gives the same number, whatever else is computed beside it.
    """
    z = seed_B + (counter_B + 1) * _GOLDEN
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * _MIX_1
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * _MIX_2
    z = z ^ ((z >> 31) & 0x1FFFFFFFF)
    uniform_B = ((z >> 40) & 0xFFFFFF).float() * 2.0**-24 + 2.0**-25
    return uniform_B.clamp_max(1.0 - 2.0**-24)  # fp32 rounds the largest of them up to 1


class Sampled(NamedTuple):
    """Chosen ids and their log-probabilities under the distribution they were drawn from."""

    ids_B: torch.Tensor
    logp_B: torch.Tensor


def sample(logits_BV: torch.Tensor, uniform_B: torch.Tensor, temperature: float) -> Sampled:
    """Draw by inverting the cumulative distribution at `uniform_B`; greedy at temperature 0.

    The log-probability is that of softmax(logits / temperature), or of softmax(logits) when greedy.
    """
    scores_BV = logits_BV.float()
    if temperature not in (0.0, 1.0):
        scores_BV = scores_BV / temperature
    logp_BV = scores_BV.log_softmax(dim=-1)
    if temperature == 0.0:
        ids_B = logits_BV.argmax(dim=-1)
    else:
        cumulative_BV = logp_BV.exp().cumsum(dim=-1)
        threshold_B1 = (uniform_B * cumulative_BV[:, -1]).unsqueeze(-1)
        ids_B = torch.searchsorted(cumulative_BV, threshold_B1, right=True).squeeze(-1)
        ids_B = ids_B.clamp_max_(logits_BV.shape[1] - 1)
    return Sampled(ids_B, logp_BV.gather(-1, ids_B.unsqueeze(-1)).squeeze(-1))
