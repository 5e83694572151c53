"""From verdicts to shares: pass@k, means, and what cannot be counted."""

import math
from collections.abc import Sequence

from ponder.algo.pass_at_k import Interval, clustered_interval, pass_at_k
from ponder.core.errors import DataError


def pass_at_each_k(outcomes: Sequence[Sequence[bool]]) -> dict[int, Interval]:
    """pass@k at 1, 2, 4, … and the most samples that a problem has, of each problem's graded samples: the unbiased
    estimate, the problem the unit. A problem with fewer than k of them is left out at that k.
    """
    most = max((len(o) for o in outcomes), default=0)
    ks = sorted({*(2**i for i in range(most.bit_length())), most} - {0})
    return {k: clustered_interval([pass_at_k(len(o), sum(o), k) for o in outcomes if len(o) >= k]) for k in ks}


def mean(values: Sequence[float]) -> float:
    """Of no values, 0."""
    return math.fsum(values) / len(values) if values else 0.0


def require_graded(graded: int, reasons: Sequence[str], what: str) -> None:
    """Raises `DataError` where none of the completions (`what` kind) could be graded. `reasons`: of every one of them,
    why it has the verdict that it has.
    """
    if reasons and not graded:
        raise DataError(f"none of the {len(reasons)} {what} could be graded; the first one's reason: {reasons[0]}")
