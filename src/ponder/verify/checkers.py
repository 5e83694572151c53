"""Whether an answer is right, and why. A checker takes a problem and the answer's text, and never raises."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

from ponder.core.numbers import plain_number
from ponder.core.types import Problem, Verdict
from ponder.text.exact import same_answer
from ponder.verify.arithmetic import Flaw, evaluate


@dataclass(frozen=True, slots=True)
class Finding:
    """What a checker says of an answer: a score from 0 (wrong) to 1 (right), None where it cannot tell, and why."""

    score: float | None
    reason: str

    def __bool__(self) -> bool:
        return self.score == 1


# Returns True or False, a score from 0 to 1, either of them with a reason (False, "too long"), a Finding or a Verdict.
# It may be a user's, so its result is not trusted: `finding_of` reads it.
AnswerChecker = Callable[[Problem, str], object]


@runtime_checkable
class ReadsReferences(Protocol):
    """A checker that can tell before there is an answer whether it could judge one."""

    def fault_of(self, problem: Problem) -> str | None:
        """Why no answer to the problem can be judged, such as a reference answer that means nothing; else None."""
        ...


def fault_of(check: object, problem: Problem) -> str | None:
    """Why a checker cannot judge any answer to a problem; None where it can, or does not say before there is one."""
    return check.fault_of(problem) if isinstance(check, ReadsReferences) else None


def check_exact(problem: Problem, answer: str) -> Finding:
    """Right if it is the reference answer: the same integer, or the same text with the space around it dropped."""
    if problem.answer is None:
        return Finding(None, "the problem has no reference answer")
    given, reference = answer.strip(), problem.answer.strip()
    if same_answer(given, reference):
        return Finding(1.0, f"{show(given)}, as expected")
    return Finding(0.0, f"{show(given) or 'an empty answer'}, expected {show(reference)}")


def check_countdown(problem: Problem, answer: str) -> Finding:
    """Right if it is an expression of the problem's numbers, each used exactly once, that is worth its target.

    `problem.facts` holds `numbers` (integers) and `target` (an integer). The value is exact: 8/3*3 is 8.
    """
    numbers, target = problem.facts.get("numbers"), problem.facts.get("target")
    if not isinstance(numbers, tuple | list) or not all(isinstance(n, int) for n in numbers):
        return Finding(None, "the problem does not say its numbers")
    if not isinstance(target, int):
        return Finding(None, "the problem does not say its target")
    result = evaluate(answer)
    if isinstance(result, Flaw):
        return Finding(0.0, result.reason)
    if fault := _misuse(Counter(numbers), Counter(result.numbers)):
        return Finding(0.0, fault)
    if result.value != target:
        return Finding(0.0, f"{result.value}, expected {target}")
    return Finding(1.0, f"{target}, as expected")


def finding_of(checked: object) -> Finding:
    """What a checker returned, as a finding. Anything that says nothing about the answer has the score None."""
    match checked:
        case Finding():
            return _bounded(checked.score, checked.reason)
        case Verdict():
            if isinstance(correct := plain_number(checked.correct), bool):
                return Finding(float(correct), checked.reason)
            return _bounded(checked.score, checked.reason)
        case (score, str(reason)):
            return _bounded(score, reason)
        case _:
            return _bounded(checked, None)


def show(text: str, limit: int = 60) -> str:
    """Text for a message: shortened, and escaped where it holds something that cannot be printed."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return short if short.isprintable() else repr(short)


def _bounded(score: object, reason: str | None) -> Finding:
    kind = type(score).__name__
    score = plain_number(score)
    if isinstance(score, int | float | Fraction) and 0 <= score <= 1:  # NaN fails both comparisons
        return Finding(float(score), reason or _plain_reason(float(score)))
    if score is None and reason:
        return Finding(None, reason)
    if isinstance(score, float) and math.isnan(score):
        returned = "NaN"
    elif isinstance(score, int | float | Fraction):
        returned = "a number outside 0 to 1"
    else:
        returned = "None" if score is None else f"a {kind}"
    return Finding(None, f"the checker returned {returned}; expected True, False or a score from 0 to 1")


def _plain_reason(score: float) -> str:
    if score in (0, 1):
        return "the checker accepts it" if score else "the checker rejects it"
    return f"the checker gives it {score:g} of 1"


def _misuse(given: Counter[int], used: Counter[int]) -> str | None:
    """How the numbers used differ from those given; None where they are the same."""
    for number, times in used.items():
        if number not in given:
            return f"uses {number}, which is not given"
        if times > given[number]:
            often = {2: "twice"}.get(times, f"{times} times")
            allowed = {1: "", 2: ", given twice"}.get(given[number], f", given {given[number]} times")
            return f"uses {number} {often}{allowed}"
    for number, times in given.items():
        if used[number] < times:
            return (
                f"does not use {number}" if not used[number] else f"uses {number} too seldom: it is given {times} times"
            )
    return None
