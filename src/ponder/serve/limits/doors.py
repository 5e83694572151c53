"""Doors: middleware that turns requests away before their bodies are read. They raise `ApiError`; what stands outside
of them makes an answer of it.
"""

from collections.abc import Callable, Mapping, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ponder.serve.errors import ApiError
from ponder.serve.limits.brake import RegistrationBrake
from ponder.serve.limits.lanes import LaneName, Lanes
from ponder.serve.wire.body import too_large

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


class HostDoor:
    """Serves only the names that it has. A page elsewhere whose name was made to point here (DNS rebinding) sends that
    name, and is refused.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        """`hosts`: without ports, an IPv6 address with or without brackets;
        "*.example.org" takes any name below it, "*" any at all.
        """
        self._app = app
        self._any = "*" in hosts
        self._hosts = {host.lower().strip("[]") for host in hosts if not host.startswith("*")}
        self._suffixes = tuple(host[1:].lower() for host in hosts if host.startswith("*."))
        self._seen: set[bytes] = set()  # headers that were found good

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            found = [value for name, value in scope["headers"] if name == b"host"]
            if len(found) > 1 or (not found and scope["http_version"] == "1.1"):
                raise ApiError(  # RFC 9112, section 3.2
                    400, f"the request has {len(found)} Host headers; expected one", code="invalid_host", param="host"
                )
            if not self._any and (not found or found[0] not in self._seen):
                self._check(found[0] if found else b"")
        await self._app(scope, receive, send)

    def _check(self, header: bytes) -> None:
        name = host_name(header.decode("latin-1").lower())
        if name not in self._hosts and not (self._suffixes and name.endswith(self._suffixes)):
            raise ApiError(
                421,  # RFC 9110, section 15.5.20: misdirected request
                f"this server has no name {name[:100]!r}; an operator can add it to the setting `hosts`",
                code="unknown_host",
                param="host",
            )
        if len(self._seen) < 1000:
            self._seen.add(header)


class BodyDoor:
    """No body over `limit` bytes, whether it says its length or not."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > self._limit:
            raise too_large(self._limit)
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit:
                raise too_large(self._limit)
            return message

        await self._app(scope, counted, send)


class LaneDoor:
    """Sends sign-ups past the brake into their lane, and logins into theirs, each address at its own rate. Known users
    have the gate.
    """

    def __init__(
        self,
        app: ASGIApp,
        lanes: Lanes,
        brake: RegistrationBrake,
        paths: Mapping[str, LaneName],  # of POST requests
        rejected: Callable[[ApiError], None] = lambda error: None,
    ) -> None:
        self._app, self._lanes, self._brake, self._paths, self._rejected = app, lanes, brake, paths, rejected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lane = self._paths.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if lane is None:
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        entered = False
        try:
            self._lanes[lane].count(client[0] if client else "")
            if lane == "registration":
                self._brake.attempt()
            async with self._lanes[lane].enter():
                entered = True
                await self._app(scope, receive, send)
        except ApiError as error:
            if not entered:
                self._rejected(error)
            raise


def host_name(header: str) -> str:
    """The name in a `Host` header (RFC 9110, section 7.2): without its port, and without an IPv6 address's brackets."""
    if header.startswith("["):
        name, _, port = header[1:].partition("]")
        return name if not port or port.startswith(":") else header
    return header.rpartition(":")[0] if header.count(":") == 1 else header
