"""The chain task: answers by hand and by an independent evaluation, disjoint splits, honest documents."""

import itertools
import random
import re

import pytest

from ponder.core.errors import ConfigError
from ponder.core.types import Problem
from ponder.data.chain import ChainSource, Step, solve
from ponder.data.problems import Document, held_out_problems, split_of
from ponder.text.reflection import count_reflections
from ponder.text.tokenizer import Tokenizer
from ponder.verify.checkers import check_exact

TOKENIZER = Tokenizer.for_arithmetic()
EQUATION = re.compile(r"(\d)([+*-])(\d)=(\d)")


def by_folding(text: str) -> int:
    """The answer by Python's own arithmetic, with brackets that force left to right; modulo 10 only at the end."""
    digits, operators = text[::2], text[1::2]
    nested = "(" * len(operators) + digits[0] + "".join(f"{o}{d})" for o, d in zip(operators, digits[1:], strict=True))
    return int(eval(nested)) % 10


def documents(source: ChainSource, count: int, seed: int = 0) -> list[tuple[Problem, Document]]:
    rng = random.Random(seed)
    problems = [source.sample("train", rng) for _ in range(count)]
    return [(problem, source.worked(problem, rng, thorough=False)) for problem in problems]


def test_steps_by_hand() -> None:
    assert solve("7+8-3*4") == [Step(7, "+", 8, 5), Step(5, "-", 3, 2), Step(2, "*", 4, 8)]
    assert solve("1-9*7") == [Step(1, "-", 9, 2), Step(2, "*", 7, 4)]  # -8 is 2 modulo 10


@pytest.mark.parametrize("terms", [2, 6, 9])
def test_answers_agree_with_an_independent_evaluation(terms: int) -> None:
    source, rng = ChainSource(terms=terms), random.Random(0)
    for _ in range(500):
        problem = source.sample("train", rng)
        assert problem.prompt == f"{problem.id}=?"
        assert len(problem.id) == 2 * terms - 1
        assert problem.answer == str(by_folding(problem.id))
        assert check_exact(problem, str(by_folding(problem.id))).score == 1


def test_sampling_depends_on_the_rng_alone() -> None:
    draws = [[ChainSource().sample("train", rng).id for _ in range(50)] for rng in (random.Random(3), random.Random(3))]
    assert draws[0] == draws[1]


def test_every_short_problem_is_in_exactly_one_split() -> None:
    every = {a + o + b for a, o, b in itertools.product("123456789", "+-*", "123456789")}
    source, rng = ChainSource(terms=2), random.Random(0)
    train = {source.sample("train", rng).id for _ in range(10_000)}
    held_out = {source.sample("held_out", rng).id for _ in range(2_000)}
    assert not train & held_out
    assert train | held_out == every
    assert held_out == {problem for problem in every if split_of(problem) == "held_out"}


def test_one_problem_in_ten_is_held_out() -> None:
    digits, operators = "123456789", "+-*"
    every = ["".join(parts) for parts in itertools.product(digits, operators, digits, operators, digits)]
    share = sum(split_of(problem) == "held_out" for problem in every) / len(every)
    assert len(every) == 6561
    assert share == pytest.approx(0.1, abs=3 * (0.09 / 6561) ** 0.5)


def test_held_out_problems_are_different_and_never_trained_on() -> None:
    held_out = held_out_problems(ChainSource(), 1000, random.Random(1))
    assert len({problem.id for problem in held_out}) == 1000
    assert {split_of(problem.id) for problem in held_out} == {"held_out"}
    rng = random.Random(2)
    assert not {problem.id for problem in held_out} & {ChainSource().sample("train", rng).id for _ in range(20_000)}


def test_a_source_that_runs_dry_gives_what_it_has() -> None:
    assert 10 < len(held_out_problems(ChainSource(terms=2), 1000, random.Random(0))) < 50


def test_without_slips_every_step_is_right() -> None:
    for problem, document in documents(ChainSource(slip=0.0, checked=0.0), 300):
        steps = [Step(int(a), o, int(b), int(c)) for a, o, b, c in EQUATION.findall(document.thought)]
        assert steps == solve(problem.id)
        assert document.thought == ", ".join(f"{s.left}{s.operator}{s.right}={s.result}" for s in steps)
        assert (document.prompt, document.answer) == (problem.prompt, problem.answer)
        assert count_reflections(document.thought).checks == 0


def test_unchecked_slips_are_carried_on() -> None:
    for problem, document in documents(ChainSource(slip=1.0, checked=0.0), 300):
        current = int(problem.id[0])
        for left, operator, right, result in EQUATION.findall(document.thought):
            assert int(left) == current
            assert int(result) != by_folding(f"{left}{operator}{right}")
            current = int(result)
        assert document.answer == str(current)


def test_checked_slips_are_put_right() -> None:
    for problem, document in documents(ChainSource(slip=1.0, checked=1.0), 300):
        assert document.answer == problem.answer
        reflections = count_reflections(document.thought)
        assert (reflections.retries, reflections.retractions, reflections.checks) == (5, 5, 10)


def test_slips_are_as_frequent_as_asked() -> None:
    wrong = total = 0
    for _, document in documents(ChainSource(slip=0.1, checked=0.0), 2000):
        for left, operator, right, result in EQUATION.findall(document.thought):
            wrong += int(result) != by_folding(f"{left}{operator}{right}")
            total += 1
    assert total == 10_000
    assert wrong / total == pytest.approx(0.1, abs=3 * (0.09 / total) ** 0.5)


def test_straight_documents_give_the_answer_alone() -> None:
    source, rng = ChainSource(), random.Random(0)
    problem = source.sample("train", rng)
    assert source.straight(problem, rng) == Document(prompt=problem.prompt, thought="", answer=problem.answer or "")


def test_every_document_fits_the_vocabulary() -> None:
    for _, document in documents(ChainSource(slip=0.2, checked=0.5), 500):
        for text in (document.prompt, document.thought, document.answer):
            assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@pytest.mark.parametrize(
    "settings", [{"terms": 1}, {"terms": 0}, {"slip": 1.5}, {"slip": float("nan")}, {"checked": -0.1}]
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        ChainSource(**settings)  # type: ignore[arg-type]
