"""`chain`: left-to-right arithmetic modulo 10, such as 7+8-3*4=? → 8 (15 → 5, 5-3 = 2, 2*4 = 8)."""

import random
import re
from dataclasses import dataclass

from ponder.core.errors import ConfigError
from ponder.core.types import Problem, Split
from ponder.data.problems import Document, split_of

OPERATORS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


@dataclass(frozen=True)
class Step:
    """One operation: `left` `operator` `right` gives `result`, all digits."""

    left: int
    operator: str
    right: int
    result: int


@dataclass(frozen=True, kw_only=True)
class ChainSource:
    """Problems of `terms` digits from 1 to 9, and documents about them.

    A worked document gets a step wrong with probability `slip`; a checked one (share `checked`) sees that and
    retries, an unchecked one goes on with the wrong digit.
    """

    terms: int = 6
    slip: float = 0.02
    checked: float = 0.3

    def __post_init__(self) -> None:
        if self.terms < 2:
            raise ConfigError(f"chain has {self.terms} terms; expected 2 or more")
        for name, share in (("slip", self.slip), ("checked", self.checked)):
            if not 0 <= share <= 1:
                raise ConfigError(f"chain's {name} is {share}; expected a share from 0 to 1")

    def sample(self, split: Split, rng: random.Random) -> Problem:
        while True:
            digits = rng.choices("123456789", k=self.terms)
            operators = rng.choices("+-*", k=self.terms - 1)
            text = digits[0] + "".join(o + d for o, d in zip(operators, digits[1:], strict=True))
            if split_of(text) == split:
                return Problem(id=text, prompt=f"{text}=?", answer=str(solve(text)[-1].result))

    def straight(self, problem: Problem, rng: random.Random) -> Document:
        assert problem.answer is not None
        return Document(prompt=problem.prompt, thought="", answer=problem.answer)

    def worked(self, problem: Problem, rng: random.Random, *, thorough: bool) -> Document:
        checks = rng.random() < self.checked
        current, written = int(problem.id[0]), []
        for step in solve(problem.id):
            asked = f"{current}{step.operator}{step.right}="
            right = OPERATORS[step.operator](current, step.right) % 10
            result = rng.choice([d for d in range(10) if d != right]) if rng.random() < self.slip else right
            text = f"{asked}{result}"
            if checks:
                text += " ok" if result == right else f" no wait {asked}{right} ok"
                result = right
            written.append(text)
            current = result
        return Document(prompt=problem.prompt, thought=", ".join(written), answer=str(current))


def solve(text: str) -> list[Step]:
    """The steps of `7+8-3`, in order; the last one's result is the answer."""
    tokens = re.findall(r"\d|[+*-]", text)
    current, steps = int(tokens[0]), []
    for operator, digit in zip(tokens[1::2], tokens[2::2], strict=True):
        result = OPERATORS[operator](current, int(digit)) % 10
        steps.append(Step(current, operator, int(digit), result))
        current = result
    return steps
