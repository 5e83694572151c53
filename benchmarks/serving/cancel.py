"""Clients who go away: the engine stops, what was generated is what is billed, and nothing is left behind.

    python benchmarks/serving/cancel.py [--drops 1000] [--json FILE]

Each client leaves after a few tokens of a long stream; the server's own figures tell when the last generation has ended
and how many tokens were generated.
"""

import asyncio
import random
import time
from pathlib import Path

from harness import Figure, Site, chat, metrics, parser_of, report, request, run, scripted_site, send

TOKENS_PER_SECOND = 50.0
REQUEST = request("/v1/chat/completions", chat())


def memory(site: Site) -> float:
    """Megabytes that the server has in memory."""
    for line in Path(f"/proc/{site.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def open_files(site: Site) -> int:
    return len(list(Path(f"/proc/{site.process.pid}/fd").iterdir()))


async def until_stopped(port: int) -> float:
    """Seconds until nothing runs any more."""
    began = time.monotonic()
    while (await metrics(port))["ponder_num_requests_running"] > 0:
        if time.monotonic() > began + 10:
            break
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--drops", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=20)
    arguments = parser.parse_args()
    draw = random.Random(0)
    speed = f"--tokens-per-second={TOKENS_PER_SECOND}"
    with scripted_site("--running", 64, "--answer", 2000, speed) as site:

        async def drop() -> int:
            return (await send(site.port, REQUEST, leave_after=draw.randint(1, 20))).tokens

        single = []
        for _ in range(10):
            await drop()
            single.append(await until_stopped(site.port))
        await asyncio.gather(*(drop() for _ in range(arguments.at_once)))  # what is made once is made by now
        await until_stopped(site.port)
        before, files, was = await metrics(site.port), open_files(site), memory(site)
        seen = 0
        for _ in range(arguments.drops // arguments.at_once):
            seen += sum(await asyncio.gather(*(drop() for _ in range(arguments.at_once))))
        await until_stopped(site.port)
        after, left, grown = await metrics(site.port), open_files(site) - files, memory(site) - was
    generated = after["ponder_generation_tokens_total"] - before["ponder_generation_tokens_total"]
    drops = arguments.drops // arguments.at_once * arguments.at_once
    figures = [
        Figure("the engine stops after a client left, worst of 10", 1000 * max(single), "ms", at_most=20 + 200),
        Figure("clients that left", drops),
        Figure("tokens that they saw", seen),
        Figure("tokens generated beyond those, for each", (generated - seen) / drops, "", at_most=2),
        Figure("generations still running", after["ponder_num_requests_running"], "", at_most=0),
        Figure("requests still waiting", after["ponder_num_requests_waiting"], "", at_most=0),
        Figure("open files more than before", left, "", at_most=0),
        Figure("memory more than before", grown, "MB", at_most=10),
    ]
    return report("cancel", figures, arguments)


if __name__ == "__main__":
    run(main)
