"""The own engine as a backend: what is asked becomes ids, what the model says becomes deltas."""

import asyncio
import contextlib
import gc
import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from local_models import (
    CALLER,
    TAGS,
    Runner,
    ask,
    chat,
    events_of,
    finish_of,
    local_model,
    prompter_of,
    run,
    text_of,
    written,
)
from ponder.core.streaming import Request, SamplingOptions, StreamingEngine
from ponder.core.types import Message, Tool, ToolCall
from ponder.engine.engine import Engine, EngineConfig
from ponder.engine.request import Sample
from ponder.serve.errors import ApiError
from ponder.serve.local.backend import LocalBackend
from ponder.serve.local.model import LocalModel
from ponder.serve.local.preparation import LocalPrepared
from ponder.serve.records import Ask, Caller, Delta, PlainText, ResponseFormat, Usage
from ponder.serve.seams import Backend, Generation
from ponder.text.prompt import Prompter
from vocabularies import sentence_piece

ADD = Tool(name="add", description="Adds.", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


def prepared(model: LocalModel, asked: Ask, caller: Caller = CALLER) -> LocalPrepared:
    async def body(backend: LocalBackend) -> LocalPrepared:
        return await backend.prepare(asked, caller)

    found: LocalPrepared = run(model, body)
    return found


def refusal(model: LocalModel, asked: Ask) -> ApiError:
    with pytest.raises(ApiError) as raised:
        events_of(model, asked)
    return raised.value


def test_the_engine_and_the_backend_have_the_forms_that_others_expect() -> None:
    """For the type checker as well: it reads this test."""
    model = local_model("smollm2", "Hi")

    async def body(backend: LocalBackend) -> None:
        as_backend: Backend = backend
        as_generation: Generation = await backend.start(await backend.prepare(ask(chat("Hi")), CALLER))
        assert await as_backend.ready()
        as_generation.cancel()
        assert isinstance(model.engine, Engine)
        engine: StreamingEngine = model.engine
        assert engine.context == 4096

    run(model, body)


def test_a_thought_and_an_answer() -> None:
    events, usage = events_of(local_model("deepseek-r1", "Hm, 2+2.\n</think>\n\nFour."), ask(chat("2+2?")))
    assert text_of(events, "reasoning") == "Hm, 2+2."
    assert text_of(events) == "Four."
    assert finish_of(events).reason == "stop"
    assert usage == Usage(prompt_tokens=9, completion_tokens=18, reasoning_tokens=9)


def test_a_model_without_thoughts_only_answers() -> None:
    events, usage = events_of(local_model("smollm2", "Hello!</think>"), ask(chat("Hi")))
    assert (text_of(events), text_of(events, "reasoning")) == ("Hello!</think>", "")
    assert usage.reasoning_tokens == 0


def test_tags_written_as_text_neither_open_nor_close_a_thought() -> None:
    prompter = prompter_of("deepseek-r1")
    tokenizer = prompter.tokenizer
    ids = [*tokenizer.encode("a</think>b"), tokenizer.control.end_think, *tokenizer.encode("<think>c</think>d")]

    def script(sample: Any) -> int:
        said = len(sample.output)
        return ids[said] if said < len(ids) else tokenizer.control.eos

    events, _ = events_of(local_model("deepseek-r1", script), ask(chat("x")))
    assert text_of(events, "reasoning") == "a</think>b"
    assert text_of(events) == "<think>c</think>d"


def test_answer_tags_do_not_show_and_text_outside_is_content() -> None:
    says = "<think>12+3</think><answer>15</answer>"
    events, _ = events_of(local_model("plain", says, context=200), ask(chat("12+3=?")))
    assert (text_of(events, "reasoning"), text_of(events)) == ("12+3", "15")
    events, _ = events_of(local_model("plain", "so <answer>15</answer>!", context=200), ask(chat("12+3=?")))
    assert text_of(events) == "so 15!"


# ---- thinking


def test_thinking_off_is_a_skipped_thought_in_the_prompt() -> None:
    for family in ("deepseek-r1", "qwen3"):
        model = local_model(family, "Four.")
        request = prepared(model, ask(chat("2+2?"), thinking=False)).request
        text = model.prompter.tokenizer.decode(request.prompt_ids)
        assert text.endswith("<think>\n\n</think>\n\n")
        assert request.thinking is not None
        assert (request.thinking.opened, request.thinking.budget) == (False, 0)
        events, usage = events_of(local_model(family, "Four."), ask(chat("2+2?"), thinking=False))
        assert (text_of(events), usage.reasoning_tokens) == ("Four.", 0)


def test_a_thought_that_is_opened_although_it_was_switched_off_is_closed_at_once() -> None:
    events, usage = events_of(local_model("qwen3", "<think>Four."), ask(chat("2+2?"), thinking=False, max_tokens=60))
    assert (text_of(events), text_of(events, "reasoning")) == ("Four.", "")
    assert usage.reasoning_tokens == 1  # the line break before the tag that closes it


@pytest.mark.parametrize(
    ("max_tokens", "settings", "budget"),
    [
        (100, {}, 100 - 25 - 4),  # a quarter is the answer's; "\n", the tag and two more line breaks close the thought
        (100, {"effort": "low"}, 12),
        (100, {"effort": "high"}, 50),
        (100, {"effort": "max"}, 71),
        (100, {"thinking_budget": 7}, 7),
        (100, {"thinking_budget": 5000}, 71),
        (100, {"effort": "low", "thinking_budget": 30}, 12),
        (3000, {}, 3000 - 750 - 4),
        (None, {}, 10_000 - 9 - 1024 - 4),
        (8, {}, 2),
    ],
)
def test_how_long_a_thought_may_be(max_tokens: int | None, settings: dict[str, Any], budget: int) -> None:
    model = local_model("deepseek-r1", "x", context=10_000)
    request = prepared(model, ask(chat("2+2?"), max_tokens=max_tokens, **settings)).request
    assert request.thinking is not None
    assert request.thinking.opened
    assert request.thinking.closing_ids == tuple(written(model.prompter.tokenizer, "\n</think>\n\n"))
    assert request.thinking.budget == budget


# a thought that the model opens itself, what closes it and an answer take three tokens at least
@pytest.mark.parametrize(
    ("family", "max_tokens"),
    [(f, n) for f, least in (("deepseek-r1", 1), ("qwen3", 3)) for n in [*range(least, 40), 200]],
)
def test_an_endless_thought_never_leaves_the_answer_empty(family: str, max_tokens: int) -> None:
    opening = "" if family == "deepseek-r1" else "<think>"
    model = local_model(family, opening + "hmm " * 100, ends=False)
    events, usage = events_of(model, ask(chat("2+2?"), max_tokens=max_tokens))
    assert text_of(events)
    assert usage.completion_tokens == max_tokens
    assert finish_of(events).reason == "length"


def test_a_budget_and_its_closing_words() -> None:
    model = local_model("deepseek-r1", "abcdefghij", ends=False)
    events, usage = events_of(model, ask(chat("x"), thinking_budget=4, max_tokens=20))
    assert text_of(events, "reasoning") == "abcd"
    assert text_of(events).startswith("efghij")
    assert usage.reasoning_tokens == 5  # with the line break that closes it


def test_answer_now_closes_the_thought() -> None:
    async def body(backend: LocalBackend) -> list[Any]:
        generation = await backend.start(await backend.prepare(ask(chat("x"), max_tokens=400), CALLER))
        events = [await anext(generation)]
        generation.answer_now()
        return [*events, *[event async for event in generation]]

    events = run(local_model("deepseek-r1", "hm" * 500, ends=False), body)
    assert len(text_of(events, "reasoning")) < 300
    assert text_of(events)


# ---- what ends a reply


@pytest.mark.parametrize(
    ("stop", "answer"), [("\n", "It is 4. "), ("\n\n", "It is 4. "), (" \n", "It is 4."), ("\n\nIt", None)]
)
def test_the_line_breaks_between_thought_and_answer_are_no_stop_string(stop: str, answer: str | None) -> None:
    says = "I think so.\n</think> \n\nIt is 4. \n\nOr 5."
    model = local_model("deepseek-r1", says)
    events, usage = events_of(model, ask(chat("x"), stop=(stop,), sampling=SamplingOptions(logprobs=0)))
    assert text_of(events, "reasoning") == "I think so."
    shown = "It is 4. \n\nOr 5." if answer is None else answer
    assert text_of(events) == shown
    assert finish_of(events).matched_stop == (None if answer is None else stop)
    told = "".join(t.token for e in events if isinstance(e, Delta) and e.kind == "content" for t in e.logprobs)
    assert told == shown
    read = says if answer is None else says[: says.index(answer + stop) + len(answer + stop)]
    ids = written(model.prompter.tokenizer, read)
    assert usage.completion_tokens == len(ids) + (answer is None)  # and the end of sequence


def test_a_thought_that_is_closed_for_the_model_leaves_the_answer_to_stop_strings_from_its_first_word_on() -> None:
    budget = ask(chat("x"), thinking_budget=10, max_tokens=100, stop=("\n\n",))
    events, _ = events_of(local_model("deepseek-r1", "\n\nSo.\n\nMore." * 20, ends=False), budget)
    assert len(text_of(events, "reasoning")) <= 10
    assert "\n" not in text_of(events)
    assert text_of(events)
    assert finish_of(events).matched_stop == "\n\n"


def test_stop_strings_hold_in_the_answer_and_are_told() -> None:
    model = local_model("deepseek-r1", "a END b</think>\n\nyes END no")
    events, _ = events_of(model, ask(chat("x"), stop=("zzz", "END")))
    assert (text_of(events, "reasoning"), text_of(events)) == ("a END b", "yes ")
    assert finish_of(events).matched_stop == "END"
    assert finish_of(events).reason == "stop"


def test_max_tokens_is_a_most_within_the_context() -> None:
    events, usage = events_of(local_model("smollm2", "x" * 99), ask(chat("Hi"), max_tokens=5))
    assert (text_of(events), finish_of(events).reason, usage.completion_tokens) == ("xxxxx", "length", 5)
    model = local_model("smollm2", "x" * 999, context=300)
    length = len(prepared(model, ask(chat("Hi"))).request.prompt_ids)
    asked = prepared(model, ask(chat("Hi"), max_tokens=10_000, n=2))
    assert asked.request.max_tokens == 300 - length
    assert (asked.prompt_tokens, asked.max_completion_tokens) == (length, 2 * (300 - length))
    limited = local_model("smollm2", "x" * 999, max_tokens=7)
    assert prepared(limited, ask(chat("Hi"))).request.max_tokens == 7
    assert prepared(limited, ask(chat("Hi"), max_tokens=8)).request.max_tokens == 8


def test_the_context_is_that_of_a_cache_smaller_than_the_model_s() -> None:
    prompter = prompter_of("smollm2")
    letter = prompter.tokenizer.encode("h")[0]
    runner = Runner(lambda sample: letter, prompter.tokenizer, context=4096)
    runner.pages = 100  # of 4 positions
    engine = Engine(runner, EngineConfig(), prompter.tokenizer).start()
    model = LocalModel(id="m", engine=engine, prompter=prompter, close=engine.close)
    assert model.info.context == 400
    events, usage = events_of(model, ask(chat("x")))
    assert finish_of(events).reason == "length"
    assert usage.prompt_tokens + usage.completion_tokens == 400


def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers() -> None:
    error = refusal(local_model("deepseek-v3", "x", context=64), ask(chat("y" * 100)))
    assert (error.status, error.code, error.param) == (400, "context_length_exceeded", "messages")
    assert "103 tokens" in error.message
    assert "64 tokens" in error.message


def test_a_failing_engine_is_told_without_its_details() -> None:
    model = local_model("smollm2", "x")
    model.engine._runner.broken = RuntimeError("secret path /x")  # type: ignore[attr-defined]
    events, _ = events_of(model, ask(chat("Hi")))
    assert finish_of(events).reason == "insufficient_system_resource"
    assert "secret" not in finish_of(events).error


def test_samples_differ_in_their_seeds_and_a_seed_repeats_them() -> None:
    model = local_model("smollm2", "Hi")
    first, again = (prepared(model, ask(chat("x"), n=3, seed=7)).request.seeds for _ in range(2))
    assert first == again
    assert len(set(first)) == 3
    assert prepared(model, ask(chat("x"))).request.seeds != prepared(model, ask(chat("x"))).request.seeds
    events, usage = events_of(local_model("smollm2", "Hi"), ask(chat("x"), n=3))
    assert [text_of(events, index=i) for i in range(3)] == ["Hi"] * 3
    assert usage.completion_tokens == 9


def test_the_recommended_sampling_holds_where_nothing_is_said() -> None:
    recommended = SamplingOptions(temperature=0.6, top_p=0.95)
    model = local_model("smollm2", "Hi", recommended=recommended)
    assert prepared(model, ask(chat("x"))).request.sampling == recommended
    assert prepared(model, ask(chat("x"), sampling=SamplingOptions())).request.sampling == SamplingOptions()


# ---- tools


def tool_events(family: str, says: str, **changes: Any) -> list[Any]:
    asked = ask(chat("1+1?", tools=(ADD,), **changes))
    return events_of(local_model(family, says), asked)[0]


def test_a_tool_call_comes_as_its_name_and_then_its_arguments() -> None:
    says = f"I add.</think>\n\nLet me see.\n{CALL}\n{CALL}"
    events = tool_events("qwen3", f"<think>\n{says}")
    calls = [e for e in events if isinstance(e, Delta) and e.kind == "tool_call"]
    assert (text_of(events, "reasoning"), text_of(events)) == ("I add.", "Let me see.")
    starts = [e for e in calls if e.call_name is not None]
    assert [(e.call, e.call_name, e.text) for e in starts] == [(0, "add", ""), (1, "add", "")]
    assert len({e.call_id for e in starts}) == 2
    for call in (0, 1):
        assert "".join(e.text for e in calls if e.call == call) == '{"a": 1}'
    assert finish_of(events).reason == "tool_calls"


def test_without_tools_a_call_is_content_and_a_broken_one_too() -> None:
    events, _ = events_of(local_model("smollm2", CALL), ask(chat("x")))
    assert text_of(events) == CALL
    assert text_of(tool_events("smollm2", CALL, tool_choice="none")) == CALL
    events = tool_events("smollm2", "<tool_call>{oops</tool_call>")
    assert (text_of(events), finish_of(events).reason) == ("<tool_call>{oops</tool_call>", "stop")


def test_one_call_ends_a_reply_that_may_have_one() -> None:
    events = tool_events("smollm2", f"{CALL}\n{CALL * 50}", parallel_tool_calls=False)
    assert len([e for e in events if isinstance(e, Delta) and e.call_name]) == 1
    assert finish_of(events).reason == "tool_calls"


@pytest.mark.parametrize("family", ["qwen3", "deepseek-r1", "smollm2", "llama-3.1"])
def test_a_call_that_must_be_made_fits_its_schema(family: str) -> None:
    """The model would rather say something else: the grammar leaves it no other way."""
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"way": {"$ref": "#/$defs/way"}},
        "required": ["way"],
        "additionalProperties": False,
        "$defs": {"way": {"enum": ["up"]}},
    }
    tool = Tool(name="go", parameters=schema, strict=True)
    for choice in ("required", "function:go"):
        asked = ask(
            chat("x", tools=(tool, ADD) if choice != "required" else (tool,), tool_choice=choice), max_tokens=200
        )
        says = "Hm.</think>No!" if family == "deepseek-r1" else "No!"
        events, _ = events_of(local_model(family, says), asked)
        calls = [e for e in events if isinstance(e, Delta) and e.kind == "tool_call"]
        assert calls[0].call_name == "go"
        arguments = "".join(e.text for e in calls if e.call == 0)
        assert json.loads(arguments) == {"way": "up"}
        assert finish_of(events).reason == "tool_calls"
        assert text_of(events) == ""


