"""Whether training text holds evaluation problems: by hash of the normalised text, and by runs of ten words.

DeepSeek-R1's own check is a match of 10-grams (R1 paper, evaluation setup). A problem of fewer words is looked for as a
whole.
"""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ponder.core.errors import ConfigError, DataError
from ponder.core.types import Problem
from ponder.data.library.library import question_of
from ponder.data.library.rows import read_rows

RUN = 10  # words
_WORD = re.compile(r"[^\W_]+|[^\w\s]", re.UNICODE)
_SIGNS = {**{sign: sign for sign in "+-*/^=<>"}, "−": "-", "×": "*", "·": "*", "÷": "/"}
_IDEOGRAPH = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """A training text and an evaluation problem that share text."""

    train: int  # which of the training texts
    problem: str  # the id of the evaluation problem
    kind: str  # "same": all of the words; "run": words in a row; "whole": all of a problem that is shorter than a run
    share: float  # of the problem's runs of words that the training text holds; 1 where it holds the whole problem
    shared: str  # words that both hold


@dataclass(frozen=True, kw_only=True, slots=True)
class Contamination:
    """What a check found. `overlaps` are ordered by problem, the largest share first."""

    texts: int
    problems: int
    run: int  # words that count as one when they stand in a row
    overlaps: tuple[Overlap, ...]
    too_short: int  # problems of fewer words than a run: these are looked for as a whole

    @property
    def problem_ids(self) -> frozenset[str]:
        """The problems that some training text holds, in part or whole."""
        return frozenset(overlap.problem for overlap in self.overlaps)

    @property
    def train_indices(self) -> frozenset[int]:
        """The training texts that hold something of a problem."""
        return frozenset(overlap.train for overlap in self.overlaps)

    def __bool__(self) -> bool:
        return bool(self.overlaps)


class MeasuredText:
    """The text of problems that are measured, to be looked for in what is trained on.

    Words are compared without case, accents, spacing and punctuation; each ideograph is a word. Of a problem the
    question alone counts, not the prompt around it.
    """

    def __init__(self, problems: Sequence[Problem], *, run: int = RUN, common: int | None = None) -> None:
        """`run` words in a row are shared text, and all words of a shorter problem, with the same signs of arithmetic
        between its numbers. A run that stands in more than `common` of the problems is a turn of phrase of the set and
        counts for nothing (None: every run counts). Raises `ConfigError` for a run of no words.
        """
        if run < 1:
            raise ConfigError(f"a run of {run} words; expected 1 or more")
        self.problems, self.run = problems, run
        self._words = [normal_words(question_of(problem)) for problem in problems]
        self.too_short = sum(len(each) < run for each in self._words)
        self._runs = [set(_runs(each, run)) for each in self._words]
        phrases: set[bytes] = set()
        if common is not None:
            counts = Counter(key for each in self._runs for key in each)
            phrases = {key for key, times in counts.items() if times > common}
        self._holders: dict[bytes, list[int]] = defaultdict(list)
        for at, each in enumerate(self._runs):
            each -= phrases
            for key in each:
                self._holders[key].append(at)
        self._wholes: dict[bytes, list[int]] = defaultdict(list)
        for at, words in enumerate(self._words):
            if len(words) >= run:
                self._wholes[_key(words)].append(at)
        self._short = _ShortProblems([question_of(problem) for problem in problems], run)

    def shared_with(self, training: str | Problem, index: int = 0) -> list[tuple[int, Overlap]]:
        """What one training text shares with them: which problem, and how. `index`: the training text's number."""
        text = question_of(training) if isinstance(training, Problem) else training
        given = normal_words(text)
        held = [(at, "same", 1.0, " ".join(given[: self.run])) for at in self._wholes.get(_key(given), ())]
        same = {at for at, *_ in held}
        for at, share, shared in _shared_runs(given, self._runs, self._holders, self.run):
            if at not in same:
                held.append((at, "run", share, shared))
        for at in self._short.within(text):
            words = self._words[at]
            held.append((at, "same" if len(given) == len(words) else "whole", 1.0, " ".join(words)))
        return [
            (at, Overlap(train=index, problem=self.problems[at].id, kind=kind, share=share, shared=shared))
            for at, kind, share, shared in held
        ]


