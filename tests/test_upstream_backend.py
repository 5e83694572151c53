"""The upstream backend against a server that behaves."""

import asyncio
import logging
import time
from dataclasses import replace

import httpx
import pytest

from ponder.core.errors import ConfigError
from ponder.core.streaming import SamplingOptions
from ponder.core.types import Message, Tool, ToolCall
from ponder.serve.errors import ApiError
from ponder.serve.records import (
    Conversation,
    Delta,
    Finish,
    PlainText,
    ResponseFormat,
    Usage,
)
from ponder.serve.upstream.backend import UpstreamBackend
from upstream_client import ASK, CALLER, SETTINGS, generate, text, with_backend
from upstream_server import (
    DONE,
    Upstream,
    chunk,
    event,
    says,
    says_then_hangs,
    upstream,
)

TOLD = {
    "prompt_tokens": 70,
    "completion_tokens": 9,
    "prompt_cache_hit_tokens": 64,
    "completion_tokens_details": {"reasoning_tokens": 4},
}


def test_thought_answer_and_the_servers_own_counts() -> None:
    events, usage, _ = generate(
        says(
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning_content": "Hm"}),
            chunk({"reasoning_content": ".", "content": None}),
            chunk({"content": "4"}),
            chunk({}, "stop"),
            chunk(None, usage=TOLD),
            DONE,
        )
    )
    assert [(e.kind, e.text) for e in events if isinstance(e, Delta)] == [
        ("reasoning", "Hm"),
        ("reasoning", "."),
        ("content", "4"),
    ]
    assert events[-1] == Finish(index=0, reason="stop")
    assert usage == Usage(prompt_tokens=70, cache_hit_tokens=64, completion_tokens=9, reasoning_tokens=4)


def test_the_other_name_of_the_thought_and_openais_name_of_the_hits() -> None:
    counts = {"prompt_tokens": 70, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 64}}
    events, usage, _ = generate(says(chunk({"reasoning": "Hm"}), chunk({"content": "4"}, "stop", usage=counts), DONE))
    assert (text(events, "reasoning"), text(events, "content")) == ("Hm", "4")
    assert usage == Usage(prompt_tokens=70, cache_hit_tokens=64, completion_tokens=2, reasoning_tokens=1)


def test_without_counts_they_are_estimated_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def use(backend: UpstreamBackend, server: Upstream) -> None:
        for _ in range(2):
            generation = await backend.start(await backend.prepare(ASK, CALLER))
            assert [event async for event in generation][-1] == Finish(index=0, reason="length")
            # "hi" is one token by its bytes and eight for its turn
            assert generation.usage == Usage(prompt_tokens=9, completion_tokens=5, reasoning_tokens=1, estimated=True)

    with caplog.at_level(logging.WARNING, "ponder"):
        with_backend(says(chunk({"reasoning": "Hm"}), chunk({"content": "x" * 16}, "length"), DONE), use)
    assert [record.message.count("estimated") for record in caplog.records] == [1]


def test_thoughts_between_tags() -> None:
    settings = replace(SETTINGS, reasoning="tags")
    pieces = ["<thi", "nk>\nI", " see</th", "ink>\n", "\n4"]
    events, _, _ = generate(says(*(chunk({"content": p}) for p in pieces), chunk({}, "stop"), DONE), settings=settings)
    assert (text(events, "reasoning"), text(events, "content")) == ("I see", "4")


