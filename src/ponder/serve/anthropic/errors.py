"""Errors as Anthropic's clients read them. Source: Anthropic's API reference, "Errors"."""

from ponder.serve.errors import ApiError
from ponder.serve.wire.json_text import compact

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_object(error: ApiError) -> dict[str, object]:
    """`{"type": "error", "error": {"type", "message"}}`; the message names the field that is wrong."""
    kind = _TYPES.get(error.status) or ("invalid_request_error" if error.status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": error.message}}


def error_body(error: ApiError) -> bytes:
    """The same as a body."""
    return compact(error_object(error)).encode(errors="replace")
