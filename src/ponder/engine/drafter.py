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
        """Up to `most` tokens that may come next. None where what may be drawn depends on the tokens before it in a way
        that the sampler does not follow: penalties, and a thought that is still too short to end.
        """
        ...


class Lookahead(Protocol):
    """What a drafter asks of a sample's grammar (constraint.py)."""

    @property
    def free(self) -> bool: ...

    @property
    def inside(self) -> bool: ...

    def foresee(self) -> list[int]: ...

    def fitting(self, tokens: Sequence[int]) -> int: ...


class NgramDrafter:
    """Guesses that what followed the last few tokens before follows again, or what a grammar sets."""

    def __init__(self, constraint_of: Callable[[Sample], Lookahead | None] = lambda sample: None) -> None:
        self._constraint_of = constraint_of
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
        request, thought = sample.request, sample.thought
        if request.sampling.penalises or (thought is not None and thought.bars_end):
            return ()
        memory = self._memories.get(sample)
        if memory is None:
            memory = self._memories[sample] = _Memory()
        memory.catch_up(sample.tokens)
        constraint = self._constraint_of(sample)
        if constraint is None or constraint.free:
            guess = memory.look_up(sample.tokens, most)
        elif constraint.inside:
            guess = constraint.foresee()[:most] or memory.look_up(sample.tokens, most)
            guess = guess[: constraint.fitting(guess)]
        else:
            return ()
        ends = set(request.stop_ids)
        if request.thinking is not None:
            ends |= {request.thinking.end_id, request.thinking.start_id or request.thinking.end_id}
        guess = guess[: next((i for i, token in enumerate(guess) if token in ends), len(guess))]
        memory.proposed = (len(sample.tokens), guess)
        return guess


class _Memory:
    """Where each run of tokens of one sample occurred last, and how good its guesses are."""

    __slots__ = ("_after", "_length", "_read", "proposed")

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}  # by a run of tokens, where what follows it begins
        self._read = 0  # tokens whose runs are known
        self._length = LONGEST // 2  # of the next guess
        self.proposed: tuple[int, Sequence[int]] = (0, ())  # where the last guess began, and it

    def catch_up(self, tokens: Sequence[int]) -> None:
        """Learn what came, but for the runs at the end, which nothing has followed yet; and judge the last guess."""
        for end in range(self._read, len(tokens)):
            for length in LENGTHS:
                if end >= length:
                    self._after[tuple(tokens[end - length : end])] = end
        self._read = len(tokens)
        begin, guess = self.proposed
        if guess:
            came = tokens[begin : begin + len(guess)]
            right = next((i for i, (a, b) in enumerate(zip(came, guess, strict=False)) if a != b), len(came))
            if right == len(guess):
                self._length = min(2 * self._length, LONGEST)
            elif 2 * right < len(guess):
                self._length = max(self._length // 2, 1)
            self.proposed = (0, ())

    def look_up(self, tokens: Sequence[int], most: int) -> list[int]:
        """What followed the last tokens when they came before; where that reaches to the end, it begins again."""
        for length in LENGTHS:
            begin = self._after.get(tuple(tokens[-length:]))
            if begin is not None:
                followed, wanted = tokens[begin : begin + LONGEST], min(most, self._length)
                return [followed[i % len(followed)] for i in range(wanted)]
        return []
