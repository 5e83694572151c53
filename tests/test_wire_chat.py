"""Chat completions byte for byte, and what a request becomes for the engine."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.core.types import Message, Tool, ToolCall
from ponder.serve.records import Conversation, Delta, Event, Finish, Retract, TokenLogprob, Usage
from ponder.serve.scripted import Script, ScriptedBackend, ScriptedCall, scripted_model
from ponder.serve.service import Service
from ponder.serve.wire.chat_reply import ChatBody, ChatStream, ReplyShape
from ponder.serve.wire.reply_records import ChatChunk, ChatCompletion
from wire_server import QUESTION, ask, chat, exchange, wire_app

SHAPE = ReplyShape(id="chatcmpl-1", created=7, model="m", fingerprint="fp", thinks=True)
HEAD = '"created":7,"model":"m","system_fingerprint":"fp","choices":['


def chunk(index: int, delta: str, reason: str = "null", tail: str = "") -> str:
    return (
        f'data: {{"id":"chatcmpl-1","object":"chat.completion.chunk",{HEAD}'
        f'{{"index":{index},"delta":{{{delta}}},"logprobs":null,"finish_reason":{reason}}}]{tail}}}\n\n'
    )


def stream_of(events: Sequence[Event], shape: ReplyShape = SHAPE, usage: Usage | None = None) -> str:
    writer = ChatStream(shape)
    return (b"".join(map(writer.event, events)) + writer.end(usage or Usage())).decode()


def body_of(events: Sequence[Event], shape: ReplyShape = SHAPE, usage: Usage | None = None) -> dict[str, Any]:
    writer = ChatBody(shape)
    for event in events:
        writer.add(event)
    found = json.loads(writer.body(usage or Usage()))
    ChatCompletion.model_validate(found)
    return found


def delta(kind: Any, text: str, index: int = 0, **fields: Any) -> Delta:
    return Delta(index=index, kind=kind, text=text, **fields)


def test_a_thought_and_an_answer_stream_byte_for_byte() -> None:
    events = [
        delta("reasoning", 'a "b"\n'),
        delta("reasoning", ""),
        delta("content", "四 é\u2028"),
        Finish(index=0, reason="stop"),
    ]
    assert stream_of(events) == (
        chunk(0, '"role":"assistant","reasoning_content":"","content":null')
        + chunk(0, r'"reasoning_content":"a \"b\"\n","content":null')
        + chunk(0, r'"reasoning_content":null,"content":"\u56db \u00e9\u2028"')
        + chunk(0, "", '"stop"')
        + "data: [DONE]\n\n"
    )


def test_without_a_thought_there_is_no_field_for_it_and_usage_comes_last() -> None:
    shape = ReplyShape(id="chatcmpl-1", created=7, model="m", fingerprint="fp", include_usage=True)
    usage = Usage(prompt_tokens=200, cache_hit_tokens=128, completion_tokens=9, reasoning_tokens=5)
    null = ',"usage":null'
    assert stream_of([delta("content", "4"), Finish(index=0, reason="length")], shape, usage) == (
        chunk(0, '"role":"assistant","content":""', tail=null)
        + chunk(0, '"content":"4"', tail=null)
        + chunk(0, "", '"length"', tail=null)
        + f'data: {{"id":"chatcmpl-1","object":"chat.completion.chunk",{HEAD}],"usage":'
        '{"prompt_tokens":200,"completion_tokens":9,"total_tokens":209,'
        '"prompt_tokens_details":{"cached_tokens":128},"completion_tokens_details":{"reasoning_tokens":5},'
        '"prompt_cache_hit_tokens":128,"prompt_cache_miss_tokens":72}}\n\ndata: [DONE]\n\n'
    )


def test_tool_calls_stream_as_openai_has_them() -> None:
    events = [
        delta("tool_call", "", call_id="call_a", call_name="f"),
        delta("tool_call", '{"x":'),
        delta("tool_call", "1}"),
        delta("tool_call", "", call=1, call_id="call_b", call_name="g"),
        delta("tool_call", "{}", call=1),
        Finish(index=0, reason="tool_calls"),
    ]
    first = '"id":"call_a","type":"function","function":{"name":"f","arguments":""}'
    second = '"id":"call_b","type":"function","function":{"name":"g","arguments":""}'
    assert stream_of(events) == (
        chunk(0, '"role":"assistant","reasoning_content":"","content":null')
        + chunk(0, f'"tool_calls":[{{"index":0,{first}}}]')
        + chunk(0, r'"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]')
        + chunk(0, '"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]')
        + chunk(0, f'"tool_calls":[{{"index":1,{second}}}]')
        + chunk(0, '"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]')
        + chunk(0, "", '"tool_calls"')
        + "data: [DONE]\n\n"
    )
    message = body_of(events)["choices"][0]["message"]
    assert message["content"] is None
    assert [call["function"] for call in message["tool_calls"]] == [
        {"name": "f", "arguments": '{"x":1}'},
        {"name": "g", "arguments": "{}"},
    ]


def test_what_is_withdrawn_is_void() -> None:
    events = [
        delta("reasoning", "secret"),
        delta("content", "secret"),
        Retract(index=0, notice="rule 3"),
        Finish(index=0, reason="content_filter"),
    ]
    assert stream_of(events).endswith(
        chunk(0, '"refusal":"rule 3"') + chunk(0, "", '"content_filter"') + "data: [DONE]\n\n"
    )
    choice = body_of(events)["choices"][0]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"] == {
        "role": "assistant",
        "reasoning_content": None,
        "content": None,
        "refusal": "rule 3",
    }


def test_logprobs_of_thought_and_answer_stand_apart() -> None:
    shape = ReplyShape(id="chatcmpl-1", created=7, model="m", fingerprint="fp", thinks=True, logprobs=True)
    top = TokenLogprob(token="b", bytes=(98,), logprob=float("-inf"))
    token = TokenLogprob(token="a", bytes=(97,), logprob=-0.5, top=(top,))
    events = [
        delta("reasoning", "a", logprobs=(token,)),
        delta("content", "a", logprobs=(token,)),
        Finish(index=0, reason="stop"),
    ]
    entry = {"token": "a", "logprob": -0.5, "bytes": [97]}
    entry["top_logprobs"] = [{"token": "b", "logprob": -9999.0, "bytes": [98]}]
    assert body_of(events, shape)["choices"][0]["logprobs"] == {
        "content": [entry],
        "refusal": None,
        "reasoning_content": [entry],
    }
    chunks = [json.loads(line[6:]) for line in stream_of(events, shape).split("\n\n")[1:3]]
    assert [c["choices"][0]["logprobs"] for c in chunks] == [
        {"content": None, "refusal": None, "reasoning_content": [entry]},
        {"content": [entry], "refusal": None},
    ]


KINDS = st.sampled_from(["reasoning", "content"])
TEXT = st.text(st.characters(codec="utf-8"))


@given(st.lists(st.tuples(st.integers(0, 2), KINDS, TEXT), max_size=20))
def test_the_chunks_of_a_stream_add_up_to_the_whole(pieces: list[tuple[int, Any, str]]) -> None:
    events: list[Event] = [delta(kind, text, index) for index, kind, text in pieces]
    events += [Finish(index=index, reason="stop") for index in range(3)]
    summed = {index: {"reasoning_content": "", "content": ""} for index in range(3)}
    roles = dict.fromkeys(range(3), 0)
    for line in stream_of(events).split("\n\n")[:-2]:
        found = json.loads(line.removeprefix("data: "))
        ChatChunk.model_validate(found)
        piece = found["choices"][0]
        texts = {name: text for name, text in piece["delta"].items() if name != "role" and text}
        assert len(texts) <= 1
        roles[piece["index"]] += "role" in piece["delta"]
        for name, text in texts.items():
            summed[piece["index"]][name] += text
    assert set(roles.values()) == {1}
    for choice in body_of(events)["choices"]:
        message = choice["message"]
        assert summed[choice["index"]] == {
            "reasoning_content": message["reasoning_content"] or "",
            "content": message["content"],
        }


def test_a_reply_over_http_is_the_same_streamed_or_whole() -> None:
    script = Script(thought="Two and two.", answer="It is 4.", calls=(ScriptedCall(name="f", arguments='{"a": 1}'),))
    whole, asks = ask(chat(), script)
    streamed, _ = ask(chat(stream=True, stream_options={"include_usage": True}), script)
    assert whole.headers["content-type"] == "application/json"
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert (streamed.headers["cache-control"], streamed.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert re.fullmatch("req_[0-9a-f]{24}", whole.headers["x-request-id"])
    message = whole.json["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Two and two.", "It is 4.")
    assert whole.json["id"] == asks[0].id
    assert whole.json["id"].startswith("chatcmpl-")
    chunks = streamed.chunks
    assert len({c["id"] for c in chunks}) == 1
    deltas = [c["choices"][0]["delta"] for c in chunks[:-1]]
    assert "".join(d.get("reasoning_content") or "" for d in deltas) == "Two and two."
    assert "".join(d.get("content") or "" for d in deltas) == "It is 4."
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole.json["usage"]
    assert chunks[-2]["choices"][0]["finish_reason"] == whole.json["choices"][0]["finish_reason"] == "tool_calls"
    assert streamed.body.endswith(b"\n\ndata: [DONE]\n\n")


def test_several_samples() -> None:
    whole, asks = ask(chat(n=3, seed=5))
    assert [choice["index"] for choice in whole.json["choices"]] == [0, 1, 2]
    assert (asks[0].n, asks[0].seed) == (3, 5)


def test_an_error_of_the_engine_is_a_status_or_a_last_chunk() -> None:
    script = Script(answer="It is", error="the engine has failed")
    whole, _ = ask(chat(), script)
    assert (whole.status, whole.error["type"]) == (503, "overloaded_error")
    assert 1 <= int(whole.headers["retry-after"]) <= 2
    streamed, _ = ask(chat(stream=True), script)
    assert streamed.status == 200
    assert streamed.chunks[-1] == {
        "error": {
            "message": "the engine has failed",
            "type": "overloaded_error",
            "param": None,
            "code": "insufficient_system_resource",
        }
    }
    assert b"[DONE]" not in streamed.body


def conversation_of(body: dict[str, Any], path: str = "/v1/chat/completions") -> Conversation:
    answer, asks = ask(body, path=path)
    assert answer.status == 200, answer.body
    assert isinstance(asks[0].prompt, Conversation)
    return asks[0].prompt


def test_messages_become_plain_turns() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    found = conversation_of(
        chat(
            messages=[
                {"role": "developer", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                    "name": "x",
                },
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "7"},
            ]
        )
    )
    assert found.messages == (
        Message("system", "Be brief."),
        Message("user", "a\nb"),
        Message("assistant", "", tool_calls=(ToolCall(id="call_1", name="f", arguments="{}"),)),
        Message("tool", "7", tool_call_id="call_1"),
    )
    assert not found.prefix


def test_tools_and_the_choice_among_them() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    definition = {"name": "f", "description": "d", "parameters": schema, "strict": True}
    tools = [{"type": "function", "function": definition}, {"type": "function", "function": {"name": "g"}}]
    found = conversation_of(chat(tools=tools, parallel_tool_calls=False))
    empty = {"type": "object", "properties": {}}
    assert found.tools == (
        Tool(name="f", description="d", parameters=schema, strict=True),
        Tool(name="g", parameters=empty),
    )
    assert (found.tool_choice, found.parallel_tool_calls) == ("auto", False)
    for choice, meant in (
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "g"}}, "function:g"),
    ):
        assert conversation_of(chat(tools=tools, tool_choice=choice)).tool_choice == meant


def test_a_prefix_is_gone_on_with_on_beta_only() -> None:
    messages = [*QUESTION, {"role": "assistant", "content": "It", "prefix": True, "reasoning_content": "hm"}]
    for path in ("/beta/chat/completions", "/beta/v1/chat/completions"):
        found = conversation_of(chat(messages=messages), path)
        assert found.prefix
        assert found.messages[-1] == Message("assistant", "It", reasoning="hm")
    refused, asks = ask(chat(messages=messages))
    assert (refused.status, refused.error["param"], asks) == (400, "messages.1.prefix", [])
    assert "/beta/chat/completions" in refused.error["message"]


FUNCTION = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("fields", "status", "param", "told"),
    [
        ({"model": "nope"}, 404, "model", "does not exist here; there is: scripted"),
        ({"model": None}, 422, "model", "expected a valid string, got null"),
        ({"messages": []}, 422, "messages", "expected at least 1 item, got 0"),
        ({"messages": "hi"}, 422, "messages", "expected a valid list, got a string"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 422, "messages.0.role", "got 'robot'"),
        ({"messages": [{"content": "x"}]}, 422, "messages.0.role", "is missing"),
        ({"messages": [{"role": "user", "content": 5}]}, 422, "messages.0.content", "or a list of text parts, got 5"),
        ({"messages": [{"role": "user"}]}, 400, "messages.0.content", "is missing"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/"}}]}]},
            400,
            "messages.0.content.0.type",
            "'image_url' is not supported",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, 400, "messages.0.content.0.text", "missing"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [CALL]}]}, 400, "messages.0.tool_calls", "only"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages.0.tool_call_id", "is missing"),
        (
            {"messages": [{"role": "tool", "content": "x", "tool_call_id": "call_9"}]},
            400,
            "messages.0.tool_call_id",
            "answers no tool call",
        ),
        ({"temperature": 2.5}, 422, "temperature", "expected less than or equal to 2, got 2.5"),
        ({"temperature": "1"}, 422, "temperature", "expected a valid number, got a string"),
        ({"top_p": -0.1}, 422, "top_p", "greater than or equal to 0"),
        ({"priority": -1}, 422, "priority", "greater than or equal to 0, got -1"),
        ({"repetition_penalty": 0.005}, 422, "repetition_penalty", "greater than or equal to 0.01"),
        ({"presence_penalty": 3}, 422, "presence_penalty", "got 3"),
        ({"frequency_penalty": -3}, 422, "frequency_penalty", "got -3"),
        ({"max_tokens": 0}, 422, "max_tokens", "greater than or equal to 1, got 0"),
        ({"max_tokens": True}, 422, "max_tokens", "expected a valid integer, got true"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 422, "max_completion_tokens", "differs from max_tokens"),
        ({"n": 129}, 422, "n", "less than or equal to 128"),
        ({"seed": 2**63}, 422, "seed", "less than"),
        ({"stop": ["x"] * 17}, 422, "stop", "at most 16 items"),
        ({"stop": ""}, 422, "stop", "at least 1 character, got 0"),
        ({"stop": [""]}, 422, "stop.0", "at least 1 character"),
        ({"stop": 7}, 422, "stop", "expected a string or a list of strings, got 7"),
        ({"logit_bias": {"5": 1.0}}, 422, "logit_bias", "not supported"),
        ({"top_logprobs": 3}, 422, "top_logprobs", "needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, 422, "top_logprobs", "less than or equal to 20"),
        ({"stream": "yes"}, 422, "stream", "expected a valid boolean, got a string"),
        ({"thinking": {"type": "maybe"}}, 422, "thinking.type", "expected 'enabled' or 'disabled', got 'maybe'"),
        ({"thinking_budget": -1}, 422, "thinking_budget", "greater than or equal to 0"),
        ({"reasoning_effort": "extreme"}, 422, "reasoning_effort", "got 'extreme'"),
        ({"tools": [FUNCTION] * 129}, 422, "tools", "at most 128 items"),
        ({"tools": [FUNCTION] * 2}, 422, "tools.1.function.name", "'f' stands twice"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, 422, "tools.0.function.name", "match pattern"),
        ({"tools": [{"type": "web_search"}]}, 422, "tools.0.type", "got 'web_search'"),
        ({"tool_choice": "required"}, 422, "tool_choice", "there are no tools"),
        ({"tool_choice": "some"}, 422, "tool_choice", "got 'some'"),
        ({"tool_choice": 3}, 422, "tool_choice", '"none", "auto", "required"'),
        (
            {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            422,
            "tool_choice.function.name",
            "no such tool",
        ),
        ({"functions": [{"name": "f"}]}, 422, "functions", "use tools"),
        ({"response_format": {"type": "xml"}}, 422, "response_format.type", "got 'xml'"),
        ({"response_format": {"type": "json_schema"}}, 422, "response_format.json_schema.schema", "is missing"),
        (
            {"response_format": {"type": "json_object"}, "guided_regex": "a"},
            422,
            "guided_regex",
            "stands beside response_format",
        ),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, Any], status: int, param: str, told: str) -> None:
    answer, asks = ask(chat(**fields))
    assert (answer.status, answer.error["param"]) == (status, param)
    assert told in answer.error["message"]
    assert answer.error["message"].startswith(f"{param}: ") or status == 404
    assert asks == []


def test_a_wrong_value_that_is_a_text_is_not_repeated() -> None:
    answer, _ = ask(chat(messages=[{"role": "user", "content": {"secret": "CANARY"}}], temperature="CANARY"))
    assert answer.status == 422
    assert b"CANARY" not in answer.body


def test_fields_that_nobody_knows_have_no_effect() -> None:
    extras = {
        "user": "u",
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "auto",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "verbosity": "low",
        "logit_bias": {},
        "modalities": ["text"],
        "stream_options": None,
        "something_new": [1],
    }
    answer, _ = ask(chat(**extras))
    assert answer.status == 200


def test_a_model_without_tools_says_so() -> None:
    toolless = replace(scripted_model(), tools=False)
    answer, _ = ask(chat(tools=[FUNCTION]), model=toolless)
    assert (answer.status, answer.error["param"]) == (400, "tools")
    assert ask(chat(tools=[FUNCTION], tool_choice="none"), model=toolless)[0].status == 200


def test_a_higher_number_stands_back_as_in_vllm() -> None:
    assert [ask(chat(**given))[1][0].priority for given in ({}, {"priority": 0}, {"priority": 7})] == [0, 0, -7]


def test_response_formats() -> None:
    schema = {"type": "object", "properties": {"é": {"type": "string"}}}
    for fields, kind, text in (
        ({"response_format": {"type": "text"}}, "text", ""),
        ({"response_format": {"type": "json_object"}}, "json_object", ""),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": schema},
                }
            },
            "json_schema",
            '{"type":"object","properties":{"é":{"type":"string"}}}',
        ),
        ({"guided_json": {"type": "string"}}, "json_schema", '{"type":"string"}'),
        ({"guided_json": '{"type":"string"}'}, "json_schema", '{"type":"string"}'),
        ({"guided_json": "true"}, "json_schema", "{}"),
        ({"guided_regex": "[a-z]+"}, "regex", "[a-z]+"),
        ({"guided_grammar": "start: /a/"}, "lark", "start: /a/"),
    ):
        answer, asks = ask(chat(**fields))
        assert answer.status == 200, answer.body
        assert (asks[0].response_format.kind, asks[0].response_format.text) == (kind, text)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("{'type': 1}", "is a text that is not valid JSON: key must be a string at line 1 column 2"),
        ('{"a": 1, "a": 2}', "is a text that is not valid JSON: the key 'a' stands twice in one object"),
        ('{"a":' * 600 + "{}" + "}" * 600, "is a text that is not valid JSON: nested too deeply (200 levels at most)"),
        ("[" * 100_000, "is a text that is not valid JSON: nested too deeply (200 levels at most)"),
        ("[]", "is the text of a list"),
        ("", "is a text that is not valid JSON: EOF while parsing a value at line 1 column 0"),
    ],
)
def test_a_guided_json_that_is_no_schema(schema: str, message: str) -> None:
    answer, asks = ask(chat(guided_json=schema, tools=[FUNCTION]))
    assert (answer.status, answer.error["param"], asks) == (422, "guided_json", [])
    assert answer.error["message"] == f"guided_json: {message}; expected a JSON schema, which is an object"


def test_an_unforeseen_failure_is_a_plain_500(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> Script:
        raise KeyError("CANARY")

    answer, _ = ask(chat(), fail)
    assert (answer.status, answer.error["type"]) == (500, "server_error")
    assert b"CANARY" not in answer.body
    assert "KeyError at test_wire_chat.py" in caplog.text
    assert answer.headers["x-request-id"] in caplog.text
    assert "CANARY" not in caplog.text


def test_paths_and_methods_that_are_not_there_are_told_in_json() -> None:
    app = wire_app(Service([ScriptedBackend()]))
    missing = asyncio.run(exchange(app, "/v1/nothing"))
    assert (missing.status, missing.error["type"]) == (404, "not_found_error")
    wrong = asyncio.run(exchange(app, "/v1/chat/completions"))
    assert (wrong.status, wrong.headers["allow"], wrong.error["type"]) == (405, "POST", "invalid_request_error")
