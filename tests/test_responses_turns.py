"""What a request of the Responses API means, and what any sequence of events becomes in it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects import ask_dialect
from ponder.core.streaming import SamplingOptions
from ponder.core.types import Message, Tool, ToolCall
from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, Conversation, Delta, Event, Finish, ResponseFormat, Retract, Usage
from ponder.serve.responses.conversation import ask_of, seal
from ponder.serve.responses.reply import Reply
from ponder.serve.responses.request import ResponsesBody
from ponder.serve.responses.shapes import Response
from ponder.serve.scripted import scripted_model
from ponder.serve.wire.fields import read_fields
from ponder.serve.wire.settings import R1_NAMES, WireSettings

PATH = "/v1/responses"
WEATHER_TOOL = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "input": "What is 2 + 2?", **fields}


def ask(given: dict[str, Any], settings: WireSettings | None = None, model: str = "scripted") -> Ask:
    """The ask that a body becomes."""
    settings = settings or WireSettings()
    fields = read_fields(ResponsesBody, given)
    return ask_of(fields, scripted_model(model), settings.names.get(fields.model), settings, "resp_1")


def messages(items: list[dict[str, Any]]) -> tuple[Message, ...]:
    prompt = ask(body(input=items)).prompt
    assert isinstance(prompt, Conversation)
    return prompt.messages


def test_items_become_turns() -> None:
    calls = [
        {"type": "function_call", "id": "fc_1", "call_id": name, "name": "f", "arguments": "{}", "status": "completed"}
        for name in "ab"
    ]
    outputs = [
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "2"}]},
    ]
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Look."}]}
    assert messages(
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "1?"}, {"type": "input_text", "text": "2?"}]},
            thought,
            said,
            *calls,
            *outputs,
            thought,
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": "Why?"},
            thought,
            {"role": "assistant", "content": "So."},
            {"role": "user", "content": "Well?"},
        ]
    ) == (
        Message("system", "Be brief."),
        Message("user", "1?\n2?"),
        Message(
            "assistant",
            "Look.",
            reasoning="Hm.",
            tool_calls=tuple(ToolCall(id=name, name="f", arguments="{}") for name in "ab"),
        ),
        Message("tool", "1", tool_call_id="a"),
        Message("tool", "2", tool_call_id="b"),
        Message("assistant", "No.", reasoning="Hm."),  # in a turn in which functions were called
        Message("user", "Why?"),
        Message("assistant", "So."),
        Message("user", "Well?"),
    )


@pytest.mark.parametrize(
    ("encrypted", "thought"),
    [(seal("Hm, ü."), "Hm, ü."), ("gAAAAforeign", None), ("thought:%%%", None), ("thought:/w==", None)],
)
def test_a_thought_that_comes_back_encoded(encrypted: str, thought: str | None) -> None:
    found = messages(
        [
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": encrypted},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "1"},
        ]
    )
    assert found[0].reasoning == thought


def test_a_thought_is_sealed_for_who_wants_it() -> None:
    answer, _ = ask_dialect(PATH, body(include=["reasoning.encrypted_content"]))
    assert answer.json["output"][0]["encrypted_content"] == seal("Two and two.")


def test_everything_else_of_an_ask() -> None:
    found = ask(
        body(
            instructions="Be brief.",
            tools=[WEATHER_TOOL, {"type": "function", "name": "other"}],
            tool_choice={
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "weather"}],
            },
            parallel_tool_calls=False,
            reasoning={"effort": "xhigh"},
            thinking_budget=9,
            temperature=0.3,
            top_p=0.5,
            max_output_tokens=99,
            text={"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        )
    )
    assert found == Ask(
        id="resp_1",
        model="scripted",
        prompt=Conversation(
            messages=(Message("system", "Be brief."), Message("user", "What is 2 + 2?")),
            tools=(
                Tool(
                    name="weather",
                    description="The weather of a city",
                    parameters=WEATHER_TOOL["parameters"],  # type: ignore[arg-type]
                    strict=True,
                ),
            ),
            tool_choice="required",
            parallel_tool_calls=False,
        ),
        max_tokens=99,
        sampling=SamplingOptions(top_p=0.5),  # a temperature has no effect while a model thinks
        thinking=True,
        effort="high",
        thinking_budget=9,
        response_format=ResponseFormat(kind="json_schema", text='{"type":"object"}'),
    )


def test_whether_it_thinks() -> None:
    assert ask(body()).thinking is True
    off = ask(body(reasoning={"effort": "none"}, temperature=0.3))
    assert (off.thinking, off.effort, off.sampling) == (False, None, SamplingOptions(temperature=0.3))
    r1 = WireSettings(dialect="r1", aliases=R1_NAMES)
    by_name = [ask(body(model=name, reasoning={"effort": "none"}), r1).thinking for name in R1_NAMES]
    assert by_name == [False, True]


# --- any sequence of events

KINDS = st.sampled_from(["reasoning", "content"])
DELTAS = st.lists(
    st.one_of(
        st.builds(lambda kind, text: Delta(index=0, kind=kind, text=text), KINDS, st.text(max_size=3)),
        st.builds(
            lambda call, text: Delta(
                index=0, kind="tool_call", text=text, call=call, call_id=f"c{call}", call_name=f"f{call}"
            ),
            st.integers(0, 1),
            st.text(max_size=3),
        ),
    ),
    max_size=12,
)


def reply() -> Reply:
    return Reply("resp_1", read_fields(ResponsesBody, body()), 5)


@given(DELTAS, st.sampled_from(["stop", "length", "tool_calls", "content_filter", "cancelled"]))
def test_the_items_of_a_stream_are_those_of_its_end(deltas: list[Delta], reason: Any) -> None:
    streamed = reply()
    events = list(streamed.start())
    for delta in [*deltas, Finish(index=0, reason=reason)]:
        events += streamed.push(delta)
    end = streamed.end(Usage(), 6)
    whole = reply()
    for delta in [*deltas, Finish(index=0, reason=reason)]:
        for _ in whole.push(delta):
            pass
    assert whole.finished(Usage(), 6) == end["response"]
    Response.model_validate(end["response"])
    assert [event["sequence_number"] for event in [*events, end]] == list(range(len(events) + 1))
    by_type: dict[Any, list[Any]] = {}
    for event in events:
        by_type.setdefault(event["type"], []).append(event)
    output = end["response"]["output"]  # type: ignore[index]
    assert [event["item"] for event in by_type.get("response.output_item.done", [])] == output
    assert len(by_type.get("response.output_item.added", [])) == len(output)
    for number, item in enumerate(output):
        pieces = [e["delta"] for e in events if e["type"].endswith(".delta") and e["output_index"] == number]  # type: ignore[union-attr, attr-defined]
        assert "".join(pieces) == (item["arguments"] if "arguments" in item else item["content"][0]["text"])


def test_what_the_site_withdraws_is_not_in_the_response() -> None:
    made = reply()
    events: list[Event] = [
        Delta(index=0, kind="reasoning", text="Bad."),
        Delta(index=0, kind="content", text="Worse"),
        Retract(index=0, notice="Withdrawn by rule 7 of this site."),
        Finish(index=0, reason="content_filter"),
    ]
    sent = [event for given in events for event in made.push(given)]
    end = made.end(Usage(), 6)
    assert end["type"] == "response.incomplete"
    response = end["response"]
    assert isinstance(response, dict)
    assert response["incomplete_details"] == {"reason": "content_filter"}
    (message,) = response["output"]
    assert message["content"] == [{"type": "refusal", "refusal": "Withdrawn by rule 7 of this site."}]
    later = json.dumps([*sent[sent.index(next(e for e in sent if "refusal" in str(e["type"]))) :], end])
    assert "Worse" not in later
    Response.model_validate(response)


def test_a_failure_before_anything_was_said_begins_the_stream_all_the_same() -> None:
    made = reply()
    (failed,) = made.fail(ApiError(429, "come later"), Usage())
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "come later"}  # type: ignore[index]
