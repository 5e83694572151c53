"""Who may see figures and set the brake: this machine, who has the operators' token, and administrators."""

import hmac

from starlette.requests import HTTPConnection

from ponder.serve.errors import ApiError
from ponder.serve.limits.addresses import is_loopback
from ponder.serve.seams import Authenticator

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class Operators:
    """Tells an operator's request from others."""

    def __init__(self, token: str | None, authenticator: Authenticator | None = None) -> None:
        """`authenticator` knows the accounts, of which those of administrators are operators'. None: nobody is by an
        account.
        """
        self._token, self._authenticator = token, authenticator

    async def include(self, connection: HTTPConnection) -> bool:
        """Whether it is one. A request that a proxy on this machine passed on does not count as this machine's."""
        given = connection.headers.get("authorization", "")
        if self._token is not None and hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            return True
        client = connection.client
        if client is not None and is_loopback(client.host) and not any(map(connection.headers.get, _FORWARDED)):
            return True
        return await self._is_administrator(connection)

    async def check(self, connection: HTTPConnection) -> None:
        """Raises `ApiError` 401."""
        if not await self.include(connection):
            raise ApiError(
                401,
                "this is for the server's own machine, and for who sends the operators' token or an administrator's "
                "API key: Authorization: Bearer TOKEN",
                type="authentication_error",
                code="operators_only",
            )

    async def _is_administrator(self, connection: HTTPConnection) -> bool:
        if self._authenticator is None:
            return False
        try:
            address = connection.client.host if connection.client is not None else ""
            return (await self._authenticator.authenticate(connection.headers, address)).admin
        except ApiError:
            return False
