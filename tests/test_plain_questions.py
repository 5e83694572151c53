"""Plain questions: their answers by other means, their wordings apart, and nothing left out of them."""

import operator
import random
import re
from collections import Counter
from collections.abc import Callable
from math import gcd, lcm, prod

import pytest

from ponder.core.types import Problem, Split
from ponder.data.problems import Document
from ponder.data.worked.gcd import GCD
from ponder.data.worked.gym_task import GymTask
from ponder.data.worked.lcm import LCM
from ponder.data.worked.leg_counting import LEGS_OF
from ponder.data.worked.plain import PLAIN_QUESTIONS
from ponder.data.worked.plain.source import KINDS
from ponder.data.worked.prime_factorization import PRIME_FACTORIZATION
from worked_traces import arithmetic, token_estimate

SPLITS: tuple[Split, ...] = ("train", "held_out")


def drawn(split: Split, count: int, seed: int = 1) -> list[tuple[Problem, Document]]:
    rng = random.Random(seed)
    problems = [PLAIN_QUESTIONS.sample(split, rng) for _ in range(count)]
    return [(problem, PLAIN_QUESTIONS.worked(problem, rng)) for problem in problems]


@pytest.fixture(scope="module", params=SPLITS)
def examples(request: pytest.FixtureRequest) -> list[tuple[Problem, Document]]:
    return drawn(request.param, 1200)


def of_kind(examples: list[tuple[Problem, Document]], kind: str) -> list[Problem]:
    found = [problem for problem, _ in examples if problem.facts["asked"] == kind]
    assert len(found) > 20
    return found


def numbers(text: str) -> list[str]:
    return re.findall(r"-?\d+(?:\.\d+)?", text)


def test_every_kind_is_asked_in_both_splits_and_its_thought_is_true_and_short(
    examples: list[tuple[Problem, Document]],
) -> None:
    assert {problem.facts["asked"] for problem, _ in examples} == set(KINDS)
    stated = 0
    for problem, document in examples:
        assert document.prompt == problem.prompt
        assert document.answer == problem.answer
        assert "{" not in problem.prompt
        assert "  " not in problem.prompt
        assert problem.prompt == problem.prompt.strip()
        assert token_estimate(document.thought) <= 300
        lines = [line for line in document.thought.split("\n") if not re.search("[a-z]=", line)]  # letters counted
        stated += arithmetic("\n".join(lines))
    assert stated > 1000


@pytest.mark.parametrize(
    ("kind", "compute"),
    [
        ("product", operator.mul), ("area", operator.mul), ("gcd", gcd), ("lcm", lcm),
        ("angle", lambda first, second: 180 - first - second),
    ],
)  # fmt: skip
def test_two_numbers_of_the_prompt_give_the_answer(
    examples: list[tuple[Problem, Document]], kind: str, compute: Callable[[int, int], int]
) -> None:
    for problem in of_kind(examples, kind):
        left, right = map(int, numbers(problem.prompt))
        assert problem.answer == str(compute(left, right)), problem.prompt


def test_sums_are_what_python_makes_of_them(examples: list[tuple[Problem, Document]]) -> None:
    for problem in of_kind(examples, "sum"):
        found = re.search(r"\d[\d +-]*\d", problem.prompt)
        assert found is not None
        assert problem.answer == str(eval(found[0])), problem.prompt


def test_quotients_are_exact(examples: list[tuple[Problem, Document]]) -> None:
    for problem in of_kind(examples, "quotient"):
        left, right = sorted(map(int, numbers(problem.prompt)), reverse=True)
        assert int(problem.answer or "") * right == left, problem.prompt


def test_factors_are_primes_that_multiply_to_the_number(examples: list[tuple[Problem, Document]]) -> None:
    for problem in of_kind(examples, "factors"):
        factors = [int(factor) for factor in (problem.answer or "").split(" × ")]
        assert prod(factors) == int(numbers(problem.prompt)[0])
        assert all(factor % divisor for factor in factors for divisor in range(2, factor))


def test_solutions_fulfil_their_equations(examples: list[tuple[Problem, Document]]) -> None:
    for problem in of_kind(examples, "equation"):
        found = re.search(r"(\d+)\*?([a-z])( ?[+-] ?\d+)? ?= ?(-?\d+)", problem.prompt)
        assert found is not None, problem.prompt
        factor, _, constant, right = found.groups()
        left = int(factor) * int(problem.answer or "") + int((constant or "0").replace(" ", ""))
        assert left == int(right), problem.prompt


def test_letters_are_counted(examples: list[tuple[Problem, Document]]) -> None:
    for problem in of_kind(examples, "letters"):
        about = problem.facts["about"]
        assert isinstance(about, dict)
        (word,), letter = about["span"], about["target_letter"]
        assert word in problem.prompt
        assert problem.answer == str(word.lower().count(letter))


