"""Plain questions about numbers."""

import functools
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from math import gcd, lcm

from ponder.data.gym import gym_dataset
from ponder.data.worked.arithmetic import divide, times
from ponder.data.worked.chain_sum import CHAIN_SUM
from ponder.data.worked.gcd import GCD
from ponder.data.worked.gym_task import Facts
from ponder.data.worked.lcm import LCM
from ponder.data.worked.plain.asking import Asking, Twins
from ponder.data.worked.prime_factorization import PRIME_FACTORIZATION
from ponder.data.worked.simple_equations import SIMPLE_EQUATIONS, read_equation
from ponder.data.worked.simple_geometry import SIMPLE_GEOMETRY


def number(rng: random.Random, most_digits: int) -> int:
    """From 2 on, each count of digits equally often."""
    digits = rng.randint(1, most_digits)
    return rng.randint(max(2, 10 ** (digits - 1)), 10**digits - 1)


def _sum(rng: random.Random) -> Facts:
    """Two to four terms; the first is mostly the largest, as where people count what is left."""
    terms = [number(rng, 3) for _ in range(rng.choice((2, 2, 3, 3, 4)))]
    if rng.random() < 0.7:
        terms.sort(reverse=True)
    space = " " if rng.random() < 0.7 else ""
    return {"expression": f"{terms[0]}" + "".join(f"{space}{rng.choice('+-')}{space}{term}" for term in terms[1:])}


def _pair(most: Callable[[random.Random], int]) -> Callable[[random.Random], Facts]:
    return lambda rng: {"left": most(rng), "right": most(rng)}


def _division(rng: random.Random) -> Facts:
    divisor = rng.randint(2, 20)
    return {"left": divisor * rng.randint(2, 60), "right": divisor}


