"""Checkers: verdicts and reasons by hand, and 10,000 random texts without a crash."""

import random
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.core.types import Problem, Verdict
from ponder.verify.checkers import Finding, check_countdown, check_exact, finding_of, show

EIGHT = Problem(id="p", prompt="3+5=?", answer="8")
COUNTDOWN = Problem(id="c", prompt="3 5 7:22=?", facts={"numbers": (3, 5, 7), "target": 22})
TWINS = Problem(id="t", prompt="5 5 2:20=?", facts={"numbers": (5, 5, 2), "target": 20})

ALPHABET = "0123456789+-*/() \n\0.,=eE_xj½٣\ud800\U0001d7d8abc<think>"


@pytest.mark.parametrize(
    ("reference", "answer", "score", "reason"),
    [
        ("8", "8", 1, "8, as expected"),
        ("8", " 8\n", 1, "8, as expected"),
        ("8", "08", 1, "08, as expected"),
        ("0", "-0", 1, "-0, as expected"),
        ("-3", "-3", 1, "-3, as expected"),
        ("5", "8", 0, "8, expected 5"),
        ("5", "", 0, "an empty answer, expected 5"),
        ("8", "8.0", 0, "8.0, expected 8"),
        ("8", "٨", 0, "٨, expected 8"),
        ("8", "+8", 0, "+8, expected 8"),
        ("01101", "1101", 0, "1101, expected 01101"),  # a bit string, not a number
        ("red", "red", 1, "red, as expected"),
        ("red", "Red", 0, "Red, expected red"),
        ("8", "a\0b", 0, r"'a\x00b', expected 8"),
        ("8", "9" * 100, 0, "9" * 59 + "…, expected 8"),
    ],
)
def test_exact(reference: str, answer: str, score: float, reason: str) -> None:
    assert check_exact(Problem(id="p", prompt="?", answer=reference), answer) == Finding(score, reason)


def test_exact_without_a_reference_is_ungraded() -> None:
    assert check_exact(Problem(id="p", prompt="?"), "8") == Finding(None, "the problem has no reference answer")


@pytest.mark.parametrize(
    ("problem", "answer", "score", "reason"),
    [
        (COUNTDOWN, "3*5+7", 1, "22, as expected"),
        (COUNTDOWN, " 7 + (5*3) ", 1, "22, as expected"),
        (COUNTDOWN, "-(7-29)", 0, "uses 29, which is not given"),
        (COUNTDOWN, "3+5*7", 0, "38, expected 22"),
        (COUNTDOWN, "7/3+5", 0, "22/3, expected 22"),
        (COUNTDOWN, "3*5", 0, "does not use 7"),
        (COUNTDOWN, "3*5+7+7-7", 0, "uses 7 3 times"),
        (COUNTDOWN, "7+7+5+3", 0, "uses 7 twice"),
        (COUNTDOWN, "22", 0, "uses 22, which is not given"),
        (COUNTDOWN, "35-7", 0, "uses 35, which is not given"),
        (COUNTDOWN, "3*5+7=22", 0, "'=' is not allowed: an expression holds only whole numbers, + - * / and brackets"),
        (COUNTDOWN, "", 0, "no expression"),
        (COUNTDOWN, "3/(5-5)", 0, "division by zero"),
        (TWINS, "5*(5+2)-15", 0, "uses 15, which is not given"),
        (TWINS, "(5+5)*2", 1, "20, as expected"),
        (TWINS, "5*2", 0, "uses 5 too seldom: it is given 2 times"),
        (TWINS, "5+5+5+2", 0, "uses 5 3 times, given twice"),
    ],
)
def test_countdown(problem: Problem, answer: str, score: float, reason: str) -> None:
    assert check_countdown(problem, answer) == Finding(score, reason)


def test_countdown_division_is_exact() -> None:
    problem = Problem(id="d", prompt="8 3 3:8=?", facts={"numbers": (8, 3, 3), "target": 8})
    assert check_countdown(problem, "8/3*3").score == 1
    floats_say_so = Problem(id="f", prompt="", facts={"numbers": (10**12, 10**12 - 1), "target": 1})
    assert check_countdown(floats_say_so, f"{10**12}/{10**12 - 1}").reason == f"{10**12}/{10**12 - 1}, expected 1"


@pytest.mark.parametrize("facts", [{}, {"numbers": (1, 2)}, {"target": 3}, {"numbers": "12", "target": 3}])
def test_countdown_of_another_kind_of_problem_is_ungraded(facts: dict[str, object]) -> None:
    assert check_countdown(Problem(id="x", prompt="?", facts=facts), "1+2").score is None


