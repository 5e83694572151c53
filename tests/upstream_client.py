"""An upstream backend before a server of a test, and one generation from it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ponder.core.types import Message
from ponder.serve.records import (
    Ask,
    BackendEvent,
    Caller,
    Conversation,
    Delta,
    Usage,
)
from ponder.serve.upstream.backend import UpstreamBackend
from ponder.serve.upstream.settings import UpstreamSettings
from upstream_server import (
    Answer,
    Upstream,
    upstream,
)

CALLER = Caller(account="local")
ASK = Ask(id="ask-1", model="big", prompt=Conversation(messages=(Message("user", "hi"),)), max_tokens=64)
SETTINGS = UpstreamSettings(
    url="http://127.0.0.1:1/v1", connect_seconds=1.0, first_byte_seconds=0.5, silence_seconds=0.3, total_seconds=5.0
)


def with_backend(
    answer: Answer,
    use: Callable[[UpstreamBackend, Upstream], Awaitable[None]],
    settings: UpstreamSettings = SETTINGS,
    models: object = None,
) -> None:
    async def run() -> None:
        async with upstream(answer, models) as server:
            backend = await UpstreamBackend.open(replace(settings, url=server.url))
            try:
                await use(backend, server)
            finally:
                await backend.close()

    asyncio.run(run())


def generate(
    answer: Answer, ask: Ask = ASK, settings: UpstreamSettings = SETTINGS
) -> tuple[list[BackendEvent], Usage, Upstream]:
    """All events of an ask, its usage, and what the server saw."""
    found: list[tuple[list[BackendEvent], Usage, Upstream]] = []

    async def use(backend: UpstreamBackend, server: Upstream) -> None:
        generation = await backend.start(await backend.prepare(ask, CALLER))
        events = [event async for event in generation]
        await generation.aclose()
        found.append((events, generation.usage, server))

    with_backend(answer, use, settings)
    return found[0]


def text(events: list[BackendEvent], kind: str) -> str:
    return "".join(e.text for e in events if isinstance(e, Delta) and e.kind == kind)
