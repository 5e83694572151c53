"""A request's body: read within bounds, before anything looks at it."""

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from ponder.serve.errors import ApiError


async def read_json_bytes(headers: Headers, receive: Receive, limit: int) -> bytes:
    """The bytes of a body that says it is JSON. Raises `ApiError` 413 or 415.

    How slowly it may come, and that a client which is still sending gets to read the answer, is the connection's affair
    (`ponder.serve.connection`).
    """
    check_media_type(headers)
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit:
        raise too_large(limit)  # unread: who waits for "100 Continue" sends nothing
    pieces: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        pieces.append(piece)
    return b"".join(pieces)


def check_media_type(headers: Headers) -> None:
    """Raises `ApiError` 415 for anything but plain JSON in UTF-8."""
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "application/json":
        got = media_type.strip()[:60] or "none"
        raise ApiError(415, f"the content type is {got}; expected application/json", code="unsupported_media_type")
    charset = parameters.lower().replace(" ", "").replace('"', "")
    if charset.startswith("charset=") and charset[8:] not in ("utf-8", "utf8"):
        raise ApiError(415, "JSON is UTF-8; leave the charset out", code="unsupported_media_type")
    if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise ApiError(
            415, "compressed bodies are not accepted; send it without content-encoding", code="unsupported_media_type"
        )


def too_large(limit: int) -> ApiError:
    return ApiError(413, f"the body is larger than {limit} bytes, the most that is read", code="body_too_large")
