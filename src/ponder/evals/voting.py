"""Majority votes among a problem's answers: cons@k, also called maj@k.

Answers that mean the same vote together. R1's papers report cons@64 (R1v1 section 3.1); self-consistency is Wang et al.
2022 (arXiv 2203.11171). A completion without an answer does not vote; where nobody votes, the vote is wrong.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from ponder.core.seeds import python_rng
from ponder.verify.choice import stated_letter
from ponder.verify.math.extraction import stated_answers
from ponder.verify.math.normal_form import alike, readings
from ponder.verify.math.pool import MathPool

Ties = Literal["mean", "first"]

SUBSETS = 200  # at most so many subsets of k answers are counted; where there are fewer, all of them


@dataclass(frozen=True, slots=True)
class Ballot:
    """How answers are read and compared."""

    stated: Callable[[str], str | None]  # what a reply's answer part says; None: it does not vote
    same: Callable[[str, str], bool]  # whether two stated answers mean the same


# answers that are the same text but for the space around it: for tasks with one way to write an answer
EXACT = Ballot(lambda answer: answer.strip() or None, str.__eq__)
# the letters of multiple choice
CHOICE = Ballot(stated_letter, str.__eq__)


def math_ballot(pool: MathPool) -> Ballot:
    """Answers that are equal as mathematics: the boxed or last stated one, compared in the pool's workers."""

    def stated(answer: str) -> str | None:
        found = stated_answers(answer)
        return found[0] if found else None

    def same(first: str, second: str) -> bool:
        return alike(readings(first), readings(second)) or pool.compare(first, second).equal is True

    return Ballot(stated, same)


@dataclass(frozen=True, slots=True)
class Votes:
    """The completions of one problem as votes."""

    choice: tuple[int | None, ...]  # of each completion, the class of its answer; None: it does not vote
    right: tuple[bool, ...]  # of each class, whether its answer is right

    def share_right(self, members: Sequence[int] | None = None, ties: Ties = "mean") -> float:
        """How right the majority of these completions (None: of all) is, from 0 to 1.

        With several answers in front, `mean` gives the share of them that are right (the expectation of drawing lots),
        `first` takes the one that was given first.
        """
        voters = range(len(self.choice)) if members is None else members
        counted = Counter(choice for i in voters if (choice := self.choice[i]) is not None)
        if not counted:
            return 0.0
        most = max(counted.values())
        front = [choice for choice, count in counted.items() if count == most]  # in the order of the votes
        if ties == "first":
            return float(self.right[front[0]])
        return math.fsum(self.right[choice] for choice in front) / len(front)

    def at(self, k: int, seed: int = 0) -> float:
        """The expected share of right majorities of k of the completions, drawn without replacement.

        Exact where there are at most `SUBSETS` such subsets, else the mean over that many random ones.
        """
        n = len(self.choice)
        if not 1 <= k <= n:
            raise ValueError(f"a vote of {k} among {n} completions; expected 1 to {n}")
        if math.comb(n, k) <= SUBSETS:
            subsets = list(combinations(range(n), k))
        else:
            rng = python_rng(seed, "votes", n, k)
            subsets = [tuple(sorted(rng.sample(range(n), k))) for _ in range(SUBSETS)]
        return math.fsum(self.share_right(subset) for subset in subsets) / len(subsets)


def collect_votes(answers: Sequence[str | None], correct: Sequence[bool | None], ballot: Ballot) -> Votes:
    """Put the answers of one problem's completions into classes, in the order in which they come.

    A class is right if one of its answers was judged right: an answer is not wrong because its reply had a flaw.
    """
    first: list[str] = []  # of each class
    right: list[bool] = []
    known: dict[str, int] = {}
    choice: list[int | None] = []
    for answer, verdict in zip(answers, correct, strict=True):
        text = None if answer is None else ballot.stated(answer)
        if text is None:
            choice.append(None)
            continue
        if text not in known:
            same = next((i for i, other in enumerate(first) if ballot.same(other, text)), None)
            if same is None:
                same = len(first)
                first.append(text)
                right.append(False)
            known[text] = same
        place = known[text]
        right[place] = right[place] or verdict is True
        choice.append(place)
    return Votes(tuple(choice), tuple(right))