def test_two_calls_of_tools_whose_arguments_come_in_pieces() -> None:
    def call(index: int, **function: str) -> dict[str, object]:
        return {"index": index, "function": function, **({"id": f"c{index}"} if "name" in function else {})}

    events, _, _ = generate(
        says(
            chunk({"tool_calls": [call(0, name="add", arguments="")]}),
            chunk({"tool_calls": [call(0, arguments='{"a":')]}),
            chunk({"tool_calls": [call(0, arguments=" 1}")]}),
            chunk({"tool_calls": [call(3, name="sub", arguments="{}")]}),
            chunk({}, "stop"),  # older servers say this also where a tool is called
            DONE,
        )
    )
    assert events == [
        Delta(index=0, kind="tool_call", text="", call=0, call_id="c0", call_name="add"),
        Delta(index=0, kind="tool_call", text='{"a":', call=0),
        Delta(index=0, kind="tool_call", text=" 1}", call=0),
        Delta(index=0, kind="tool_call", text="", call=1, call_id="c3", call_name="sub"),
        Delta(index=0, kind="tool_call", text="{}", call=1),
        Finish(index=0, reason="tool_calls"),
    ]


def test_what_is_asked_of_the_server() -> None:
    ask = replace(
        ASK,
        prompt=Conversation(
            messages=(
                Message("user", "1+1?"),
                Message("assistant", "", reasoning="Add.", tool_calls=(ToolCall(id="c", name="add", arguments="{}"),)),
                Message("tool", "2", tool_call_id="c"),
            ),
            tools=(Tool(name="add", description="adds", parameters={"type": "object"}, strict=True),),
            tool_choice="function:add",
            parallel_tool_calls=False,
        ),
        sampling=SamplingOptions(temperature=0.5, top_p=0.9, top_k=5, logprobs=2),
        stop=("END",),
        seed=3,
        thinking=True,
        effort="max",
        thinking_budget=12,
        response_format=ResponseFormat(kind="json_schema", text='{"type":"object"}'),
    )
    _, _, server = generate(says(chunk({"content": "x"}, "stop"), DONE), ask)
    request = server.requests[-1]
    assert (request.method, request.path, request.headers["accept-encoding"]) == (
        "POST",
        "/v1/chat/completions",
        "identity",
    )
    assert request.body == {
        "model": "big",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 64,
        "seed": 3,
        "stop": ["END"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "logprobs": True,
        "top_logprobs": 2,
        "messages": [
            {"role": "user", "content": "1+1?"},
            {
                "role": "assistant",
                "content": "",
                "reasoning_content": "Add.",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
            },
            {"role": "tool", "content": "2", "tool_call_id": "c"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "add",
                    "description": "adds",
                    "parameters": {"type": "object"},
                    "strict": True,
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "parallel_tool_calls": False,
        "thinking": {"type": "enabled"},
        "thinking_budget": 12,
        "reasoning_effort": "max",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
        },
    }


@pytest.mark.parametrize(
    ("style", "path", "further"),
    [
        ("deepseek", "/beta/chat/completions", {"thinking": {"type": "disabled"}}),
        (
            "template",
            "/v1/chat/completions",
            {
                "chat_template_kwargs": {"thinking": False, "enable_thinking": False},
                "continue_final_message": True,
                "add_generation_prompt": False,
            },
        ),
    ],
)
def test_every_style_of_beginning_a_reply(style: str, path: str, further: dict[str, object]) -> None:
    prompt = Conversation(messages=(Message("user", "hi"), Message("assistant", "Well")), prefix=True)
    settings = replace(SETTINGS, style=style)  # type: ignore[arg-type]
    _, _, server = generate(
        says(chunk({"content": ","}, "stop"), DONE), replace(ASK, prompt=prompt, thinking=False), settings
    )
    body = server.requests[-1].body
    assert server.requests[-1].path == path
    last = body["messages"][-1]  # type: ignore[index]
    assert last == {"role": "assistant", "content": "Well", **({"prefix": True} if style == "deepseek" else {})}
    common = {"model", "stream", "stream_options", "max_tokens", "messages"}
    assert {name: value for name, value in body.items() if name not in common} == further


def test_plain_completions_with_logprobs() -> None:
    ask = replace(ASK, prompt=PlainText(text="1, 2,"), sampling=SamplingOptions(logprobs=1))
    logprobs = {"tokens": [" 3"], "token_logprobs": [-0.5], "top_logprobs": [{" 3": -0.5, " 4": None}]}
    choice = {"index": 0, "text": " 3", "logprobs": logprobs, "finish_reason": "length"}
    events, _, server = generate(says(event({"choices": [choice]}), DONE), ask)
    assert server.requests[-1].path == "/v1/completions"
    assert server.requests[-1].body["prompt"] == "1, 2,"
    assert isinstance(events[0], Delta)
    assert (events[0].text, events[0].logprobs[0].logprob, len(events[0].logprobs[0].top)) == (" 3", -0.5, 1)
    assert events[-1] == Finish(index=0, reason="length")


def test_models_are_listed_or_named() -> None:
    async def listed(backend: UpstreamBackend, server: Upstream) -> None:
        (model,) = backend.models
        assert (model.id, model.created, model.context, model.tokenizes) == ("big", 7, 4096, False)
        with pytest.raises(ApiError, match="does not tell its tokens"):
            await backend.tokenize("big", "hi")

    async def named(backend: UpstreamBackend, server: Upstream) -> None:
        (model,) = backend.models
        assert (model.id, model.context) == ("ours", 4096)
        generation = await backend.start(await backend.prepare(replace(ASK, model="ours"), CALLER))
        assert [event async for event in generation] == [Finish(index=0, reason="stop")]
        assert server.requests[-1].body["model"] == "big"

    with_backend(says(DONE), listed)
    with_backend(says(chunk({}, "stop"), DONE), named, replace(SETTINGS, models={"ours": "big"}))


@pytest.mark.parametrize("models", [{"data": []}, {"data": "big"}, [1], {"data": [{"id": 5}, "x"]}])
def test_a_list_without_models_is_refused_at_the_start(models: object) -> None:
    with pytest.raises(ConfigError, match="name"):
        with_backend(says(DONE), lambda *_: asyncio.sleep(0), models=models)


def test_cancelling_ends_at_once_and_closes_the_connection() -> None:
    async def use(backend: UpstreamBackend, server: Upstream) -> None:
        generation = await backend.start(await backend.prepare(ASK, CALLER))
        events = aiter(generation)
        assert await anext(events) == Delta(index=0, kind="content", text="so far")
        asyncio.get_running_loop().call_later(0.05, generation.cancel)
        began = time.monotonic()
        assert [event async for event in events] == [Finish(index=0, reason="cancelled")]
        assert time.monotonic() - began < 0.25
        await asyncio.wait_for(server.lost.wait(), 2)
        assert generation.usage.completion_tokens == 2  # six letters

    with_backend(says_then_hangs(chunk({"content": "so far"})), use, replace(SETTINGS, silence_seconds=30))


def test_cancelling_in_the_midst_of_what_has_come() -> None:
    async def use(backend: UpstreamBackend, server: Upstream) -> None:
        generation = await backend.start(await backend.prepare(ASK, CALLER))
        events = aiter(generation)
        assert await anext(events) == Delta(index=0, kind="content", text="a")
        generation.cancel()
        generation.cancel()
        assert [event async for event in events] == [Finish(index=0, reason="cancelled")]

    with_backend(says(chunk({"content": "a"}) + chunk({"content": "b"}) + chunk({}, "stop"), DONE), use)


def test_leaving_closes_the_connection() -> None:
    async def use(backend: UpstreamBackend, server: Upstream) -> None:
        generation = await backend.start(await backend.prepare(ASK, CALLER))
        await anext(aiter(generation))
        await generation.aclose()
        await asyncio.wait_for(server.lost.wait(), 2)

    with_backend(says_then_hangs(chunk({"content": "so far"})), use)


def test_cancelling_before_the_server_has_answered() -> None:
    async def use(backend: UpstreamBackend, server: Upstream) -> None:
        generation = await backend.start(await backend.prepare(replace(ASK, n=2), CALLER))
        asyncio.get_running_loop().call_later(0.05, generation.cancel)
        began = time.monotonic()
        assert [event async for event in generation] == [Finish(index=i, reason="cancelled") for i in range(2)]
        assert time.monotonic() - began < 0.4
        await asyncio.wait_for(server.lost.wait(), 2)
        again = await backend.start(await backend.prepare(ASK, CALLER))
        again.cancel()
        assert [event async for event in again] == [Finish(index=0, reason="cancelled")]
        assert [request.method for request in server.requests] == ["GET", "POST"]

    with_backend(lambda *_: asyncio.sleep(60), use)


def test_a_connection_is_used_again() -> None:
    async def use(backend: UpstreamBackend, server: Upstream) -> None:
        for _ in range(3):
            generation = await backend.start(await backend.prepare(ASK, CALLER))
            assert len([event async for event in generation]) == 2
        assert server.connections == 1

    with_backend(says(chunk({"content": "4"}, "stop"), DONE), use)


def test_a_server_that_hangs_is_waited_for_once_in_five_seconds() -> None:
    asked: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) > 1:
            await asyncio.sleep(60)
        return httpx.Response(200, stream=httpx.ByteStream(b'{"data": [{"id": "big"}]}'))

    async def run() -> None:
        backend = await UpstreamBackend.open(SETTINGS, transport=httpx.MockTransport(answer), clock=lambda: 0.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await backend.ready()
        async with asyncio.timeout(1):
            assert await backend.ready() is False
        assert len(asked) == 2
        await backend.close()

    asyncio.run(run())


def test_readiness_is_asked_for_again_after_five_seconds() -> None:
    async def run() -> None:
        now = [100.0]
        async with upstream(says(DONE)) as server:
            settings = replace(SETTINGS, url=server.url)
            backend = await UpstreamBackend.open(settings, clock=lambda: now[0])
            assert [await backend.ready() for _ in range(3)] == [True] * 3
            assert len(server.requests) == 2  # one for the models
        assert await backend.ready() is True
        now[0] = 105.0
        assert await backend.ready() is False
        await backend.close()

    asyncio.run(run())


def test_what_a_model_cannot_do_is_refused_before_it_is_asked() -> None:
    settings = replace(SETTINGS, tools=False, completions=False, style="openai")

    async def use(backend: UpstreamBackend, server: Upstream) -> None:
        chat = ASK.prompt
        assert isinstance(chat, Conversation)
        for ask, param in (
            (replace(ASK, prompt=replace(chat, tools=(Tool(name="add"),))), "tools"),
            (replace(ASK, prompt=PlainText(text="x")), "model"),
            (replace(ASK, response_format=ResponseFormat(kind="regex", text="a")), "response_format"),
            (replace(ASK, prompt=replace(chat, prefix=True)), "messages"),
        ):
            with pytest.raises(ApiError) as caught:
                await backend.prepare(ask, CALLER)
            assert (caught.value.status, caught.value.param) == (422, param)

    with_backend(says(DONE), use, settings)


def test_the_most_that_a_request_can_cost() -> None:
    async def use(backend: UpstreamBackend, server: Upstream) -> None:
        small = await backend.prepare(replace(ASK, n=3), CALLER)
        assert (small.prompt_tokens, small.max_completion_tokens) == (9, 192)
        unbounded = await backend.prepare(replace(ASK, max_tokens=None), CALLER)
        assert unbounded.max_completion_tokens == 4096  # the server's context is less than the default of 8192
        assert unbounded.body["max_tokens"] == 4096

    with_backend(says(DONE), use)


def test_a_stop_string_is_told_where_the_server_tells_it() -> None:
    choice = {"index": 0, "delta": {"content": "a"}, "finish_reason": "stop", "stop_reason": "END"}
    events, _, _ = generate(says(event({"choices": [choice]}), DONE), replace(ASK, stop=("END",)))
    assert events[-1] == Finish(index=0, reason="stop", matched_stop="END")
