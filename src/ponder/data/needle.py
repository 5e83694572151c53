"""`needle`: a fact to find in a long text (the needle in a haystack; Kamradt 2023, with misleading ones as in RULER).

The haystack is random small letters. A needle is a number from 10 to 199, and the question at the end gives all of its
digits but the last: `qhd137jw…t42bnx…?13` → `7`. The other needles begin with other digits. Every letter, every number
and the question mark is one token of `Tokenizer.for_arithmetic`, so a length in tokens is exact.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ponder.core.errors import ConfigError, DataError
from ponder.core.seeds import python_rng
from ponder.core.types import Problem
from ponder.text.examples import Example
from ponder.text.tokenizer import Tokenizer

KEYS = tuple(str(n) for n in range(1, 20))
VALUES = "0123456789"
STRAW = "abcdefghijklmnopqrstuvwxyz"
ASKED = "?"  # stands before the key that is asked for
NEEDLE_TOKENS = 1  # key and value are one number
QUESTION_TOKENS = 2  # the mark, the key


@dataclass(frozen=True, kw_only=True)
class NeedleConfig:
    """How many needles a text holds."""

    needles: int = 8  # a question is about one of them, and the others are there to mislead

    def __post_init__(self) -> None:
        if not 1 <= self.needles <= len(KEYS):
            raise ConfigError(f"needle.needles = {self.needles}; expected 1 to {len(KEYS)}, the keys that there are")

    @property
    def shortest(self) -> int:
        """Tokens of the shortest text: the needles and a question."""
        return NEEDLE_TOKENS * self.needles + QUESTION_TOKENS


def needle_problem(tokens: int, depth: float, rng: random.Random, config: NeedleConfig) -> Problem:
    """A text of exactly `tokens` tokens, the question among them, and the value that is asked for.

    `depth`: where the needle stands, from 0 (the first thing in the text) to 1 (the last before the question). The
    other needles stand anywhere. Raises `DataError` where the text is too short for all of them.
    """
    if not 0.0 <= depth <= 1.0:
        raise DataError(f"a needle at depth {depth}; expected 0 (the beginning) to 1 (the end)")
    if tokens < config.shortest:
        raise DataError(
            f"a text of {tokens} tokens has no room for {config.needles} needles; expected {config.shortest} or more"
        )
    facts = _facts(rng, config.needles)
    pieces = _spread(tokens - config.shortest, facts[1:], rng)
    pieces.insert(round(depth * len(pieces)), "".join(facts[0]))
    key, value = facts[0]
    prompt = f"{''.join(pieces)}{ASKED}{key}"
    return Problem(id=f"needle-{tokens}-{depth:g}-{rng.randrange(1 << 32):08x}", prompt=prompt, answer=value)


@dataclass(frozen=True, kw_only=True)
class NeedleLessons:
    """Texts to learn from, by number: an `ExampleSource`.

    A text holds one to `config.needles` needles, and ends with questions about them, drawn with replacement: what was
    asked before says nothing of what is asked next. Only the values behind the questions are learned.
    """

    tokenizer: Tokenizer
    lengths: tuple[int, int]  # of a text with its questions, in tokens: from, to
    seed: int
    questions: int = 12
    config: NeedleConfig = NeedleConfig()

    def __post_init__(self) -> None:
        low, high = self.lengths
        least = self.config.needles * NEEDLE_TOKENS + self.questions * (QUESTION_TOKENS + 1)
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
        facts, per_question = _facts(rng, rng.randint(1, self.config.needles)), QUESTION_TOKENS + 1
        tokens = rng.randint(*self.lengths)
        straws = tokens - len(facts) * NEEDLE_TOKENS - self.questions * per_question
        text = "".join(_spread(straws, facts, rng))
        questions = "".join(f"{ASKED}{key}{value}" for key, value in rng.choices(facts, k=self.questions))
        ids = tuple(self.tokenizer.encode(text + questions))
        first = len(ids) - per_question * self.questions
        target = tuple(i >= first and (i - first) % per_question == QUESTION_TOKENS for i in range(len(ids)))
        return Example(ids, target)


def _facts(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """Different keys, each with a value; values may repeat."""
    return [(key, rng.choice(VALUES)) for key in rng.sample(KEYS, count)]


def _spread(straws: int, facts: Sequence[tuple[str, str]], rng: random.Random) -> list[str]:
    """Straws, and among them these facts, each whole and anywhere."""
    total = straws + len(facts)
    places = dict(zip(rng.sample(range(total), len(facts)), map("".join, facts), strict=True))
    return [places.get(place) or rng.choice(STRAW) for place in range(total)]
