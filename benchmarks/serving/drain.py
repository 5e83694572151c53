"""SIGTERM in the middle of a surge, and kill -9.

    python benchmarks/serving/drain.py [--window 5] [--rate 200] [--json FILE]

Requests come all the time. At SIGTERM, `/ready` has to say so at once, streams that run have to end in full, and the
process has to be gone five seconds after the window at the latest. Then it is killed with SIGKILL, and started again.
"""

import asyncio
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from harness import Figure, Outcome, chat, open_loop, parser_of, report, request, run, scripted_site, send, side_by_side

REQUEST = request("/v1/chat/completions", chat())
READY = request("/ready", method="GET")


async def until_not_ready(port: int) -> float:
    """Seconds until `/ready` answers 503."""
    began = time.monotonic()
    while (await send(port, READY, timeout=2)).status == 200:
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def drained(arguments: object, options: list[object]) -> list[Figure]:
    window, rate = arguments.window, arguments.rate  # type: ignore[attr-defined]
    with scripted_site(*options, "--drain", window) as site:
        tasks: list[asyncio.Task[Outcome]] = []
        asking = asyncio.create_task(
            open_loop(rate, 60, lambda: tasks.append(asyncio.create_task(send(site.port, REQUEST))))
        )
        async with side_by_side(asking):  # type: ignore[arg-type]
            await asyncio.sleep(2.0)
            site.process.send_signal(signal.SIGTERM)
            told = time.monotonic()
            not_ready = await until_not_ready(site.port)
            code = await asyncio.to_thread(site.process.wait, window + 20)
            gone = time.monotonic()
        outcomes = list(await asyncio.gather(*tasks))
    running = [o for o in outcomes if o.began < told and o.began + o.seconds > told and o.status == 200]
    closed = max(o.began for o in outcomes if o.status)  # from here on nobody listens
    between = [o for o in outcomes if told + 0.15 < o.began <= closed]
    kinds = Counter(o.trouble or str(o.status) for o in between if o.status not in (429, 503))
    return [
        Figure("/ready says 503 after", 1000 * not_ready, "ms", at_most=200),
        Figure("streams under way at the signal", len(running)),
        Figure("of these not ended in full", sum(not o.whole for o in running), at_most=0),
        Figure("requests after the signal", len(between)),
        Figure(f"of these neither 429 nor 503 {dict(kinds) or ''}", kinds.total(), at_most=0),
        Figure("nobody listens before the end", gone - closed, "s"),
        Figure("gone after", gone - told, "s", at_most=window + 5),
        Figure("exit code", code, "", at_most=0),
    ]


async def killed(options: list[object]) -> list[Figure]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with scripted_site(*options, folder=folder) as site:
            tasks = [asyncio.create_task(send(site.port, REQUEST)) for _ in range(50)]
            await asyncio.sleep(0.5)
            site.process.kill()
            await asyncio.gather(*tasks)
            port = site.port
        began = time.monotonic()
        with scripted_site(*options, "--port", port, folder=folder) as site:
            outcome = await send(site.port, REQUEST)
            return [
                Figure("serving again after kill -9", time.monotonic() - began - outcome.seconds, "s", at_most=10),
                Figure("status of the first answer", outcome.status, "", at_least=200, at_most=200),
            ]


async def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--window", type=float, default=5.0, help="seconds that running requests have")
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    arguments = parser.parse_args()
    options: list[object] = ["--running", 16, "--queue", 32, "--answer", 40, "--tokens-per-second", 20]
    return report("drain", [*await drained(arguments, options), *await killed(options)], arguments)


if __name__ == "__main__":
    run(main)