@pytest.mark.parametrize(
    ("returned", "finding"),
    [
        (True, Finding(1.0, "the checker accepts it")),
        (np.isclose(1.0, 1.0), Finding(1.0, "the checker accepts it")),
        (np.bool_(False), Finding(0.0, "the checker rejects it")),
        (np.int64(1), Finding(1.0, "the checker accepts it")),
        (np.float32(0.25), Finding(0.25, "the checker gives it 0.25 of 1")),
        (np.array([True]), Finding(1.0, "the checker accepts it")),
        (torch.tensor(0.5), Finding(0.5, "the checker gives it 0.5 of 1")),
        (Fraction(1, 4), Finding(0.25, "the checker gives it 0.25 of 1")),
        ((np.bool_(False), "too long"), Finding(0.0, "too long")),
        (Verdict(score=0.9, correct=np.bool_(True), reason="yes"), Finding(1.0, "yes")),  # type: ignore[arg-type]
        (np.float32("nan"), Finding(None, "the checker returned NaN; expected True, False or a score from 0 to 1")),
        (np.ones(2), Finding(None, "the checker returned a ndarray; expected True, False or a score from 0 to 1")),
        (
            np.float32(2),
            Finding(None, "the checker returned a number outside 0 to 1; expected True, False or a score from 0 to 1"),
        ),
        (False, Finding(0.0, "the checker rejects it")),
        (1, Finding(1.0, "the checker accepts it")),
        (0.25, Finding(0.25, "the checker gives it 0.25 of 1")),
        ((False, "too long"), Finding(0.0, "too long")),
        ((0.5, "half of it"), Finding(0.5, "half of it")),
        (Finding(1.0, "fine"), Finding(1.0, "fine")),
        (Finding(None, "no reference"), Finding(None, "no reference")),
        (Verdict(score=0.9, correct=True, reason="yes"), Finding(1.0, "yes")),
        (Verdict(score=None, correct=None, reason="unknown"), Finding(None, "unknown")),
        (float("nan"), Finding(None, "the checker returned NaN; expected True, False or a score from 0 to 1")),
        (
            Finding(float("nan"), "x"),
            Finding(None, "the checker returned NaN; expected True, False or a score from 0 to 1"),
        ),
        (2, Finding(None, "the checker returned a number outside 0 to 1; expected True, False or a score from 0 to 1")),
        (
            -(10**400),
            Finding(None, "the checker returned a number outside 0 to 1; expected True, False or a score from 0 to 1"),
        ),
        (None, Finding(None, "the checker returned None; expected True, False or a score from 0 to 1")),
        ("yes", Finding(None, "the checker returned a str; expected True, False or a score from 0 to 1")),
        ((True,), Finding(None, "the checker returned a tuple; expected True, False or a score from 0 to 1")),
    ],
)
def test_what_a_checker_may_return(returned: object, finding: Finding) -> None:
    assert finding_of(returned) == finding


def test_only_full_marks_are_true() -> None:
    assert [bool(Finding(score, "")) for score in (1.0, 0.99, 0.0, None)] == [True, False, False, False]


def test_ten_thousand_random_texts_crash_nothing() -> None:
    rng = random.Random(0)
    started = time.perf_counter()
    for _ in range(10_000):
        text = "".join(rng.choices(ALPHABET, k=rng.randrange(60)))
        assert check_exact(EIGHT, text).score in (0, 1)
        finding = check_countdown(COUNTDOWN, text)
        assert finding.score in (0, 1)
        assert finding.reason
    assert time.perf_counter() - started < 10


@settings(max_examples=500, deadline=None)
@given(st.text())
def test_any_unicode_text_is_graded(text: str) -> None:
    assert check_countdown(COUNTDOWN, text).score == 0
    show(check_countdown(COUNTDOWN, text).reason).encode()


@pytest.mark.parametrize("character", ["(", "9", "-", "\ud800", "\0", "½"])
def test_ten_megabytes_are_refused_at_once(character: str) -> None:
    text = character * 10_000_000
    started = time.perf_counter()
    assert check_exact(EIGHT, text).score == 0
    assert check_countdown(COUNTDOWN, text).reason.startswith("an expression of 10000000 characters")
    assert time.perf_counter() - started < 0.5


def test_reasons_can_always_be_written_out() -> None:
    assert show("\ud800").encode() == rb"'\ud800'"
    assert len(show("x" * 1000)) == 60
