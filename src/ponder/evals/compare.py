"""Two evaluations on the same problems, compared pairwise: how much better one is, and how sure that is.

The problem is the unit. Resamples draw problems within each task, with replacement (a paired bootstrap, Efron 1979;
Koehn 2004 for comparisons of systems), so the macro mean over tasks has its interval too. Greedy answers are compared
by McNemar's exact test as well: of the problems on which the two differ, how many does each get right?
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ponder.core.errors import DataError
from ponder.evals.graded import Drawn, GradedSample

RESAMPLES = 10_000
FEW = 30  # problems, below which a bootstrap's interval and p are not to be trusted: too short, and too small
CHUNK = 2_000_000  # drawn problems at once: memory only

Outcomes = Mapping[str, Mapping[str, float]]  # accuracy by task and problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What B has more than A, in accuracy (-1 to 1). `problems` were paired; the interval is at 95 %."""

    problems: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    standard_error: float | None  # paired: of the problems' own differences; None where a task has only one
    p: float  # two-sided, of the bootstrap: how often a resample falls on the other side of 0, doubled


@dataclass(frozen=True, kw_only=True, slots=True)
class McNemar:
    """Problems that one gets right and the other does not, and the exact two-sided p of so uneven a split."""

    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True, kw_only=True, slots=True)
class KindComparison:
    """The comparison of one kind of completions: greedy ones, or sampled ones (pass@1)."""

    tasks: Mapping[str, Difference]
    macro: Difference  # every task counts the same
    mcnemar: McNemar | None  # of greedy answers


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two evaluations, A and B."""

    greedy: KindComparison | None  # None where one of them has no greedy answers
    pass_at_1: KindComparison | None
    only_a: int  # problems that are left out, since B does not have them
    only_b: int
    seed: int
    resamples: int

    @property
    def few(self) -> int:
        """The fewest problems that a figure of it stands on, where they are fewer than `FEW`; else 0."""
        kinds = [kind for kind in (self.greedy, self.pass_at_1) if kind is not None]
        fewest = min((task.problems for kind in kinds for task in kind.tasks.values()), default=FEW)
        return fewest if fewest < FEW else 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    a: Sequence[GradedSample],
    b: Sequence[GradedSample],
    *,
    common: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare the samples of two evaluations, matched by task and problem.

    Raises `DataError` where the problems differ, also those of one kind alone (of an evaluation that was stopped, all
    greedy answers may be there, and few samples): `common` compares those that both have. A problem that could not be
    graded in one of them is left out of that kind.
    """
    asked_a, asked_b = _asked(a), _asked(b)
    shared = asked_a.keys() & asked_b.keys()
    only_a, only_b = len(asked_a) - len(shared), len(asked_b) - len(shared)
    if not shared:
        raise DataError(
            f"the two evaluations have no problem in common: A has {_listed(asked_a)}, B has {_listed(asked_b)}"
        )
    if changed := [key for key in shared if asked_a[key] != asked_b[key]]:
        raise DataError(
            f"problem {min(changed)[1]!r} is worded differently in the two evaluations; compare evaluations of the "
            "same problems"
        )
    if (only_a or only_b) and not common:
        raise DataError(
            f"the evaluations are on different problems: {only_a} of A's are not in B, {only_b} of B's are not in A; "
            f"compare the {len(shared)} that both have with --common"
        )
    if not common:
        _require_same_of_each_kind(a, b)
    drawn: dict[Literal["greedy", "sampled"], KindComparison | None] = {}
    for kind in ("greedy", "sampled"):
        first, second = (_outcomes(samples, kind, shared) for samples in (a, b))
        drawn[kind] = _compare_kind(first, second, kind, seed, resamples)
    return Comparison(
        greedy=drawn["greedy"],
        pass_at_1=drawn["sampled"],
        only_a=only_a,
        only_b=only_b,
        seed=seed,
        resamples=resamples,
    )


