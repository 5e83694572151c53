"""A server on a Unix socket, from its start to SIGTERM: the proxy tells who asks, and nothing is left behind."""

import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

# Answers with the address of who asked.
PROGRAM = """
import sys
from limited_server import lifespan
from ponder.serve.server import Server, ServerSettings

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["client"][0].encode()})

settings = ServerSettings(uds=sys.argv[1], proxies=tuple(sys.argv[2:]))
Server(app, settings, started=lambda address: print(address, flush=True)).run()
"""


@contextmanager
def serving(path: Path, *proxies: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path), *proxies]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == f"unix:{path}\n"
            transport = httpx.HTTPTransport(uds=str(path))
            with httpx.Client(transport=transport, base_url="http://localhost") as client:
                yield process, client
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_and_leaves_no_socket(tmp_path: Path, number: int) -> None:
    path = tmp_path / "ponder.sock"
    with serving(path) as (process, client):
        assert client.get("/").status_code == 200
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        process.send_signal(number)
        assert process.wait(5) == 0
    assert not path.exists()


def test_a_socket_left_by_a_server_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "ponder.sock"
    with serving(path) as (process, _):
        process.kill()
        process.wait(5)
    assert path.exists()
    with serving(path) as (_, client):
        assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (None, "127.0.0.1"),
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the proxy added the last: what stands before may be a lie
        ("127.0.0.1, 203.0.113.7", "203.0.113.7"),
    ],
)
def test_people_behind_its_proxy_have_their_own_addresses(tmp_path: Path, forwarded: str | None, address: str) -> None:
    with serving(tmp_path / "ponder.sock") as (_, client):
        headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
        assert client.get("/", headers=headers).text == address


def test_so_do_people_behind_a_second_proxy_that_is_named(tmp_path: Path) -> None:
    with serving(tmp_path / "ponder.sock", "203.0.113.0/24") as (_, client):
        headers = {"x-forwarded-for": "192.0.2.9, 198.51.100.1, 203.0.113.7"}
        assert client.get("/", headers=headers).text == "198.51.100.1"
