"""What a source of problems offers, and how training and held-out problems are kept apart."""

import hashlib
import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from ponder.core.types import Problem, Split
from ponder.text.tokenizer import Tokenizer

HELD_OUT_SHARE = 10  # one problem in this many is held out
MISSES = 1_000  # draws in a row that bring nothing new before a source counts as exhausted


def split_of(problem_id: str) -> Split:
    """The split that a problem belongs to, a function of its id alone: the two are disjoint by construction."""
    digest = hashlib.blake2b(problem_id.encode(), digest_size=8).digest()
    return "held_out" if int.from_bytes(digest, "little") % HELD_OUT_SHARE == 0 else "train"


def problems_digest(problems: Iterable[Problem]) -> str:
    """A short name of what is asked, expected and judged by: equal digests mean the same problems."""
    digest = hashlib.blake2b(digest_size=8)
    for problem in problems:
        content = (problem.id, problem.prompt, problem.answer, _plain(problem.facts))
        digest.update(repr(content).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _plain(value: object) -> object:
    """A value in an order and a form that are the same in every process."""
    if isinstance(value, Mapping):
        return sorted((repr(key), _plain(each)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if value is None or isinstance(value, bool | int | float | str | date | Decimal | Fraction):
        return value
    return type(value).__name__


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A worked or straight example, as a base model meets it in pretraining."""

    prompt: str
    thought: str  # empty where the answer is given straight
    answer: str


class ProblemSource(Protocol):
    """Problems of one kind, as many as one asks for."""

    def sample(self, split: Split, rng: random.Random) -> Problem:
        """A problem of that split; the same state of `rng` gives the same problem."""
        ...


class DocumentSource(Protocol):
    """Documents about training problems, for pretraining."""

    def straight(self, problem: Problem, rng: random.Random) -> Document:
        """A document that gives its answer without a thought."""
        ...

    def worked(self, problem: Problem, rng: random.Random, *, thorough: bool) -> Document:
        """A document that works its answer out, perhaps with a try that is checked, dropped and retried.

        A `thorough` one does not give up; otherwise it may, as people do.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLengths:
    """The longest texts met, in tokens; a completion counts its four tags and its end of sequence."""

    prompt: int
    completion: int  # 0 where there are no documents


def token_lengths(
    problems: ProblemSource, documents: DocumentSource | None, tokenizer: Tokenizer, draws: int = 200
) -> TokenLengths:
    """The longest prompt and completion among the documents about `draws` problems of each split.

    Raises `TokenizerError` for text that the vocabulary lacks.
    """
    prompt, completion = 0, 0
    rng = random.Random(0)
    splits: tuple[Split, ...] = ("train", "held_out")
    for split in splits:
        for _ in range(draws):
            problem = problems.sample(split, rng)
            prompt = max(prompt, len(tokenizer.encode(problem.prompt)))
            tokenizer.encode(problem.answer or "")
            if documents is not None:
                for document in (documents.worked(problem, rng, thorough=True), documents.straight(problem, rng)):
                    texts = tokenizer.encode_batch([document.thought, document.answer])
                    completion = max(completion, sum(map(len, texts)) + 5)
    return TokenLengths(prompt=prompt, completion=completion)


def held_out_problems(source: ProblemSource, count: int, rng: random.Random) -> list[Problem]:
    """`count` different held-out problems (fewer where the source runs dry)."""
    return different_problems(source, "held_out", count, rng)


def different_problems(source: ProblemSource, split: Split, count: int, rng: random.Random) -> list[Problem]:
    """`count` different problems of a split (fewer where the source runs dry)."""
    found: dict[str, Problem] = {}
    misses = 0
    while len(found) < count and misses < MISSES:
        problem = source.sample(split, rng)
        misses = misses + 1 if problem.id in found else 0
        found.setdefault(problem.id, problem)
    return list(found.values())
