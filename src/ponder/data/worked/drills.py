"""Single operations as short questions, worked in the form that the longer tasks use; and facts, several at a time."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from ponder.core.types import Problem, Split
from ponder.data.problems import Document, split_of
from ponder.data.worked.arithmetic import add, divide, sign, subtract, times
from ponder.data.worked.prime_factorization import PRIMES, trial

NAME = "drills"


@dataclass(frozen=True)
class Drill:
    """One operation: how its numbers are drawn, asked for, worked out and answered."""

    draw: Callable[[random.Random], tuple[int, int]]
    questions: tuple[str, ...]
    write: Callable[[int, int, random.Random], str]
    answer: Callable[[int, int], str]


@dataclass(frozen=True)
class FactsDrill:
    """What has to be known by heart, asked for of several numbers at once: little is written, and all of it to learn.

    `draw` gives the number that all are held against, and the numbers.
    """

    draw: Callable[[random.Random], tuple[int, list[int]]]
    questions: tuple[str, ...]
    write: Callable[[int, int], str]  # of one number and the common one


@dataclass(frozen=True)
class Drills:
    """Questions of all drills, equally often. A `WorkedSource`; answers are exact."""

    name: str = NAME

    def sample(self, split: Split, rng: random.Random) -> Problem:
        """A problem of that split; the same state of `rng` gives the same problem."""
        while True:
            operation = rng.choice(sorted([*DRILLS, *FACTS]))
            problem = _facts_problem(operation, rng) if operation in FACTS else _problem(operation, rng)
            if split_of(problem.id) == split:
                return problem

    def worked(self, problem: Problem, rng: random.Random) -> Document:
        """The operation written out."""
        operation = str(problem.facts["operation"])
        if operation in FACTS:
            common, *numbers = cast(list[int], problem.facts["numbers"])
            written = [FACTS[operation].write(number, common) for number in numbers]
            return Document(prompt=problem.prompt, thought=", ".join(written), answer=written[-1])
        drill = DRILLS[operation]
        left, right = cast(list[int], problem.facts["numbers"])
        return Document(prompt=problem.prompt, thought=drill.write(left, right, rng), answer=drill.answer(left, right))


def _problem(operation: str, rng: random.Random) -> Problem:
    drill = DRILLS[operation]
    left, right = drill.draw(rng)
    return Problem(
        id=f"{NAME}: {operation} {left} {right}",
        prompt=rng.choice(drill.questions).format(left, right),
        answer=drill.answer(left, right),
        facts={"operation": operation, "numbers": [left, right]},
        task=NAME,
    )


def _facts_problem(operation: str, rng: random.Random) -> Problem:
    """Its answer is the last of the facts."""
    drill = FACTS[operation]
    common, numbers = drill.draw(rng)
    listed = ", ".join(map(str, numbers))
    return Problem(
        id=f"{NAME}: {operation} {common}: {listed}",
        prompt=rng.choice(drill.questions).format(common, listed),
        answer=drill.write(numbers[-1], common),
        facts={"operation": operation, "numbers": [common, *numbers]},
        task=NAME,
    )


def _number(rng: random.Random, fewest: int, most: int) -> int:
    """A number with so many digits, each count equally often."""
    digits = rng.randint(fewest, most)
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def _sum(rng: random.Random) -> tuple[int, int]:
    return _number(rng, 2, 5), _number(rng, 1, 4)


def _ordered(rng: random.Random) -> tuple[int, int]:
    """The larger number first; mostly of one length, or of lengths that differ by one."""
    digits = rng.randint(2, 5)
    left = rng.randint(10 ** (digits - 1), 10**digits - 1)
    right = rng.randint(10 ** (max(digits - 2, 1) - 1), 10**digits - 1)
    return max(left, right), min(left, right)


def _either_order(rng: random.Random) -> tuple[int, int]:
    left, right = _ordered(rng)
    return (right, left) if rng.random() < 0.5 else (left, right)


def _different(rng: random.Random) -> tuple[int, int]:
    while True:
        left, right = _either_order(rng)
        if left != right:
            return left, right


def _product(rng: random.Random) -> tuple[int, int]:
    return _number(rng, 2, 5), rng.randint(2, 9)


def _long_product(rng: random.Random) -> tuple[int, int]:
    return _number(rng, 2, 2), _number(rng, 2, 2)


def _table_division(rng: random.Random) -> tuple[int, int]:
    divisor = rng.randint(2, 9)
    return rng.randint(divisor, 10 * divisor - 1), divisor


def _short_division(rng: random.Random) -> tuple[int, int]:
    divisor = rng.randint(2, 9)
    return divisor * rng.randint(20, 999), divisor


def _quotient_digit(rng: random.Random) -> tuple[int, int]:
    divisor = _number(rng, 2, 4)
    return rng.randint(divisor, 10 * divisor - 1), divisor


def _long_division(rng: random.Random) -> tuple[int, int]:
    divisor = _number(rng, 2, 2)
    return divisor * rng.randint(10, 99), divisor


def _halved(rng: random.Random) -> tuple[int, int]:
    return 2 * (_number(rng, 2, 5) // 2), 2


def _fifth(rng: random.Random) -> tuple[int, int]:
    return 5 * max(_number(rng, 2, 5) // 5, 2), 5


def _divisibility(rng: random.Random) -> tuple[int, int]:
    """A number up to 1000 and a prime; half of them are multiples."""
    prime = rng.choice([prime for prime in PRIMES if prime <= 31])
    number = rng.randint(prime, 1000)
    return (number // prime * prime, prime) if rng.random() < 0.5 else (number, prime)


def _table(rng: random.Random) -> tuple[int, list[int]]:
    """What one line of a times table holds."""
    divisor = rng.randint(2, 9)
    return divisor, [rng.randint(0, 10 * divisor - 1) for _ in range(rng.randint(6, 12))]


def _compared(rng: random.Random) -> tuple[int, list[int]]:
    """Numbers near a common one as often as far from it; all have two or three digits."""
    digits = rng.randint(2, 3)
    common = _number(rng, digits, digits)
    spread = 10 ** (digits - 1)
    near = [max(0, common + rng.randint(-spread, spread)) for _ in range(rng.randint(3, 5))]
    numbers = [*near, *(_number(rng, digits, digits) for _ in range(rng.randint(3, 5)))]
    return common, rng.sample(numbers, len(numbers))


def _times_compared(rng: random.Random) -> tuple[int, list[int]]:
    """Numbers of which a divisor's multiples are to be told: 27 into 207 is 7 times."""
    divisor = _number(rng, 2, 2)
    return divisor, [rng.randint(0, 10 * divisor - 1) for _ in range(rng.randint(4, 6))]


