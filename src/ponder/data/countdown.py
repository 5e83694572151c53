"""`countdown`: make a target from three or four numbers, each used once, with +, - and *.

Worked documents reason backwards: take one number off the target and see whether the others make the rest.
"""

import random
from dataclasses import dataclass
from functools import lru_cache

from ponder.core.errors import ConfigError, DataError
from ponder.core.types import Problem, Split
from ponder.data.problems import Document, split_of

LARGEST = 200  # no number on the way is larger
DRAWS = 10_000  # draws before a setting counts as one without problems


@dataclass(frozen=True)
class Goal:
    """A step back: reaching `value` with the other numbers reaches the goal before it through `number`."""

    text: str  # "29-5=24"
    value: int
    number: int
    wrap: str  # the expression of the goal before it, "{}" standing for that of `value`


@dataclass(frozen=True, kw_only=True)
class CountdownSource:
    """Every solvable (numbers, target): numbers from 1 to `largest_number`, targets `lowest` to `highest`.

    A worked document makes up to `most_tries` tries, never the same twice, goes on after a failed one with
    probability `persistence` (always, where it is thorough), and answers with its last try when it gives up.
    """

    numbers: int = 3
    largest_number: int = 26
    lowest: int = 10
    highest: int = 99
    most_tries: int = 9
    persistence: float = 0.35

    def __post_init__(self) -> None:
        checks = {
            f"{self.numbers} numbers; expected 2 to 6": 2 <= self.numbers <= 6,
            f"the largest number {self.largest_number}; expected 1 to {LARGEST}": 1 <= self.largest_number <= LARGEST,
            f"targets {self.lowest} to {self.highest}; expected a range inside 1 to {LARGEST}": (
                1 <= self.lowest <= self.highest <= LARGEST
            ),
            f"at most {self.most_tries} tries; expected 1 or more": self.most_tries >= 1,
            f"the persistence {self.persistence}; expected 0 to 1": 0 <= self.persistence <= 1,
        }
        for complaint, fine in checks.items():
            if not fine:
                raise ConfigError(f"countdown has {complaint}")

    def sample(self, split: Split, rng: random.Random) -> Problem:
        for _ in range(DRAWS):
            numbers = tuple(sorted(rng.choices(range(1, self.largest_number + 1), k=self.numbers)))
            targets = sorted(t for t in reachable(numbers) if self.lowest <= t <= self.highest)
            if not targets:
                continue
            target = rng.choice(targets)
            identity = f"{','.join(map(str, numbers))}:{target}"
            if split_of(identity) == split:
                shown = list(numbers)
                rng.shuffle(shown)
                prompt = f"{' '.join(map(str, shown))}:{target}=?"
                return Problem(id=identity, prompt=prompt, facts={"numbers": tuple(shown), "target": target})
        raise DataError(
            f"countdown found no problem of the split {split!r} in {DRAWS} draws: hardly any {self.numbers} numbers up "
            f"to {self.largest_number} make a target from {self.lowest} to {self.highest}"
        )

    def straight(self, problem: Problem, rng: random.Random) -> Document:
        """One of the right expressions, without a word of how it was found."""
        numbers, target = facts(problem)
        expression = find_expression(list(numbers), target, rng)
        assert expression is not None, f"{problem.id} has no solution by steps back"
        return Document(prompt=problem.prompt, thought="", answer=expression)

    def worked(self, problem: Problem, rng: random.Random, *, thorough: bool) -> Document:
        numbers, target = facts(problem)
        tries: list[str] = []
        seen: set[str] = set()
        while True:
            attempt = self._attempt(list(numbers), target, seen, rng)
            if attempt is None:
                break
            text, expression, right = attempt
            tries.append(text + (" yes" if right else " no"))
            if right or len(tries) >= self.most_tries or not (thorough or rng.random() < self.persistence):
                break
        return Document(prompt=problem.prompt, thought=" wait ".join(tries), answer=expression)

    def _attempt(
        self, numbers: list[int], target: int, seen: set[str], rng: random.Random
    ) -> tuple[str, str, bool] | None:
        """One new way back from the target to a pair, and the pair's best try at it."""
        for _ in range(50):
            left, value, wrap, steps = list(numbers), target, "{}", []
            while len(left) > 2:
                goal = rng.choice(steps_back(tuple(sorted(left)), value))
                steps.append(goal.text)
                value, wrap = goal.value, wrap.format(goal.wrap)
                left.remove(goal.number)
            key = " ".join(steps)
            if key not in seen:
                seen.add(key)
                text, expression, result = best_pair(left[0], left[1], value)
                return ", ".join([*steps, f"{text}={result}"]), wrap.format(expression), result == value
        return None


def facts(problem: Problem) -> tuple[tuple[int, ...], int]:
    """The numbers and the target of a countdown problem."""
    numbers, target = problem.facts["numbers"], problem.facts["target"]
    assert isinstance(numbers, tuple)
    assert isinstance(target, int)
    return numbers, target


@lru_cache(maxsize=100_000)
def steps_back(numbers: tuple[int, ...], value: int) -> tuple[Goal, ...]:
    """Every way to take one of the numbers off `value`: x+c, x-c, c-x and x*c, each solved for x."""
    goals = []
    for c in sorted(set(numbers)):
        if value - c > 0:
            goals.append(Goal(f"{value}-{c}={value - c}", value - c, c, f"{{}}+{c}"))
        if value + c <= LARGEST:
            goals.append(Goal(f"{value}+{c}={value + c}", value + c, c, f"{{}}-{c}"))
        if c - value > 0:
            goals.append(Goal(f"{c}-{value}={c - value}", c - value, c, f"{c}-({{}})"))
        if c > 1 and value % c == 0 and value > 0:
            goals.append(Goal(f"{value}/{c}={value // c}", value // c, c, f"({{}})*{c}"))
    return tuple(goals)


def best_pair(a: int, b: int, value: int) -> tuple[str, str, int]:
    """The operation on two numbers whose result comes nearest to `value`: its text and its result."""
    high, low = max(a, b), min(a, b)
    options = [(f"{a}+{b}", a + b), (f"{high}-{low}", high - low)]
    if a * b <= LARGEST:
        options.append((f"{a}*{b}", a * b))
    text, result = min(options, key=lambda option: abs(option[1] - value))
    return text, text, result


def find_expression(numbers: list[int], value: int, rng: random.Random) -> str | None:
    """An expression of all the numbers with that value, by steps back in random order; None where there is none."""
    if len(numbers) == 2:
        text, _, result = best_pair(numbers[0], numbers[1], value)
        return text if result == value else None
    goals = list(steps_back(tuple(sorted(numbers)), value))
    rng.shuffle(goals)
    for goal in goals:
        left = list(numbers)
        left.remove(goal.number)
        inner = find_expression(left, goal.value, rng)
        if inner is not None:
            return goal.wrap.format(inner)
    return None


@lru_cache(maxsize=50_000)
def reachable(numbers: tuple[int, ...]) -> frozenset[int]:
    """Every value from 1 to `LARGEST` that the numbers make when they are added to the rest one at a time.

    These are the targets that steps back can find; (a*b)+(c*d), two halves made apart, is not among them.
    """
    if len(numbers) == 1:
        return frozenset(numbers)
    values: set[int] = set()
    for i, number in enumerate(numbers):
        for rest in reachable(numbers[:i] + numbers[i + 1 :]):
            values.update((rest + number, abs(rest - number), rest * number))
    return frozenset(v for v in values if 0 < v <= LARGEST)
