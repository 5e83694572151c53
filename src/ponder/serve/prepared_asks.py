"""The asks of one request, which share room, money and bill: mostly one, but a completion may have a list of prompts.
Several are generated one after the other, as if they were one.
"""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, BackendEvent, Caller, Finish, Usage
from ponder.serve.seams import Backend, Generation, Moderator, Prepared, StreamModerator


@dataclass(frozen=True, slots=True)
class PreparedAsks:
    """See `ponder.serve.seams.Prepared`. Samples are numbered through, ask by ask."""

    backend: Backend  # of all
    asks: Sequence[Ask]  # at least one
    prepared: Sequence[Prepared]

    @classmethod
    async def prepare(cls, backend: Backend, asks: Sequence[Ask], caller: Caller) -> Self:
        """Raises `ApiError` 400 or 422 where the backend cannot serve one of them."""
        return cls(backend, asks, [await backend.prepare(ask, caller) for ask in asks])

    @property
    def prompt_tokens(self) -> int:
        return sum(prepared.prompt_tokens for prepared in self.prepared)

    @property
    def max_completion_tokens(self) -> int:
        return sum(prepared.max_completion_tokens for prepared in self.prepared)

    @property
    def samples(self) -> int:
        return sum(ask.n for ask in self.asks)

    @property
    def samples_at_once(self) -> int:
        """The most that one of the asks has."""
        return max(ask.n for ask in self.asks)

    async def start(self) -> Generation:
        """Raises `ApiError` where the backend refuses."""
        return await self.backend.start(self.prepared[0]) if len(self.asks) == 1 else JoinedGeneration(self)

    def moderation(self, moderator: Moderator, caller: Caller) -> list[StreamModerator]:
        """What moderates each sample: one stream for those of an ask."""
        return [stream for ask in self.asks for stream in [moderator.stream(ask, caller)] * ask.n]


class JoinedGeneration:
    """See `ponder.serve.seams.Generation`. Iterating raises `ApiError` where the backend refuses the first ask.

    What it refuses behind that, or fails at, ends as samples of "insufficient_system_resource": an error would take the
    answers away that came before.
    """

    def __init__(self, request: PreparedAsks) -> None:
        self._request = request
        self._current: Generation | None = None  # of the ask under way
        self._numbers = range(0)  # of that ask's samples
        self._done = Usage()  # of the asks before it
        self._refused = False
        self._cancelled = self._answer_now = False  # asked for: the asks that follow are told when they begin
        self._cancelled_samples: set[int] = set()
        self._events = self._make_events()

    def __aiter__(self) -> AsyncGenerator[BackendEvent]:
        return self._events

    @property
    def usage(self) -> Usage:
        return self._done if self._current is None else added(self._done, self._current.usage)

    def cancel(self, index: int | None = None) -> None:
        """Stop all, or one sample. Asks that have not begun never do; their samples finish with "cancelled"."""
        if index is None:
            self._cancelled = True
        else:
            self._cancelled_samples.add(index)
        self._pass_on()

    def answer_now(self) -> None:
        """Close the thoughts, also those of the asks that follow."""
        self._answer_now = True
        if self._current is not None:
            self._current.answer_now()

    async def aclose(self) -> None:
        self.cancel()
        with contextlib.suppress(RuntimeError):  # its reader is in the middle of it, and ends with the generation
            await self._events.aclose()
        await self._end_current()

    async def _make_events(self) -> AsyncGenerator[BackendEvent]:
        for number, ask in enumerate(self._request.asks):
            self._numbers = range(self._numbers.stop, self._numbers.stop + ask.n)
            left = set(self._numbers)
            try:
                if not (self._cancelled or self._refused):
                    generation = await self._start(self._request.prepared[number])
                    async for event in generation:
                        event = replace(event, index=self._numbers.start + event.index)
                        if isinstance(event, Finish):
                            left.discard(event.index)
                            event = replace(event, error="") if number else event
                        yield event
            except ApiError:
                if not number:
                    raise
                self._refused = True
            finally:
                await self._end_current()
            for index in sorted(left):
                yield Finish(index=index, reason="cancelled" if self._cancelled else "insufficient_system_resource")

    async def _start(self, prepared: Prepared) -> Generation:
        self._current = await self._request.backend.start(prepared)
        if self._answer_now:
            self._current.answer_now()
        self._pass_on()
        return self._current

    async def _end_current(self) -> None:
        generation = self._current
        if generation is not None:
            await generation.aclose()
            if self._current is generation:
                self._done, self._current = added(self._done, generation.usage), None

    def _pass_on(self) -> None:
        """Cancel what is to be cancelled of the ask under way; for what was cancelled before nothing happens."""
        if self._current is not None:
            if self._cancelled:
                self._current.cancel()
            for index in self._cancelled_samples.intersection(self._numbers):
                self._current.cancel(index - self._numbers.start)


def added(a: Usage, b: Usage) -> Usage:
    """The sum of two, field by field; `estimated` where one of them is."""
    sums = {field.name: getattr(a, field.name) + getattr(b, field.name) for field in fields(Usage)}
    return Usage(**sums | {"estimated": a.estimated or b.estimated})
