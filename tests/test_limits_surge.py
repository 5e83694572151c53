"""The limits in front of a real server: a surge, and clients who go away. `benchmarks/serving` does it at length."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from limited_server import limited_server
from ponder.serve.limits.gate import FairGate
from ponder.serve.limits.settings import GateSettings
from ponder.serve.open_mode import OpenAuthenticator
from ponder.serve.scripted import Script, ScriptedBackend
from ponder.serve.service import Service
from ponder.serve.wire.errors import EXCEPTION_HANDLERS, ErrorBoundary
from ponder.serve.wire.routes import wire_routes

BODY = json.dumps({"model": "scripted", "messages": [{"role": "user", "content": "Hi"}], "stream": True}).encode()
HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n"
)
REQUEST = f"{HEAD}content-length: {len(BODY)}\r\n\r\n".encode() + BODY


@dataclass
class Served:
    """A server with a gate in front of a script."""

    port: int
    gate: FairGate
    backend: ScriptedBackend
    waited: list[int] = field(default_factory=list)  # how many, whenever a request came


@contextmanager
def served(*, answer: int, running: int, queue: int, tokens_per_second: float) -> Iterator[Served]:
    gate = FairGate(GateSettings(running_samples=running, queue=queue))
    script = Script(answer="word " * answer)
    backend = ScriptedBackend(lambda ask: script, tokens_per_second=tokens_per_second)
    service = Service([backend], gate=gate)
    routes = wire_routes(service, OpenAuthenticator())
    inner: ASGIApp = ErrorBoundary(Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS))
    waited: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        waited.append(gate.waiting)
        await inner(scope, receive, send)

    with limited_server(app) as running_server:
        yield Served(running_server.port, gate, backend, waited)


async def ask(port: int, *, leave_after: int | None = None) -> tuple[int, bytes, float]:
    """Status, what came, and after how many seconds it ended."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(REQUEST)
        received = b""
        while piece := await reader.read(65536):
            received += piece
            if leave_after is not None and received.count(b"word") >= leave_after:
                break
    finally:
        writer.close()
    return int(received[9:12]), received, time.monotonic() - began


def test_in_a_surge_every_request_has_a_defined_end_and_the_queue_its_bound() -> None:
    async def surge(port: int) -> list[tuple[int, bytes, float]]:
        tasks = []
        for _ in range(300):  # 20 times what 4 places serve of answers of 0.25 s
            tasks.append(asyncio.create_task(ask(port)))
            await asyncio.sleep(1 / 320)
        return list(await asyncio.gather(*tasks))

    with served(answer=5, running=4, queue=8, tokens_per_second=20) as site:
        ends = asyncio.run(surge(site.port))
        answered = [received for status, received, _ in ends if status == 200]
        refused = [(received, seconds) for status, received, seconds in ends if status == 503]
        assert len(answered) + len(refused) == 300
        assert all(received.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for received in answered)
        assert all(b"retry-after: " in received and b'"code":"queue_full"' in received for received, _ in refused)
        assert len(answered) >= 12
        assert max(site.waited) == 8
        assert (site.gate.running, site.gate.waiting, site.backend.running) == (0, 0, 0)


def test_who_goes_away_stops_the_generation_and_leaves_nothing_behind() -> None:
    async def drops(site: Served) -> None:
        await asyncio.gather(*(ask(site.port, leave_after=number % 5) for number in range(60)))
        end = time.monotonic() + 2.0
        while site.backend.running or site.gate.running or site.gate.waiting:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)

    with served(answer=10_000, running=16, queue=64, tokens_per_second=50) as site:
        asyncio.run(drops(site))
        assert site.backend.started > 0
        assert site.backend.drawn_tokens < 60 * 30
        status, received, _ = asyncio.run(ask(site.port, leave_after=3))
        assert (status, received.count(b"word") >= 3) == (200, True)
