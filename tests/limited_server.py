"""The server with limits on a free port of this machine, in a thread; and a client that sees bytes."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from starlette.types import ASGIApp, Receive, Scope, Send

from ponder.serve.server import Server, ServerSettings, bind


@dataclass
class Running:
    """A server that runs."""

    server: Server
    port: int
    dropped: list[str] = field(default_factory=list)  # why connections were ended

    def connect(self, seconds: float = 5.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    def ask(self, request: bytes) -> bytes:
        """Everything that is answered until the server closes."""
        with self.connect() as client:
            client.sendall(request)
            return read_all(client)


@contextmanager
def limited_server(app: ASGIApp, settings: ServerSettings | None = None) -> Iterator[Running]:
    settings = replace(settings or ServerSettings(), port=0)
    listener = bind(settings)
    dropped: list[str] = []
    up = threading.Event()
    server = Server(app, settings, dropped=dropped.append, started=lambda address: up.set())
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    assert up.wait(10)
    try:
        yield Running(server, listener.getsockname()[1], dropped)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()


def read_all(client: socket.socket) -> bytes:
    received = b""
    while piece := client.recv(65536):
        received += piece
    return received


def read_until(client: socket.socket, end: bytes) -> bytes:
    """What is answered up to `end`; less where the server closes before."""
    received = b""
    while not received.endswith(end) and (piece := client.recv(65536)):
        received += piece
    return received


def until(condition: object, seconds: float = 5.0) -> bool:
    """Whether the callable `condition` becomes true in time."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


async def lifespan(receive: Receive, send: Send) -> None:
    """An application's start and end, where it has nothing to do."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body and says how long it was."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
