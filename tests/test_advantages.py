"""Group-relative advantages."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ponder.algo.advantages import group_advantages, has_spread


def test_hand_worked() -> None:
    # mean 0.5; squared deviations 4 · 0.25 = 1; sample deviation sqrt(1 / 3) = 0.577350
    advantages = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0]]), eps=0.0)
    assert advantages.tolist() == [pytest.approx([0.8660254, -0.8660254, -0.8660254, 0.8660254])]
    # mean 0.25; deviation sqrt((0.5625 + 3 · 0.0625) / 3) = 0.5; eps 1e-4
    advantages = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    assert advantages.tolist() == [pytest.approx([0.75 / 0.5001, -0.25 / 0.5001, -0.25 / 0.5001, -0.25 / 0.5001])]


def test_without_std() -> None:
    advantages = group_advantages(torch.tensor([[1.0, 0.0, 0.5, 0.5], [2.0, 2.0, 2.0, 6.0]]), normalise="none")
    assert advantages.tolist() == [[0.5, -0.5, 0.0, 0.0], [-1.0, -1.0, -1.0, 3.0]]


def test_no_spread_gives_zero() -> None:
    assert group_advantages(torch.full((2, 5), 0.7)).abs().max() < 1e-3  # rounding of the mean over eps
    assert group_advantages(torch.ones(2, 4)).tolist() == [[0.0] * 4] * 2


def test_group_of_one_raises() -> None:
    with pytest.raises(ValueError, match="two or more samples per prompt, got 1"):
        group_advantages(torch.ones(3, 1))


@pytest.mark.parametrize("normalise", ["std", "none"])
def test_ungraded_enters_nothing(normalise: str) -> None:
    rewards = torch.tensor([[1.0, 99.0, 0.0, 1.0]])
    graded = torch.tensor([[True, False, True, True]])
    with_gap = group_advantages(rewards, graded, normalise=normalise)
    without = group_advantages(rewards[:, [0, 2, 3]], normalise=normalise)
    assert with_gap[0, 1] == 0.0
    assert torch.equal(with_gap[:, [0, 2, 3]], without)


def test_unknown_reward_may_be_nan() -> None:
    advantages = group_advantages(torch.tensor([[1.0, math.nan, 0.0]]), torch.tensor([[True, False, True]]), eps=0.0)
    assert advantages.tolist() == [pytest.approx([math.sqrt(0.5), 0.0, -math.sqrt(0.5)])]


def test_at_most_one_graded_teaches_nothing() -> None:
    rewards = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    graded = torch.tensor([[True, False], [False, False]])
    assert group_advantages(rewards, graded).tolist() == [[0.0, 0.0], [0.0, 0.0]]


GROUPS = st.lists(st.lists(st.integers(0, 10), min_size=6, max_size=6), min_size=1, max_size=4)


@given(GROUPS, st.integers(-3, 3))
def test_shift_invariant_and_centred(rows: list[list[int]], shift: int) -> None:
    rewards = torch.tensor(rows, dtype=torch.float64) / 10
    advantages = group_advantages(rewards)
    assert torch.allclose(group_advantages(rewards + shift), advantages, atol=1e-9)
    assert torch.allclose(advantages.sum(dim=1), torch.zeros(len(rows), dtype=torch.float64), atol=1e-9)


@given(GROUPS, st.floats(0.1, 10))
def test_scale_invariant_with_std_only(rows: list[list[int]], scale: float) -> None:
    rewards = torch.tensor(rows, dtype=torch.float64) / 10
    assert torch.allclose(
        group_advantages(rewards * scale, eps=0.0).nan_to_num(), group_advantages(rewards, eps=0.0).nan_to_num()
    )
    plain = group_advantages(rewards, normalise="none")
    assert torch.allclose(group_advantages(rewards * scale, normalise="none"), plain * scale)


def test_groups_do_not_touch_each_other() -> None:
    rewards = torch.rand(5, 8, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([group_advantages(row[None]) for row in rewards])
    assert torch.allclose(group_advantages(rewards), alone)


def test_has_spread() -> None:
    rewards = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [5.0, 0.0, 2.0]])
    assert has_spread(rewards).tolist() == [False, True, True, True]
    graded = torch.tensor([[True, True, True], [True, True, True], [True, True, False], [False, False, False]])
    assert has_spread(rewards, graded).tolist() == [False, True, False, False]