@pytest.mark.parametrize(
    ("parameters", "arguments"),
    [
        ({}, {}),
        ({"type": "object", "properties": {}}, {}),
        ({"type": "string"}, {}),  # arguments are an object whatever a schema says
        (
            {"properties": {"key": {"enum": ["up"], "format": "password"}}, "required": ["key"], "uniqueItems": True,
             "additionalProperties": False, "dependentRequired": {}},
            {"key": "up"},
        ),
    ],
)  # fmt: skip
def test_a_tool_without_parameters_takes_none_and_odd_keywords_are_left_out(
    parameters: dict[str, Any], arguments: dict[str, str]
) -> None:
    """Where the tool is not strict; where it is, what cannot be followed is told."""
    pytest.importorskip("llguidance")
    tool = Tool(name="go", parameters=parameters)
    asked = ask(chat("x", tools=(tool,), tool_choice="required"), max_tokens=200)
    events, _ = events_of(local_model("smollm2", "No!"), asked)
    calls = [e for e in events if isinstance(e, Delta) and e.kind == "tool_call"]
    assert json.loads("".join(e.text for e in calls)) == arguments
    if "uniqueItems" in parameters:
        strict = ask(chat("x", tools=(replace(tool, strict=True),), tool_choice="required"))
        assert refusal(local_model("smollm2", "No!"), strict).status == 400


