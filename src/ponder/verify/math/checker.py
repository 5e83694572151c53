"""Checks a mathematical answer: extraction, a short way for plain numbers, and the pool for the rest."""

import functools

from ponder.core.types import Problem
from ponder.text.boxed import LONGEST_ANSWER, last_boxed
from ponder.verify.checkers import Finding, show
from ponder.verify.math.extraction import stated_answers
from ponder.verify.math.normal_form import alike, answer_value, number, plain_words, readings
from ponder.verify.math.pool import MathPool
from ponder.verify.math.units import agree


class MathChecker:
    """An `AnswerChecker`: right if the answer that the text states equals the problem's, as mathematics.

    A reference that cannot be read leaves the answer ungraded. An answer that cannot be evaluated within the limits is
    wrong: the reference could be, so the answer is to blame.
    """

    def __init__(self, pool: MathPool) -> None:
        self._pool = pool
        self._reads = functools.lru_cache(maxsize=10_000)(pool.reads)

    def __call__(self, problem: Problem, answer: str) -> Finding:
        if problem.answer is None:
            return Finding(None, "the problem has no reference answer")
        reference = reference_answer(problem.answer)
        stated = stated_answers(answer)
        if not stated:
            return Finding(0.0, "no answer is stated")
        return self._judged(reference, stated[0])

    def fault_of(self, problem: Problem) -> str | None:
        """See `ponder.verify.checkers.ReadsReferences`. Takes some milliseconds, and none for a number or words."""
        if problem.answer is None:
            return "the problem has no reference answer"
        reference = reference_answer(problem.answer)
        return None if self._readable(reference) else _unreadable(reference)

    def _judged(self, reference: str, answer: str) -> Finding:
        wanted, given = readings(reference), readings(answer)
        if wanted[0].whole and alike(wanted, given):
            return Finding(1.0, f"{show(answer)}, as expected")
        if len(wanted) == len(given) == 1 and "%" not in wanted[0].value + given[0].value:
            first, second = number(wanted[0].value), number(given[0].value)
            if first is not None and second is not None:
                return _finding(first == second and agree(wanted[0].unit, given[0].unit), answer, reference)
        comparison = self._pool.compare(reference, answer)
        if comparison.equal is not None:
            return _finding(comparison.equal, answer, reference)
        if not self._readable(reference):
            return Finding(None, _unreadable(reference))
        return Finding(0.0, f"{show(answer)} cannot be evaluated: {comparison.reason}")

    def _readable(self, reference: str) -> bool:
        values = [answer_value(one.value) for one in readings(reference)]
        plain = any(number(value) is not None or plain_words(value) is not None for value in values)
        return plain or self._reads(reference)


def reference_answer(text: str) -> str:
    """A reference as data sets hold it: alone, in a box, or after GSM8K's "####"."""
    if "####" in text:
        text = text.rpartition("####")[2]
    boxed = last_boxed(text)
    return (boxed if boxed is not None else text).strip()[:LONGEST_ANSWER]


def _unreadable(reference: str) -> str:
    return f"the reference answer cannot be read: {show(reference) or 'it is empty'}"


def _finding(equal: bool, answer: str, reference: str) -> Finding:
    if equal:
        return Finding(1.0, f"{show(answer)}, as expected")
    return Finding(0.0, f"{show(answer)}, expected {show(reference)}")
