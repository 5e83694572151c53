"""What stands in front of the engine costs: short completions a second on one core, and latency at half that rate.

    python benchmarks/serving/overhead.py [--seconds 10] [--connections 32] [--accounts | --prices] [--json FILE]

The engine is a script that answers at once with one token; the server has a core of its own, this client another. The
latency is taken at an even rate of half the highest, from when each request was due, so that a pause counts for all
that were due in it; the latency of the same at a tenth of the rate is what is taken off.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from harness import Figure, Site, chat, parser_of, quantile, report, request, run, scripted_site


class Connection(asyncio.Protocol):
    """A kept connection with at most one request under way."""

    def __init__(self, data: bytes, done: "Callable[[Connection], None]") -> None:
        self.data, self.done = data, done
        self.due = 0.0
        self.received = b""
        self.latencies: list[float] = []
        self.failed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def ask(self, due: float) -> None:
        self.due = due
        self.transport.write(self.data)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        place = head.find(b"content-length: ")
        length = int(head[place + 16 : place + 26].split(b"\r")[0])
        if len(body) >= length:
            self.received = b""
            self.latencies.append(time.perf_counter() - self.due)
            self.failed += head[9:12] != b"200"
            self.done(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.failed += 1


async def connect(port: int, count: int, data: bytes) -> tuple[list[Connection], "asyncio.Queue[Connection]"]:
    loop = asyncio.get_running_loop()
    done: asyncio.Queue[Connection] = asyncio.Queue()
    made = [
        (await loop.create_connection(lambda: Connection(data, done.put_nowait), "127.0.0.1", port))[1]
        for _ in range(count)
    ]
    return made, done


async def highest_rate(site: Site, data: bytes, connections: int, seconds: float) -> tuple[float, float, int]:
    """With every connection always busy: requests a second, and a second of the processor; and how many failed."""
    made, done = await connect(site.port, connections, data)
    for connection in made:
        connection.ask(time.perf_counter())
    end = time.perf_counter() + seconds / 5  # to warm up
    while time.perf_counter() < end:
        (await done.get()).ask(time.perf_counter())
    count, began, used = 0, time.perf_counter(), site.processor_seconds
    end = began + seconds
    while time.perf_counter() < end:
        (await done.get()).ask(time.perf_counter())
        count += 1
    rate, rate_alone = count / (time.perf_counter() - began), count / (site.processor_seconds - used)
    failed = sum(connection.failed for connection in made)
    for connection in made:
        connection.transport.abort()
    return rate, rate_alone, failed


async def latencies(port: int, data: bytes, rate: float, connections: int, seconds: float) -> list[float]:
    """Seconds from when each request was due to its answer, at an even rate."""
    made, _ = await connect(port, connections, data)
    free, waiting = deque(made), deque[float]()

    def use(connection: Connection) -> None:
        if waiting:
            connection.ask(waiting.popleft())
        else:
            free.append(connection)

    for connection in made:
        connection.done = use
    began, sent = time.perf_counter() + 0.1, 0
    while sent < rate * seconds:
        now = time.perf_counter()
        while (due := began + sent / rate) <= now:
            waiting.append(due)
            sent += 1
        while waiting and free:
            free.popleft().ask(waiting.popleft())
        await asyncio.sleep(max(0.0, began + sent / rate - time.perf_counter()))
    found = [latency for connection in made for latency in connection.latencies]
    for connection in made:
        connection.transport.abort()
    return found


async def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each of the three parts")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--accounts", action="store_true", help="with accounts and keys in place of open mode")
    parser.add_argument("--prices", action="store_true", help="with accounts, and every request is paid for")
    arguments = parser.parse_args()
    options = ["--tokens-per-second", 0, "--answer", 1, "--running", 512, "--queue", 512]
    options += ["--users", 1] if arguments.accounts or arguments.prices else []
    options += ["--prices"] if arguments.prices else []
    with scripted_site(*options) as site:
        key = site.keys[0] if site.keys else None
        data = request("/v1/chat/completions", chat(stream=False, max_tokens=8), key=key, close=False)
        rate, rate_alone, failed = await highest_rate(site, data, arguments.connections, arguments.seconds)
        quiet = await latencies(site.port, data, rate / 10, arguments.connections, arguments.seconds)
        half = await latencies(site.port, data, rate / 2, arguments.connections, arguments.seconds)
    figures = [
        Figure("short completions a second on one core", rate, "1/s", at_least=1500),
        Figure("the same by the processor's time alone", rate_alone, "1/s"),
        Figure("requests that failed", failed, "", at_most=0),
        Figure("median latency at a tenth of that rate", 1000 * quantile(quiet, 0.5), "ms"),
        Figure("median latency at half of it", 1000 * quantile(half, 0.5), "ms"),
        Figure("p99 latency at half of it", 1000 * quantile(half, 0.99), "ms", at_most=5),
    ]
    return report("overhead", figures, arguments)


if __name__ == "__main__":
    run(main)
