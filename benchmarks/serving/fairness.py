"""One key asks for fifty times what another does: the other hardly notices.

    python benchmarks/serving/fairness.py [--seconds 20] [--times 50] [--running 32] [--json FILE]

The modest key asks once a second, alone at first and then beside the other key, which asks `--times` as often.
"""

import asyncio

from harness import (
    Figure,
    Outcome,
    chat,
    open_loop,
    parser_of,
    quantile,
    report,
    request,
    run,
    scripted_site,
    send,
)


async def ask_steadily(port: int, key: str, rate: float, seconds: float) -> list[Outcome]:
    data = request("/v1/chat/completions", chat(), key=key)
    tasks: list[asyncio.Task[Outcome]] = []
    await open_loop(rate, seconds, lambda: tasks.append(asyncio.create_task(send(port, data))))
    return list(await asyncio.gather(*tasks))


async def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--times", type=float, default=50.0)
    parser.add_argument("--rate", type=float, default=1.0, help="requests a second of the modest key")
    parser.add_argument("--running", type=int, default=32)
    parser.add_argument("--account-running", type=int, default=28, help="places that one account may have")
    arguments = parser.parse_args()
    limits = ["--running", arguments.running, "--queue", 64, "--account-running", arguments.account_running]
    with scripted_site(*limits, "--users", 2, "--answer", 20, "--tokens-per-second", 20) as site:
        modest, greedy = site.keys
        alone = await ask_steadily(site.port, modest, arguments.rate, arguments.seconds)
        both = await asyncio.gather(
            ask_steadily(site.port, modest, arguments.rate, arguments.seconds),
            ask_steadily(site.port, greedy, arguments.times * arguments.rate, arguments.seconds),
        )
    before, after = (quantile([o.first_token for o in outcomes], 0.95) for outcomes in (alone, both[0]))
    figures = [
        Figure("p95 first token of the modest key alone", 1000 * before, "ms"),
        Figure("the same beside the other", 1000 * after, "ms"),
        Figure("ratio", after / before, "", at_most=2),
        Figure(
            "the modest key's requests that failed", sum(not o.whole or o.status != 200 for o in both[0]), at_most=0
        ),
        Figure("the other key's requests answered", sum(o.whole and o.status == 200 for o in both[1])),
        Figure("and sent away", sum(o.status in (429, 503) for o in both[1])),
        Figure("and with any other end", sum(o.status not in (200, 429, 503) for o in both[1]), at_most=0),
    ]
    return report("fairness", figures, arguments)


if __name__ == "__main__":
    run(main)
