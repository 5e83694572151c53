"""Majority votes: worked cases, every subset by brute force, and saved samples that were scored by others."""

from itertools import combinations

import pytest

from benchmark_data import benchmark_rows
from ponder.core.types import Problem
from ponder.evals.voting import EXACT, Ballot, Votes, collect_votes, math_ballot
from ponder.verify.math.checker import MathChecker
from ponder.verify.math.pool import MathConfig, MathPool


def votes(answers: str, right: str) -> Votes:
    """One letter is one answer; "-" is none."""
    given = [None if a == "-" else a for a in answers]
    return collect_votes(given, [a is not None and a in right for a in given], EXACT)


@pytest.mark.parametrize(
    ("answers", "right", "share", "first"),
    [
        ("aab", "a", 1.0, 1.0),
        ("aab", "b", 0.0, 0.0),
        ("ab", "a", 0.5, 1.0),  # a tie: half, or the first given
        ("ba", "a", 0.5, 0.0),
        ("abc", "a", 1 / 3, 1.0),
        ("aabbc", "b", 0.5, 0.0),
        ("a--b-b", "b", 1.0, 1.0),  # who gives no answer does not vote
        ("---", "a", 0.0, 0.0),  # nobody votes
        ("", "a", 0.0, 0.0),
    ],
)
def test_the_majority_by_hand(answers: str, right: str, share: float, first: float) -> None:
    assert votes(answers, right).share_right() == pytest.approx(share)
    assert votes(answers, right).share_right(ties="first") == first


def test_answers_that_mean_the_same_vote_together() -> None:
    numbers = Ballot(lambda text: text.rpartition("=")[2].strip() or None, lambda a, b: float(a) == float(b))
    found = collect_votes(["x = 1", "2", "1.0", "x=", "2.00", "1"], [True, False, True, False, False, True], numbers)
    assert found.choice == (0, 1, 0, None, 1, 0)
    assert found.right == (True, False)
    assert found.share_right() == 1.0


def test_other_case_is_another_text() -> None:
    found = collect_votes([" yes ", "yes", "Yes", "yes"], [False, False, True, False], EXACT)  # as `check_exact` judges
    assert found.choice == (0, 0, 1, 0)
    assert found.share_right() == 0.0


def test_a_right_answer_is_right_whatever_the_form_of_one_reply() -> None:
    # the second reply gave the right answer in a wrong form and was judged wrong
    assert votes("aab", "a").right == (True, False)
    assert collect_votes(["4", "4", "5"], [False, True, False], EXACT).right == (True, False)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6])
def test_votes_of_k_are_the_mean_over_all_subsets(k: int) -> None:
    found = votes("aabb-c", "a")
    expected = [found.share_right(subset) for subset in combinations(range(6), k)]
    assert found.at(k) == pytest.approx(sum(expected) / len(expected))
    assert found.at(1) == pytest.approx(2 / 6)
    assert found.at(6) == found.share_right() == 0.5


def test_many_subsets_are_sampled() -> None:
    found = votes("a" * 12 + "b" * 8, "a")  # C(20, 5) = 15,504
    exact = [found.share_right(subset) for subset in combinations(range(20), 5)]
    assert found.at(5) == pytest.approx(sum(exact) / len(exact), abs=0.1)  # 200 draws: 3 standard errors
    assert found.at(5) == found.at(5)
    assert found.at(5, seed=1) != found.at(5, seed=2)
    with pytest.raises(ValueError, match="a vote of 21 among 20"):
        found.at(21)


def test_saved_samples_give_the_accuracies_of_their_authors_script() -> None:
    """100 problems x 8 solutions of Qwen2.5-Math's repository, with the answers and verdicts of its own scorer. Its
    script (rm_maj_eval.py: equal texts vote together, the first of a tie wins) gives pass@1 91.0 and maj@8 93.0.
    """
    rows = benchmark_rows("math_samples_maj8/math_cot_100.jsonl")
    theirs = [collect_votes(row["pred"], row["score"], EXACT) for row in rows]
    assert sum(v.share_right(ties="first") for v in theirs) == 93.0
    assert sum(v.at(1) for v in theirs) == pytest.approx(91.0)
    with MathPool(MathConfig(seconds=20.0)) as pool:
        ballot, checker = math_ballot(pool), MathChecker(pool)
        ours = []
        for row in rows:
            problem = Problem(id=str(row["idx"]), prompt=row["question"], answer=row["gt"])
            given = {reply: bool(checker(problem, reply)) for reply in row["code"]}
            ours.append(collect_votes(row["code"], [given[reply] for reply in row["code"]], ballot))
        # from the whole replies, with our extraction, verdicts and equality: but for one sample, the same
        assert sum(v.share_right(ties="first") for v in ours) == 93.0
        assert sum(v.at(1) for v in ours) == pytest.approx(91.0 + 1 / 8)  # 10000 is 10{,}000
        assert [v.choice for v in ours] == [v.choice for v in theirs]


def test_the_ballot_of_mathematics() -> None:
    with MathPool(MathConfig(seconds=20.0)) as pool:
        ballot = math_ballot(pool)
        replies = [r"so \boxed{\frac{1}{2}}", "The answer is 0.5.", r"\boxed{2}", r"\boxed{1/2}"]
        assert collect_votes(replies, [True, True, False, True], ballot).choice == (0, 0, 1, 0)
        assert ballot.stated("") is None
