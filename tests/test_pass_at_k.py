"""pass@k and intervals against hand-worked values and brute force."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.algo.pass_at_k import clustered_interval, mean_interval, pass_at_k, wilson_interval


def test_hand_worked() -> None:
    # 5 samples, 2 right: C(3,2)/C(5,2) = 3/10 of pairs are all wrong
    assert pass_at_k(5, 2, 2) == pytest.approx(0.7)
    assert pass_at_k(5, 2, 1) == pytest.approx(0.4)
    assert pass_at_k(5, 2, 4) == 1.0
    assert pass_at_k(5, 0, 5) == 0.0


def test_equals_the_share_of_all_subsets() -> None:
    for samples in range(1, 8):
        for correct in range(samples + 1):
            outcomes = [True] * correct + [False] * (samples - correct)
            for k in range(1, samples + 1):
                draws = [any(draw) for draw in itertools.combinations(outcomes, k)]
                assert pass_at_k(samples, correct, k) == pytest.approx(sum(draws) / len(draws))


@pytest.mark.parametrize(("samples", "correct", "k"), [(4, 1, 0), (4, 1, 5), (4, 5, 2), (4, -1, 2), (0, 0, 1)])
def test_refuses_what_makes_no_sense(samples: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match="expected 1 <= k <= n"):
        pass_at_k(samples, correct, k)


def test_wilson_is_the_root_of_its_equation() -> None:
    # Wilson's bounds are the p at which |successes/trials - p| = z sqrt(p (1-p) / trials)
    for successes, trials in ((1, 3), (7, 10), (158, 1000), (980, 1000)):
        interval = wilson_interval(successes, trials)
        for p in (interval.low, interval.high):
            assert abs(successes / trials - p) == pytest.approx(1.959964 * math.sqrt(p * (1 - p) / trials))


def test_wilson_golden() -> None:
    # 0 of 10: the upper bound is z² / (n + z²) = 3.841459 / 13.841459
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.0, 0.2775328), abs=1e-6)
    assert wilson_interval(10, 10) == pytest.approx((1.0, 0.7224672, 1.0), abs=1e-6)
    for trials in range(1, 300):  # of none and of all, exactly
        assert wilson_interval(0, trials).low == 0.0
        assert wilson_interval(trials, trials).high == 1.0
    with pytest.raises(ValueError, match="at least one trial"):
        wilson_interval(0, 0)


def test_clustered_golden() -> None:
    # mean 0.5; squared deviations 0.25 + 0 + 0.25 = 0.5; variance 0.25; standard error sqrt(0.25 / 3) = 0.288675
    assert clustered_interval([0.0, 0.5, 1.0]) == pytest.approx((0.5, 0.0, 1.0))
    # mean 0.4; squared deviations 4 · 0.01; variance 0.04/3; standard error sqrt(0.04 / 12) = 0.0577350
    low, high = 0.4 - 1.959964 * 0.05773503, 0.4 + 1.959964 * 0.05773503
    assert clustered_interval([0.3, 0.5, 0.3, 0.5]) == pytest.approx((0.4, low, high), abs=1e-7)
    with pytest.raises(ValueError, match="at least one problem"):
        clustered_interval([])


def test_clustered_does_not_claim_certainty_without_spread() -> None:
    assert clustered_interval([1.0] * 10) == wilson_interval(10, 10)
    assert clustered_interval([0.0] * 10) == wilson_interval(0, 10)
    assert clustered_interval([1.0]) == (1.0, 0.0, 1.0)


@given(st.lists(st.integers(0, 8), min_size=2, max_size=40))
def test_the_interval_does_not_shrink_when_samples_are_repeated(counts: list[int]) -> None:
    """Sixteen copies of eight samples carry no more news than the eight: the problem is the unit."""
    once = clustered_interval([pass_at_k(8, c, 1) for c in counts])
    again = clustered_interval([pass_at_k(16, 2 * c, 1) for c in counts])
    assert again == pytest.approx(once)
    assert 0.0 <= once.low <= once.mean <= once.high <= 1.0


def test_the_interval_of_a_mean_by_hand() -> None:
    # deviations -3, -1, 4: variance 26 / 2 = 13 with ddof 1, so a standard error of sqrt(13 / 3)
    mean, low, high = mean_interval([-2.0, 0.0, 5.0])
    assert mean == 1.0
    assert high - mean == mean - low == pytest.approx(1.959964 * math.sqrt(13 / 3))
    with pytest.raises(ValueError, match="1 values have no spread"):
        mean_interval([1.0])