def test_lists_are_sorted_and_filtered(examples: list[tuple[Problem, Document]]) -> None:
    for problem in of_kind(examples, "order"):
        down = "descending" in problem.prompt or "to smallest" in problem.prompt or "largest first" in problem.prompt
        down = down or "beginning with the largest" in problem.prompt
        expected = sorted(numbers(problem.prompt), key=float, reverse=down)
        assert (problem.answer or "").split(", ") == expected, problem.prompt
    empty = 0
    for problem in of_kind(examples, "filter"):
        about = problem.facts["about"]
        assert isinstance(about, dict)
        assert Counter(numbers(problem.prompt)) == Counter([*about["original_numbers"], about["filter_value"]])
        limit, larger = float(about["filter_value"]), re.search("larger|greater|above", problem.prompt)
        kept = [n for n in about["original_numbers"] if (float(n) > limit if larger else float(n) < limit)]
        assert problem.answer == (", ".join(kept) or "none"), problem.prompt
        empty += not kept
    assert empty


def test_of_two_numbers_the_one_asked_for_is_named(examples: list[tuple[Problem, Document]]) -> None:
    longer_is_smaller = 0
    for problem in of_kind(examples, "larger"):
        left, right = sorted(re.findall(r"\d+\.\d+", problem.prompt), key=float)
        assert problem.answer == (left if "smaller" in problem.prompt else right), problem.prompt
        longer_is_smaller += len(left) > len(right)
    assert longer_is_smaller  # as in 9.11 and 9.8


def test_legs_are_those_of_the_animals(examples: list[tuple[Problem, Document]]) -> None:
    for problem in of_kind(examples, "legs"):
        pairs = re.findall(r"(\d+) ([a-z]+)", problem.prompt)
        singular = [animal[:-3] + "y" if animal.endswith("ies") else animal[:-1] for _, animal in pairs]
        legs = sum(int(count) * LEGS_OF[animal] for (count, _), animal in zip(pairs, singular, strict=True))
        assert problem.answer == str(legs), problem.prompt


def test_tales_are_reckoned_sentence_by_sentence(examples: list[tuple[Problem, Document]]) -> None:
    lost = re.compile(r"\b(?:[Hh]e|[Ss]he) (?:gives|loses|sells|uses)\b")
    for problem in of_kind(examples, "changes"):
        deeds = re.findall(r"[^.,?]*?\d+(?: of them)?(?: more)?(?: to| from)?(?= |\.|,)", problem.prompt)
        have = int(numbers(deeds[0])[0])
        for deed in deeds[1:]:
            clause = re.split(r" and ", deed)[-1]
            amount = int(numbers(clause)[0])
            have += -amount if lost.search(clause) else amount
        assert problem.answer == str(have), problem.prompt
    for problem in of_kind(examples, "purchase"):
        found = [int(number) for number in numbers(problem.prompt)]
        cost = found[0] * found[1]
        assert problem.answer == str(found[2] - cost if "pay with" in problem.prompt else cost), problem.prompt


def test_held_out_questions_have_wordings_that_training_ones_never_have() -> None:
    train, held_out = (drawn(split, 800) for split in SPLITS)
    for kind, asking in KINDS.items():
        fields = [re.split(r"\{[a-z]+\}", wording) for wording in asking.trained]
        in_words = [parts for parts in fields if re.search("[a-z]", "".join(parts))]  # not a bare sum
        trained = re.compile("|".join(".*".join(map(re.escape, parts)) for parts in in_words))
        asked = [problem.prompt for problem, _ in held_out if problem.facts["asked"] == kind]
        assert asked
        assert not [prompt for prompt in asked if trained.fullmatch(prompt)]
        assert [p for p, _ in train if p.facts["asked"] == kind and trained.fullmatch(p.prompt)]
    assert {problem.id for problem, _ in train}.isdisjoint({problem.id for problem, _ in held_out})


@pytest.mark.parametrize("task", [GCD, LCM, PRIME_FACTORIZATION], ids=lambda task: task.name)
def test_no_training_question_has_the_numbers_of_a_held_out_problem_of_its_task(task: GymTask) -> None:
    rng = random.Random(2)
    kept = set()
    for problem in (task.sample("held_out", rng) for _ in range(300)):
        facts = problem.facts["entry"]["metadata"]  # type: ignore[index]
        kept.add(tuple(sorted(facts.get("numbers") or [facts["number"]])))
    kind = {"prime_factorization": "factors"}.get(task.name, task.name)
    asked = 0
    for problem, _ in drawn("train", 6000):
        if problem.facts["asked"] == kind:
            about = problem.facts["about"]
            assert isinstance(about, dict)
            assert tuple(sorted(about.get("numbers") or [about["number"]])) not in kept, problem.prompt
            asked += 1
    assert asked > 200
