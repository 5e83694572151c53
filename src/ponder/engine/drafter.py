"""Guesses of how a sample goes on, which one step then checks all at once.

A guess changes no output: each token is drawn as it would be without, with its own random number, and a guess is used
as far as it is what was drawn. For a guess without a distribution of its own, that is the rejection sampling of
Leviathan et al. (arXiv 2211.17192), token for token. To look guesses up in the text so far: Saxena, "Prompt lookup
decoding" (2023).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ponder.engine.request import Sample

LONGEST = 8  # tokens of a guess
LENGTHS = (3, 2)  # tokens that have to have come before, the longer first


class Drafter(Protocol):
    """Guesses for running samples."""

    def propose(self, sample: Sample, most: int) -> Sequence[int]:
        """Up to `most` tokens that may come next, as far as `DraftRules` let them."""
        ...


class Lookahead(Protocol):
    """What a drafter asks of a sample's grammar (constraint.py)."""

    @property
    def free(self) -> bool: ...

    @property
    def inside(self) -> bool: ...

    def foresee(self) -> list[int]: ...

    def fitting(self, tokens: Sequence[int]) -> int: ...


class DraftRules:
    """What may be guessed of a sample, whoever guesses it."""

    def __init__(self, constraint_of: Callable[[Sample], Lookahead | None] = lambda sample: None) -> None:
        self._constraint_of = constraint_of

    def allow(self, sample: Sample) -> bool:
        """Whether there may be guesses at all. There are none where what may be drawn depends on the tokens before it
        in a way that the sampler does not follow: penalties, and a thought that is still too short to end.
        """
        return not sample.request.sampling.penalises and (sample.thought is None or not sample.thought.bars_end)

    def keep(self, sample: Sample, guess: Sequence[int], most: int) -> Sequence[int]:
        """As many of the guessed tokens as may be used, at most so many. Where a grammar sets what comes, that is
        guessed instead; what it does not take, and what would end a thought or the sample, is cut off.
        """
        request, constraint, guess = sample.request, self._constraint_of(sample), guess[:most]
        if constraint is not None and not constraint.free:
            if not constraint.inside:
                return ()
            guess = constraint.foresee()[:most] or guess
            guess = guess[: constraint.fitting(guess)]
        ends = set(request.stop_ids)
        if request.thinking is not None:
            ends.add(request.thinking.end_id)
            if request.thinking.start_id is not None:
                ends.add(request.thinking.start_id)
        return guess[: next((i for i, token in enumerate(guess) if token in ends), len(guess))]


class LastGuess:
    """The last guess for one sample, and how good it was."""

    __slots__ = ("_begin", "_guess")

    def __init__(self) -> None:
        self._begin = 0  # where it began
        self._guess: tuple[int, ...] = ()

    def note(self, sample: Sample, guess: Sequence[int]) -> None:
        """This is guessed to follow now."""
        self._begin, self._guess = len(sample.tokens), tuple(guess)

    def judge(self, tokens: Sequence[int]) -> tuple[int, int] | None:
        """How many tokens from its beginning on came, and of how many; None where there was none since."""
        guess, self._guess = self._guess, ()
        if not guess:
            return None
        came = tokens[self._begin : self._begin + len(guess)]
        return next((i for i, (a, b) in enumerate(zip(came, guess, strict=False)) if a != b), len(came)), len(guess)


class NgramDrafter:
    """Guesses that what followed the last few tokens before follows again, or what a grammar sets."""

    def __init__(self, rules: DraftRules | None = None) -> None:
        self._rules = rules or DraftRules()
        self._memories: dict[Sample, _Memory] = {}

    @property
    def remembers(self) -> int:
        """How many samples it keeps something of."""
        return len(self._memories)

    def forget(self, samples: Iterable[Sample]) -> None:
        """Samples that have ended."""
        for ended in samples:
            self._memories.pop(ended, None)

    def propose(self, sample: Sample, most: int) -> Sequence[int]:
        """See `Drafter`."""
        if not self._rules.allow(sample):
            return ()
        memory = self._memories.get(sample)
        if memory is None:
            memory = self._memories[sample] = _Memory()
        memory.catch_up(sample.tokens)
        guess = self._rules.keep(sample, memory.look_up(sample.tokens, most), most)
        memory.last.note(sample, guess)
        return guess


class _Memory:
    """Where each run of tokens of one sample occurred last, and how good its guesses are."""

    __slots__ = ("_after", "_length", "_read", "last")

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}  # by a run of tokens, where what follows it begins
        self._read = 0  # tokens whose runs are known
        self._length = LONGEST // 2  # of the next guess
        self.last = LastGuess()

    def catch_up(self, tokens: Sequence[int]) -> None:
        """Learn what came, but for the runs at the end, which nothing has followed yet; and judge the last guess."""
        for end in range(self._read, len(tokens)):
            for length in LENGTHS:
                if end >= length:
                    self._after[tuple(tokens[end - length : end])] = end
        self._read = len(tokens)
        judged = self.last.judge(tokens)
        if judged is not None:
            right, guessed = judged
            if right == guessed:
                self._length = min(2 * self._length, LONGEST)
            elif 2 * right < guessed:
                self._length = max(self._length // 2, 1)

    def look_up(self, tokens: Sequence[int], most: int) -> list[int]:
        """What followed the last tokens when they came before; where that reaches to the end, it begins again."""
        for length in LENGTHS:
            begin = self._after.get(tuple(tokens[-length:]))
            if begin is not None:
                followed, wanted = tokens[begin : begin + LONGEST], min(most, self._length)
                return [followed[i % len(followed)] for i in range(wanted)]
        return []
