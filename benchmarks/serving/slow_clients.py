"""Clients that send slowly, read slowly or only hold connections: everybody else is served as ever.

    python benchmarks/serving/slow_clients.py [--connections 400] [--seconds 20] [--json FILE]

A quarter of the connections sends headers byte by byte, a quarter a body byte by byte, a quarter asks for long streams
and reads nothing, a quarter sends nothing at all. Beside them, normal requests go on.
"""

import asyncio
import socket
import time

from harness import (
    Figure,
    Outcome,
    chat,
    metrics,
    open_loop,
    parser_of,
    quantile,
    report,
    request,
    run,
    scripted_site,
    send,
    side_by_side,
)

WRITE_SECONDS = 3.0  # that a reader may leave unread, in this measurement
NORMAL = request("/v1/chat/completions", chat(max_tokens=10))
LONG = request("/v1/chat/completions", chat())


async def connect(port: int, buffer: int | None = None) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    if buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def trickle(port: int, begin: bytes, piece: bytes, closed: list[float]) -> None:
    """Send one piece every half second, until the server has had enough; note after how many seconds that was."""
    loop = asyncio.get_running_loop()
    with await connect(port) as sock:
        began = time.monotonic()
        try:
            await loop.sock_sendall(sock, begin)
            while not await answered(sock):
                await loop.sock_sendall(sock, piece)
        except OSError:
            pass  # it was reset
        closed.append(time.monotonic() - began)


async def answered(sock: socket.socket) -> bool:
    """Whether an answer, or the end, comes within half a second."""
    try:
        async with asyncio.timeout(0.5):
            await asyncio.get_running_loop().sock_recv(sock, 65536)
    except TimeoutError:
        return False
    return True


async def read_nothing(port: int) -> None:
    with await connect(port, buffer=4096) as sock:
        await asyncio.get_running_loop().sock_sendall(sock, LONG)
        await asyncio.sleep(3600)


async def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--connections", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=10.0, help="normal requests a second")
    arguments = parser.parse_args()
    quarter = arguments.connections // 4
    options = ["--running", 512, "--queue", 512, "--answer", 1000, "--tokens-per-second", 10, "--token-bytes", 4000]
    with scripted_site(*options, "--write-seconds", WRITE_SECONDS) as site:
        headers: list[float] = []
        silent: list[float] = []
        bodies: list[float] = []
        post = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
        slow: list[asyncio.Task[object]] = []
        for _ in range(quarter):
            slow.append(asyncio.create_task(trickle(site.port, b"GET / HTTP/1.1\r\nx: ", b"a", headers)))
            slow.append(asyncio.create_task(trickle(site.port, post, b"{", bodies)))
            slow.append(asyncio.create_task(trickle(site.port, b"", b"", silent)))
            slow.append(asyncio.create_task(read_nothing(site.port)))
        normal: list[asyncio.Task[Outcome]] = []
        async with side_by_side(*slow):
            await open_loop(
                arguments.rate,
                arguments.seconds,
                lambda: normal.append(asyncio.create_task(send(site.port, NORMAL))),
            )
            outcomes = list(await asyncio.gather(*normal))
            found = await metrics(site.port)
    good = sum(o.status == 200 and o.whole for o in outcomes)
    figures = [
        Figure("normal requests", len(outcomes)),
        Figure("answered in full", 100 * good / len(outcomes), "%", at_least=100),
        Figure("p95 of their first token", 1000 * quantile([o.first_token for o in outcomes], 0.95), "ms"),
        Figure("slow headers ended", len(headers), "", at_least=quarter),
        Figure("the last of them after", max(headers, default=float("nan")), "s", at_most=11),
        Figure("slow bodies ended", len(bodies), "", at_least=quarter),
        Figure("silent connections ended", len(silent), "", at_least=quarter),
        Figure("streams of readers who read nothing, still running", found["ponder_num_requests_running"], at_most=0),
    ]
    return report("slow clients", figures, arguments)


if __name__ == "__main__":
    run(main)
