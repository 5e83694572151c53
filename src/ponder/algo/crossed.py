"""Intervals for what was measured with several seeds on the same problems.

Shapes: S seeds, P problems.
"""

import math
from collections.abc import Sequence

from ponder.algo.pass_at_k import Z_95, Interval, wilson_interval

STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)  # 97.5 %, 1 to 9 degrees of freedom
STUDENT_BEYOND = 2.2281  # with 10; wider than any further one


def crossed_interval(values_SP: Sequence[Sequence[float]], *, share: bool = False) -> Interval:
    """Mean over seeds and problems with 95 % bounds that hold for other seeds and other problems alike.

    Every seed was measured on the same problems, so neither the P·S values nor the S means are all there is to be
    independent. The half-width is sqrt(a² + b²): a, of the problems, z · sd(their means over the seeds) / sqrt(P); b,
    of the seeds, t(S-1) · sd(their means over the problems) / sqrt(S), both with ddof 1. What a seed does on one
    problem alone is counted in both, so the interval errs on the wide side. One seed: the problems' part alone. Where
    no two problems differ, their spread says nothing: a is 3 / P then (the rule of three).

    `share`: the values are shares, so the bounds stay within 0 and 1, and where all values are 0 or all are 1 they are
    Wilson's. Raises `ValueError` unless every seed has the same number of problems, 2 or more.
    """
    seeds = len(values_SP)
    problems = len(values_SP[0]) if seeds else 0
    if problems < 2 or any(len(row) != problems for row in values_SP):
        raise ValueError(
            f"{seeds} seeds with {[len(row) for row in values_SP]} problems; expected equal numbers from 2"
        )
    by_problem = [math.fsum(row[p] for row in values_SP) / seeds for p in range(problems)]
    by_seed = [math.fsum(row) / problems for row in values_SP]
    mean = math.fsum(by_seed) / seeds
    if share and mean in (0.0, 1.0):
        return wilson_interval(round(mean * problems), problems)
    half = Z_95 * _standard_error(by_problem) or 3.0 / problems
    if seeds > 1:
        t = STUDENT[seeds - 2] if seeds - 2 < len(STUDENT) else STUDENT_BEYOND
        half = math.hypot(half, t * _standard_error(by_seed))
    low, high = mean - half, mean + half
    return Interval(mean, max(0.0, low), min(1.0, high)) if share else Interval(mean, low, high)


def _standard_error(values: Sequence[float]) -> float:
    """Of a mean of independent values."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))