def test_tool_choices_that_name_nothing_are_refused() -> None:
    model = local_model("qwen3", "x")
    error = refusal(model, ask(chat("x", tools=(ADD,), tool_choice="function:sub")))
    assert (error.status, error.param) == (400, "tool_choice")
    error = refusal(local_model("qwen3", "x"), ask(chat("x", tool_choice="required")))
    assert (error.status, error.param) == (400, "tool_choice")
    error = refusal(local_model("plain", "x", context=99), ask(chat("1", tools=(ADD,))))
    assert (error.status, error.param) == (400, "tools")


# ---- forms of answers


def test_an_answer_in_json_comes_after_the_thought() -> None:
    pytest.importorskip("llguidance")
    wanted = ResponseFormat(
        kind="json_schema", text='{"type":"object","properties":{"n":{"const":4}},"required":["n"]}'
    )
    for family, says in (("deepseek-r1", "Hm.\n</think>"), ("qwen3", "Hm.\n</think>")):
        events, _ = events_of(local_model(family, says), ask(chat("x"), response_format=wanted, max_tokens=300))
        assert text_of(events, "reasoning") == "Hm."
        assert text_of(events).startswith("{")
        assert '"n"' in text_of(events)


def test_a_grammar_that_cannot_be_followed_is_refused_with_the_reason() -> None:
    pytest.importorskip("llguidance")
    for kind, text in (("json_schema", '{"type": "nonsense"}'), ("regex", "(["), ("lark", "start: nothing")):
        model = local_model("smollm2", "x")
        error = refusal(model, ask(chat("x"), response_format=ResponseFormat(kind=kind, text=text)))  # type: ignore[arg-type]
        assert (error.status, error.param) == (400, "response_format")
        assert "cannot be followed" in error.message
    deep = ResponseFormat(kind="json_schema", text='{"not":' * 600 + "{}" + "}" * 600)
    for tools in ((), (ADD,)):
        error = refusal(local_model("smollm2", "x"), ask(chat("x", tools=tools), response_format=deep))
        assert (error.status, error.param) == (400, "response_format")


