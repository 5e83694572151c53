"""What a caller hears when the server behind a model does not do its part. Nothing of that server's own words but
where the request itself was at fault, and never the key.
"""

from ponder.serve.errors import ApiError
from ponder.serve.upstream.settings import Key

MAX_ERROR_BYTES = 64 << 10  # of an error's body that are read
_CALLERS_FAULT = (400, 413, 422)


def refused(status: int, body: object, retry_after: str | None, key: Key | None) -> ApiError:
    """From an HTTP status other than 200. `body` is the parsed error, if it could be parsed."""
    if status in _CALLERS_FAULT:
        said = _message(body)
        said = key.hidden_in(said) if key is not None else said
        message = f"the server behind this model does not take this request: {said or 'it gives no reason'}"
        return ApiError(status, message, code="upstream_rejected")
    if status in (429, 503):
        return ApiError(
            status,
            "the server behind this model is busy; try again",
            type="rate_limit_error" if status == 429 else "overloaded_error",
            code="upstream_busy",
            retry_after=_seconds(retry_after),
        )
    if status in (401, 402, 403):
        return broken("does not accept this site's credentials; its operator has to look after that", retry=False)
    if status in (408, 504):
        return timed_out()
    if 300 <= status < 400:
        return broken("answers with a redirect, which is not followed", retry=False)
    return broken(f"answers with status {status}")


def unreachable() -> ApiError:
    """No connection."""
    return ApiError(
        503,
        "the server behind this model cannot be reached; try again later",
        type="overloaded_error",
        code="upstream_unreachable",
        retry_after=5,
    )


def timed_out() -> ApiError:
    """Nothing came for too long."""
    return ApiError(
        504, "the server behind this model does not answer; try again", type="server_error", code="upstream_timeout"
    )


def broken(what: str, *, retry: bool = True) -> ApiError:
    """It answers, but not so that it makes sense."""
    return ApiError(
        502,
        f"the server behind this model {what}",
        type="server_error",
        code="upstream_error",
        should_retry=None if retry else False,
    )


def _message(body: object) -> str:
    error = body.get("error", body) if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message[:500] if isinstance(message, str) else ""


def _seconds(retry_after: str | None) -> float | None:
    """A header's whole seconds, at most an hour; a date is not read."""
    if retry_after is None or not retry_after.isascii() or not retry_after.isdigit() or len(retry_after) > 9:
        return None
    return min(float(retry_after), 3600.0)
