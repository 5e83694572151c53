"""Runs an application over HTTP: uvicorn, with limits on connections and a stop that loses nothing."""

import asyncio
import contextlib
import errno
import gc
import ipaddress
import os
import resource
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from ponder.core.errors import ConfigError, RunError
from ponder.serve.connection import UNIX_PEER, Connection, ConnectionLimits, limited
from ponder.serve.hard_stop import HardStop
from ponder.serve.operations.drain import Drain

_GRACE = 2.0  # seconds for what was ended when the drain's time was over, and the same for closing down
_HARD_STOP = 4.5  # seconds after the drain's time at which the process ends whatever still runs
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # all addresses, and the one by which this machine reaches itself
_FILES = 128  # open files that are not connections


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """Where and how to listen."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0: a free one
    # a Unix socket's path, instead of host and port; whoever may connect to it is a proxy that is believed
    uds: str | None = None
    drain_seconds: float = 30.0  # that running requests have after SIGTERM
    proxies: tuple[str, ...] = ()  # addresses or networks whose X-Forwarded-For and -Proto are believed
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port = {self.port}; expected 0 (a free one) to 65535")
        if self.drain_seconds < 0:
            raise ConfigError(f"drain_seconds = {self.drain_seconds}; expected 0 or more")
        for proxy in self.proxies:
            _check_proxy(proxy)

    @property
    def is_everywhere(self) -> bool:
        """Whether it listens at every address of this machine."""
        return self.uds is None and self.host in _EVERYWHERE


class Server(uvicorn.Server):
    """Serves until a signal. The first one drains; a second one ends the process at once."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings | None = None,
        *,
        drain: Drain | None = None,
        hard_stop: HardStop | None = None,
        dropped: Callable[[str], None] = lambda reason: None,
        started: Callable[[str], None] = lambda address: None,
    ) -> None:
        """`hard_stop` begins with the shutdown: that of who closes more than the server, by default one that ends with
        it. `dropped` is told why a connection was ended by a limit, `started` the address once requests are served.
        """
        self.settings = settings or ServerSettings()
        self.drain = drain or Drain()
        self._hard_stop = hard_stop
        self._started_at = started
        limits = replace(self.settings.limits, connections=_possible_connections(self.settings.limits.connections))
        proxies = [*self.settings.proxies, *([UNIX_PEER] if self.settings.uds is not None else [])]
        super().__init__(
            uvicorn.Config(
                app,
                http=limited(limits, is_draining=lambda: self.drain.draining, dropped=dropped),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(proxies),
                forwarded_allow_ips=proxies,
                timeout_keep_alive=int(limits.keep_alive),
            )
        )

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal. Raises `RunError` where the address cannot be had."""
        super().run(sockets or [bind(self.settings)])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets:
            self._started_at(address_of(sockets[0]))

    async def on_tick(self, counter: int) -> bool:
        if counter % 5 == 0:
            self._patrol()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let running requests end within the window; meanwhile answer: `/ready` says 503, asks are refused."""
        with contextlib.ExitStack() as stack:
            hard_stop = self._hard_stop or stack.enter_context(HardStop())
            hard_stop.begin(self.settings.drain_seconds + _HARD_STOP)
            self.drain.begin()
            running = set(self.server_state.tasks)
            if not await self._until_idle(running, self.settings.drain_seconds):
                self.drain.end()
                await self._until_idle(running, _GRACE)
            await self._close(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + sig)  # nothing is lost: what was acknowledged is on disk, as after a power cut
        self.drain.draining = self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn would raise the signal again at the end; a server that was asked to stop and did ends well."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def _patrol(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.look(now)

    async def _until_idle(self, running: set[asyncio.Task[None]], seconds: float) -> bool:
        """Wait until these tasks and all that is busy have ended. Says whether they have."""
        loop = asyncio.get_running_loop()
        end, next_patrol = loop.time() + seconds, 0.0
        while self.drain.busy or not all(task.done() for task in running):
            now = loop.time()
            if now >= end:
                return False
            if now >= next_patrol:
                self._patrol()
                next_patrol = now + 0.5
            await asyncio.sleep(min(0.05, end - now))
        return True

    async def _close(self, sockets: list[socket.socket] | None) -> None:
        if self.settings.uds is not None:  # while it listens: afterwards another server may have taken the name
            Path(self.settings.uds).unlink(missing_ok=True)
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=0.2)
        left = list(self.server_state.tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_GRACE / 2)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await self.lifespan.shutdown()
        for sock in sockets or []:
            sock.close()


def keep_what_is_loaded() -> None:
    """Tell the garbage collector that everything made so far stays, once all is loaded and before requests are served:
    it would else look at every object of every library again and again, and hold up all requests for as long (0.1 s).
    """
    gc.collect()
    gc.freeze()


def bind(settings: ServerSettings) -> socket.socket:
    """A listening socket's own end. Raises `RunError` that says why the address cannot be had."""
    if settings.uds is not None:
        return _bind_unix(Path(settings.uds))
    where = f"{settings.host} port {settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise RunError(f"the host {settings.host!r} is unknown; give an address of this machine") from None
    family, kind, protocol, _, address = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.limits.send_buffer)  # what it accepts inherits it
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(settings.host != "::"))
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise RunError(f"cannot listen on {where}: {_advice(error)}") from None
    sock.setblocking(False)
    return sock


def address_of(sock: socket.socket) -> str:
    """Where a listening socket is reached, as a URL: by this machine's own address where it listens on all."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    host = _EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check_proxy(proxy: str) -> None:
    try:
        network = ipaddress.ip_network(proxy)
    except ValueError:
        network = None
    if proxy == "*" or (network is not None and not network.prefixlen):
        raise ConfigError(f"proxies = {proxy!r} would let anybody claim any address; name the proxies' addresses")
    if network is None:
        raise ConfigError(
            f"proxies = {proxy!r}; expected an address such as 127.0.0.1 or a network such as 10.0.0.0/24"
        )


def _bind_unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _answers(path):
            path.unlink()  # left behind by a server that was killed
        sock.bind(str(path))
        path.chmod(0o660)
    except OSError as error:
        sock.close()
        raise RunError(f"cannot listen on {path}: {_advice(error)}") from None
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ConnectionLimits().send_buffer)
    sock.setblocking(False)
    return sock


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _advice(error: OSError) -> str:
    return {
        errno.EADDRINUSE: "another program is using it; stop that one or choose another port (0 takes a free one)",
        errno.EACCES: "the system does not allow it; choose a port from 1024 on, or a folder that you may write to",
        errno.EADDRNOTAVAIL: "this machine does not have that address; 127.0.0.1 and 0.0.0.0 always work",
    }.get(error.errno or 0, f"{error.strerror or error}")


def _possible_connections(wanted: int) -> int:
    """Raise the process's limit on open files as far as it goes, and stay under it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + _FILES:
        soft = wanted + _FILES if hard == resource.RLIM_INFINITY else min(wanted + _FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(wanted, soft - _FILES))