# ---- log-probabilities


def test_tokens_with_their_bytes_and_the_likeliest() -> None:
    asked = ask(chat("x"), sampling=SamplingOptions(logprobs=2))
    events, _ = events_of(local_model("deepseek-r1", "th\n</think>\n\né."), asked)
    told = {kind: [t for e in events if isinstance(e, Delta) and e.kind == kind for t in e.logprobs]
            for kind in ("reasoning", "content")}  # fmt: skip
    assert [t.token for t in told["reasoning"]] == ["th"]
    content = told["content"]
    assert bytes(b for t in content for b in t.bytes).lstrip(b"\n") == "é.".encode()
    assert all(len(t.top) == 2 and t.top[0].token == t.token and t.logprob <= 0 for t in content)


# ---- going on, between, plain


def test_a_reply_goes_on_from_where_it_was_begun() -> None:
    begun = Message("assistant", "```py\n")
    events, _ = events_of(local_model("deepseek-v3", " x = 1"), ask(chat("code", begun, prefix=True)))
    assert text_of(events) == " x = 1"  # white space and all
    model = local_model("deepseek-r1", "x")
    cases = {
        ("", "I was"): "<think>\nI was",
        ("So", "I was"): "<think>\nI was\n</think>\n\nSo",
        ("So", None): "<think>\n\n</think>\n\nSo",
        ("", None): "<think>\n",
    }
    for (content, reasoning), expected in cases.items():
        asked = ask(chat("q", Message("assistant", content, reasoning), prefix=True))
        text = model.prompter.tokenizer.decode(prepared(model, asked).request.prompt_ids)
        assert text.endswith(f"<｜User｜>q<｜Assistant｜>{expected}")
    events, _ = events_of(
        local_model("deepseek-r1", " right</think>Yes"), ask(chat("q", Message("assistant", "", "I am"), prefix=True))
    )
    assert (text_of(events, "reasoning"), text_of(events)) == (" right", "Yes")