def _with_common_factor(result: Callable[[int, int], int]) -> Callable[[random.Random], Facts]:
    """Two different numbers up to 120, mostly with something in common."""

    def draw(rng: random.Random) -> Facts:
        common = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15))
        left, right = rng.sample(range(1, 120 // common + 1), 2)
        numbers = [left * common, right * common]
        return {"numbers": numbers, "result": result(*numbers)}

    return draw


def _two(facts: Facts) -> Mapping[str, object]:
    left, right = facts["numbers"]
    return {"left": left, "right": right}


@functools.cache
def _asked_by(task: str) -> tuple[str, str]:
    """What stands before and after the numbers in the id of a problem of a task that asks in one form."""
    entry = gym_dataset(task, seed=0)[0]
    facts = entry["metadata"]
    before, _, after = entry["question"].partition(_listed(facts.get("numbers") or [facts["number"]]))
    return f"{task}: {before}", after


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _twins_in(task: str) -> Twins:
    """The task's problems with the same numbers, in either order."""

    def twins(facts: Facts) -> list[str]:
        before, after = _asked_by(task)
        numbers = facts.get("numbers") or [facts["number"]]
        return [f"{before}{_listed(order)}{after}" for order in itertools.permutations(numbers)]

    return twins


def _factored(rng: random.Random) -> Facts:
    """Mostly a product of small primes, as people choose it."""
    if rng.random() < 0.3:
        return {"number": rng.randint(4, 500)}
    product = 1
    while product < 20 or (product < 150 and rng.random() < 0.7):
        product *= rng.choice((2, 2, 2, 3, 3, 5, 7, 11))
    return {"number": product}


def _equation(rng: random.Random) -> Facts:
    factor, solution, constant = rng.randint(2, 12), rng.randint(1, 25), rng.randint(-40, 40)
    unknown = rng.choice("xxxxynzat")
    left = f"{factor}*{unknown}" + (f" {'+' if constant > 0 else '-'} {abs(constant)}" if constant else "")
    return {"variable": unknown, "equation": f"{left} = {factor * solution + constant}"}


def _equation_words(facts: Facts) -> Mapping[str, object]:
    """`3x + 7 = 22`, as it is written by hand; or with the sign, or without spaces: it goes by the numbers."""
    equation, unknown = facts["equation"], facts["variable"]
    factor, constant, right = read_equation(equation, unknown)
    form = (factor + constant + right) % 4
    written = equation if form == 0 else equation.replace("*", "")
    return {"equation": written.replace(" ", "") if form == 1 else written, "unknown": unknown}


def _triangle(rng: random.Random) -> Facts:
    first = rng.randint(10, 120)
    return {"n_sides": 3, "known_angles": [float(first), float(rng.randint(10, 170 - first))]}


def _angles(facts: Facts) -> Mapping[str, object]:
    return dict(zip(("first", "second"), map(int, facts["known_angles"]), strict=True))


def _product(facts: Facts, _: random.Random) -> tuple[str, str]:
    left, right = facts["left"], facts["right"]
    return times(max(left, right), min(left, right)), str(left * right)


def _quotient(facts: Facts, rng: random.Random) -> tuple[str, str]:
    return divide(facts["left"], facts["right"], rng), str(facts["left"] // facts["right"])


NUMBER_QUESTIONS: Mapping[str, Asking] = {
    "sum": Asking(
        _sum,
        ("What is {expression}?", "{expression}", "{expression} = ?", "Calculate {expression}.", "{expression}=",
         "How much is {expression}?", "Work out {expression} for me.", "Can you compute {expression}?",
         "what's {expression}"),
        ("What does {expression} come to?", "Please solve {expression}."),
        CHAIN_SUM.write,
    ),
    "product": Asking(
        _pair(lambda rng: number(rng, 2)),
        ("What is {left} times {right}?", "{left} x {right}", "{left} × {right} = ?", "{left}*{right}",
         "Multiply {left} and {right}.", "How much is {left} times {right}?", "Calculate {left} * {right}.",
         "What is {left}x{right}?"),
        ("What do you get if you multiply {left} by {right}?", "Find the product of {left} and {right}."),
        _product,
    ),
    "area": Asking(
        _pair(lambda rng: rng.randint(2, 40)),
        ("A rectangle is {left} cm long and {right} cm wide. What is its area?",
         "What is the area of a rectangle with sides {left} and {right}?",
         "A garden measures {left} m by {right} m. How many square metres is that?",
         "There are {left} rows of {right} chairs. How many chairs are there?",
         "How many eggs are in {left} boxes of {right}?"),
        ("A room has a length of {left} and a width of {right}. What is its area?",
         "{left} buses carry {right} people each. How many people is that?"),
        _product,
    ),
    "quotient": Asking(
        _division,
        ("What is {left} divided by {right}?", "{left} / {right}", "{left} ÷ {right} = ?", "Divide {left} by {right}.",
         "How many times does {right} go into {left}?", "How much is {left}/{right}?",
         "{left} sweets are shared by {right} children. How many does each get?"),
        ("Calculate {left} : {right}.", "{right} friends split {left} dollars evenly. How much is that for each?"),
        _quotient,
    ),
    "gcd": Asking(
        _with_common_factor(gcd),
        ("What is the greatest common divisor of {left} and {right}?", "gcd({left}, {right})",
         "What is the GCD of {left} and {right}?", "Find the greatest common factor of {left} and {right}.",
         "What is the largest number that divides both {left} and {right}?", "GCD of {left} and {right}?"),
        ("Which is the highest common factor of {left} and {right}?", "Compute the gcd of {left} and {right}."),
        GCD.write, _two, _twins_in(GCD.name),
    ),
    "lcm": Asking(
        _with_common_factor(lcm),
        ("What is the least common multiple of {left} and {right}?", "lcm({left}, {right})",
         "What is the LCM of {left} and {right}?", "Find the smallest number that {left} and {right} both divide.",
         "LCM of {left} and {right}?"),
        ("Which is the lowest common multiple of {left} and {right}?", "Compute the lcm of {left} and {right}."),
        LCM.write, _two, _twins_in(LCM.name),
    ),
    "factors": Asking(
        _factored,
        ("Factor {number} into primes.", "What are the prime factors of {number}?", "Factorize {number}.",
         "Write {number} as a product of primes.", "What is the prime factorization of {number}?"),
        ("Decompose {number} into its prime factors.", "Which primes multiply to {number}?"),
        PRIME_FACTORIZATION.write, twins=_twins_in(PRIME_FACTORIZATION.name),
    ),
    "equation": Asking(
        _equation,
        ("Solve for {unknown}: {equation}", "Solve {equation}.", "What is {unknown} if {equation}?", "{equation}",
         "{equation}, what is {unknown}?", "Find {unknown}: {equation}", "Solve the equation {equation}."),
        ("If {equation}, how much is {unknown}?", "Which value of {unknown} makes {equation} true?"),
        SIMPLE_EQUATIONS.write, _equation_words,
    ),
    "angle": Asking(
        _triangle,
        ("Two angles of a triangle are {first} and {second} degrees. What is the third?",
         "A triangle has angles of {first}° and {second}°. How large is the third angle?",
         "In a triangle, one angle is {first}° and another is {second}°. Find the last one."),
        ("What is the missing angle of a triangle with {first} and {second} degrees?",),
        SIMPLE_GEOMETRY.write, _angles,
    ),
}  # fmt: skip
