"""A generation that another server runs. Whatever that server does, every sample ends, and in bounded time."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import httpx

from ponder.core.event_data import EventData, LineTooLongError
from ponder.serve.records import BackendEvent, Finish, Usage
from ponder.serve.upstream.chunks import ChunkReader, GarbageError
from ponder.serve.upstream.failures import timed_out
from ponder.serve.upstream.settings import UpstreamSettings

logger = logging.getLogger(__name__)

_DONE = b"[DONE]"
_LAST_SECONDS = 5.0  # for counts of tokens that come after the end of the last sample
_CLOSING_SECONDS = 0.2  # for the end of the connection's stream, so that the connection can be used again
_MOST_BYTES_PER_TOKEN = 64  # of text, on average: a server that sends more does not keep to max_tokens


class UpstreamGeneration:
    """See `ponder.serve.seams.Generation`. The request is sent when the first event is asked for; where the server
    refuses it, that raises `ApiError`. `answer_now` and to cancel a single sample have no effect: there are no words
    for either.
    """

    def __init__(
        self,
        send: Callable[[], Awaitable[httpx.Response]],
        reader: ChunkReader,
        max_tokens: int,
        settings: UpstreamSettings,
        clock: Callable[[], float],
        note_estimated: Callable[[], None],
    ) -> None:
        """`send` gives a response whose stream has begun, or raises `ApiError`. `max_tokens` are of all samples.
        `note_estimated` is called where a whole answer came without its counts.
        """
        self._send, self._reader, self._settings, self._clock = send, reader, settings, clock
        self._response: httpx.Response | None = None  # None: nothing was sent, or it was refused
        self._most_bytes = 4096 + _MOST_BYTES_PER_TOKEN * max_tokens
        self._data = EventData(settings.max_line_bytes)
        self._note_estimated = note_estimated
        self._deadline = clock() + settings.total_seconds
        self._wait: asyncio.Timeout | None = None  # the read under way
        self._cancelled = self._done = self._ended = False
        self._events: AsyncGenerator[BackendEvent] | None = None

    def __aiter__(self) -> AsyncGenerator[BackendEvent]:
        self._events = self._make_events()
        return self._events

    @property
    def usage(self) -> Usage:
        return Usage() if self._response is None else self._reader.usage()

    def cancel(self, index: int | None = None) -> None:
        if index is not None:
            return
        self._cancelled = True
        if self._wait is not None and not self._wait.expired():
            self._wait.reschedule(asyncio.get_running_loop().time())

    def answer_now(self) -> None:
        return None

    async def aclose(self) -> None:
        """Close the connection, which is how a server learns that nobody wants its answer."""
        self._cancelled = True
        if self._events is not None:
            await self._events.aclose()
        if self._response is not None:
            await self._response.aclose()

    async def _make_events(self) -> AsyncGenerator[BackendEvent]:
        failure = ""
        try:
            response = self._response = None if self._cancelled else await self._open()
            pieces = None if response is None else response.aiter_raw()
            while pieces is not None and not self._done:
                seconds = _LAST_SECONDS if self._reader.all_finished else self._settings.silence_seconds
                if (piece := await self._read(pieces, seconds)) is None:
                    break
                for data in self._data.finish() if self._ended else self._data.feed(piece):
                    if self._cancelled:
                        break
                    if data == _DONE:
                        self._done = True
                        break
                    for event in self._reader.read(data):
                        yield event
                if self._ended:
                    break
                if self._reader.text_bytes > self._most_bytes:
                    raise GarbageError("more than was asked for")
        except GarbageError as error:
            failure = f"the server behind this model sent {error}"
        except LineTooLongError:
            failure = "the server behind this model sent a line without end"
        except httpx.HTTPError:
            failure = "the connection to the server behind this model broke"
        if pieces is not None and self._done:
            with contextlib.suppress(httpx.HTTPError):  # everything has been said
                await self._read(pieces, _CLOSING_SECONDS)
        if response is not None:
            await response.aclose()
        if self._reader.all_finished and self._reader.usage().estimated:
            self._note_estimated()
        for finish in self._finishes(failure):
            yield finish

    async def _open(self) -> httpx.Response | None:
        """The response; None where the generation was cancelled before."""
        try:
            async with asyncio.timeout(self._settings.first_byte_seconds) as self._wait:
                return await self._send()
        except TimeoutError:
            if self._cancelled:
                return None
            logger.warning("upstream %s: nothing came in time", self._settings.host)
            raise timed_out() from None
        finally:
            self._wait = None

    async def _read(self, pieces: AsyncIterator[bytes], seconds: float) -> bytes | None:
        """The next piece; None where nothing came in time or the generation was cancelled."""
        left = self._deadline - self._clock()
        if self._cancelled or left <= 0:
            return None
        try:
            async with asyncio.timeout(min(seconds, left)) as self._wait:
                piece = await anext(pieces, None)
        except TimeoutError:
            return None
        finally:
            self._wait = None
        self._ended = piece is None
        return piece or b""

    def _finishes(self, failure: str) -> list[Finish]:
        """How the samples end: as they were told to, as cancelled, or for what went wrong."""
        found = self._reader.finishes()
        missing = list(self._reader.open_samples())
        if missing and not self._cancelled:
            failure = failure or self._why_it_stopped()
            logger.warning("upstream %s: %s", self._settings.host, failure)
        for index in missing:
            if self._cancelled:
                found.append(Finish(index=index, reason="cancelled"))
            else:
                found.append(Finish(index=index, reason="insufficient_system_resource", error=f"{failure}; try again"))
        return found

    def _why_it_stopped(self) -> str:
        if self._done or self._ended:
            return "the server behind this model broke off in the midst of its answer"
        return "the server behind this model fell silent"