def contaminated(
    train_texts: Iterable[str | Problem],
    eval_problems: Sequence[Problem],
    *,
    run: int = RUN,
    common: int | None = None,
    wholes: bool = False,
) -> Contamination:
    """Which training texts share a run of `run` words with an evaluation problem, or hold the whole of a shorter one.

    `wholes`: only those that hold the whole of a problem. Held-out problems of a generated task share runs with any
    other problem of their template. See `MeasuredText`. Raises `ConfigError` for a run of no words.
    """
    measured = MeasuredText(eval_problems, run=run, common=common)
    overlaps: list[tuple[int, Overlap]] = []
    texts = 0
    for index, text in enumerate(train_texts):
        texts += 1
        overlaps += [found for found in measured.shared_with(text, index) if not wholes or found[1].share == 1]
    overlaps.sort(key=lambda found: (found[0], -found[1].share, found[1].train))
    return Contamination(
        texts=texts,
        problems=len(eval_problems),
        run=run,
        overlaps=tuple(overlap for _, overlap in overlaps),
        too_short=measured.too_short,
    )


def texts_of(path: Path) -> list[str]:
    """The texts of a training file: of each row all of its strings, whatever their columns; of a .txt its paragraphs.

    Raises `DataError` with file and line for a row that cannot be read.
    """
    if path.suffix == ".txt":
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        return [part for part in re.split(r"\n\s*\n", text) if part.strip()]
    return ["\n".join(_strings(dict(row.values))) for row in read_rows(path)]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def normal_words(text: str) -> list[str]:
    """The words of a text, brought to one form.

    >>> normal_words("Café  №1: 3×4, x_1!")
    ['cafe', 'no1', '3', '4', 'x', '1']
    """
    return [token for token in _tokens(text) if token[0].isalnum()]


def _tokens(text: str) -> list[str]:
    """The words and marks of a text, brought to one form."""
    text = unicodedata.normalize("NFKD", text).casefold()
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    return _WORD.findall(_IDEOGRAPH.sub(r" \1 ", text))


def _calculation(text: str) -> tuple[str, ...]:
    """The words of a text, a number with the signs of arithmetic between it and a number before it in its line.

    >>> _calculation("What is 2 + 3*4?")
    ('what', 'is', '2', '+3', '*4')
    """
    words: list[str] = []
    for line in text.splitlines():
        after_number, signs = False, ""
        for token in _tokens(line):
            if token[0].isalnum():
                words.append(signs + token if after_number and token[0].isdigit() else token)
                after_number, signs = token[-1].isdigit(), ""
            else:
                signs += _SIGNS.get(token, "")
    return tuple(words)


def _runs(words: Sequence[str], run: int) -> Iterator[bytes]:
    for start in range(len(words) - run + 1):
        yield _key(words[start : start + run])


def _key(words: Sequence[str]) -> bytes:
    return hashlib.blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest()


class _ShortProblems:
    """The problems of fewer words than a run, by all of their words."""

    def __init__(self, questions: Sequence[str], run: int) -> None:
        self._holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
        lengths: dict[str, set[int]] = defaultdict(set)  # by the first word: few places of a text have to be looked at
        for at, words in enumerate(map(_calculation, questions)):
            if 0 < len(words) < run:
                self._holders[words].append(at)
                lengths[words[0]].add(len(words))
        self._lengths = {word: tuple(each) for word, each in lengths.items()}

    def within(self, text: str) -> set[int]:
        """Which of them a text holds."""
        found: set[int] = set()
        if not self._holders:
            return found
        given = _calculation(text)
        for start, word in enumerate(given):
            for length in self._lengths.get(word, ()):
                found.update(self._holders.get(given[start : start + length], ()))
        return found


def _shared_runs(
    given: Sequence[str], runs: Sequence[set[bytes]], holders: Mapping[bytes, Sequence[int]], run: int
) -> Iterator[tuple[int, float, str]]:
    """The problems that share runs with a text of these words: which one, the share of its runs, and the first."""
    hits: dict[int, set[bytes]] = defaultdict(set)
    first: dict[int, int] = {}
    for start, key in enumerate(_runs(given, run)):
        for at in holders.get(key, ()):
            hits[at].add(key)
            first.setdefault(at, start)
    for at, keys in hits.items():
        yield at, len(keys) / len(runs[at]), " ".join(given[first[at] : first[at] + run])
