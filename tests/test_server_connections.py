"""What a client may take of a connection: time, bytes, buffers, and connections."""

import asyncio
import json
import re
import socket
import time

import pytest
from starlette.types import Receive, Scope, Send

from limited_server import lifespan, limited_server, plain, read_all, read_until, until
from ponder.core.errors import ConfigError, RunError
from ponder.serve.connection import ConnectionLimits
from ponder.serve.server import ServerSettings, address_of, bind

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def settings(**limits: float) -> ServerSettings:
    return ServerSettings(drain_seconds=1.0, limits=ConnectionLimits(**limits))  # type: ignore[arg-type]


def error_of(answer: bytes) -> tuple[bytes, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    assert re.search(rb"\r\nx-request-id: req_[0-9a-f]{24}(\r\n|$)", head)
    return head.split(b"\r\n")[0], json.loads(body)["error"]["code"]


def test_requests_are_answered_and_connections_kept() -> None:
    with limited_server(plain) as running, running.connect() as client:
        client.sendall(GET * 3)  # pipelined
        time.sleep(0.1)
        client.sendall(b"POST / HTTP/1.1\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
        answer = read_all(client)
        assert answer.count(b"HTTP/1.1 200 OK") == 4
        assert answer.endswith(b"\r\n\r\n5")
        assert b"server:" not in answer
    assert running.dropped == []


def test_slow_headers_are_answered_408_and_normal_requests_go_on_meanwhile() -> None:
    with limited_server(plain, settings(header_seconds=0.5)) as running:
        slow = [running.connect() for _ in range(50)]
        for number, client in enumerate(slow):
            client.sendall(b"GET / HTTP/1.1\r\nx-slow: " + b"a" * number)
        began = time.monotonic()
        assert [running.ask(LAST)[:15] for _ in range(20)] == [b"HTTP/1.1 200 OK"] * 20
        assert [error_of(read_all(client)) for client in slow] == [
            (b"HTTP/1.1 408 Request Timeout", "header_timeout")
        ] * 50
        assert 0.4 < time.monotonic() - began < 2.0
        for client in slow:
            client.close()
    assert running.dropped == ["header_timeout"] * 50


def test_a_trickle_of_headers_does_not_extend_the_time() -> None:
    with limited_server(plain, settings(header_seconds=0.5)) as running, running.connect() as client:
        began = time.monotonic()
        client.sendall(b"GET / HTTP/1.1\r\n")
        client.settimeout(0.05)
        answer = b""
        while not answer and time.monotonic() < began + 5:
            client.sendall(b"x: y\r\n")
            try:
                answer = client.recv(65536)
            except TimeoutError:
                continue
        assert error_of(answer)[1] == "header_timeout"
        assert time.monotonic() - began < 2.0


def test_a_connection_that_asks_nothing_is_closed() -> None:
    with limited_server(plain, settings(header_seconds=0.3)) as running, running.connect() as client:
        assert client.recv(1) == b""
    assert running.dropped == ["no_request"]


def test_a_slow_body_is_answered_408() -> None:
    with (
        limited_server(plain, settings(body_grace=0.3, body_bytes_per_second=1000)) as running,
        running.connect() as client,
    ):
        client.sendall(b"POST / HTTP/1.1\r\ncontent-length: 100000\r\n\r\nabc")
        assert error_of(read_all(client)) == (b"HTTP/1.1 408 Request Timeout", "body_timeout")


def test_a_steady_body_that_takes_too_long_in_all_is_answered_408() -> None:
    with limited_server(plain, settings(body_seconds=0.6)) as running, running.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\ncontent-length: 10000000\r\n\r\n")
        client.settimeout(0.02)
        answer = b""
        for _ in range(100):
            try:
                client.sendall(b"a" * 1000)
                answer += client.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            if b"}}" in answer:
                break
        assert error_of(answer) == (b"HTTP/1.1 408 Request Timeout", "body_timeout")


@pytest.mark.parametrize(
    "headers", [b"x: " + b"a" * 5000, b"".join(b"x%d: y\r\n" % n for n in range(60)), b"a" * 5000 + b": x"]
)
def test_headers_over_the_limit_are_answered_431(headers: bytes) -> None:
    with limited_server(plain, settings(header_bytes=4096, headers=50)) as running:
        answer = running.ask(b"GET / HTTP/1.1\r\n" + headers + b"\r\n\r\n")
        assert error_of(answer) == (b"HTTP/1.1 431 Request Header Fields Too Large", "headers_too_large")


def test_a_long_address_is_answered_431() -> None:
    with limited_server(plain, settings(header_bytes=4096)) as running:
        answer = running.ask(b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n")
        assert error_of(answer)[1] == "headers_too_large"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",  # request smuggling
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header: x\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_400_as_json(garbage: bytes) -> None:
    with limited_server(plain) as running:
        assert error_of(running.ask(garbage)) == (b"HTTP/1.1 400 Bad Request", "invalid_http")


def test_a_client_that_is_still_sending_reads_an_early_answer() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        headers = [(b"content-length", b"2"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"no"})

    with limited_server(refuse) as running:
        answer = running.ask(b"POST / HTTP/1.1\r\ncontent-length: 4000000\r\n\r\n" + b"a" * 4_000_000)
        assert (answer[:12], answer[-2:]) == (b"HTTP/1.1 413", b"no")


def test_a_reader_who_reads_nothing_is_dropped_and_the_application_told() -> None:
    ended: list[str] = []

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        gone = asyncio.create_task(watch())
        while not gone.done():
            await send({"type": "http.response.body", "body": b"a" * 16384, "more_body": True})
            await asyncio.sleep(0)
        ended.append("cancelled")

    with limited_server(endless, settings(write_seconds=0.5)) as running:
        with running.connect() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(GET)
            assert until(lambda: ended == ["cancelled"])
        assert running.dropped == ["slow_reader"]


def test_over_the_limit_idle_connections_give_way_and_busy_ones_do_not() -> None:
    with limited_server(plain, settings(connections=3)) as running:
        idle = [running.connect() for _ in range(3)]
        for client in idle:
            client.sendall(GET)
            assert read_until(client, b"\r\n\r\n0").startswith(b"HTTP/1.1 200")
        assert running.ask(LAST).startswith(b"HTTP/1.1 200")
        assert idle[0].recv(1) == b""  # idle for longest
        busy = [running.connect() for _ in range(3)]
        for client in busy:
            client.sendall(b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n")
        time.sleep(0.1)
        answer = running.ask(b"")
        assert error_of(answer) == (b"HTTP/1.1 503 Service Unavailable", "too_many_connections")
        retry = re.search(rb"\r\nretry-after: (\d+)\r\n", answer)
        assert retry is not None
        assert 2 <= int(retry[1]) <= 3
        for client in busy:
            client.sendall(b"abc")
            assert read_until(client, b"\r\n\r\n3").startswith(b"HTTP/1.1 200")
        for client in (*idle, *busy):
            client.close()


def test_an_address_in_use_is_named_with_what_to_do() -> None:
    with bind(ServerSettings(port=0)) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=f"127.0.0.1 port {port}: another program is using it"):
            bind(ServerSettings(port=port))


def test_hosts_that_cannot_be_had_are_named() -> None:
    with pytest.raises(RunError, match=r"192\.0\.2\.1 port 0: this machine does not have that address"):
        bind(ServerSettings(host="192.0.2.1", port=0))
    with pytest.raises(RunError, match="the host 'no such host' is unknown"):
        bind(ServerSettings(host="no such host"))


def test_ipv6_has_an_address_with_brackets() -> None:
    try:
        with bind(ServerSettings(host="::1", port=0)) as sock:
            assert address_of(sock) == f"http://[::1]:{sock.getsockname()[1]}"
    except RunError as error:
        pytest.skip(str(error))


def test_a_unix_socket_left_by_a_killed_server_is_replaced_and_a_live_one_is_not(tmp_path: object) -> None:
    path = f"{tmp_path}/ponder.sock"
    bind(ServerSettings(uds=path)).close()
    with bind(ServerSettings(uds=path)) as sock:
        sock.listen()
        assert address_of(sock) == f"unix:{path}"
        with pytest.raises(RunError, match="another program is using it"):
            bind(ServerSettings(uds=path))


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"port": 70000}, "port"), ({"drain_seconds": -1.0}, "drain"), ({"proxies": ("*",)}, "anybody")],
)
def test_settings_out_of_range_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ServerSettings(**fields)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="header_seconds"):
        ConnectionLimits(header_seconds=0.0)
