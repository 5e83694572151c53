"""The Responses API as OpenAI's own client and as bytes."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from dialects import WEATHER, act, ask_dialect, dialect_app, events_of
from live_server import live_server
from ponder.core.streaming import SamplingOptions
from ponder.core.types import Message, ToolCall
from ponder.serve.records import Ask, Conversation
from ponder.serve.responses.routes import operations
from ponder.serve.responses.shapes import Response
from ponder.serve.scripted import Script
from ponder.serve.service import Service
from ponder.serve.wire.openapi import openapi_document
from wire_server import Recorder

PATH = "/v1/responses"
WEATHER_TOOL = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[openai.OpenAI, list[Ask]]]:
    backend = Recorder(act)
    with (
        live_server(dialect_app(Service([backend]))) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client,
    ):
        yield client, backend.asks


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "input": "What is 2 + 2?", **fields}


# --- OpenAI's client


def test_the_client_reads_an_answer(served: tuple[openai.OpenAI, list[Ask]]) -> None:
    client, _ = served
    response = client.responses.create(model="scripted", input="What is 2 + 2?", metadata={"a": "b"})
    assert (response.status, response.output_text, response.metadata) == ("completed", "It is 4.", {"a": "b"})
    thought, message = response.output
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert [part.text for part in thought.content] == ["Two and two."]
    assert message.type == "message"
    assert response.usage is not None
    assert response.usage.model_dump(exclude_none=True) == {
        "input_tokens": 6,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 12,
    }


def test_the_client_reads_a_stream(served: tuple[openai.OpenAI, list[Ask]]) -> None:
    client, _ = served
    with client.responses.stream(model="scripted", input="What is 2 + 2?") as stream:
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert (texts, final.output_text, final.status) == (["It", " is", " 4."], "It is 4.", "completed")


def test_the_client_parses_json_of_a_schema(served: tuple[openai.OpenAI, list[Ask]]) -> None:
    class Amount(BaseModel):
        number: int
        unit: str

    client, asks = served
    response = client.responses.parse(model="scripted", input="2 + 2?", text_format=Amount)
    assert response.output_parsed == Amount(number=4, unit="none")
    assert json.loads(asks[-1].response_format.text)["required"] == ["number", "unit"]
    with client.responses.stream(model="scripted", input="2 + 2?", text_format=Amount) as stream:
        assert stream.get_final_response().output_parsed == Amount(number=4, unit="none")


def test_the_client_calls_a_function_and_sends_back_what_it_got(served: tuple[openai.OpenAI, list[Ask]]) -> None:
    client, asks = served
    history: list[Any] = [{"role": "user", "content": "How cold is Oslo?"}]
    with client.responses.stream(model="scripted", input=history, tools=[WEATHER_TOOL]) as stream:  # type: ignore[list-item]
        first = stream.get_final_response()
    call = first.output[-1]
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Oslo"})
    history += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
    history.append({"type": "function_call_output", "call_id": call.call_id, "output": "-3 degrees"})
    second = client.responses.create(model="scripted", input=history, tools=[WEATHER_TOOL])  # type: ignore[list-item]
    assert second.output_text == "It is -3 degrees."
    prompt = asks[-1].prompt
    assert isinstance(prompt, Conversation)
    assert prompt.messages == (
        Message("user", "How cold is Oslo?"),
        Message(
            "assistant",
            "Let me look.",
            reasoning="I need the weather.",
            tool_calls=(ToolCall(id=call.call_id, name="weather", arguments='{"city": "Oslo"}'),),
        ),
        Message("tool", "-3 degrees", tool_call_id=call.call_id),
    )


def test_the_client_hears_of_errors(served: tuple[openai.OpenAI, list[Ask]]) -> None:
    client, _ = served
    with pytest.raises(openai.NotFoundError, match="the model 'nope' does not exist"):
        client.responses.create(model="nope", input="hi")
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="scripted", input="hi", previous_response_id="resp_0")
    assert caught.value.param == "previous_response_id"


# --- bytes


def test_the_events_of_a_stream() -> None:
    answer, _ = ask_dialect(PATH, body(stream=True, input="hi"), WEATHER)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert b"[DONE]" not in answer.body
    events = events_of(answer)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    names = [event["type"].removeprefix("response.") for event in events]
    assert names == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["reasoning_text.delta"] * 4,
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 3,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        *["function_call_arguments.delta"] * 2,
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert events[0]["response"]["status"] == "in_progress"
    identity = events[0]["response"]["id"].removeprefix("resp_")
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == events[-1]["response"]["output"]
    assert [item["id"] for item in done] == [f"rs_{identity}_0", f"msg_{identity}_1", f"fc_{identity}_2"]
    assert done[2]["arguments"] == '{"city": "Oslo"}'


def test_a_stream_and_an_answer_end_in_the_same_response() -> None:
    whole = ask_dialect(PATH, body(), WEATHER)[0]
    streamed = events_of(ask_dialect(PATH, body(stream=True), WEATHER)[0])[-1]["response"]
    Response.model_validate_json(whole.body)  # every field is described, and no other is there
    bare = [
        json.dumps(response).replace(response["id"].removeprefix("resp_"), "ID") for response in (whole.json, streamed)
    ]
    for response in bare:
        fields = json.loads(response)
        assert fields.pop("created_at") <= fields.pop("completed_at")
    times = ("created_at", "completed_at")
    first, second = ({k: v for k, v in json.loads(text).items() if k not in times} for text in bare)
    for item in (*first["output"], *second["output"]):
        item.pop("call_id", None)
    assert first == second


def test_the_settings_are_told_as_they_were_used() -> None:
    answer, _ = ask_dialect(
        "/responses",
        body(
            instructions="Be brief.",
            store=True,
            max_output_tokens=50,
            tools=[WEATHER_TOOL],
            tool_choice={"type": "function", "name": "weather"},
            parallel_tool_calls=False,
            reasoning={"effort": "low", "summary": "auto"},
            truncation="auto",
            text={"format": {"type": "json_object"}, "verbosity": "low"},
        ),
        WEATHER,
    )
    told = answer.json
    assert (told["store"], told["truncation"], told["instructions"]) == (False, "disabled", "Be brief.")
    assert (told["tools"], told["tool_choice"]) == ([WEATHER_TOOL], {"type": "function", "name": "weather"})
    assert (told["parallel_tool_calls"], told["max_output_tokens"]) == (False, 50)
    assert (told["reasoning"], told["text"]) == (
        {"effort": "low", "summary": None},
        {"format": {"type": "json_object"}},
    )


def test_too_few_tokens_make_it_incomplete() -> None:
    answer, _ = ask_dialect(PATH, body(max_output_tokens=4))
    told = answer.json
    assert (told["status"], told["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert [item["status"] for item in told["output"]] == ["completed", "incomplete"]
    assert told["output"][1]["content"][0]["text"] == "It"
    last = events_of(ask_dialect(PATH, body(max_output_tokens=4, stream=True))[0])[-1]
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", "incomplete")


def test_an_engine_that_fails() -> None:
    script = Script(answer="It is", error="the engine broke")
    answer, _ = ask_dialect(PATH, body(), script)
    assert (answer.status, answer.error["message"]) == (503, "the engine broke")
    last = events_of(ask_dialect(PATH, body(stream=True), script)[0])[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": "server_error", "message": "the engine broke"}
    assert last["response"]["output"][0]["content"][0]["text"] == "It is"


def test_logprobs_where_they_are_wanted() -> None:
    answer, asks = ask_dialect(PATH, body(top_logprobs=1, include=["message.output_text.logprobs"]))
    assert asks[0].sampling == SamplingOptions(logprobs=1)
    first = answer.json["output"][1]["content"][0]["logprobs"][0]
    told = {"token": "It", "bytes": [73, 116], "logprob": 0.0}
    assert first == {**told, "top_logprobs": [told]}
    assert "logprobs" not in ask_dialect(PATH, body())[0].json["output"][1]["content"][0]


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"previous_response_id": "resp_1"}, 400, "previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, 400, "conversation"),
        ({"background": True}, 400, "background"),
        ({"prompt": {"id": "pmpt_1"}}, 400, "prompt"),
        ({"input": 5}, 422, "input"),
        ({"input": []}, 422, "input"),
        ({"input": [{"role": "robot", "content": "x"}]}, 422, "input.0.role"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, 422, "input.0"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://127.0.0.1/"}]}]},
            422,
            "input.0.content.0",
        ),
        ({"input": [{"role": "assistant", "content": "x"}]}, 400, "input"),
        ({"input": [{"type": "reasoning", "content": []}]}, 400, "input"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
            400,
            "input.0.call_id",
        ),
        (
            {
                "input": [
                    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                    {"role": "user", "content": "x"},
                ]
            },
            400,
            "input.1",
        ),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}, 400, "input"),
        ({"tools": [{"type": "web_search"}]}, 422, "tools.0"),
        ({"tools": [WEATHER_TOOL, WEATHER_TOOL]}, 422, "tools.1.name"),
        ({"tools": [{"type": "function", "name": "two words"}]}, 422, "tools.0.name"),
        ({"tool_choice": "required"}, 422, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, 422, "tool_choice.name"),
        ({"tools": [WEATHER_TOOL] * 129}, 422, "tools"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}},
            422,
            "tool_choice.tools",
        ),
        ({"text": {"format": {"type": "xml"}}}, 422, "text.format"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, 422, "text.format.schema"),
        ({"reasoning": {"effort": "extreme"}}, 422, "reasoning.effort"),
        ({"temperature": 3}, 422, "temperature"),
        ({"max_output_tokens": 0}, 422, "max_output_tokens"),
        ({"max_output_tokens": "5"}, 422, "max_output_tokens"),
        ({"metadata": {"a": 5}}, 422, "metadata.a"),
        ({"model": "nope"}, 404, "model"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], status: int, param: str) -> None:
    answer, asks = ask_dialect(PATH, body(**fields))
    assert (answer.status, answer.error["param"]) == (status, param)
    assert asks == []


def test_the_api_is_described() -> None:
    document = json.loads(openapi_document([operations()]))
    assert list(document["paths"]) == ["/v1/responses", "/responses"]
    assert "ponder__" not in json.dumps(document)
