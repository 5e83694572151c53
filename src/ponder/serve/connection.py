"""One connection, with the limits that uvicorn leaves to a proxy: how long a request may take to come, how large its
headers may be, how long a reader may let us wait, and how many connections there may be.

No timer is set for a request: `Connection` notes when things happened, and `Server` looks at all of them twice a
second.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ponder.core.errors import ConfigError
from ponder.serve.errors import ApiError, ErrorType
from ponder.serve.wire.errors import error_body, error_headers, new_request_id

UNIX_PEER = "127.0.0.1"  # the address of whoever comes by a Unix socket, which has none: a process of this machine
_LINGER = 2.0  # seconds that what a client still sends is thrown away, so that it can read our answer
_RETRY_SECONDS = 2.0  # after which a connection may be free
_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionLimits:
    """What a client may take of a connection."""

    connections: int = 1000  # at once; idle ones are closed for new ones, then new ones are answered 503
    header_seconds: float = 8.0  # for a request's line and headers, from its first byte
    header_bytes: int = 32768  # of a request's line and headers together
    headers: int = 100
    body_seconds: float = 60.0  # for a request's body
    body_bytes_per_second: float = 512.0  # on average, after `body_grace`
    body_grace: float = 5.0  # seconds
    write_seconds: float = 20.0  # that a reader may leave full buffers unread
    send_buffer: int = 65536  # bytes of the system's buffer; larger ones hide a reader who reads nothing
    keep_alive: float = 75.0  # seconds that a connection may be idle

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected a number above 0")


class Phase(Enum):
    """Where a connection stands."""

    IDLE = auto()  # between two requests
    HEADERS = auto()  # a request has begun, or the first one is awaited
    BODY = auto()
    ANSWERING = auto()  # a request is here as a whole
    CLOSING = auto()


class TooLargeError(Exception):
    """A request's line and headers go over the limit."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits. Subclasses, made by `limited`, hold them."""

    limits: ConnectionLimits
    is_draining: Callable[[], bool]
    dropped: Callable[[str], None]  # told why a connection was ended by a limit

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, _Transport(transport, self))
        if transport.get_extra_info("socket").family == socket.AF_UNIX:
            self.client = (UNIX_PEER, 0)
        self.phase, self.since = Phase.HEADERS, self.loop.time()
        self.header_bytes = self.body_bytes = self.requests = 0
        self.stalled_since: float | None = None
        if len(self.connections) > self.limits.connections and not self._has_room():
            self.refuse(503, "too_many_connections", "the server has too many connections; try again later")

    def data_received(self, data: bytes) -> None:
        if self.phase is not Phase.CLOSING:
            super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.phase, self.since = Phase.HEADERS, self.loop.time()
        self.header_bytes = self.body_bytes = 0
        self.requests += 1

    def on_url(self, url: bytes) -> None:
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.phase, self.since = Phase.BODY, self.loop.time()
        if self.is_draining():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.phase, self.since = (
            (Phase.IDLE if self.cycle.response_complete and not self.pipeline else Phase.ANSWERING),
            self.loop.time(),
        )

    def on_response_complete(self) -> None:
        if self.phase is Phase.ANSWERING and not self.pipeline:
            self.phase = Phase.IDLE
        self.since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self.stalled_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self.stalled_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for whatever its parser refuses."""
        if self.header_bytes > self.limits.header_bytes or len(self.headers or ()) >= self.limits.headers:
            limits = f"{self.limits.header_bytes} bytes and {self.limits.headers} lines"
            self.refuse(431, "headers_too_large", f"the request's headers are larger than {limits}; send less")
        else:
            self.refuse(400, "invalid_http", "this is not a valid HTTP/1.1 request")

    def look(self, now: float) -> None:
        """End the connection where it is over a limit."""
        limits, seconds = self.limits, now - self.since
        if self.stalled_since is not None and now - self.stalled_since > limits.write_seconds:
            self.drop("slow_reader")
        elif self.phase is Phase.IDLE and seconds > limits.keep_alive + limits.header_seconds:
            self.transport.close()  # it sent something that is no request
        elif self.phase is Phase.HEADERS and seconds > limits.header_seconds and not self._is_answering():
            if self.requests:
                self.refuse(408, "header_timeout", f"the headers took over {limits.header_seconds:.0f} seconds")
            else:
                self.drop("no_request")
        elif self.phase is Phase.BODY and not self.flow.read_paused:
            slow = seconds > limits.body_grace and self.body_bytes < seconds * limits.body_bytes_per_second
            if slow or seconds > limits.body_seconds:
                self.refuse(408, "body_timeout", "the request's body came too slowly")

    def refuse(self, status: int, code: str, message: str) -> None:
        """Answer what never became a request for the application, and close."""
        self.dropped(code)
        if self._is_answering():
            if self.cycle.response_started:
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        kind: ErrorType = "overloaded_error" if status == 503 else "invalid_request_error"
        error = ApiError(status, message, type=kind, code=code, retry_after=_RETRY_SECONDS if status == 503 else None)
        body = error_body(error)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"x-request-id", new_request_id().encode()),
            *error_headers(error),
        ]
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\n".encode()
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(head + lines + b"\r\n" + body)
        self.phase = Phase.BODY  # whatever comes now is thrown away
        self.transport.close()

    def drop(self, reason: str) -> None:
        """End the connection without a word; the application is told that its client has gone."""
        self.dropped(reason)
        self.transport.abort()

    def _is_answering(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete

    def _count_header(self, size: int) -> None:
        self.header_bytes += size
        if self.header_bytes > self.limits.header_bytes or len(self.headers) >= self.limits.headers:
            raise TooLargeError

    def _has_room(self) -> bool:
        """Whether this connection is within the limit, if need be after closing the one that was idle longest."""
        others = [
            c for c in cast("set[Connection]", self.connections) if c is not self and not c.transport.is_closing()
        ]
        if len(others) < self.limits.connections:
            return True
        idle = [connection for connection in others if connection.phase is Phase.IDLE]
        if not idle:
            return False
        min(idle, key=lambda connection: connection.since).transport.close()
        return True


class _Transport:
    """The connection's transport, with two changes. The head of an answer waits for the first piece of its body, which
    comes at once for most answers: one packet in place of two. And `close` waits for a client that is still sending:
    closing at once would reset the connection, and the client would never see our answer.
    """

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        self._transport, self._connection = transport, connection
        self._head = b""
        self._write = transport.write
        self.abort, self.is_closing, self.get_extra_info = (
            transport.abort,
            transport.is_closing,
            transport.get_extra_info,
        )
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1."):
            self._head = data
            self._connection.loop.call_soon(self._write_head)
            return
        self._write(data)

    def close(self) -> None:
        connection = self._connection
        if connection.phase is Phase.CLOSING:
            return
        self._write_head()
        if connection.phase is not Phase.BODY or self._transport.is_closing() or not self._transport.can_write_eof():
            self._transport.close()
            return
        connection.phase = Phase.CLOSING
        connection.flow.resume_reading()
        self._transport.write_eof()
        connection.loop.call_later(_LINGER, self._transport.abort)

    def _write_head(self) -> None:
        if self._head:
            data, self._head = self._head, b""
            self._write(data)


def limited(
    limits: ConnectionLimits, *, is_draining: Callable[[], bool], dropped: Callable[[str], None]
) -> type[Connection]:
    """A class of connections with these limits, for uvicorn's `http` setting."""
    members = {"limits": limits, "is_draining": staticmethod(is_draining), "dropped": staticmethod(dropped)}
    return type("LimitedConnection", (Connection,), members)
