"""The way of a run's events to the client, as a stream of server-sent events or as one body.

While nothing comes the connection is kept alive: a stream gets comments, a body empty lines before it, which are white
space to every JSON parser. Either commits to status 200; until then a refusal is an HTTP status of its own.
"""

import asyncio
import contextlib
from types import TracebackType
from typing import Protocol, Self

from ponder.serve.errors import ApiError
from ponder.serve.records import Event, Queued, Usage
from ponder.serve.seams import Run
from ponder.serve.wire.errors import from_unforeseen, log_unforeseen, request_id
from ponder.serve.wire.exchange import JSON, Exchange

_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a reverse proxy must not collect the stream
)
_COMMENT = b": keep-alive\n\n"


class StreamWriter(Protocol):
    """Makes the bytes of a stream in one dialect."""

    def event(self, event: Event) -> bytes:
        """What an event looks like; b"" where the dialect has nothing for it. Never gets `Queued`."""
        ...

    def error(self, error: ApiError) -> bytes:
        """The end of a stream that failed."""
        ...

    def end(self, usage: Usage) -> bytes:
        """The end of a stream that did not."""
        ...


class BodyWriter(Protocol):
    """Collects the events of a run into one body in one dialect."""

    def add(self, event: Event) -> None:
        """Never gets `Queued`. May raise `ApiError` for a run that failed."""
        ...

    def body(self, usage: Usage) -> bytes: ...


async def deliver_stream(exchange: Exchange, run: Run, writer: StreamWriter, *, keep_alive: bytes = _COMMENT) -> None:
    """Send the events as they come. Raises `ApiError` only before the first byte."""
    settings = exchange.settings
    async with Heartbeat(exchange, _STREAM_HEADERS, keep_alive, settings.keep_alive_seconds) as beat:
        try:
            async for event in run:
                if not isinstance(event, Queued) and (data := writer.event(event)):
                    await beat.write(data)
            last = writer.end(run.usage)
        except Exception as error:
            if not exchange.started:
                raise
            last = writer.error(_told(error, exchange))
        await beat.write(last, more=False)


async def deliver_body(exchange: Exchange, run: Run, writer: BodyWriter) -> None:
    """Send everything at once when all has come."""
    settings = exchange.settings
    beat = Heartbeat(exchange, (JSON,), b"\n", settings.keep_alive_seconds, settings.patience_seconds)
    async with beat:
        try:
            async for event in run:
                if not isinstance(event, Queued):
                    writer.add(event)
            body = writer.body(run.usage)
        except Exception as error:
            if not exchange.started:
                raise
            body = exchange.error_body(_told(error, exchange))
        await beat.finish(body)


def _told(error: Exception, exchange: Exchange) -> ApiError:
    known = from_unforeseen(error)
    if known.status == 500 and not isinstance(error, ApiError):
        log_unforeseen(error, request_id(exchange.scope))
    return known


class Heartbeat:
    """Keeps a silent connection alive, and lets one piece at a time through."""

    def __init__(
        self,
        exchange: Exchange,
        headers: tuple[tuple[bytes, bytes], ...],
        sign: bytes,
        seconds: float,
        first: float | None = None,
    ) -> None:
        """`sign` is sent after so many `seconds` of silence, the first time after `first`."""
        self._exchange, self._headers, self._sign, self._seconds = exchange, headers, sign, seconds
        self._first = seconds if first is None else first
        self._lock = asyncio.Lock()
        self._signal: asyncio.Task[None] | None = None
        self._ended = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._written = self._loop.time()
        self._timer = self._loop.call_later(self._first, self._due)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._signal is not None and not self._signal.done():
            self._signal.cancel()
            await asyncio.wait((self._signal,))

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """A piece of the stream."""
        async with self._lock:
            if self._ended:  # a sign that waited while the last piece was sent
                return
            self._ended = not more
            if not self._exchange.started:
                await self._exchange.start(200, self._headers)
            await self._exchange.write(data, more=more)
        self._written = self._loop.time()

    async def finish(self, body: bytes) -> None:
        """The body, after whatever signs were sent before it."""
        async with self._lock:
            self._ended = True
            if self._exchange.started:
                await self._exchange.write(body, more=False)
            else:
                await self._exchange.send_json(body)

    def _due(self) -> None:
        silence = self._loop.time() - self._written
        if silence >= self._seconds:
            if not self._lock.locked():
                self._signal = self._loop.create_task(self._send_sign())
            silence = 0.0
        self._timer = self._loop.call_later(self._seconds - silence, self._due)

    async def _send_sign(self) -> None:
        # a connection that is lost, or a client that takes nothing, is noticed by whoever writes the answer
        with contextlib.suppress(Exception):
            await self.write(self._sign)