@pytest.mark.parametrize("family", ["smollm2", "deepseek-v3", "deepseek-r1", "qwen3"])
def test_a_form_holds_for_what_was_begun_and_the_reply_together(family: str) -> None:
    pytest.importorskip("llguidance")
    expression = ResponseFormat(kind="regex", text="[a-z]+-[0-9]+")
    for form, begun, says, reply in (
        (ResponseFormat(kind="json_object"), '{"a":', ' {"b": 1}}', ' {"b": 1}}'),
        (ResponseFormat(kind="json_object"), '\n{"a": "th', '"}', '"}'),
        (ResponseFormat(kind="json_schema", text='{"const":{"n":4}}'), '{"n":', "4}", "4}"),
        (expression, "th-", "5", "5"),
    ):
        for tools in ((), (ADD,)):
            prompt = chat("q", Message("assistant", begun), prefix=True, tools=tools)
            events, _ = events_of(local_model(family, says), ask(prompt, response_format=form, max_tokens=30))
            assert (text_of(events), finish_of(events).reason) == (reply, "stop")
    thought = chat("q", Message("assistant", "", "Hm"), prefix=True)
    if family in ("deepseek-r1", "qwen3"):  # the answer is yet to begin
        asked = ask(thought, response_format=expression, max_tokens=99)
        events, _ = events_of(local_model(family, "m.</think>ab-1"), asked)
        assert (text_of(events, "reasoning"), text_of(events)) == ("m.", "ab-1")
    for form, begun, place in ((ResponseFormat(kind="json_object"), "Sure: {", 1), (expression, "ab_", 3)):
        asked = ask(chat("q", Message("assistant", begun), prefix=True), response_format=form)
        error = refusal(local_model(family, "x"), asked)
        assert (error.status, error.param) == (400, "response_format")
        assert f"the answer was begun with another text, from character {place} on" in error.message


