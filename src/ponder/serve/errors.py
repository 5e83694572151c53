"""What an API answers when it cannot do what was asked. One record, from which every dialect makes its own body."""

from typing import Literal

from ponder.core.errors import PonderError

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "insufficient_balance",
    "not_found_error",
    "rate_limit_error",
    "server_error",
    "overloaded_error",
]


class ApiError(PonderError):
    """An answer with an HTTP status of 400 or more. Its message is for the caller and holds no secret."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: ErrorType = "invalid_request_error",  # noqa: A002  # the wire's own name
        code: str | None = None,
        param: str | None = None,  # the field that is wrong, as a path: "messages.0.content"
        retry_after: float | None = None,  # seconds
        should_retry: bool | None = None,  # False: clients that retry by themselves must not
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.should_retry = should_retry


def shutting_down() -> ApiError:
    """What is answered to whoever comes, or still waits, when the server stops."""
    return ApiError(
        503,
        "the server is shutting down; try again in a few seconds",
        type="overloaded_error",
        code="shutting_down",
        retry_after=5,
    )