def paired_bootstrap(
    tasks: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, seed: int, resamples: int = RESAMPLES
) -> tuple[dict[str, Difference], Difference]:
    """Differences by task and their macro mean, from the accuracies of A and B on each task's problems, in one order.

    Percentile intervals. p = 2 min(share of resamples <= 0, share >= 0), with one resample added on each side, and 1 at
    most. The standard error is analytic: s/√n of a task's differences, √(Σ se²)/T of the macro mean; one problem has
    none. `seed` is a whole number from 0.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, Difference] = {}
    sums = np.zeros(resamples)
    for name, (a, b) in tasks.items():
        first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        differences = second - first
        means = _resampled_means(differences, rng, resamples)
        sums += means
        n = len(differences)
        error = float(differences.std(ddof=1) / math.sqrt(n)) if n > 1 else None
        found[name] = _difference(n, float(first.mean()), float(second.mean()), means, error)
    count, errors = len(tasks), [d.standard_error for d in found.values()]
    known = [error for error in errors if error is not None]
    macro = _difference(
        sum(d.problems for d in found.values()),
        math.fsum(d.a for d in found.values()) / count,
        math.fsum(d.b for d in found.values()) / count,
        sums / count,
        math.sqrt(math.fsum(error**2 for error in known)) / count if len(known) == count else None,
    )
    return found, macro


def mcnemar(only_a: int, only_b: int) -> McNemar:
    """McNemar's test (1947) in its exact form: binomial with p = 1/2 over the problems on which the two differ.

    >>> mcnemar(1, 5).p
    0.21875
    """
    n, least = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, i) for i in range(least + 1))
    return McNemar(only_a=only_a, only_b=only_b, p=min(1.0, 2 * tail / 2**n))


def _compare_kind(a: Outcomes, b: Outcomes, kind: Drawn, seed: int, resamples: int) -> KindComparison | None:
    pairs: dict[str, tuple[list[float], list[float]]] = {}
    for task in sorted(a.keys() & b.keys()):
        problems = sorted(a[task].keys() & b[task].keys())
        if problems:
            pairs[task] = ([a[task][p] for p in problems], [b[task][p] for p in problems])
    if not pairs:
        return None
    tasks, macro = paired_bootstrap(pairs, seed=seed, resamples=resamples)
    test = None
    if kind == "greedy":
        both = [pair for first, second in pairs.values() for pair in zip(first, second, strict=True)]
        test = mcnemar(sum(x > y for x, y in both), sum(y > x for x, y in both))
    return KindComparison(tasks=tasks, macro=macro, mcnemar=test)


def _require_same_of_each_kind(a: Sequence[GradedSample], b: Sequence[GradedSample]) -> None:
    """Raises `DataError` where the greedy or the sampled completions of both are of different problems."""
    for kind, word in (("greedy", "greedy answers"), ("sampled", "samples")):
        first, second = ({(s.task, s.problem_id) for s in samples if s.drawn == kind} for samples in (a, b))
        if first and second and first != second:
            raise DataError(
                f"the {word} of the evaluations are of different problems: {len(first - second)} of A's are not in B, "
                f"{len(second - first)} of B's are not in A; let a stopped evaluation go on by the command that began "
                f"it, or compare the {len(first & second)} that both have with --common"
            )


def _asked(samples: Sequence[GradedSample]) -> dict[tuple[str, str], str]:
    return {(s.task, s.problem_id): s.prompt for s in samples if s.drawn != "forced"}


def _outcomes(samples: Sequence[GradedSample], kind: Drawn, shared: set[tuple[str, str]]) -> Outcomes:
    """The accuracy of each problem over its graded completions."""
    verdicts: dict[str, dict[str, list[bool]]] = {}
    for sample in samples:
        if sample.drawn == kind and sample.correct is not None and (sample.task, sample.problem_id) in shared:
            verdicts.setdefault(sample.task, {}).setdefault(sample.problem_id, []).append(sample.correct)
    return {task: {p: sum(v) / len(v) for p, v in problems.items()} for task, problems in verdicts.items()}


def _resampled_means(values: NDArray[np.float64], rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    n = len(values)
    rows = max(1, CHUNK // n)
    parts = [
        values[rng.integers(0, n, size=(min(rows, resamples - first), n))].mean(axis=1)
        for first in range(0, resamples, rows)
    ]
    return np.concatenate(parts)


def _difference(n: int, a: float, b: float, means: NDArray[np.float64], error: float | None) -> Difference:
    low, high = np.percentile(means, [2.5, 97.5])
    tolerance = 1e-12  # sums of the same numbers in another order
    below, above = int((means <= tolerance).sum()), int((means >= -tolerance).sum())
    p = min(1.0, 2 * (min(below, above) + 1) / (len(means) + 1))
    return Difference(
        problems=n, a=a, b=b, difference=b - a, low=float(low), high=float(high), standard_error=error, p=p
    )


def _listed(asked: Mapping[tuple[str, str], str]) -> str:
    tasks = sorted({task or "no task's name" for task, _ in asked})
    return f"{len(asked)} of {', '.join(tasks[:4])}{'…' if len(tasks) > 4 else ''}"
