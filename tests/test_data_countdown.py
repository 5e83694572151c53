"""The countdown task: what can be reached by brute force, the size of the pool, disjoint splits, honest documents."""

import itertools
import operator
import random
import re
from collections.abc import Iterator

import pytest

from ponder.core.errors import ConfigError, DataError
from ponder.core.types import Problem
from ponder.data.countdown import LARGEST, CountdownSource, facts, find_expression, reachable, steps_back
from ponder.data.problems import Document, held_out_problems, split_of
from ponder.text.tokenizer import Tokenizer
from ponder.verify.arithmetic import Value, evaluate
from ponder.verify.checkers import check_countdown

TOKENIZER = Tokenizer.for_arithmetic()
EQUATION = re.compile(r"(\d+)([+*/-])(\d+)=(\d+)")
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
SOURCE = CountdownSource()
TRIPLES = list(itertools.combinations_with_replacement(range(1, SOURCE.largest_number + 1), 3))


def three_by_brute_force(numbers: tuple[int, ...]) -> set[int]:
    """Every value from 1 to LARGEST of the 108 expressions (a∘b)∘c and a∘(b∘c), no part of which exceeds the range."""
    values = set()
    signs = (operator.add, operator.sub, operator.mul)
    for (a, b, c), first, second in itertools.product(set(itertools.permutations(numbers)), signs, signs):
        for inner, value in (
            (first(a, b), second(first(a, b), c)),
            (second(b, c), first(a, second(b, c))),
        ):
            if 1 <= abs(inner) <= LARGEST and 1 <= abs(value) <= LARGEST:
                values.add(abs(value))
    return values


def four_by_brute_force(numbers: tuple[int, ...]) -> set[int]:
    """The same for four numbers that join one at a time, in every order, with every operation, from either side."""
    values = set()
    for order in set(itertools.permutations(numbers)):
        for joins in itertools.product(range(4), repeat=3):
            value = order[0]
            for number, join in zip(order[1:], joins, strict=True):
                value = (value + number, value - number, number - value, value * number)[join]
                if not 1 <= value <= LARGEST:
                    break
            else:
                values.add(value)
    return values


def every_problem() -> Iterator[str]:
    for numbers in TRIPLES:
        for target in reachable(numbers):
            if SOURCE.lowest <= target <= SOURCE.highest:
                yield f"{','.join(map(str, numbers))}:{target}"


def documents(
    source: CountdownSource, count: int, seed: int = 0, *, thorough: bool = False
) -> list[tuple[Problem, Document]]:
    rng = random.Random(seed)
    problems = [source.sample("train", rng) for _ in range(count)]
    return [(problem, source.worked(problem, rng, thorough=thorough)) for problem in problems]


def test_reachable_by_hand() -> None:
    assert reachable((2, 3)) == {5, 1, 6}
    assert reachable((5, 5)) == {10, 25}  # 5-5 is 0, which is no goal
    assert reachable((1, 1, 1)) == {1, 2, 3}
    assert 200 in reachable((10, 20, 1))
    assert max(reachable((20, 20, 20))) <= LARGEST


def test_reachable_agrees_with_brute_force_for_every_triple() -> None:
    for numbers in TRIPLES:
        assert reachable(numbers) == three_by_brute_force(numbers), numbers


def test_reachable_agrees_with_brute_force_for_four_numbers() -> None:
    rng = random.Random(0)
    for _ in range(20):
        numbers = tuple(sorted(rng.choices(range(1, 21), k=4)))
        assert reachable(numbers) == four_by_brute_force(numbers), numbers


def test_the_pool_has_twenty_thousand_problems() -> None:
    pool = list(every_problem())
    assert len(pool) == len(set(pool))
    assert len(pool) >= 20_000
    held_out = sum(split_of(problem) == "held_out" for problem in pool)
    assert held_out / len(pool) == pytest.approx(0.1, abs=3 * (0.09 / len(pool)) ** 0.5)


def test_samples_come_from_the_pool_and_their_own_split() -> None:
    pool, source, rng = set(every_problem()), CountdownSource(), random.Random(0)
    drawn = {split: {source.sample(split, rng).id for _ in range(4000)} for split in ("train", "held_out")}
    assert not drawn["train"] & drawn["held_out"]
    for split, problems in drawn.items():
        assert problems <= pool
        assert {split_of(problem) for problem in problems} == {split}


def test_the_order_in_which_numbers_are_shown_makes_no_other_problem() -> None:
    """Else a held-out problem could be met in training with its numbers in another order."""
    rng = random.Random(0)
    for _ in range(500):
        problem = CountdownSource().sample("held_out", rng)
        numbers, target = facts(problem)
        assert problem.prompt == f"{' '.join(map(str, numbers))}:{target}=?"
        assert problem.id == f"{','.join(map(str, sorted(numbers)))}:{target}"


