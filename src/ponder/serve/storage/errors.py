"""What the database's own errors mean for a request."""

from sqlalchemy import exc

from ponder.core.errors import PonderError
from ponder.serve.errors import ApiError


class StorageError(PonderError):
    """A database that cannot be opened, or that this version does not fit."""


def explained(error: Exception) -> Exception:
    """The error to show in place of `error`: 503 for a database that cannot be used now, 422 for a text that it cannot
    hold. Everything else (a violated constraint, a mistake in a statement) is the caller's matter and stays.

    The text of a statement and its values never become part of a message.
    """
    if isinstance(error, exc.DataError | UnicodeEncodeError):
        return ApiError(
            422, "a text holds a character that cannot be stored, such as NUL or half of a surrogate pair; remove it"
        )
    if isinstance(error, exc.OperationalError | exc.InterfaceError | exc.InternalError | exc.TimeoutError):
        return unavailable(reason_of(error))
    if type(error) is exc.DatabaseError:  # SQLite: the file is damaged, or no database
        return unavailable(reason_of(error))
    return error


def unavailable(reason: str) -> ApiError:
    return ApiError(
        503,
        f"the server cannot use its database now ({reason}); try again later",
        type="server_error",
        code="database_unavailable",
        retry_after=5.0,
    )


def is_unavailable(error: BaseException) -> bool:
    """Whether this is what `unavailable` makes."""
    return isinstance(error, ApiError) and error.code == "database_unavailable"


def reason_of(error: Exception) -> str:
    """A few words for a person. The driver's text is not passed on: it may hold values, hosts and paths."""
    text = str(getattr(error, "orig", None) or error).lower()
    for words, reason in _REASONS:
        if any(word in text for word in words):
            return reason
    return "it does not answer"


_REASONS = (
    (("locked", "lock timeout", "deadlock"), "another process holds it"),
    (("disk is full", "no space left", "disk full"), "its disk is full"),
    (("readonly", "read-only"), "it is read-only"),
    (("disk i/o error",), "its disk fails"),
    (("malformed", "not a database"), "its file is damaged"),
    (("unable to open",), "its file cannot be opened"),
    (("timeout", "timed out"), "it takes too long"),
)