SENTENCE_PIECE_JINJA = "{% for m in messages %}{% if m['role'] == 'user' %}c{% endif %}{{ m['content'] }}{% endfor %}b"


def test_a_vocabulary_that_begins_words_with_a_space_keeps_it_where_a_text_goes_on() -> None:
    prompter = Prompter.of(sentence_piece(*TAGS), SENTENCE_PIECE_JINJA)
    tokenizer = prompter.tokenizer
    assert tokenizer.encode("ab c")[0] == tokenizer.token_id("▁ab")
    events, _ = events_of(local_model(prompter, "ab c"), ask(PlainText(text="a b", echo=True)))
    assert text_of(events) == "a b ab c"
    begun = Message("assistant", "a")
    asked = ask(chat("c", begun, prefix=True), sampling=SamplingOptions(logprobs=0))
    events, _ = events_of(local_model(prompter, "ab c"), asked)
    assert text_of(events) == " ab c"
    told = [t for e in events if isinstance(e, Delta) for t in e.logprobs]
    assert "".join(t.token for t in told) == " ab c"


def test_a_chat_with_such_a_vocabulary_shows_no_space_before_thought_and_answer() -> None:
    tokenizer = sentence_piece(*TAGS)
    prompter = Prompter.of(tokenizer, SENTENCE_PIECE_JINJA)
    events, _ = events_of(local_model(prompter, "ab c"), ask(chat("c")))
    assert text_of(events) == "ab c"
    pieces = [*tokenizer.encode("a b"), tokenizer.control.end_think, *tokenizer.encode("ab c"), tokenizer.control.eos]

    def script(sample: Sample) -> int:
        return pieces[len(sample.output)] or 0

    for opening, first in (("<think>\n", pieces), ("", [tokenizer.control.think, *pieces])):
        pieces = first
        thinking = Prompter.of(tokenizer, SENTENCE_PIECE_JINJA[:-1] + opening)
        events, _ = events_of(local_model(thinking, script), ask(chat("c")))
        assert (text_of(events, "reasoning"), text_of(events)) == ("a b", "ab c")


