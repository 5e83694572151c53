"""A server of ours behind a server of ours: what the second says of the first is what the first said."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from dialects import WEATHER, act
from live_server import live_server
from ponder.core.streaming import SamplingOptions
from ponder.core.types import Message, Tool
from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, BackendEvent, Caller, Conversation, Delta, Finish, Usage
from ponder.serve.scripted import ScriptedBackend
from ponder.serve.seams import Backend
from ponder.serve.service import Service
from ponder.serve.upstream.backend import UpstreamBackend
from ponder.serve.upstream.settings import UpstreamSettings
from wire_server import wire_app

ASK = Ask(id="ask-1", model="scripted", prompt=Conversation(messages=(Message("user", "2 + 2?"),)), thinking=True)
TOOLS = replace(ASK, prompt=Conversation(messages=(Message("user", "Cold?"),), tools=(Tool(name="weather"),)))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with live_server(wire_app(Service([ScriptedBackend(act)]))) as found:
        yield f"{found}/v1"


async def run(backend: Backend, ask: Ask) -> tuple[list[BackendEvent], Usage]:
    generation = await backend.start(await backend.prepare(ask, Caller(account="local")))
    events = [event async for event in generation]
    await generation.aclose()
    return events, generation.usage


def joined(events: list[BackendEvent]) -> list[object]:
    """Texts of one kind put together, ids of calls left out, so that only what was said is compared."""
    found: list[object] = []
    for event in events:
        if isinstance(event, Finish):
            found.append(event)
        elif found and isinstance(found[-1], list) and found[-1][:3] == [event.index, event.kind, event.call]:
            found[-1][3] += event.text
        else:
            found.append([event.index, event.kind, event.call, event.text, event.call_name])
    return found


@pytest.mark.parametrize(
    "ask",
    [
        ASK,
        replace(ASK, thinking=False),
        replace(ASK, thinking_budget=1),
        replace(ASK, max_tokens=4),
        replace(ASK, n=2),
        TOOLS,
    ],
    ids=["thought", "no thought", "budget", "length", "two", "tools"],
)
def test_the_same_answer_through_another_server(url: str, ask: Ask) -> None:
    async def both() -> None:
        upstream = await UpstreamBackend.open(UpstreamSettings(url=url))
        there, counted = await run(upstream, ask)
        here, expected = await run(ScriptedBackend(act), ask)
        assert sorted(map(str, joined(there))) == sorted(map(str, joined(here)))
        assert counted == expected
        await upstream.close()

    asyncio.run(both())


def test_logprobs_pass(url: str) -> None:
    async def compare() -> None:
        ask = replace(ASK, thinking=False, sampling=SamplingOptions(logprobs=1))
        upstream = await UpstreamBackend.open(UpstreamSettings(url=url))
        there, _ = await run(upstream, ask)
        here, _ = await run(ScriptedBackend(act), ask)
        assert [e.logprobs for e in there if isinstance(e, Delta)] == [e.logprobs for e in here if isinstance(e, Delta)]
        await upstream.close()

    asyncio.run(compare())


def test_its_refusals_pass_too(url: str) -> None:
    async def refused() -> None:
        upstream = await UpstreamBackend.open(UpstreamSettings(url=url, models={"ours": "gone"}))
        with pytest.raises(ApiError, match="status 404") as caught:
            await run(upstream, replace(ASK, model="ours"))
        assert caught.value.status == 502
        await upstream.close()

    asyncio.run(refused())


def test_the_script_calls_a_tool() -> None:
    """What the comparison above rests on."""
    events, _ = asyncio.run(run(ScriptedBackend(act), TOOLS))
    assert joined(events)[-2:] == [
        [0, "tool_call", 0, WEATHER.calls[0].arguments, "weather"],
        Finish(index=0, reason="tool_calls"),
    ]
