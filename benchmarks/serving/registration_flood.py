"""A flood of sign-ups, from many addresses, while known users chat: they hardly notice.

python benchmarks/serving/registration_flood.py [--seconds 20] [--rate 500] [--users 20] [--json FILE]
"""

import asyncio
import json
import random
import time
from collections import Counter

from harness import (
    Figure,
    Outcome,
    Site,
    chat,
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
from scripted_site import PASSWORD


async def csrf_token(port: int) -> str:
    """What the page sends with its forms."""
    session = await send(port, request("/app/api/session", method="GET"))
    return str(json.loads(session.body)["csrf"])


async def users_chat(site: Site, seconds: float) -> list[Outcome]:
    """Every user asks every second."""
    tasks: list[asyncio.Task[Outcome]] = []
    numbers = iter(range(10**9))

    def ask() -> None:
        key = site.keys[next(numbers) % len(site.keys)]
        tasks.append(asyncio.create_task(send(site.port, request("/v1/chat/completions", chat(), key=key))))

    await open_loop(len(site.keys), seconds, ask)
    return list(await asyncio.gather(*tasks))


def form(path: str, name: str, token: str, address: str) -> bytes:
    fields = {"name": name, "password": PASSWORD}
    return request(path, fields, x_ponder_csrf=token, x_forwarded_for=address)


async def brake_of(port: int) -> bool:
    status = await send(port, request("/status.json", method="GET"))
    return bool(json.loads(status.body)["registration_brake"])


async def flood(site: Site, rate: float, seconds: float, outcomes: list[Outcome]) -> None:
    draw, token = random.Random(0), await csrf_token(site.port)
    tasks: list[asyncio.Task[Outcome]] = []

    def sign_up() -> None:
        address = ".".join(str(draw.randint(1, 250)) for _ in range(4))
        data = form("/app/api/register", f"flood{len(tasks)}", token, address)
        tasks.append(asyncio.create_task(send(site.port, data)))

    await open_loop(rate, seconds, sign_up)
    outcomes += await asyncio.gather(*tasks)


async def log_in_steadily(site: Site, token: str, outcomes: list[Outcome]) -> None:
    for number in range(10**9):
        data = form("/app/api/login", f"user{number % len(site.keys)}", token, f"198.51.100.{number % 250}")
        outcomes.append(await send(site.port, data))
        await asyncio.sleep(1.0)


async def until_brake(site: Site, wanted: bool, began: float, seconds: float) -> float:
    """Seconds since `began` until the brake is as wanted; nan where it never was."""
    while time.monotonic() < began + seconds:
        if await brake_of(site.port) is wanted:
            return time.monotonic() - began
        await asyncio.sleep(0.1)
    return float("nan")


async def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=500.0, help="sign-ups a second")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--hold", type=float, default=5.0, help="seconds without a flood until the brake goes off")
    arguments = parser.parse_args()
    limits = [
        "--running",
        64,
        "--answer",
        20,
        "--tokens-per-second",
        20,
        "--brake-hold",
        arguments.hold,
        "--behind-proxy",
    ]
    with scripted_site(*limits, "--users", arguments.users) as site:
        idle = await users_chat(site, arguments.seconds / 2)
        sign_ups: list[Outcome] = []
        logins: list[Outcome] = []
        began = time.monotonic()
        flooding = asyncio.create_task(flood(site, arguments.rate, arguments.seconds, sign_ups))
        on = asyncio.create_task(until_brake(site, True, began, arguments.seconds))
        async with side_by_side(asyncio.create_task(log_in_steadily(site, await csrf_token(site.port), logins))):
            beside = await users_chat(site, arguments.seconds)
        await flooding
        off = await until_brake(site, False, began + arguments.seconds, arguments.hold + 30)
        on_after = await on
    kinds = Counter(o.trouble or str(o.status) for o in sign_ups)
    before, after = (quantile([o.first_token for o in outcomes], 0.95) for outcomes in (idle, beside))
    good = sum(o.status == 200 and o.whole for o in beside)
    figures = [
        Figure(f"sign-ups {dict(kinds)}", len(sign_ups)),
        Figure(
            "sign-ups that are neither 201, 429 nor 503",
            sum(o.status not in (201, 429, 503) for o in sign_ups),
            at_most=0,
        ),
        Figure("brake on after", on_after, "s", at_most=5),
        Figure("brake off after the flood", off, "s", at_most=arguments.hold + 5),
        Figure("known users' requests", len(beside)),
        Figure("of these answered in full", 100 * good / len(beside), "%", at_least=99.9),
        Figure("p95 first token when idle", 1000 * before, "ms"),
        Figure("beside the flood, of that", after / before, "", at_most=1.5),
        Figure("logins that failed", sum(o.status != 200 for o in logins), at_most=0),
        Figure("p95 of a login", quantile([o.seconds for o in logins], 0.95), "s", at_most=1),
    ]
    return report("registration flood", figures, arguments)


if __name__ == "__main__":
    run(main)
