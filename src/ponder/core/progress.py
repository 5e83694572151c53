"""How long work tells the person at the terminal where it stands. Only `cli` draws; everything below it reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from ponder.core.types import Rollout


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One completion worth showing."""

    prompt: str
    text: str
    score: float | None  # None: ungraded
    correct: bool | None

    @classmethod
    def of(cls, rollout: Rollout) -> Self:
        """What a person sees of a rollout."""
        verdict = rollout.verdict
        return cls(prompt=rollout.problem.prompt, text=rollout.text, score=verdict.score, correct=verdict.correct)


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """How far the bytes of a model have come that are fetched, copied, written or checked."""

    file: str
    done: int  # bytes, those of an earlier attempt included
    total: int | None  # None where the source does not say
    resumed: int = 0  # bytes that were there when this began


class Reporter(Protocol):
    """Hears of progress. Whatever it does, it changes no result."""

    def stage(self, name: str, total: int | None) -> None:
        """A stage begins. `total` counts its steps (or, in an evaluation, its items); None where open-ended."""
        ...

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """A step is done; `metrics` as they were logged."""
        ...

    def expect(self, total: int | None) -> None:
        """The stage will take another number of steps than was told before."""
        ...

    def advance(self, done: int) -> None:
        """`done` items of the stage are done so far, in a stage that has no step metrics."""
        ...

    def samples(self, samples: Sequence[Sample]) -> None:
        """A few completions as they are now."""
        ...

    def note(self, text: str) -> None:
        """One line that a person should see once."""
        ...


class SilentReporter:
    """Reports to nobody."""

    def stage(self, name: str, total: int | None) -> None:
        pass

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        pass

    def expect(self, total: int | None) -> None:
        pass

    def advance(self, done: int) -> None:
        pass

    def samples(self, samples: Sequence[Sample]) -> None:
        pass

    def note(self, text: str) -> None:
        pass
