"""The Messages API as Anthropic's own client and as bytes."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import anthropic
import pytest

from dialects import WEATHER, act, ask_dialect, dialect_app, events_of
from live_server import live_server
from ponder.core.types import Message, ToolCall
from ponder.serve.anthropic.routes import operations
from ponder.serve.anthropic.shapes import ErrorShape, MessageShape
from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, Caller, Conversation
from ponder.serve.scripted import Script, ScriptedBackend
from ponder.serve.service import Service
from ponder.serve.wire.openapi import openapi_document
from ponder.serve.wire.settings import WireSettings
from wire_server import Answer, Recorder, exchange

PATH = "/v1/messages"
QUESTION: list[Any] = [{"role": "user", "content": "What is 2 + 2?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER_TOOL: Any = {"name": "weather", "description": "The weather of a city", "input_schema": SCHEMA}
JSON = (("content-type", "application/json"),)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[anthropic.Anthropic, list[Ask]]]:
    backend = Recorder(act)
    with (
        live_server(dialect_app(Service([backend]))) as url,
        anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client,
    ):
        yield client, backend.asks


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "max_tokens": 100, "messages": QUESTION, **fields}


# --- Anthropic's client


def test_the_client_reads_a_message(served: tuple[anthropic.Anthropic, list[Ask]]) -> None:
    client, _ = served
    message = client.messages.create(model="scripted", max_tokens=100, messages=QUESTION)
    thought, text = message.content
    assert (thought.type, text.type) == ("thinking", "text")
    assert (getattr(thought, "thinking", None), getattr(text, "text", None)) == ("Two and two.", "It is 4.")
    assert (message.stop_reason, message.stop_sequence, message.role) == ("end_turn", None, "assistant")
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (6, 0, 6)
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.thinking_tokens == 3


def test_the_client_reads_a_stream(served: tuple[anthropic.Anthropic, list[Ask]]) -> None:
    client, _ = served
    thinking: Any = {"type": "enabled", "budget_tokens": 90}
    with client.messages.stream(model="scripted", max_tokens=100, messages=QUESTION, thinking=thinking) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert kinds.count("thinking") == 3
    assert kinds.count("signature") == 1
    assert kinds.count("text") == 3
    whole = client.messages.create(model="scripted", max_tokens=100, messages=QUESTION, thinking=thinking)
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in whole.content]
    assert final.usage == whole.usage
    assert final.stop_reason == "end_turn"


def test_the_client_calls_a_tool_and_sends_the_thought_back(served: tuple[anthropic.Anthropic, list[Ask]]) -> None:
    client, asks = served
    history: list[Any] = [{"role": "user", "content": "How cold is Oslo?"}]
    with client.messages.stream(
        model="scripted", max_tokens=100, messages=history, tools=[WEATHER_TOOL], tool_choice={"type": "any"}
    ) as stream:
        first = stream.get_final_message()
    call = first.content[-1]
    assert call.type == "tool_use"
    assert (call.name, call.input, first.stop_reason) == ("weather", {"city": "Oslo"}, "tool_use")
    history.append({"role": "assistant", "content": first.content})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "-3 degrees"}
    history.append({"role": "user", "content": [result]})
    second = client.messages.create(model="scripted", max_tokens=100, messages=history, tools=[WEATHER_TOOL])
    assert getattr(second.content[-1], "text", None) == "It is -3 degrees."
    found = asks[-1].prompt
    assert isinstance(found, Conversation)
    assert found.messages == (
        Message("user", "How cold is Oslo?"),
        Message(
            "assistant",
            "Let me look.",
            reasoning="I need the weather.",
            tool_calls=(ToolCall(id=call.id, name="weather", arguments='{"city":"Oslo"}'),),
        ),
        Message("tool", "-3 degrees", tool_call_id=call.id),
    )


def test_the_client_counts_tokens_and_hears_of_errors(served: tuple[anthropic.Anthropic, list[Ask]]) -> None:
    client, _ = served
    counted = client.messages.count_tokens(model="scripted", messages=QUESTION, system="Be brief.")
    created = client.messages.create(model="scripted", max_tokens=9, messages=QUESTION, system="Be brief.")
    assert counted.input_tokens == created.usage.input_tokens == 9
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(model="nope", max_tokens=100, messages=QUESTION)
    assert missing.value.type == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: expected greater than or equal to 1, got 0"):
        client.messages.create(model="scripted", max_tokens=0, messages=QUESTION)


def test_the_client_hears_of_a_stream_that_fails() -> None:
    app = dialect_app(Service([ScriptedBackend(lambda ask: Script(answer="It is", error="the engine broke"))]))
    with (
        live_server(app) as url,
        anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client,
        client.messages.stream(model="scripted", max_tokens=100, messages=QUESTION) as stream,
    ):
        with pytest.raises(anthropic.APIStatusError) as caught:
            stream.until_done()
        assert (caught.value.type, caught.value.api_message) == ("overloaded_error", "the engine broke")


# --- bytes


def test_the_events_of_a_stream() -> None:
    answer, _ = ask_dialect("/anthropic/v1/messages", body(stream=True, tools=[WEATHER_TOOL]))
    events = events_of(answer)
    identity = events[0]["message"]["id"]
    assert identity.startswith("msg_")
    thinking_start = {"type": "thinking", "thinking": "", "signature": ""}
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    signature = deltas[4]["signature"]
    assert len(signature) == 44
    assert deltas == [
        {"type": "thinking_delta", "thinking": "I"},
        {"type": "thinking_delta", "thinking": " need"},
        {"type": "thinking_delta", "thinking": " the"},
        {"type": "thinking_delta", "thinking": " weather."},
        {"type": "signature_delta", "signature": signature},
        {"type": "text_delta", "text": "Let"},
        {"type": "text_delta", "text": " me"},
        {"type": "text_delta", "text": " look."},
        {"type": "input_json_delta", "partial_json": '{"city":'},
        {"type": "input_json_delta", "partial_json": ' "Oslo"}'},
    ]
    starts = [(e["index"], e["content_block"]) for e in events if e["type"] == "content_block_start"]
    call_id = starts[2][1]["id"]
    assert starts == [
        (0, thinking_start),
        (1, {"type": "text", "text": ""}),
        (2, {"type": "tool_use", "id": call_id, "name": "weather", "input": {}}),
    ]
    usage = {
        "input_tokens": 6,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
    }
    assert events[0]["message"]["usage"]["input_tokens"] == 6
    assert events[-2:] == [
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]


def test_every_field_of_a_message_is_described() -> None:
    answer, _ = ask_dialect(PATH, body(), WEATHER)
    message = MessageShape.model_validate_json(answer.body)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.content[2].model_dump()["input"] == {"city": "Oslo"}


def test_what_was_read_from_the_cache_is_counted_apart() -> None:
    long: list[Any] = [{"role": "user", "content": "word " * 100}]
    backend = ScriptedBackend(act)

    async def run() -> dict[str, Any]:
        app = dialect_app(Service([backend]))
        answers = [await exchange(app, PATH, json.dumps(body(messages=long)).encode(), headers=JSON) for _ in range(2)]
        return answers[1].json["usage"]

    usage = asyncio.run(run())
    assert (usage["input_tokens"] + usage["cache_read_input_tokens"], usage["cache_read_input_tokens"]) == (102, 64)


def test_a_hidden_thought_is_signed_all_the_same() -> None:
    thinking = {"type": "adaptive", "display": "omitted"}
    whole = ask_dialect(PATH, body(thinking=thinking))[0].json["content"]
    open_ = ask_dialect(PATH, body())[0].json["content"]
    assert whole == [{**open_[0], "thinking": ""}, open_[1]]
    events = events_of(ask_dialect(PATH, body(thinking=thinking, stream=True))[0])
    deltas = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"]
    assert deltas == ["signature_delta", "text_delta", "text_delta", "text_delta"]


def test_pings_while_a_stream_waits() -> None:
    async def run() -> list[dict[str, Any]]:
        backend = ScriptedBackend(act, capacity=1, tokens_per_second=30)
        app = dialect_app(Service([backend]), WireSettings(keep_alive_seconds=0.05))
        given = json.dumps(body(stream=True)).encode()
        answers = await asyncio.gather(*(exchange(app, PATH, given, headers=JSON) for _ in range(2)))
        return events_of(answers[1])

    names = [event["type"] for event in asyncio.run(run())]
    assert names[:3] == ["ping", "ping", "ping"]
    assert next(name for name in names if name != "ping") == "message_start"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("by_server", [False, True])
def test_a_message_that_is_cancelled_ends_and_one_that_the_server_ends_is_an_error(
    stream: bool, by_server: bool
) -> None:
    async def run() -> Answer:
        backend = Recorder(Script(thought="on and on " * 1000), tokens_per_second=200)
        service = Service([backend])
        given = json.dumps(body(stream=stream, max_tokens=4000)).encode()
        running = asyncio.create_task(exchange(dialect_app(service), PATH, given, headers=JSON))
        async with asyncio.timeout(5):
            while not backend.running:
                await asyncio.sleep(0)
            found = service.find(backend.asks[0].id, Caller(account="local"))
            assert found is not None
            while found.usage.completion_tokens < 3:  # the stream has begun
                await asyncio.sleep(0)
            if by_server:
                service.drain()
                service.cancel_all()
            else:
                found.cancel()
            return await running

    answer = asyncio.run(run())
    if not stream:
        last = answer.json
        assert answer.status == (503 if by_server else 200)
        assert last.get("stop_reason") == (None if by_server else "end_turn")
    elif by_server:
        last = events_of(answer)[-1]
    else:
        end, stop = events_of(answer)[-2:]
        assert (end["delta"], stop) == ({"stop_reason": "end_turn", "stop_sequence": None}, {"type": "message_stop"})
    if by_server:
        assert (last["type"], last["error"]["type"]) == ("error", "overloaded_error")


def test_too_few_tokens() -> None:
    answer, _ = ask_dialect(PATH, body(max_tokens=4))
    assert (answer.json["stop_reason"], answer.json["content"][1]["text"]) == ("max_tokens", "It")


class KeyReader:
    """Wants one key."""

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Caller:
        if headers.get("authorization") != "Bearer right":
            raise ApiError(401, "no such key", type="authentication_error")
        return Caller(account="known")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((("x-api-key", "right"),), 200),
        ((("authorization", "Bearer right"),), 200),
        ((("x-api-key", "wrong"),), 401),
        ((("authorization", "Bearer wrong"), ("x-api-key", "right")), 401),
        ((), 401),
    ],
)
def test_a_key_in_either_header(headers: tuple[tuple[str, str], ...], status: int) -> None:
    answer, _ = ask_dialect(PATH, body(), authenticator=KeyReader(), headers=(*JSON, *headers))
    assert answer.status == status
    if status == 401:
        assert answer.json == {"type": "error", "error": {"type": "authentication_error", "message": "no such key"}}


CALL = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}


@pytest.mark.parametrize(
    ("fields", "status", "kind", "words"),
    [
        ({"max_tokens": None}, 400, "invalid_request_error", "max_tokens:"),
        ({"messages": []}, 400, "invalid_request_error", "messages:"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "invalid_request_error", "messages.0.role:"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            400,
            "invalid_request_error",
            "messages.0.content.0: expected a block of type text",
        ),
        (
            {"messages": [{"role": "user", "content": [CALL]}]},
            400,
            "invalid_request_error",
            "messages.0.content.0: a block of type 'tool_use' has no place in a message of role 'user'",
        ),
        (
            {"messages": [*QUESTION, {"role": "assistant", "content": [CALL]}]},
            400,
            "invalid_request_error",
            "messages.2: the tool_use 't1' has no tool_result in the message after it",
        ),
        (
            {"messages": [*QUESTION, {"role": "assistant", "content": [CALL]}, *QUESTION]},
            400,
            "invalid_request_error",
            "messages.2: the tool_use 't1' has no tool_result",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t9"}]}]},
            400,
            "invalid_request_error",
            "messages.0.content.0.tool_use_id: the message before has no tool_use 't9'",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 100}},
            400,
            "invalid_request_error",
            "thinking.budget_tokens: expected less than max_tokens = 100, got 100",
        ),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            400,
            "invalid_request_error",
            "tools.0: expected a tool of the client's own",
        ),
        ({"tools": [WEATHER_TOOL, WEATHER_TOOL]}, 400, "invalid_request_error", "tools.1.name: 'weather'"),
        ({"tool_choice": {"type": "any"}}, 400, "invalid_request_error", "tool_choice:"),
        ({"tool_choice": {"type": "tool", "name": "f"}}, 400, "invalid_request_error", "tool_choice.name:"),
        ({"tools": [WEATHER_TOOL] * 129}, 400, "invalid_request_error", "tools: expected at most 128 items"),
        ({"stop_sequences": ["x"] * 17}, 400, "invalid_request_error", "stop_sequences:"),
        ({"model": "nope"}, 404, "not_found_error", "the model 'nope' does not exist"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], status: int, kind: str, words: str) -> None:
    given = {name: value for name, value in body(**fields).items() if value is not None}
    answer, asks = ask_dialect(PATH, given)
    error = ErrorShape.model_validate_json(answer.body).error
    assert (answer.status, error.type) == (status, kind)
    assert error.message.startswith(words)
    assert asks == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (413, "request_too_large"),
        (415, "invalid_request_error"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_every_refusal_has_this_apis_name(status: int, kind: str) -> None:
    class Refuses(KeyReader):
        async def authenticate(self, headers: Mapping[str, str], address: str) -> Caller:
            raise ApiError(status, "no", retry_after=4)

    answer, _ = ask_dialect(PATH, body(), authenticator=Refuses())
    assert (answer.status, answer.json) == (status, {"type": "error", "error": {"type": kind, "message": "no"}})
    assert 4 <= int(answer.headers["retry-after"]) <= 6


def test_another_method() -> None:
    app = dialect_app(Service([ScriptedBackend(act)]))
    answer = asyncio.run(exchange(app, PATH, method="GET"))
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert answer.json["error"]["type"] == "invalid_request_error"


def test_the_api_is_described() -> None:
    document = json.loads(openapi_document([operations()]))
    assert list(document["paths"]) == [
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/anthropic/v1/messages",
        "/anthropic/v1/messages/count_tokens",
    ]
    assert "ponder__" not in json.dumps(document)
