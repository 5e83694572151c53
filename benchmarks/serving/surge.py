"""Many times more requests than can be served: every one has a defined end, and afterwards all is as before.

    python benchmarks/serving/surge.py [--seconds 60] [--times 20] [--running 32] [--queue 64] [--json FILE]

Requests are streams of `--answer` tokens at `--tokens-per-second`. First one at a time (idle), then as many at once as
have a place (unloaded goodput), then `--times` as many a second as those were, each on a connection of its own; then
one every quarter of a second until the time to the first token is as it was.
"""

import asyncio
import math
import time
from collections import Counter

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

REQUEST = request("/v1/chat/completions", chat())
WINDOW = 8  # requests after the surge whose 95th percentile is taken
NORMAL = 1.5  # times idle


async def first_token_when_idle(port: int, count: int) -> float:
    outcomes = [await send(port, REQUEST) for _ in range(count)]
    return quantile([outcome.first_token for outcome in outcomes], 0.95)


async def goodput(port: int, at_once: int, seconds: float) -> float:
    """Whole answers a second with that many always under way."""
    end = time.monotonic() + seconds
    whole: list[float] = []

    async def ask() -> None:
        while time.monotonic() < end:
            outcome = await send(port, REQUEST)
            if outcome.whole and outcome.status == 200:
                whole.append(time.monotonic())

    began = time.monotonic()
    await asyncio.gather(*(ask() for _ in range(at_once)))
    return len(whole) / (max(whole) - began)


async def watch_queue(port: int, seen: list[float]) -> None:
    while True:
        seen.append((await metrics(port)).get("ponder_num_requests_waiting", math.nan))
        await asyncio.sleep(0.25)


async def surge(port: int, rate: float, seconds: float) -> list["asyncio.Task[Outcome]"]:
    """The requests, of which the last ones are still under way."""
    tasks: list[asyncio.Task[Outcome]] = []
    await open_loop(rate, seconds, lambda: tasks.append(asyncio.create_task(send(port, REQUEST))))
    return tasks


async def recovery(port: int, normal: float) -> float:
    """Seconds until the time to the first token is normal again."""
    began = time.monotonic()
    recent: list[tuple[float, float]] = []
    while time.monotonic() < began + 60:
        asked = time.monotonic() - began
        outcome = await send(port, REQUEST)
        recent.append((asked, outcome.first_token if outcome.status == 200 else math.inf))
        last = recent[-WINDOW:]
        if len(last) == WINDOW and quantile([first for _, first in last], 0.95) <= normal:
            return last[0][0]
        await asyncio.sleep(0.1)
    return math.inf


async def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=20.0, help="as many requests as can be served")
    parser.add_argument("--running", type=int, default=32)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--answer", type=int, default=20)
    parser.add_argument("--tokens-per-second", type=float, default=20.0)
    arguments = parser.parse_args()
    options = [f"--{name}={getattr(arguments, name.replace('-', '_'))}" for name in ("running", "queue", "answer")]
    with scripted_site(*options, f"--tokens-per-second={arguments.tokens_per_second}") as site:
        idle = await first_token_when_idle(site.port, 10)
        unloaded = await goodput(site.port, arguments.running, max(3.0, arguments.seconds / 6))
        queue: list[float] = []
        async with side_by_side(asyncio.create_task(watch_queue(site.port, queue))):
            began = time.monotonic()
            tasks = await surge(site.port, arguments.times * unloaded, arguments.seconds)
            ended = time.monotonic()
            back = await recovery(site.port, max(NORMAL * idle, idle + 0.05))
            outcomes = await asyncio.gather(*tasks)
    whole = [o for o in outcomes if o.status == 200 and o.whole]
    rejected = [o for o in outcomes if o.status in (429, 503)]
    first = began + 1.5 * arguments.answer / arguments.tokens_per_second  # the places have filled and begun to empty
    served = len([o for o in whole if first < o.began + o.seconds <= ended]) / (ended - first)
    kinds = Counter(o.trouble or ("cut off" if o.status == 200 else str(o.status)) for o in outcomes)
    for o in (*whole, *rejected):
        kinds[o.trouble or ("cut off" if o.status == 200 else str(o.status))] -= 1
    figures = [
        Figure("requests", len(outcomes)),
        Figure("answered in full", len(whole)),
        Figure("sent away with 429 or 503", len(rejected)),
        Figure(f"any other end {dict(+kinds) or ''}", len(outcomes) - len(whole) - len(rejected), at_most=0),
        Figure("sent away without Retry-After", sum(b"retry-after" not in o.headers for o in rejected), at_most=0),
        Figure("p99 time to reject", 1000 * quantile([o.seconds for o in rejected], 0.99), "ms", at_most=100),
        Figure("longest queue", max(queue), "", at_most=arguments.queue),
        Figure("goodput unloaded", unloaded, "1/s"),
        Figure("goodput in the surge, of that", served / unloaded, "", at_least=0.9),
        Figure("p95 first token when idle", 1000 * idle, "ms"),
        Figure("normal again after", back, "s", at_most=10),
    ]
    return report("surge", figures, arguments)


if __name__ == "__main__":
    run(main)
