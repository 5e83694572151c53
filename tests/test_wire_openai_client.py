"""The `openai` client against the dialect, over a real connection."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from live_server import live_server
from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, Conversation
from ponder.serve.scripted import Script, ScriptedBackend, ScriptedCall
from ponder.serve.service import Service
from wire_server import MODEL, QUESTION, wire_app


def play(ask: Ask) -> Script:
    """What a helpful model would say."""
    if not isinstance(ask.prompt, Conversation):
        return Script(answer=" world")
    last = ask.prompt.messages[-1]
    if last.role == "tool":
        return Script(thought="It told me.", answer=f"The tool says {last.content}.")
    if ask.prompt.tools:
        return Script(thought="I need a tool.", answer="", calls=(ScriptedCall(name="add", arguments='{"a": 2}'),))
    if ask.response_format.kind == "json_schema":
        return Script(thought="In JSON.", answer='{"value": 4}')
    if last.content == "overload":
        raise ApiError(503, "too much", type="overloaded_error", retry_after=60, should_retry=False)
    if last.content == "long":
        return Script(answer="word " * 1000)
    return Script(thought="Two and two.", answer="It is 4.")


class Server:
    def __init__(self) -> None:
        self.backend = ScriptedBackend(play, tokens_per_second=2000)
        self.service = Service([self.backend])
        self.url = ""

    def client(self, base: str = "/v1") -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url + base, api_key="sk-any", max_retries=2)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    with live_server(wire_app(server.service)) as server.url:
        yield server


def test_a_chat_with_a_thought(server: Server) -> None:
    with server.client() as client:
        reply = client.chat.completions.create(model=MODEL, messages=QUESTION)
    message = reply.choices[0].message
    assert (message.content, message.reasoning_content) == ("It is 4.", "Two and two.")  # type: ignore[attr-defined]
    assert (reply.choices[0].finish_reason, reply.model) == ("stop", MODEL)
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    assert (reply.usage.completion_tokens, reply.usage.completion_tokens_details.reasoning_tokens) == (6, 3)
    assert reply._request_id is not None
    assert reply._request_id.startswith("req_")


def test_the_roots_that_clients_are_given(server: Server) -> None:
    for base in ("", "/v1", "/beta", "/beta/v1"):
        with server.client(base) as client:
            assert client.chat.completions.create(model=MODEL, messages=QUESTION).choices[0].message.content
            assert client.completions.create(model=MODEL, prompt="Hello").choices[0].text == " world"


def test_a_stream_with_usage(server: Server) -> None:
    thought, answer, usages, reasons = "", "", [], []
    with server.client() as client:
        for chunk in client.chat.completions.create(
            model=MODEL, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        ):
            usages.append(chunk.usage)
            for choice in chunk.choices:
                thought += getattr(choice.delta, "reasoning_content", None) or ""
                answer += choice.delta.content or ""
                reasons.append(choice.finish_reason)
    assert (thought, answer) == ("Two and two.", "It is 4.")
    assert [reason for reason in reasons if reason] == ["stop"]
    assert usages[-1] is not None
    assert set(usages[:-1]) == {None}


def test_a_tool_is_called_and_answered(server: Server) -> None:
    function = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    tools: Any = [{"type": "function", "function": function}]
    messages: list[Any] = list(QUESTION)
    with server.client() as client:
        first = client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
        message = first.choices[0].message
        assert (first.choices[0].finish_reason, message.content) == ("tool_calls", None)
        assert message.tool_calls is not None
        call: Any = message.tool_calls[0]
        assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 2})
        messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "4"}]
        second = client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
        assert second.choices[0].message.content == "The tool says 4."
        with client.chat.completions.stream(model=MODEL, messages=QUESTION, tools=tools) as stream:  # type: ignore[arg-type]
            streamed: Any = stream.get_final_completion().choices[0].message.tool_calls
    assert [(c.function.name, c.function.arguments) for c in streamed] == [("add", '{"a": 2}')]


class Sum(BaseModel):
    value: int


def test_a_schema_is_parsed(server: Server) -> None:
    with server.client() as client:
        reply = client.chat.completions.parse(model=MODEL, messages=QUESTION, response_format=Sum)  # type: ignore[arg-type]
    assert reply.choices[0].message.parsed == Sum(value=4)


def test_logprobs(server: Server) -> None:
    with server.client() as client:
        reply = client.chat.completions.create(model=MODEL, messages=QUESTION, logprobs=True, top_logprobs=2)  # type: ignore[arg-type]
        logprobs = reply.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.content is not None
        assert [token.token for token in logprobs.content] == ["It", " is", " 4."]
        plain = client.completions.create(model=MODEL, prompt="Hello", logprobs=1, echo=False)
        assert plain.choices[0].logprobs is not None
        assert plain.choices[0].logprobs.tokens == [" world"]


def test_models(server: Server) -> None:
    with server.client() as client:
        assert [model.id for model in client.models.list()] == [MODEL]
        assert client.models.retrieve(MODEL).owned_by == "ponder"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("org/other")


def test_errors_are_the_clients_own(server: Server) -> None:
    with server.client() as client:
        with pytest.raises(openai.UnprocessableEntityError) as wrong:
            client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=9)  # type: ignore[arg-type]
        assert (wrong.value.param, wrong.value.type) == ("temperature", "invalid_request_error")
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="other", messages=QUESTION)  # type: ignore[arg-type]
        assert missing.value.code == "model_not_found"
        began = time.monotonic()
        with pytest.raises(openai.InternalServerError, match="too much"):  # and it does not come again by itself
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "overload"}])
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_ends_its_generation(server: Server, stream: bool) -> None:
    async def scenario() -> None:
        client = openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="sk", max_retries=0, timeout=0.1)
        async with client:
            message: Any = [{"role": "user", "content": "long"}]
            if stream:
                reply = await client.chat.completions.create(model=MODEL, messages=message, stream=True)
                await anext(aiter(reply))
                await reply.close()
            else:
                with pytest.raises(openai.APITimeoutError):
                    await client.chat.completions.create(model=MODEL, messages=message)

    before = server.backend.drawn_tokens
    asyncio.run(scenario())
    deadline = time.monotonic() + 2
    while server.service.running:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert server.backend.drawn_tokens - before < 900
