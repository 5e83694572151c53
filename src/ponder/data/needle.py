"""`needle`: a fact to find in a long text (the needle in a haystack; Kamradt 2023, with misleading ones as in RULER).

The haystack is random small letters. In it stand needles of different kinds, one of each: a digit, a capital letter, a
sign. The question at the end names a kind, and the needle is the answer: `qhd7jwK…tb=nx…?A` → `K`. Every character is
one token of `Tokenizer.for_arithmetic`, so a length in tokens is exact.
"""

import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ponder.core.errors import ConfigError, DataError
from ponder.core.seeds import python_rng
from ponder.core.types import Problem
from ponder.text.examples import Example
from ponder.text.tokenizer import Tokenizer

KINDS: Mapping[str, str] = {
    "0": string.digits,
    "A": string.ascii_uppercase,
    "+": "+-*/=<>%&@#$",
}  # how to ask → needles
STRAW = string.ascii_lowercase
ASKED = "?"  # stands before the kind that is asked for
QUESTION_TOKENS = 2  # the mark, the kind
SHORTEST = len(KINDS) + QUESTION_TOKENS  # tokens of a text that is all needles and question


def needle_problem(tokens: int, depth: float, rng: random.Random) -> Problem:
    """A text of exactly `tokens` tokens, the question among them, and the needle that is asked for.

    `depth`: where it stands, from 0 (the first thing in the text) to 1 (the last before the question). The needles of
    the other kinds stand anywhere. Raises `DataError` for a text that is too short for all of them.
    """
    if not 0.0 <= depth <= 1.0:
        raise DataError(f"a needle at depth {depth}; expected 0 (the beginning) to 1 (the end)")
    if tokens < SHORTEST:
        raise DataError(f"a text of {tokens} tokens has no room for {len(KINDS)} needles; expected {SHORTEST} or more")
    needles = _needles(rng)
    kind = rng.choice(list(KINDS))
    others = [needle for other, needle in needles.items() if other != kind]
    pieces = _haystack(tokens - QUESTION_TOKENS - 1, others, rng)
    pieces.insert(round(depth * len(pieces)), needles[kind])
    prompt = f"{''.join(pieces)}{ASKED}{kind}"
    return Problem(id=f"needle-{tokens}-{depth:g}-{rng.randrange(1 << 32):08x}", prompt=prompt, answer=needles[kind])


@dataclass(frozen=True, kw_only=True)
class NeedleLessons:
    """Texts to learn from, by number: an `ExampleSource`.

    A text ends with questions of kinds drawn with replacement, each with its answer, and only the answers are learned.
    """

    tokenizer: Tokenizer
    lengths: tuple[int, int]  # of a text with its questions, in tokens: from, to
    seed: int
    questions: int = 8

    def __post_init__(self) -> None:
        low, high = self.lengths
        least = len(KINDS) + self.questions * (QUESTION_TOKENS + 1)
        if self.questions < 1 or not least <= low <= high:
            raise ConfigError(
                f"needle lessons of {low} to {high} tokens with {self.questions} questions; expected a question or "
                f"more, {least} tokens or more for the needles and them, and the shorter length first"
            )

    @property
    def size(self) -> None:
        """As many as one asks for."""
        return None

    def example(self, index: int) -> Example:
        rng = python_rng(self.seed, "needle-lesson", index)
        needles, asked = _needles(rng), rng.choices(list(KINDS), k=self.questions)
        questions = "".join(f"{ASKED}{kind}{needles[kind]}" for kind in asked)
        text = "".join(_haystack(rng.randint(*self.lengths) - len(questions), list(needles.values()), rng))
        ids = tuple(self.tokenizer.encode(text + questions))
        first, each = len(text), QUESTION_TOKENS + 1
        target = tuple(i >= first and (i - first) % each == QUESTION_TOKENS for i in range(len(ids)))
        return Example(ids, target)


def _needles(rng: random.Random) -> dict[str, str]:
    """One of each kind, by kind."""
    return {kind: rng.choice(needles) for kind, needles in KINDS.items()}


def _haystack(tokens: int, needles: Sequence[str], rng: random.Random) -> list[str]:
    """So many characters, these needles among them, anywhere."""
    pieces = rng.choices(STRAW, k=tokens)
    for place, needle in zip(rng.sample(range(tokens), len(needles)), needles, strict=True):
        pieces[place] = needle
    return pieces
