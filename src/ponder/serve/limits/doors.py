"""Doors: middleware that turns requests away before their bodies are read. They raise `ApiError`; what stands outside
of them makes an answer of it.
"""

from collections.abc import Callable, Mapping, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ponder.serve.errors import ApiError
from ponder.serve.limits.brake import RegistrationBrake
from ponder.serve.limits.lanes import LaneName, Lanes

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")


class HostDoor:
    """Serves only the names that it has. A page elsewhere whose name was made to point here (DNS rebinding) sends that
    name, and is refused.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        """`hosts`: without ports; "*.example.org" takes any name below it, "*" any at all."""
        self._app = app
        self._any = "*" in hosts
        self._hosts = {host.lower() for host in hosts if not host.startswith("*")}
        self._suffixes = tuple(host[1:].lower() for host in hosts if host.startswith("*."))
        self._seen: set[bytes] = set()  # headers that were found good

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._any:
            header = next((value for name, value in scope["headers"] if name == b"host"), b"")
            if header not in self._seen:
                self._check(header)
        await self._app(scope, receive, send)

    def _check(self, header: bytes) -> None:
        host = header.decode("latin-1").lower()
        name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
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
    """No body over `limit` bytes, whether it says its length or not. `limits` holds others for single paths."""

    def __init__(self, app: ASGIApp, limit: int, limits: Mapping[str, int] | None = None) -> None:
        self._app, self._limit, self._limits = app, limit, limits or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        limit = self._limits.get(scope["path"], self._limit)
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > limit:
            raise _too_large(limit)
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                raise _too_large(limit)
            return message

        await self._app(scope, counted, send)


class LaneDoor:
    """Sends sign-ups past the brake into their lane, and logins into theirs. Known users have the gate."""

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
            if lane == "registration":
                self._brake.attempt()
            async with self._lanes[lane].enter(client[0] if client else ""):
                entered = True
                await self._app(scope, receive, send)
        except ApiError as error:
            if not entered:
                self._rejected(error)
            raise


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"the body is larger than {limit} bytes, the most that is read", code="body_too_large")
