"""Two evaluations compared pairwise: worked cases, coverage, and what is refused."""

import itertools
import math
import random
import statistics
from collections.abc import Sequence

import numpy as np
import pytest

from ponder.cli.compare import print_comparison
from ponder.cli.main import main
from ponder.core.errors import DataError
from ponder.evals.compare import compare, mcnemar, paired_bootstrap
from ponder.evals.graded import Drawn, GradedSample
from ponder.evals.r1_report import points


def samples(task: str, outcomes: dict[str, Sequence[bool | None]], drawn: Drawn = "sampled") -> list[GradedSample]:
    return [
        GradedSample(task=task, problem_id=p, prompt=f"{p}?", drawn=drawn, sample=i, text="", correct=correct)
        for p, group in outcomes.items()
        for i, correct in enumerate(group)
    ]


A = samples("plus", {"1": [True, False], "2": [False, False], "3": [True, True]}) + samples("times", {"1": [False]})
B = samples("plus", {"1": [True, True], "2": [False, True], "3": [True, None]}) + samples("times", {"1": [True]})


def test_differences_by_hand() -> None:
    found = compare(A, B).pass_at_1
    assert found is not None
    plus = found.tasks["plus"]
    assert (plus.problems, plus.a, plus.b) == (3, pytest.approx(0.5), pytest.approx((1 + 0.5 + 1) / 3))
    # the problems' differences are 0.5, 0.5 and 0: s² = 1/12, standard error √(1/36)
    assert plus.difference == pytest.approx(1 / 3)
    assert plus.standard_error == pytest.approx(1 / 6)
    # of the 27 equally likely resamples only (0, 0, 0) gives 0, and only those without a 0 (8 of 27) give 0.5
    assert (plus.low, plus.high) == (0.0, 0.5)
    assert plus.p == pytest.approx(2 / 27, abs=0.01)
    assert found.macro.difference == pytest.approx((1 / 3 + 1) / 2)
    assert found.macro.standard_error is None  # of one problem of "times"
    assert found.macro.p == pytest.approx(2 / 10_001)
    assert found.mcnemar is None
    assert compare(A, B).greedy is None


def test_the_other_way_round_is_the_negative() -> None:
    there, back = compare(A, B).pass_at_1, compare(B, A).pass_at_1
    assert there is not None
    assert back is not None
    for ours, theirs in zip([*there.tasks.values(), there.macro], [*back.tasks.values(), back.macro], strict=True):
        assert (ours.low, ours.high, ours.difference) == pytest.approx((-theirs.high, -theirs.low, -theirs.difference))
        assert ours.p == theirs.p


def test_the_same_seed_gives_the_same_and_equals_no_difference() -> None:
    assert compare(A, B, seed=3) == compare(A, B, seed=3)
    none = compare(A, A).pass_at_1
    assert none is not None
    assert (none.macro.difference, none.macro.low, none.macro.high, none.macro.p) == (0.0, 0.0, 0.0, 1.0)


def test_one_problem_has_no_standard_error() -> None:
    one, several = ([0.0], [1.0]), ([0.0, 1.0, 0.5], [1.0, 1.0, 0.0])
    tasks, macro = paired_bootstrap({"one": one, "several": several}, seed=1)
    assert (tasks["one"].standard_error, macro.standard_error) == (None, None)
    assert tasks["several"].standard_error is not None
    assert "s.e." not in points(macro)


def test_the_bootstrap_is_that_of_the_central_limit() -> None:
    """With 400 problems a mean is nearly normal: the interval is ± 1.96 standard errors, p that of the z test."""
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 5, 400) / 4, rng.integers(0, 6, 400) / 5 + 0.02
    found = paired_bootstrap({"x": (a.tolist(), b.tolist())}, seed=1)[0]["x"]
    error = statistics.stdev((b - a).tolist()) / 20
    assert found.standard_error == pytest.approx(error)
    assert (found.low, found.high) == pytest.approx(
        (found.difference - 1.96 * error, found.difference + 1.96 * error), abs=0.1 * error
    )
    normal = math.erfc(abs(found.difference) / error / math.sqrt(2))
    assert 0.05 < normal < 0.95
    assert found.p == pytest.approx(normal, abs=0.03)