def test_between_two_texts() -> None:
    model = local_model("deepseek-v3", "b")
    request = prepared(model, ask(PlainText(text="a<｜fim▁end｜>", suffix="c"))).request
    tokenizer = model.prompter.tokenizer
    expected = written(tokenizer, "<｜fim▁begin｜>a")
    assert request.prompt_ids[: len(expected)] == tuple(expected)
    control = set(tokenizer.control_tokens.values())
    marks = [i for i in request.prompt_ids if i in control]
    assert tokenizer.decode(marks) == "<｜fim▁begin｜><｜fim▁hole｜><｜fim▁end｜>"
    error = refusal(local_model("smollm2", "x"), ask(PlainText(text="a", suffix="b")))
    assert (error.status, error.param) == (400, "suffix")


def test_a_plain_text_goes_on_with_everything_shown() -> None:
    events, usage = events_of(local_model("deepseek-r1", " b<think>c</think> d"), ask(PlainText(text="a", echo=True)))
    assert text_of(events) == "a b<think>c</think> d"
    assert usage.prompt_tokens == 1
    events, _ = events_of(local_model("deepseek-r1", "x"), ask(PlainText(text=(97, 98))))
    assert text_of(events) == "x"
    error = refusal(local_model("smollm2", "x"), ask(PlainText(text=(5, 10_000))))
    assert (error.status, error.param) == (400, "prompt")
    assert prepared(local_model("smollm2", "x"), ask(PlainText(text=""))).prompt_tokens == 1


# ---- accounts, usage, ends


def test_the_cache_is_an_account_s_own_but_for_the_server_s_words() -> None:
    request = prepared(local_model("smollm2", "x"), ask(chat("Hi"))).request
    tokenizer = prompter_of("smollm2").tokenizer
    own = tokenizer.decode(request.prompt_ids[: request.shared_prefix])
    assert own.startswith("<|im_start|>system\nYou are a helpful AI assistant")
    assert own.endswith("<|im_end|>\n<|im_start|>")
    mine = ask(chat(Message("system", "My words"), "Hi"))
    request = prepared(local_model("smollm2", "x"), mine, Caller(account="b")).request
    assert (request.account, tokenizer.decode(request.prompt_ids[: request.shared_prefix])) == ("b", "<|im_start|>")


def test_a_request_s_priority_reaches_the_engine() -> None:
    model = local_model("smollm2", "x")
    assert [prepared(model, ask(chat("Hi"), priority=p)).request.priority for p in (0, -2, 3)] == [0, -2, 3]


def test_hits_count_in_units_of_64() -> None:
    model = local_model("smollm2", "x")

    async def body(backend: LocalBackend) -> list[Usage]:
        found = []
        for account in ("a", "a", "b"):
            caller = Caller(account=account)
            generation = await backend.start(await backend.prepare(ask(chat("word " * 40)), caller))
            _ = [event async for event in generation]
            found.append(generation.usage)
        return found

    first, second, other = run(model, body)
    assert first.cache_hit_tokens == 0
    assert second.cache_hit_tokens == 256
    assert second.cache_hit_tokens + second.cache_miss_tokens == second.prompt_tokens == first.prompt_tokens
    assert other.cache_hit_tokens == 64  # the system message that this server writes for all


def test_a_cancelled_generation_says_so_and_is_over() -> None:
    async def body(backend: LocalBackend) -> list[Any]:
        generation = await backend.start(await backend.prepare(ask(chat("x"), n=2), CALLER))
        events = [await anext(generation)]
        generation.cancel()
        generation.cancel()
        return [*events, *[event async for event in generation]]

    model = local_model("smollm2", "hm" * 2000, ends=False)
    events = run(model, body)
    assert [finish_of(events, i).reason for i in (0, 1)] == ["cancelled", "cancelled"]
    model.engine.check()  # type: ignore[attr-defined]


def test_one_sample_is_cancelled_and_the_other_goes_on() -> None:
    async def body(backend: LocalBackend) -> tuple[list[Any], int]:
        generation = await backend.start(await backend.prepare(ask(chat("x"), n=2, max_tokens=200), CALLER))
        events = [await anext(generation)]
        generation.cancel(0)
        events += [event async for event in generation]
        return events, generation.usage.completion_tokens

    model = local_model("smollm2", "hm" * 2000, ends=False)
    events, tokens = run(model, body)
    assert [finish_of(events, i).reason for i in (0, 1)] == ["cancelled", "length"]
    assert 200 < tokens < 400
    model.engine.check()  # type: ignore[attr-defined]


