"""pass@k, and 95 % confidence intervals of means and shares, by the estimators that the literature uses.

Shapes: P problems, K samples per problem.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

Z_95 = 1.959964  # standard errors from a mean to the bounds of its 95 % interval


class Interval(NamedTuple):
    """A mean with its 95 % confidence bounds."""

    mean: float
    low: float
    high: float


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased chance that at least one of k draws without replacement is right: 1 - C(n-c, k) / C(n, k).

    Chen et al. 2021 (arXiv 2107.03374), equation 1. Raises `ValueError` unless 1 <= k <= n and 0 <= c <= n.
    """
    if not (1 <= k <= samples and 0 <= correct <= samples):
        raise ValueError(f"pass@{k} of {correct} right in {samples}: expected 1 <= k <= n and 0 <= right <= n")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927): for one yes-or-no outcome per problem."""
    if trials < 1:
        raise ValueError("an interval needs at least one trial")
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    # of none and of all, a bound is 0 or 1 exactly; rounding would leave a trace of it
    low, high = (0.0 if successes == 0 else centre - half), (1.0 if successes == trials else centre + half)
    return Interval(p, max(0.0, low), min(1.0, high))


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean ± `Z_95` standard errors (ddof 1) of independent values that have no bounds of their own. Raises
    `ValueError` for fewer than two.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"{n} values have no spread; an interval needs two or more")
    mean = math.fsum(values) / n
    half = Z_95 * math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)
    return Interval(mean, mean - half, mean + half)


def clustered_interval(values: Sequence[float], z: float = Z_95) -> Interval:
    """Mean over problems ± z standard errors, each problem's own mean being one observation.

    Samples of one problem are not independent, so the problem is the unit (Miller 2024, arXiv 2411.00640). Where
    every problem is at 0, or every one at 1, the spread says nothing: Wilson's interval then.
    """
    n = len(values)
    if n < 1:
        raise ValueError("an interval needs at least one problem")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, 0.0, 1.0)
    if mean in (0.0, 1.0):
        return wilson_interval(round(mean * n), n, z)
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    half = z * math.sqrt(variance / n)
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def macro_interval(tasks: Sequence[Interval]) -> Interval:
    """The mean of several tasks' means, each task counting the same, from intervals of independent problems.

    Bounds by squaring and adding, as for a sum of proportions (Newcombe 1998; Zou and Donner 2008): with the tasks'
    means m and bounds l and u, low = mean - sqrt(Σ (m - l)²)/T and high = mean + sqrt(Σ (u - m)²)/T.
    """
    count = len(tasks)
    if count < 1:
        raise ValueError("a mean over tasks needs at least one task")
    mean = math.fsum(task.mean for task in tasks) / count
    below = math.sqrt(math.fsum((task.mean - task.low) ** 2 for task in tasks)) / count
    above = math.sqrt(math.fsum((task.high - task.mean) ** 2 for task in tasks)) / count
    return Interval(mean, max(0.0, mean - below), min(1.0, mean + above))
