"""Whether a model thinks, what is then without effect, and which thoughts may come back: in both dialects."""

import time
from dataclasses import replace
from typing import Any

import pytest

from ponder.core.streaming import SamplingOptions
from ponder.core.types import Message, ToolCall
from ponder.serve.records import Conversation
from ponder.serve.scripted import scripted_model
from ponder.serve.wire.settings import Alias, WireSettings
from ponder.serve.wire.turns import with_thoughts_of_tool_turns
from wire_server import QUESTION, ask, chat

R1 = WireSettings(dialect="r1")


@pytest.mark.parametrize(
    ("fields", "thinks", "effort", "budget"),
    [
        ({}, True, None, None),
        ({"thinking": {"type": "enabled"}}, True, None, None),
        ({"thinking": {"type": "disabled"}}, False, None, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, True, None, 9),
        ({"thinking_budget": 0}, True, None, 0),
        ({"thinking_budget": 7, "thinking": {"type": "disabled"}}, False, None, None),
        ({"reasoning_effort": "none"}, False, None, None),
        ({"reasoning_effort": "minimal"}, True, "low", None),
        ({"reasoning_effort": "low"}, True, "low", None),
        ({"reasoning_effort": "medium"}, True, "high", None),
        ({"reasoning_effort": "high"}, True, "high", None),
        ({"reasoning_effort": "xhigh"}, True, "high", None),
        ({"reasoning_effort": "max"}, True, "max", None),
        ({"reasoning_effort": "ultra"}, True, "max", None),
        ({"reasoning_effort": "max", "thinking": {"type": "disabled"}}, False, None, None),
        ({"reasoning_effort": "none", "thinking": {"type": "enabled"}}, True, None, None),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False, None, None),
        ({"chat_template_kwargs": {"thinking": False, "other": 1}}, False, None, None),
        ({"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "low"}, True, "low", None),
    ],
)
def test_the_toggle_of_v4(fields: dict[str, Any], thinks: bool, effort: str | None, budget: int | None) -> None:
    answer, asks = ask(chat(**fields))
    assert (asks[0].thinking, asks[0].effort, asks[0].thinking_budget) == (thinks, effort, budget)
    message = answer.json["choices"][0]["message"]
    assert ("reasoning_content" in message) is thinks


def test_a_budget_cuts_the_thought_and_never_the_answer() -> None:
    answer, _ = ask(chat(thinking_budget=1))
    message = answer.json["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Two", "It is 4.")
    assert ask(chat(thinking_budget=0))[0].json["choices"][0]["message"]["reasoning_content"] is None


def test_a_model_without_thoughts_has_none_whatever_is_asked_for() -> None:
    plain = replace(scripted_model(), thinks=False)
    for fields in ({}, {"thinking": {"type": "enabled"}}, {"reasoning_effort": "max", "thinking_budget": 5}):
        _, asks = ask(chat(**fields, temperature=0.1), model=plain)
        assert (asks[0].thinking, asks[0].effort, asks[0].thinking_budget) == (None, None, None)
        assert asks[0].sampling == SamplingOptions(temperature=0.1)


def test_in_r1_the_name_decides() -> None:
    for name, thinks in (("deepseek-reasoner", True), ("deepseek-chat", False), ("scripted", True)):
        answer, asks = ask(chat(model=name, thinking={"type": "disabled"}, reasoning_effort="low"), settings=R1)
        assert (asks[0].model, asks[0].thinking, asks[0].effort) == ("scripted", thinks, None)
        assert answer.json["model"] == name
    assert ask(chat(model="deepseek-chat"))[0].status == 404


def test_an_operator_names_models() -> None:
    settings = WireSettings(aliases={"fast": Alias(model="scripted", thinking=False), "any": Alias()})
    assert ask(chat(model="fast", thinking={"type": "enabled"}), settings=settings)[1][0].thinking is False
    assert ask(chat(model="any", thinking={"type": "disabled"}), settings=settings)[1][0].thinking is False
    assert ask(chat(model="any"), settings=settings)[1][0].thinking is True


GIVEN = {"temperature": 0.5, "top_p": 0.5, "presence_penalty": 0.5, "frequency_penalty": 0.5, "min_p": 0.5, "top_k": 5}
OWN = SamplingOptions(temperature=0.6, top_p=0.95, repetition_penalty=1.1)
MODEL = replace(scripted_model(), sampling=OWN)


def test_parameters_without_effect_while_thinking() -> None:
    for settings, expected in (
        (WireSettings(), replace(OWN, top_p=0.5, min_p=0.5, top_k=5)),
        (R1, replace(OWN, min_p=0.5, top_k=5)),
    ):
        assert ask(chat(**GIVEN), settings=settings, model=MODEL)[1][0].sampling == expected


def test_parameters_go_over_the_models_own_one_by_one() -> None:
    off = {"thinking": {"type": "disabled"}}
    everything = replace(OWN, **GIVEN)
    assert ask(chat(thinking_budget=0, **GIVEN), model=MODEL)[1][0].sampling == everything  # no thought, no exception
    assert ask(chat(**off, **GIVEN), model=MODEL)[1][0].sampling == everything
    assert ask(chat(**off), model=MODEL)[1][0].sampling is None
    assert ask(chat(**off, top_p=0), model=MODEL)[1][0].sampling == replace(OWN, top_p=1e-6)
    assert ask(chat(**off, top_k=-1), model=MODEL)[1][0].sampling == replace(OWN, top_k=0)
    assert ask(chat(logprobs=True), model=MODEL)[1][0].sampling == replace(OWN, logprobs=0)
    assert ask(chat(logprobs=True, top_logprobs=4), model=MODEL)[1][0].sampling == replace(OWN, logprobs=4)


@pytest.mark.parametrize("fields", [{"logprobs": True}, {"logprobs": True, "top_logprobs": 1}, {"top_logprobs": 1}])
def test_r1_tells_no_logprobs_while_thinking(fields: dict[str, Any]) -> None:
    answer, _ = ask(chat(**fields), settings=R1)
    assert (answer.status, answer.error["code"]) == (400, "unsupported")
    if "logprobs" in fields:
        assert ask(chat(**fields, model="deepseek-chat"), settings=R1)[0].status == 200
    assert ask(chat(logprobs=False), settings=R1)[0].status == 200


def assistant(content: str | None, thought: str | None, *calls: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content, "reasoning_content": thought}
    if calls:
        message["tool_calls"] = [
            {"id": c, "type": "function", "function": {"name": "f", "arguments": "{}"}} for c in calls
        ]
    return message


HISTORY = [
    {"role": "user", "content": "1"},
    assistant("a", "thought 1"),
    {"role": "user", "content": "2"},
    assistant(None, "thought 3", "c1"),
    {"role": "tool", "tool_call_id": "c1", "content": "x"},
    assistant("b", "thought 5"),
    {"role": "user", "content": "3"},
    assistant(None, "thought 7", "c2"),
    {"role": "tool", "tool_call_id": "c2", "content": "y"},
]


def thoughts_of(messages: list[dict[str, Any]], **fields: Any) -> list[str | None]:
    answer, asks = ask(chat(messages=messages, **fields))
    assert answer.status == 200, answer.body
    assert isinstance(asks[0].prompt, Conversation)
    return [message.reasoning for message in asks[0].prompt.messages]


def test_v4_keeps_the_thoughts_of_turns_with_tool_calls_and_ignores_others() -> None:
    kept = [None, None, None, "thought 3", None, "thought 5", None, "thought 7", None]
    assert thoughts_of(HISTORY) == kept
    assert thoughts_of(HISTORY, thinking={"type": "disabled"}) == [None] * 9


def test_a_turn_of_very_many_calls_is_looked_at_once() -> None:
    call = Message("assistant", "", reasoning="hm", tool_calls=(ToolCall(id="c", name="f", arguments="{}"),))
    messages = [Message("user", "x"), Message("assistant", "y", reasoning="before a call"), *[call] * 30_000]
    began = time.process_time()
    kept = with_thoughts_of_tool_turns(messages, thinks=True, prefix=False)
    assert time.process_time() - began < 2  # looking at the whole turn for every message takes 10 s
    assert kept == tuple(messages)


def test_strict_history_wants_the_thoughts_that_are_kept() -> None:
    strict = WireSettings(strict_reasoning_history=True)
    assert ask(chat(messages=HISTORY), settings=strict)[0].status == 200
    for number, status in ((1, 200), (3, 400), (5, 200), (7, 400)):
        without = [{**m, "reasoning_content": None} if i == number else m for i, m in enumerate(HISTORY)]
        answer, _ = ask(chat(messages=without), settings=strict)
        assert answer.status == status
        if status == 400:
            assert answer.error["param"] == f"messages.{number}.reasoning_content"
        assert ask(chat(messages=without, thinking={"type": "disabled"}), settings=strict)[0].status == 200
        assert ask(chat(messages=without))[0].status == 200


def test_r1_refuses_every_thought_that_comes_back() -> None:
    messages = [*QUESTION, assistant("4", "thought"), *QUESTION]
    answer, _ = ask(chat(messages=messages), settings=R1)
    assert (answer.status, answer.error["param"]) == (400, "messages.1.reasoning_content")
    assert ask(chat(messages=[*QUESTION, assistant("4", None), *QUESTION]), settings=R1)[0].status == 200
    prefix = [*QUESTION, {**assistant("It", "hm"), "prefix": True}]
    assert ask(chat(messages=prefix), settings=R1, path="/beta/chat/completions")[0].status == 200
