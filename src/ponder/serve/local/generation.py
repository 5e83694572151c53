"""A request of the engine's as a `Generation`: its pieces are fetched on the event loop and turned into events."""

import contextlib
import logging
from collections import deque
from collections.abc import Sequence

from ponder.core.streaming import TokenStream
from ponder.serve.local.reply import SampleReader
from ponder.serve.local.wakeups import Waiter, Wakeups
from ponder.serve.records import BackendEvent, Usage

logger = logging.getLogger(__name__)

CACHE_UNIT = 64  # tokens; what DeepSeek's API counts cache hits in


class LocalGeneration:
    """A generation under way. One that is dropped without having been read to its end is cancelled."""

    def __init__(self, stream: TokenStream, readers: Sequence[SampleReader], waiter: Waiter, wakeups: Wakeups) -> None:
        self._stream, self._readers, self._waiter, self._wakeups = stream, readers, waiter, wakeups
        self._left = len(readers)  # samples whose end has not been read
        self._events: deque[BackendEvent] = deque()
        for reader in readers:  # an echo comes before anything else
            self._events.extend(reader.drain())

    def __aiter__(self) -> "LocalGeneration":
        return self

    async def __anext__(self) -> BackendEvent:
        while not self._events:
            if not self._left:
                raise StopAsyncIteration
            self._fetch()
            if not self._events and self._left:
                await self._waiter.wait()
        return self._events.popleft()

    def _fetch(self) -> None:
        """Turn what has come since the last time into events; text of one kind becomes one delta."""
        touched: dict[int, SampleReader] = {}
        for piece in self._stream.available():
            reader = touched[piece.sample] = self._readers[piece.sample]
            reader.push(piece)
            self._left -= piece.reason is not None
            if piece.error:
                logger.error("a request failed in the engine: %s", piece.error)
            if reader.satisfied and piece.reason is None:
                self._stream.cancel(piece.sample)  # again for what was under way: nothing happens
        for reader in touched.values():
            self._events.extend(reader.drain())

    @property
    def usage(self) -> Usage:
        """Of what has come so far; final when all samples have ended. Hits are told in whole units."""
        used = self._stream.usage
        return Usage(
            prompt_tokens=used.prompt_tokens,
            cache_hit_tokens=used.hit_tokens // CACHE_UNIT * CACHE_UNIT,
            completion_tokens=used.completion_tokens,
            reasoning_tokens=used.reasoning_tokens,
        )

    def cancel(self, index: int | None = None) -> None:
        """Stop all, or one sample, before the next step. What had come by then is still told."""
        self._stream.cancel(index)

    def answer_now(self) -> None:
        """Close the thoughts and go on to the answers."""
        self._stream.answer_now()

    async def aclose(self) -> None:
        """Cancel, and wait until the engine has let go: the usage is final then."""
        self._stream.cancel()
        while self._left:
            self._fetch()
            if self._left:
                await self._waiter.wait()
        self._events.clear()

    def __del__(self) -> None:
        # Whatever thread collects this may be in the middle of one of the engine's steps: the loop does it.
        if getattr(self, "_left", 0):
            with contextlib.suppress(RuntimeError):  # a loop that is closed has closed the engine too
                self._wakeups.loop.call_soon_threadsafe(self._stream.cancel)
