"""`simple_equations`, worked out: the unknown's term alone on one side, then a long division."""

import random
import re
from typing import cast

from ponder.core.errors import DataError
from ponder.core.types import Problem, Split
from ponder.data.worked.arithmetic import add, divide, subtract
from ponder.data.worked.gym_task import Facts, GymTask

OPENINGS = ("Get {term} alone:", "Move the number over:", "Isolate {term}:")


def write(facts: Facts, rng: random.Random) -> tuple[str, str]:
    """`47 - 51*s = -1636` becomes `51*s=47+1636`, and the sum is divided by 51."""
    unknown = facts["variable"]
    coefficient, constant, right = read_equation(facts["equation"], unknown)
    if coefficient == 0:
        raise DataError(f"the equation {facts['equation']!r} says nothing of {unknown!r}; draw another problem")
    term = unknown if abs(coefficient) == 1 else f"{abs(coefficient)}*{unknown}"
    total = (right - constant) * (1 if coefficient > 0 else -1)
    lines = [rng.choice(OPENINGS).format(term=term)]
    if constant == 0:
        lines.append(f"{term}={total}")
    else:
        moved, work = _moved(coefficient, constant, right)
        lines += [f"{term}={moved}", work]
    factor = abs(coefficient)
    if factor % 10 == total % 10 == 0:
        while factor % 10 == total % 10 == 0:
            factor, total = factor // 10, total // 10
        lines.append(
            f"Both end in 0: {factor}*{unknown}={total}" if factor > 1 else f"Both end in 0: {unknown}={total}"
        )
    if factor > 1:
        lines.append(divide(total, factor, rng))
    solution = total // factor
    return "\n".join([*lines, f"{unknown}={solution}"]), str(solution)


def read_equation(equation: str, unknown: str) -> tuple[int, int, int]:
    """Coefficient, constant and right side of an equation as the library prints it: `47 - 51*s = -1636`.

    >>> read_equation("47 - 51*s = -1636", "s")
    (-51, 47, -1636)
    """
    left, right = equation.replace(" ", "").split("=")
    coefficient = constant = 0
    for term in re.findall(r"[+-]?[^+-]+", left):
        if unknown in term:
            number = term.removesuffix(unknown).removesuffix("*")
            coefficient += int(number + "1" if number in ("", "+", "-") else number)
        else:
            constant += int(term)
    return coefficient, constant, int(right)


def _moved(coefficient: int, constant: int, right: int) -> tuple[str, str]:
    """The side without the unknown, both as a sum of positive numbers, and its working."""
    signed = (right, -constant) if coefficient > 0 else (constant, -right)
    first, second = signed if signed[0] >= 0 else (signed[1], signed[0])
    if second >= 0:
        return f"{first}+{second}", add(first, second)
    return f"{first}-{-second}", subtract(first, -second)


class SolvableEquations(GymTask):
    """The library's equations but for the few in which the unknown cancels out (`0 = 0`)."""

    def sample(self, split: Split, rng: random.Random) -> Problem:
        while True:
            problem = super().sample(split, rng)
            entry = cast(Facts, problem.facts["entry"])
            if entry["metadata"]["variable"] in entry["metadata"]["equation"]:
                return problem


SIMPLE_EQUATIONS = SolvableEquations("simple_equations", write)