def test_intervals_cover_a_true_difference() -> None:
    """Of 300 pairs of evaluations on two tasks of 60 problems, about 95 % of the intervals hold the true macro mean."""
    rng, covered = random.Random(2), 0
    for trial in range(300):
        tasks = {}
        for name, gain in (("x", 0.1), ("y", 0.3)):
            chances = [rng.uniform(0.1, 0.6) for _ in range(60)]
            tasks[name] = (
                [sum(rng.random() < p for _ in range(4)) / 4 for p in chances],
                [sum(rng.random() < p + gain for _ in range(4)) / 4 for p in chances],
            )
        macro = paired_bootstrap(tasks, seed=trial, resamples=1000)[1]
        covered += macro.low <= 0.2 <= macro.high
    assert 272 <= covered <= 297  # 285 ± 3.3 standard errors


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 5), (3, 3), (0, 7), (9, 2)])
def test_mcnemar_counts_splits_as_uneven(only_a: int, only_b: int) -> None:
    """The p-value is the share of all 2ⁿ ways in which n coins fall that are at least as uneven."""
    n = only_a + only_b
    heads = [sum(coins) for coins in itertools.product((0, 1), repeat=n)]
    uneven = sum(abs(2 * h - n) >= abs(only_a - only_b) for h in heads)
    assert mcnemar(only_a, only_b).p == pytest.approx(uneven / 2**n)
    assert mcnemar(0, 2000).p == 2 / 2**2000


def test_greedy_answers_get_mcnemar() -> None:
    a = samples("plus", {str(i): [i < 5] for i in range(10)}, "greedy")
    b = samples("plus", {str(i): [i in (0, 1, 2, 3, 5, 6, 7, 8)] for i in range(10)}, "greedy")
    found = compare(a, b).greedy
    assert found is not None
    assert found.mcnemar == mcnemar(1, 4)
    assert found.mcnemar.p == pytest.approx(2 * (1 + 5) / 32)
    assert found.macro.difference == pytest.approx(0.3)
    # differences: -1 once, +1 four times, 0 five times; s² = (1 + 4 - 10 * 0.09) / 9
    assert found.macro.standard_error == pytest.approx(math.sqrt(4.1 / 90))


def test_a_problem_that_one_could_not_grade_is_left_out() -> None:
    found = compare(samples("x", {"1": [None], "2": [True]}), samples("x", {"1": [True], "2": [True]})).pass_at_1
    assert found is not None
    assert found.macro.problems == 1
    assert compare(samples("x", {"1": [None]}), samples("x", {"1": [True]})).pass_at_1 is None


def test_other_problems_are_refused_or_left_out() -> None:
    more = B + samples("plus", {"4": [True]})
    with pytest.raises(DataError, match="0 of A's are not in B, 1 of B's are not in A; compare the 4 that both have"):
        compare(A, more)
    found = compare(A, more, common=True)
    assert (found.only_a, found.only_b) == (0, 1)
    assert found.pass_at_1 == compare(A, B).pass_at_1
    with pytest.raises(DataError, match="no problem in common: A has 4 of plus, times, B has 1 of other"):
        compare(A, samples("other", {"1": [True]}))
    reworded = [GradedSample(task="x", problem_id="1", prompt="other", text="", correct=True)]
    with pytest.raises(DataError, match="problem '1' is worded differently"):
        compare(samples("x", {"1": [True]}), reworded)


def test_an_evaluation_that_was_stopped_among_its_samples_is_refused() -> None:
    """Greedy answers are drawn first, so that such a one has those of all problems."""
    first = {"1": [True], "2": [False], "3": [True]}
    greedy = samples("x", first, "greedy")
    whole, stopped = greedy + samples("x", first), greedy + samples("x", {"1": [True]})
    with pytest.raises(DataError, match=r"the samples .* 2 of A's are not in B, 0 of B's .* compare the 1 that both"):
        compare(whole, stopped)
    found = compare(whole, stopped, common=True)
    assert found.greedy is not None
    assert found.pass_at_1 is not None
    assert (found.greedy.macro.problems, found.pass_at_1.macro.problems) == (3, 1)
    alone = compare(whole, greedy)  # the one was never asked for samples
    assert alone.pass_at_1 is None
    assert alone.greedy == found.greedy


@pytest.mark.parametrize(("problems", "few"), [(1, 1), (29, 29), (30, 0), (200, 0)])
def test_what_stands_on_few_problems_is_said(problems: int, few: int, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = {str(i): [i % 3 == 0] for i in range(problems)}
    found = compare(samples("x", outcomes), samples("x", outcomes), resamples=100)
    assert found.few == few
    print_comparison(found, "a", "b")
    said = f"intervals and p of {few} problems are not to be trusted"
    assert (said in capsys.readouterr().out) == bool(few)


def test_a_seed_below_zero_is_a_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["compare", "a", "b", "--seed", "-1"])
    assert left.value.code == 2
    assert "argument --seed: got -1; expected 0 or more" in capsys.readouterr().err