def _write_fit(number: int, divisor: int) -> str:
    times_it = number // divisor
    return f"{divisor}*{times_it}={divisor * times_it}{sign(divisor * times_it, number)}{number}"


def _write_difference(left: int, right: int, _: random.Random) -> str:
    if left < right:
        return f"{left}<{right}, so negative\n{subtract(right, left)}, so {left - right}"
    return subtract(left, right)


def _with_remainder(left: int, right: int) -> str:
    return f"{left // right} remainder {left % right}"


_ADDITION = ("What is {} + {}?", "Add {} and {}.", "Calculate {} + {}.")
_SUBTRACTION = ("What is {} - {}?", "Calculate {} - {}.", "Work out {} - {}.")
_PRODUCT = ("What is {} * {}?", "Multiply {} by {}.", "What is {} times {}?")
_DIVISION = ("What is {} / {}?", "Divide {} by {}.")
_REMAINDER = ("Divide {} by {} with remainder.", "What are the quotient and the remainder of {} / {}?")

DRILLS: Mapping[str, Drill] = {
    "add": Drill(_sum, _ADDITION, lambda left, right, _: add(left, right), lambda left, right: f"{left + right}"),
    "subtract": Drill(
        _ordered, _SUBTRACTION, lambda left, right, _: subtract(left, right), lambda left, right: f"{left - right}"
    ),
    "difference": Drill(_either_order, _SUBTRACTION, _write_difference, lambda left, right: f"{left - right}"),
    "times digit": Drill(
        _product, _PRODUCT, lambda left, right, _: times(left, right), lambda left, right: f"{left * right}"
    ),
    "times": Drill(
        _long_product, _PRODUCT, lambda left, right, _: times(left, right), lambda left, right: f"{left * right}"
    ),
    "table division": Drill(
        _table_division, _REMAINDER, lambda left, right, rng: divide(left, right, rng), _with_remainder
    ),
    "short division": Drill(_short_division, _DIVISION, divide, lambda left, right: f"{left // right}"),
    "quotient digit": Drill(_quotient_digit, _REMAINDER, divide, _with_remainder),
    "long division": Drill(_long_division, _DIVISION, divide, lambda left, right: f"{left // right}"),
    "halve": Drill(
        _halved,
        ("What is half of {}?", "Halve {}."),
        lambda left, right, _: f"{left}→{left // right}",
        lambda left, right: f"{left // right}",
    ),
    "fifth": Drill(
        _fifth,
        ("What is a fifth of {}?", "What is {} divided by {}?"),
        lambda left, right, _: f"{left}→{left // right}",
        lambda left, right: f"{left // right}",
    ),
    "divides": Drill(
        _divisibility,
        ("Is {} divisible by {}?", "Is {} a multiple of {}?"),
        lambda left, right, _: trial(left, right),
        lambda left, right: "no" if left % right else "yes",
    ),
    "compare": Drill(
        _different,
        ("Which is larger, {} or {}?", "Name the larger number: {} or {}."),
        lambda left, right, _: f"{left}{sign(left, right)}{right}",
        lambda left, right: f"{max(left, right)}",
    ),
}

FACTS: Mapping[str, FactsDrill] = {
    "table": FactsDrill(
        _table,
        ("Divide by {} with remainder: {}", "Quotient and remainder by {}: {}"),
        lambda number, divisor: f"{number}/{divisor}={number // divisor}r{number % divisor}",
    ),
    "comparisons": FactsDrill(
        _compared,
        ("Compare with {}: {}", "Smaller or larger than {}? {}"),
        lambda number, common: f"{number}{sign(number, common)}{common}",
    ),
    "fits": FactsDrill(
        _times_compared, ("How often does {} go into each: {}", "The largest multiple of {} up to each: {}"), _write_fit
    ),
}

DRILL_TASK = Drills()
