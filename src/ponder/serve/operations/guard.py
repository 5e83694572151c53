"""Who may see figures: this machine, or who has the operators' token."""

import hmac

from starlette.requests import HTTPConnection

from ponder.serve.errors import ApiError
from ponder.serve.limits.addresses import is_loopback

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def may_see_figures(connection: HTTPConnection, token: str | None) -> bool:
    """A request that a proxy on this machine passed on does not count as this machine's."""
    given = connection.headers.get("authorization", "")
    if token is not None and hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return True
    client = connection.client
    return client is not None and is_loopback(client.host) and not any(map(connection.headers.get, _FORWARDED))


def check_may_see_figures(connection: HTTPConnection, token: str | None) -> None:
    """Raises `ApiError` 401."""
    if not may_see_figures(connection, token):
        raise ApiError(
            401,
            "these figures are for the server's own machine, or for who sends the operators' token: "
            "Authorization: Bearer TOKEN",
            type="authentication_error",
            code="operators_only",
        )
