"""Several asks behind one another as if they were one run: a completion may have a list of prompts."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import fields, replace
from typing import Self

from ponder.serve.records import Ask, Caller, Cost, Event, Queued, Usage
from ponder.serve.seams import Run
from ponder.serve.service import Service


class JoinedRun:
    """See `ponder.serve.seams.Run`. The samples are numbered through, prompt by prompt."""

    def __init__(self, service: Service, asks: Sequence[Ask], caller: Caller) -> None:
        self._service, self._asks, self._caller = service, asks, caller
        self._done = Usage()
        self._current: Run | None = None
        self._cancelled = False
        self._events = self._make_events()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._events.aclose()

    @property
    def usage(self) -> Usage:
        """Of all prompts so far."""
        return self._done if self._current is None else added(self._done, self._current.usage)

    @property
    def cost(self) -> Cost | None:
        """Each ask is settled by itself."""
        return None

    def cancel(self) -> None:
        """Stop; prompts that have not begun never do."""
        self._cancelled = True
        if self._current is not None:
            self._current.cancel()

    def answer_now(self) -> None:
        """Close the thoughts of the prompt under way."""
        if self._current is not None:
            self._current.answer_now()

    async def _make_events(self) -> AsyncGenerator[Event]:
        first = 0
        for ask in self._asks:
            if self._cancelled:
                return
            async with await self._service.open(ask, self._caller) as run:
                self._current = run
                async for event in run:
                    yield event if isinstance(event, Queued) or not first else replace(event, index=first + event.index)
                self._done, self._current = added(self._done, run.usage), None
            first += ask.n


def added(a: Usage, b: Usage) -> Usage:
    """The sum of two, field by field."""
    return Usage(**{field.name: getattr(a, field.name) + getattr(b, field.name) for field in fields(Usage)})
