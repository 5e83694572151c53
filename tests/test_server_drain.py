"""SIGTERM: readiness says so at once, nobody new is let in, and who is in ends well, within the window."""

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from limited_server import until

# `/stream?n` streams n pieces, one every 0.1 s; `/hang` ends only when told that the time is over; `/stuck` never.
PROGRAM = """
import asyncio, sys, threading, time
from limited_server import lifespan
from ponder.serve.operations.drain import Drain
from ponder.serve.server import Server, ServerSettings

drain, over = Drain(), asyncio.Event()
drain.when_over(over.set)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        print("closed", flush=True)
        return
    path, count = scope["path"], int(scope["query_string"] or 1)
    refused = drain.draining and path != "/health"
    await send({"type": "http.response.start", "status": 503 if refused else 200, "headers": []})
    for n in range(0 if refused else count):
        await send({"type": "http.response.body", "body": b"piece ", "more_body": True})
        if path == "/stream":
            await asyncio.sleep(0.1)
        elif path == "/hang":
            await over.wait()
        elif path == "/stuck":
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    time.sleep(60)
    await send({"type": "http.response.body", "body": b"end"})

Server(app, ServerSettings(port=0, drain_seconds=float(sys.argv[1])), drain=drain,
       started=lambda address: print(address, flush=True)).run()
print("ended", flush=True)
"""


@dataclass
class Process:
    """The server in a process of its own."""

    process: subprocess.Popen[str]
    url: str

    def stop(self, seconds: float, with_signal: int = signal.SIGTERM) -> tuple[int, float]:
        """Its exit code and how long it took to end."""
        began = time.monotonic()
        self.process.send_signal(with_signal)
        return self.process.wait(seconds), time.monotonic() - began

    def said(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.read().split()


@contextmanager
def serving(window: float) -> Iterator[Process]:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(window)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as process:
        assert process.stdout is not None
        try:
            yield Process(process, process.stdout.readline().strip())
        finally:
            process.kill()


def test_running_streams_end_and_whoever_comes_is_refused_until_then() -> None:
    with serving(window=10) as server, httpx.Client(base_url=server.url) as client:
        assert client.get("/ready").status_code == 200
        with client.stream("GET", "/stream?12") as stream:
            pieces = stream.iter_text()
            next(pieces)
            server.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert until(lambda: httpx.get(f"{server.url}/ready").status_code == 503, 0.5)
            for _ in range(5):
                refused = httpx.get(f"{server.url}/new")
                assert (refused.status_code, refused.headers["connection"]) == (503, "close")
                assert httpx.get(f"{server.url}/health").status_code == 200
                time.sleep(0.1)
            assert "".join(pieces).endswith("piece end")
        assert server.process.wait(5) == 0
        assert 1.0 < time.monotonic() - began < 3.0
        assert server.said() == ["closed", "ended"]


def test_with_nothing_under_way_it_ends_at_once() -> None:
    with serving(window=30) as server, httpx.Client(base_url=server.url) as idle:
        idle.get("/")
        code, seconds = server.stop(5)
        assert code == 0
        assert seconds < 2.0


def test_what_has_not_ended_within_the_window_is_told_to() -> None:
    with serving(window=0.5) as server, httpx.stream("GET", f"{server.url}/hang") as stream:
        server.process.send_signal(signal.SIGTERM)
        assert "".join(stream.iter_text()) == "piece end"
        assert server.process.wait(3) == 0


def test_what_does_not_listen_is_ended_five_seconds_after_the_window() -> None:
    with serving(window=0.2) as server, httpx.stream("GET", f"{server.url}/stuck") as stream:
        next(stream.iter_text())
        code, seconds = server.stop(10)
        assert code == 1
        assert seconds < 5.2


def test_a_second_signal_ends_it_at_once() -> None:
    with serving(window=30) as server, httpx.stream("GET", f"{server.url}/hang") as stream:
        next(stream.iter_text())
        server.process.send_signal(signal.SIGINT)
        assert until(lambda: httpx.get(f"{server.url}/ready").status_code == 503, 0.5)
        code, seconds = server.stop(5, signal.SIGINT)
        assert (code, seconds < 0.5) == (130, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_asked_for_end_is_a_success(number: int) -> None:
    with serving(window=1) as server:
        assert server.stop(5, number)[0] == 0
