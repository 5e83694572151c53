"""What a request of the Messages API means, and what any sequence of events becomes in it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.core.streaming import SamplingOptions
from ponder.core.types import Message, Tool, ToolCall
from ponder.serve.anthropic.conversation import ask_of
from ponder.serve.anthropic.reply import Reply, arguments_of
from ponder.serve.anthropic.request import MessagesBody
from ponder.serve.anthropic.shapes import MessageShape
from ponder.serve.records import Ask, Conversation, Delta, Event, Finish, ResponseFormat, Retract, Usage
from ponder.serve.scripted import scripted_model
from ponder.serve.wire.fields import read_fields
from ponder.serve.wire.settings import Alias, WireSettings

PATH = "/v1/messages"
QUESTION: list[Any] = [{"role": "user", "content": "What is 2 + 2?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER_TOOL: Any = {"name": "weather", "description": "The weather of a city", "input_schema": SCHEMA}
JSON = (("content-type", "application/json"),)


CALL = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "max_tokens": 100, "messages": QUESTION, **fields}


def ask(given: dict[str, Any], settings: WireSettings | None = None) -> Ask:
    """The ask that a body becomes."""
    settings = settings or WireSettings()
    fields = read_fields(MessagesBody, given)
    return ask_of(fields, scripted_model(), settings.names.get(fields.model), settings, "msg_1")


def prompt(given: dict[str, Any]) -> Conversation:
    found = ask(given).prompt
    assert isinstance(found, Conversation)
    return found


def test_blocks_become_turns() -> None:
    found = prompt(
        body(
            system=[{"type": "text", "text": "Be"}, {"type": "text", "text": "brief.", "cache_control": {}}],
            messages=[
                {"role": "user", "content": [{"type": "text", "text": "1?"}, {"type": "text", "text": "2?"}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                        {"type": "redacted_thinking", "data": "xyz"},
                        {"type": "text", "text": "Look."},
                        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                        {"type": "tool_use", "id": "b", "name": "f", "input": {}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "2"}]},
                        {"type": "tool_result", "tool_use_id": "a", "is_error": True, "content": "no"},
                        {"type": "text", "text": "Well?"},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": "So."}, {"type": "text", "text": "Fine."}],
                },
                {"role": "system", "content": "It is late."},
                {"role": "user", "content": ""},
            ],
        )
    )
    assert found.messages == (
        Message("system", "Be\nbrief."),
        Message("user", "1?\n2?"),
        Message(
            "assistant",
            "Look.",
            reasoning="Hm.",
            tool_calls=(ToolCall(id="a", name="f", arguments='{"x":1}'), ToolCall(id="b", name="f", arguments="{}")),
        ),
        Message("tool", "2", tool_call_id="b"),
        Message("tool", "Error: no", tool_call_id="a"),
        Message("user", "Well?"),
        Message("assistant", "Fine."),  # its thought belongs to a turn that is over
        Message("system", "It is late."),
        Message("user", ""),
    )
    assert not found.prefix


def test_the_beginning_of_a_reply() -> None:
    blocks = [{"type": "thinking", "thinking": "Short."}, {"type": "text", "text": "{"}]
    found = prompt(body(messages=[*QUESTION, {"role": "assistant", "content": blocks}]))
    assert found.prefix
    assert found.messages[-1] == Message("assistant", "{", reasoning="Short.")


def test_everything_else_of_an_ask() -> None:
    found = ask(
        body(
            tools=[{**WEATHER_TOOL, "type": "custom", "strict": True}],
            tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
            thinking={"type": "enabled", "budget_tokens": 40},
            output_config={"effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}}},
            stop_sequences=["END"],
            temperature=0.3,
            top_p=0.5,
            top_k=7,
            metadata={"user_id": "u"},
        )
    )
    tool = Tool(name="weather", description="The weather of a city", parameters=SCHEMA, strict=True)
    assert found == Ask(
        id="msg_1",
        model="scripted",
        prompt=Conversation(
            messages=(Message("user", "What is 2 + 2?"),),
            tools=(tool,),
            tool_choice="function:weather",
            parallel_tool_calls=False,
        ),
        max_tokens=100,
        sampling=SamplingOptions(top_p=0.5, top_k=7),  # a temperature has no effect while a model thinks
        stop=("END",),
        thinking=True,
        effort="max",
        thinking_budget=40,
        response_format=ResponseFormat(kind="json_schema", text='{"type":"object"}'),
    )


@pytest.mark.parametrize(
    ("choice", "wanted"), [({"type": "auto"}, "auto"), ({"type": "any"}, "required"), ({"type": "none"}, "none")]
)
def test_tool_choices(choice: dict[str, str], wanted: str) -> None:
    assert prompt(body(tools=[WEATHER_TOOL], tool_choice=choice)).tool_choice == wanted


def test_whether_it_thinks() -> None:
    def thinks(settings: WireSettings | None = None, **fields: Any) -> bool | None:
        return ask(body(**fields), settings).thinking

    answered = [
        *QUESTION,
        {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "x"}]},
    ]
    between = {"type": "between_tools"}
    assert thinks() is True
    assert thinks(thinking={"type": "adaptive"}) is True
    assert thinks(thinking={"type": "disabled"}) is False
    assert [thinks(thinking=between), thinks(thinking=between, messages=answered)] == [False, True]
    named = WireSettings(aliases={"claude-quick": Alias(thinking=False)})
    assert thinks(named, model="claude-quick") is False


# --- any sequence of events


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        ("[1]", {"malformed_arguments": "[1]"}),
        ('{"a": ', {"malformed_arguments": '{"a": '}),
    ],
)
def test_arguments_are_an_object_whatever_the_model_wrote(text: str, arguments: dict[str, object]) -> None:
    assert arguments_of(text) == arguments


@given(
    st.lists(
        st.builds(
            lambda kind, text, call: Delta(
                index=0,
                kind=kind,
                text=text,
                call=call if kind == "tool_call" else 0,
                call_id=f"c{call}",
                call_name="f",
            ),
            st.sampled_from(["reasoning", "content", "tool_call"]),
            st.text(max_size=3),
            st.integers(0, 1),
        ),
        max_size=12,
    ),
    st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
)
def test_the_blocks_of_a_stream_are_those_of_the_message(deltas: list[Delta], reason: Any) -> None:
    streamed, whole = Reply("msg_1", "m"), Reply("msg_1", "m")
    run = [*deltas, Finish(index=0, reason=reason)]
    events = [event for made in run for event in streamed.push(made)]
    for made in run:
        for _ in whole.push(made):
            pass
    message = whole.message(Usage())
    assert streamed.message(Usage()) == message
    MessageShape.model_validate(message)
    blocks: list[list[Any]] = []
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append([])
        assert event["index"] == len(blocks) - 1
        if event["type"] == "content_block_delta":
            blocks[-1].append(event["delta"])
    content: Any = message["content"]
    assert len(blocks) == len(content)
    for deltas_of, block in zip(blocks, content, strict=True):
        text = "".join(d.get("thinking", d.get("text", d.get("partial_json", ""))) for d in deltas_of)
        if block["type"] == "tool_use":
            assert arguments_of(text) == block["input"]
        else:
            assert text == block[{"thinking": "thinking", "text": "text"}[block["type"]]]
        if block["type"] == "thinking":
            assert deltas_of[-1]["signature"] == block["signature"]


def test_what_the_site_withdraws_is_not_in_the_message() -> None:
    made = Reply("msg_1", "m")
    events: list[Event] = [
        Delta(index=0, kind="content", text="Worse"),
        Retract(index=0, notice="Withdrawn by rule 7 of this site."),
        Finish(index=0, reason="content_filter"),
    ]
    for event in events:
        for _ in made.push(event):
            pass
    details = {"type": "refusal", "category": None, "explanation": "Withdrawn by rule 7 of this site."}
    message = made.message(Usage())
    assert (message["content"], message["stop_reason"], message["stop_details"]) == ([], "refusal", details)
    delta = next(iter(made.end(Usage())))["delta"]
    assert delta == {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}


def test_a_stop_sequence_is_named() -> None:
    made = Reply("msg_1", "m")
    for _ in made.push(Finish(index=0, reason="stop", matched_stop="END")):
        pass
    message = made.message(Usage())
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")
