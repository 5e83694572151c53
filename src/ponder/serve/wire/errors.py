"""Errors as OpenAI's and DeepSeek's clients read them, from wherever they come: our own, the framework's, and those
that nobody foresaw.
"""

import logging
import math
import random
import secrets
import traceback
from collections.abc import Callable, Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from ponder.core.errors import GenerationError, QueueFullError
from ponder.serve.errors import ApiError, ErrorType
from ponder.serve.wire.json_text import quote, quote_or_null

logger = logging.getLogger(__name__)

ErrorBody = Callable[[ApiError], bytes]
_JITTER = random.Random()
_LEAST_RETRY = 1.0  # seconds, for an overload that does not say itself when to come again
_FRAMEWORK_TYPES: Mapping[int, ErrorType] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def error_body(error: ApiError) -> bytes:
    """`{"error": {"message", "type", "param", "code"}}`."""
    return (
        f'{{"error":{{"message":{quote(error.message)},"type":"{error.type}",'
        f'"param":{quote_or_null(error.param)},"code":{quote_or_null(error.code)}}}}}'
    ).encode(errors="replace")


def retry_after(seconds: float) -> bytes:
    """The header `Retry-After`: whole seconds, 1 at least, and by chance up to half as many again, so that those who
    were sent away together do not come back together.
    """
    least = max(1, math.ceil(seconds))
    return str(least + _JITTER.randint(0, math.ceil(least / 2))).encode()


def error_headers(error: ApiError) -> list[tuple[bytes, bytes]]:
    """What else the client has to know."""
    headers: list[tuple[bytes, bytes]] = []
    seconds = error.retry_after
    if seconds is None and error.status in (429, 503) and error.should_retry is not False:
        seconds = _LEAST_RETRY
    if seconds is not None:
        headers.append((b"retry-after", retry_after(seconds)))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


async def send_error(
    error: ApiError, send: Send, further: Sequence[tuple[bytes, bytes]] = (), *, body: bytes | None = None
) -> None:
    """A whole response. `body`: the error in another dialect."""
    body = error_body(error) if body is None else body
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *error_headers(error),
        *further,
    ]
    if error.status in (408, 413):
        headers.append((b"connection", b"close"))  # what is left of the body is not read
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def from_unforeseen(error: BaseException) -> ApiError:
    """What the caller hears of an error that no part has turned into an `ApiError`: nothing of its own words, unless
    they are an engine's about a request.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QueueFullError):
        return ApiError(503, str(error), type="overloaded_error", code="overloaded")
    if isinstance(error, GenerationError):
        return ApiError(400, str(error))
    return ApiError(500, "the server failed on this request; it is not to blame", type="server_error")


def log_unforeseen(error: BaseException, request_id: str) -> None:
    """Where it happened, without its message: that may hold what a user wrote."""
    places = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
    ]
    logger.error("request %s: unforeseen %s at %s", request_id, type(error).__name__, " < ".join(reversed(places)))


async def from_http_exception(request: Request, error: Exception) -> Response:
    """The framework's own: no such path, no such method."""
    assert isinstance(error, HTTPException)
    message = {
        404: f"there is no {request.method} {request.url.path[:100]} here",
        405: f"{request.url.path[:100]} does not take {request.method}; see the Allow header",
    }.get(error.status_code, error.detail)
    api_error = ApiError(
        error.status_code, message, type=_FRAMEWORK_TYPES.get(error.status_code, "invalid_request_error")
    )
    response = Response(error_body(api_error), error.status_code, error.headers, "application/json")
    response.raw_headers.extend(error_headers(api_error))
    return response


async def _from_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    response = Response(error_body(error), error.status, media_type="application/json")
    response.raw_headers.extend(error_headers(error))
    return response


# For Starlette's `exception_handlers`
EXCEPTION_HANDLERS: dict[type[Exception], ExceptionHandler] = {
    HTTPException: from_http_exception,
    ApiError: _from_api_error,
}


def request_id(scope: Scope) -> str:
    """The id of a request, in every answer as `x-request-id`."""
    state = scope.setdefault("state", {})
    found: str | None = state.get("request_id")
    if found is None:
        found = state["request_id"] = new_request_id()
    return found


def new_request_id() -> str:
    """An id that no other request has."""
    return f"req_{secrets.token_hex(12)}"


class ErrorBoundary:
    """The outermost middleware: gives every request an id, and lets no error out of the application but as JSON."""

    def __init__(self, app: ASGIApp, bodies: Mapping[str, ErrorBody] | None = None) -> None:
        """`bodies`: makes the body of an error on the paths that have a form of their own."""
        self._app, self._bodies = app, bodies or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = request_id(scope)
        header = (b"x-request-id", identity.encode())
        started = False

        async def tagged(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            await self._app(scope, receive, tagged)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  # the border of the process towards a client
            known = from_unforeseen(error)
            if known.status == 500:
                log_unforeseen(error, identity)
            if not started:
                await send_error(known, tagged, body=self._bodies.get(scope["path"], error_body)(known))
