"""One request and its answer: who asks, the body, and the connection, which may be lost at any moment."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from ponder.serve.errors import ApiError
from ponder.serve.records import Caller
from ponder.serve.seams import Authenticator
from ponder.serve.wire.body import read_json_bytes
from ponder.serve.wire.errors import ErrorBody, error_body, from_unforeseen, log_unforeseen, request_id, send_error
from ponder.serve.wire.settings import WireSettings
from ponder.serve.wire.strict_json import parse_object

JSON = (b"content-type", b"application/json")


class Exchange:
    """What a handler gets to see of a request."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        caller: Caller,
        settings: WireSettings,
        error_body: ErrorBody = error_body,
    ) -> None:
        self.scope, self.caller, self.settings, self.error_body = scope, caller, settings, error_body
        self.headers = Headers(scope=scope)
        self.receive, self._send = receive, send
        self.started = False  # the status is on its way: an error can no longer be one

    @property
    def path_parameters(self) -> dict[str, str]:
        return self.scope.get("path_params", {})

    async def read_object(self) -> dict[str, object]:
        """The body, a JSON object. Raises `ApiError` 4xx."""
        return parse_object(await read_json_bytes(self.headers, self.receive, self.settings.max_body_bytes))

    async def send_json(self, body: bytes, status: int = 200) -> None:
        """A whole answer."""
        await self.start(status, [JSON, (b"content-length", str(len(body)).encode())])
        await self.write(body, more=False)

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """The status and the headers, once."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """A piece of the answer. Waits while the client takes nothing, so that nothing piles up; one that takes nothing
        for too long is dropped by the connection (`ponder.serve.connection`).
        """
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def until_disconnect(self) -> "UntilDisconnect":
        """A context that ends with `ClientDisconnect` when the client goes away. The body must have been read."""
        return UntilDisconnect(self.receive)


class UntilDisconnect:
    """Cancels what runs inside it when the connection is lost, and turns that into `ClientDisconnect`.

    The watching begins when what runs inside waits for the first time: most short answers never do.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._watched = task
        self._cancelling = task.cancelling()  # by somebody else, before
        self._beginning = asyncio.get_running_loop().call_soon(self._begin)
        return self

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._watched.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._beginning.cancel()
        if self._watcher is not None and not self._watcher.done():
            self._watcher.cancel()
            await asyncio.wait((self._watcher,))
        if self._gone:
            left = self._watched.uncancel()  # our own is taken back, whatever has become of it
            by_others = left > self._cancelling
            if kind is asyncio.CancelledError and not by_others:
                raise ClientDisconnect from None


Handler = Callable[[Exchange], Awaitable[None]]


class Endpoint:
    """The ASGI application of one route: finds out who asks, lets a handler answer, and answers where that fails."""

    def __init__(
        self,
        handler: Handler,
        authenticator: Authenticator,
        settings: WireSettings,
        error_body: ErrorBody = error_body,
    ) -> None:
        """`error_body` makes the body of an error in the handler's dialect."""
        self._handler, self._authenticator, self._settings = handler, authenticator, settings
        self._error_body = error_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = None
        try:
            client = scope.get("client")
            caller = await self._authenticator.authenticate(Headers(scope=scope), client[0] if client else "")
            exchange = Exchange(scope, receive, send, caller, self._settings, self._error_body)
            await self._handler(exchange)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  # every failure has an answer
            known = from_unforeseen(error)
            if known.status == 500 and not isinstance(error, ApiError):
                log_unforeseen(error, request_id(scope))
            if exchange is None or not exchange.started:
                await send_error(known, send, body=self._error_body(known))
