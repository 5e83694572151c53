"""How a run ends that has no answer, for the dialects that have no finish reason for it."""

from ponder.serve.errors import ApiError
from ponder.serve.records import Finish


def raise_if_failed(finish: Finish) -> None:
    """Raises `ApiError` 503 for a sample that the server had no room for or was told to stop, 500 for another error."""
    if finish.reason == "insufficient_system_resource":
        message = finish.error or "the server has no room left for this request; try again later"
        raise ApiError(503, message, type="overloaded_error")
    if finish.error:
        raise ApiError(500, finish.error, type="server_error")
    if finish.reason == "cancelled":
        raise ApiError(503, "the request was cancelled on the server; try again", type="overloaded_error")