def test_a_generation_that_nobody_reads_leaves_nothing_behind() -> None:
    model = local_model("smollm2", "hm" * 2000, ends=False)
    engine = model.engine
    assert isinstance(engine, Engine)

    async def body(backend: LocalBackend) -> bool:
        for read in (0, 1):
            generation = await backend.start(await backend.prepare(ask(chat("x")), CALLER))
            for _ in range(read):
                await anext(generation)
            del generation
        gc.collect()
        for _ in range(200):
            await asyncio.sleep(0.005)
            if not engine.busy:
                return True
        return False

    assert run(model, body)
    engine.check()


@pytest.mark.parametrize("refused", [False, True])
def test_whoever_leaves_while_a_grammar_compiles_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, *, refused: bool
) -> None:
    pytest.importorskip("llguidance")
    model = local_model("smollm2", "hm" * 2000, ends=False)
    engine = model.engine
    assert isinstance(engine, Engine)
    began, gate, compile_grammar = threading.Event(), threading.Event(), engine._compile_grammar

    def slowly(request: Request) -> Any:
        began.set()
        assert gate.wait(20.0)
        return compile_grammar(request)

    monkeypatch.setattr(engine, "_compile_grammar", slowly)

    async def body(backend: LocalBackend) -> bool:
        wanted = ResponseFormat(kind="regex", text="[a-z]*")
        asked = await backend.prepare(ask(chat("x"), response_format=wanted), CALLER)
        if refused:
            asked = replace(asked, request=replace(asked.request, prompt_ids=(10**6,) * asked.prompt_tokens))
        starting = asyncio.create_task(backend.start(asked))
        assert await asyncio.to_thread(began.wait, 20.0)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        assert starting.cancelled()
        gate.set()
        for _ in range(400):
            await asyncio.sleep(0.005)
            if refused or (engine.statistics().scheduler.finished["cancelled"] == 1 and not engine.busy):
                return True
        return False

    assert run(model, body)
    engine.check()


def test_an_engine_that_has_ended_is_not_ready() -> None:
    model = local_model("smollm2", "x")

    async def body(backend: LocalBackend) -> None:
        assert await backend.ready()
        asked = await backend.prepare(ask(chat("x")), CALLER)
        await backend.close()
        assert not await backend.ready()
        with pytest.raises(ApiError) as raised:
            await backend.start(asked)
        assert raised.value.status == 503

    run(model, body)


def test_models_and_tokens() -> None:
    model = local_model("deepseek-r1", "x", created=5)

    async def body(backend: LocalBackend) -> None:
        (info,) = backend.models
        assert (info.id, info.created, info.context, info.thinks, info.tools, info.infill) == (
            "m",
            5,
            4096,
            *[True] * 3,
        )
        ids = await backend.tokenize("m", "th</think>")
        assert len(ids) == 8
        assert await backend.detokenize("m", ids) == "th</think>"
        assert len(await backend.tokenize("m", "x" * 20_000)) == 20_000
        with pytest.raises(ApiError) as raised:
            await backend.detokenize("m", [-1])
        assert raised.value.status == 400
        with pytest.raises(ApiError) as raised:
            await backend.tokenize("n", "x")
        assert (raised.value.status, raised.value.code) == (404, "model_not_found")

    run(model, body)


def test_characters_that_a_vocabulary_lacks_are_refused() -> None:
    error = refusal(local_model("plain", "x", context=99), ask(chat("é")))
    assert (error.status, error.param) == (400, "messages")
    assert "lacks the character" in error.message


def test_calls_and_results_of_earlier_turns() -> None:
    call = ToolCall(id="c", name="add", arguments='{"a": 1}')
    turns = chat(
        "1+1?", Message("assistant", "", tool_calls=(call,)), Message("tool", "2", tool_call_id="c"), tools=(ADD,)
    )
    for family in ("qwen3", "deepseek-r1", "smollm2", "llama-3.1"):
        events, _ = events_of(local_model(family, "Two."), ask(turns))
        assert text_of(events) == "Two."