def test_held_out_problems() -> None:
    held_out = held_out_problems(CountdownSource(), 1000, random.Random(0))
    assert len({problem.id for problem in held_out}) == 1000


@pytest.mark.parametrize(("numbers", "count"), [(3, 1000), (4, 200)])
def test_every_problem_has_an_expression(numbers: int, count: int) -> None:
    source, rng = CountdownSource(numbers=numbers), random.Random(1)
    for _ in range(count):
        problem = source.sample("train", rng)
        given, target = facts(problem)
        expression = find_expression(list(given), target, rng)
        assert expression is not None, problem.id
        assert check_countdown(problem, expression).score == 1


def test_what_cannot_be_made_is_not_found() -> None:
    assert find_expression([1, 1, 1], 50, random.Random(0)) is None
    assert find_expression([2, 3], 7, random.Random(0)) is None


@pytest.mark.parametrize(("numbers", "count"), [(3, 2000), (4, 500)])
def test_worked_documents_are_honest(numbers: int, count: int) -> None:
    """Each equation is true, only the last try may say yes, and it says so exactly where the answer is right."""
    source = CountdownSource(numbers=numbers, persistence=0.8)
    solved = 0
    for problem, document in documents(source, count):
        for left, sign, right, result in EQUATION.findall(document.thought):
            assert OPERATIONS[sign](int(left), int(right)) == int(result), document.thought
        *failed, last = document.thought.split(" wait ")
        assert all(attempt.endswith(" no") for attempt in failed)
        assert len({*failed, last}) == len(failed) + 1 <= source.most_tries
        finding = check_countdown(problem, document.answer)
        assert finding.score == last.endswith(" yes"), (document, finding)
        assert last.endswith((" yes", " no"))
        # even a failed try uses each number once
        assert finding.score or finding.reason.endswith(f"expected {facts(problem)[1]}")
        solved += finding.score == 1
    assert 0.2 < solved / count < 1


def solved_share(source: CountdownSource, *, thorough: bool = False) -> float:
    pairs = documents(source, 500, thorough=thorough)
    return sum(check_countdown(problem, document.answer).score == 1 for problem, document in pairs) / len(pairs)


def test_a_patient_document_solves_more() -> None:
    assert solved_share(CountdownSource(persistence=1.0)) > 2 * solved_share(CountdownSource(persistence=0.0))


def test_a_thorough_document_does_not_give_up_before_its_last_try() -> None:
    """Nor before every way back has been tried."""
    source = CountdownSource(persistence=0.0)
    assert solved_share(source, thorough=True) > 2 * solved_share(source)
    for problem, document in documents(source, 200, thorough=True):
        tries = document.thought.split(" wait ")
        if not tries[-1].endswith(" yes"):
            numbers, target = facts(problem)
            assert len(tries) == min(source.most_tries, len(steps_back(tuple(sorted(numbers)), target)))


def test_straight_documents_use_each_number_once() -> None:
    rng = random.Random(0)
    for numbers in (3, 4):
        source = CountdownSource(numbers=numbers)
        for _ in range(300):
            problem = source.sample("train", rng)
            document = source.straight(problem, rng)
            result = evaluate(document.answer)
            assert isinstance(result, Value)
            assert sorted(result.numbers) == sorted(facts(problem)[0])
            assert (document.prompt, document.thought) == (problem.prompt, "")
            assert check_countdown(problem, document.answer).score == 1


def test_documents_depend_on_the_rng_alone() -> None:
    assert documents(CountdownSource(), 50, seed=4) == documents(CountdownSource(), 50, seed=4)


@pytest.mark.parametrize("numbers", [3, 4])
def test_every_document_fits_the_vocabulary(numbers: int) -> None:
    source, rng = CountdownSource(numbers=numbers), random.Random(5)
    for problem, document in documents(source, 300):
        for text in (document.prompt, document.thought, document.answer, source.straight(problem, rng).answer):
            assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@pytest.mark.parametrize(
    "settings",
    [
        {"numbers": 1},
        {"numbers": 7},
        {"largest_number": 0},
        {"largest_number": 201},
        {"lowest": 50, "highest": 40},
        {"lowest": 0},
        {"highest": 201},
        {"most_tries": 0},
        {"persistence": 1.5},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        CountdownSource(**settings)


def test_targets_that_no_numbers_make_are_not_searched_for_ever() -> None:
    with pytest.raises(DataError, match="no problem"):
        CountdownSource(largest_number=1, lowest=50, highest=60).sample("train", random.Random(0))
