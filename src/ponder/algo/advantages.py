"""Group-relative advantages.

Shapes: P prompts, G samples per prompt.
"""

from typing import Literal

import torch

Normalisation = Literal["std", "none"]


def group_advantages(
    rewards_PG: torch.Tensor,
    graded_PG: torch.Tensor | None = None,
    *,
    normalise: Normalisation = "std",
    eps: float = 1e-4,
) -> torch.Tensor:
    """A = (r - mean) / (std + eps) within each group (GRPO: DeepSeekMath, arXiv 2402.03300; R1 equation 3).

    `normalise="none"` keeps r - mean (Dr. GRPO, arXiv 2503.20783). The standard deviation is the sample one
    (ddof 1), as in the authors' RL code and its descendants; eps keeps a group with no spread at 0. Where
    `graded_PG` is false the reward is unknown: it enters neither mean nor deviation and its advantage is 0.
    Raises `ValueError` for groups of one, whose advantage would be undefined.
    """
    if rewards_PG.shape[1] < 2:
        raise ValueError(f"a group-relative advantage needs two or more samples per prompt, got {rewards_PG.shape[1]}")
    graded = torch.ones_like(rewards_PG) if graded_PG is None else graded_PG.to(rewards_PG.dtype)
    rewards = torch.where(graded.bool(), rewards_PG, 0.0)
    count = graded.sum(dim=1, keepdim=True)
    mean = (rewards * graded).sum(dim=1, keepdim=True) / count.clamp_min(1.0)
    centred = (rewards - mean) * graded
    if normalise == "none":
        return centred
    std = (centred.square().sum(dim=1, keepdim=True) / (count - 1.0).clamp_min(1.0)).sqrt()
    return centred / (std + eps)


def has_spread(rewards_PG: torch.Tensor, graded_PG: torch.Tensor | None = None) -> torch.Tensor:
    """(P,) whether the graded rewards of a group differ at all; a group without spread teaches nothing."""
    graded = torch.ones_like(rewards_PG, dtype=torch.bool) if graded_PG is None else graded_PG
    highest = rewards_PG.masked_fill(~graded, float("-inf")).amax(dim=1)
    lowest = rewards_PG.masked_fill(~graded, float("inf")).amin(dim=1)
    return highest > lowest
