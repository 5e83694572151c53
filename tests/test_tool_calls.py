"""Tool calls in what a model writes: the same however it is cut, and nothing lost of what is no call."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_models import prompter_of, written
from ponder.text.tokenizer import Tokenizer
from ponder.text.tool_calls import CallArguments, CallStart, Found, ToolCallParser
from ponder.text.tool_formats import DEEPSEEK, HERMES, LLAMA31, ToolFormat

NAMES = ("add", "get_weather")
MARKED = prompter_of("qwen3").tokenizer  # has the marks as control tokens
UNMARKED = prompter_of("smollm2").tokenizer  # has not
DEEPSEEKS = prompter_of("deepseek-v3").tokenizer
LLAMAS = prompter_of("llama-3.1").tokenizer


def parse(
    text: str,
    tokenizer: Tokenizer,
    form: ToolFormat,
    cuts: frozenset[int] = frozenset(),
    *,
    cut_off: bool = False,
    **settings: bool,
) -> list[str | tuple[str, str]]:
    """Content, and names and arguments of calls. `cuts`: text is given in one go but at these tokens."""
    parser = ToolCallParser(tokenizer, form, NAMES, **settings)
    control = set(tokenizer.control_tokens.values())
    found: list[Found] = []
    decoder = tokenizer.stream_decoder(skip_control=True)
    gathered = ""
    for i, token in enumerate(written(tokenizer, text)):
        if i in cuts or token in control:
            found += parser.push(gathered)
            gathered = ""
        gathered += decoder.push(token)
        if token in control:
            found += parser.mark(token)
    found += parser.push(gathered) + parser.finish(cut=cut_off)
    joined: list[str | tuple[str, str]] = []
    for item in found:
        last = joined[-1] if joined else None
        if isinstance(item, CallStart):
            joined.append((item.name, ""))
        elif isinstance(item, CallArguments):
            assert isinstance(last, tuple)
            joined[-1] = (last[0], last[1] + item.text)
        elif isinstance(last, str):
            joined[-1] = last + item
        else:
            joined.append(item)
    return joined


CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "}</tool_call>{"}}\n</tool_call>'
SUM = ("add", '{"a": 1, "b": "}</tool_call>{"}')
PLAIN_CALL = '<tool_call>\n{"name": "add", "arguments": {"a": [1, {"b": "\\"}"}]}}\n</tool_call>'
PLAIN_SUM = ("add", '{"a": [1, {"b": "\\"}"}]}')
V3_CALL = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{}\n```json\n{}\n```<｜tool▁call▁end｜>"
V31_CALL = "<｜tool▁call▁begin｜>{}<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
A, AT = '{"a":1}', '{"at": 1}'
ALL_BEGIN, ALL_END = DEEPSEEK.calls
CASES = {
    "hermes": (HERMES, MARKED, f"Let me see.\n{PLAIN_CALL}", ["Let me see.", PLAIN_SUM]),
    "hermes, two": (HERMES, MARKED, f"{PLAIN_CALL}\n{PLAIN_CALL}\n", [PLAIN_SUM, PLAIN_SUM]),
    "hermes, its marks as text": (HERMES, UNMARKED, f"Hm {CALL}", ["Hm", SUM]),
    "hermes, no call": (HERMES, UNMARKED, "a < b <tool_cal \n", ["a < b <tool_cal \n"]),
    "hermes, no JSON": (HERMES, MARKED, "<tool_call>\nadd(1)\n</tool_call>", ["<tool_call>\nadd(1)\n</tool_call>"]),
    "hermes, an unknown tool": (
        HERMES, UNMARKED, '<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
        ['<tool_call>{"name": "rm", "arguments": {}}</tool_call>'],
    ),
    "hermes, keys the other way round": (
        HERMES, MARKED, '<tool_call>{"arguments": {"a": 1}, "name": "add"}</tool_call>', [("add", '{"a": 1}')],
    ),
    "hermes, arguments as a string": (
        HERMES, MARKED, '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}</tool_call>', [("add", '{"a": 1}')],
    ),
    "hermes, none": (HERMES, MARKED, '<tool_call>{"name": "add", "arguments": null}', [("add", "{}")]),
    "hermes, cut off": (HERMES, MARKED, '<tool_call>{"name": "add", "arguments": {"a": "x', [("add", '{"a": "x')]),
    "hermes, text after it": (HERMES, MARKED, f"{PLAIN_CALL}\nDone.", [PLAIN_SUM, "Done."]),
    "hermes, never closed": (HERMES, MARKED, '<tool_call>{"name": "a', ['<tool_call>{"name": "a']),
    "v3": (
        DEEPSEEK, DEEPSEEKS,
        f"Both.{ALL_BEGIN}{V3_CALL.format('add', '{}')}\n{V3_CALL.format('get_weather', AT)}{ALL_END}",
        ["Both.", ("add", "{}"), ("get_weather", '{"at": 1}')],
    ),
    "v3.1": (DEEPSEEK, DEEPSEEKS, f"{ALL_BEGIN}{V31_CALL.format('add', A)}{ALL_END}", [("add", '{"a":1}')]),
    "v3, marks as text": (DEEPSEEK, UNMARKED, f"{ALL_BEGIN}{V3_CALL.format('add', '{}')}{ALL_END}", [("add", "{}")]),
    "v3, unknown": (
        DEEPSEEK, DEEPSEEKS, f"{ALL_BEGIN}{V31_CALL.format('rm', '{}')}{ALL_END}", [V31_CALL.format("rm", "{}")],
    ),
    "llama": (LLAMA31, LLAMAS, ' {"name": "add", "parameters": {"a": 1}}', [("add", '{"a": 1}')]),
    "llama, two": (
        LLAMA31, LLAMAS, '{"name": "add", "parameters": {}}; {"name": "get_weather", "parameters": {"b": 2}}',
        [("add", "{}"), ("get_weather", '{"b": 2}')],
    ),
    "llama, type first": (
        LLAMA31, LLAMAS, '{"type": "function", "name": "add", "parameters": {"a": 1}}', [("add", '{"a": 1}')],
    ),
    "llama, an answer in JSON": (LLAMA31, LLAMAS, ' {"name": "Ann"} ', [' {"name": "Ann"} ']),
    "llama, another": (LLAMA31, LLAMAS, '{"a": {"name": "add"}}', ['{"a": {"name": "add"}}']),
    "llama, text": (LLAMA31, LLAMAS, 'A {"name": "add", "parameters": {}}', ['A {"name": "add", "parameters": {}}']),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_calls_and_content(name: str) -> None:
    form, tokenizer, text, expected = CASES[name]
    assert parse(text, tokenizer, form) == expected
    every = frozenset(range(len(text.encode()) + 1))
    assert parse(text, tokenizer, form, every) == expected
    for cut in every:
        assert parse(text, tokenizer, form, frozenset({cut})) == expected, cut


@given(st.sampled_from(sorted(CASES)), st.sets(st.integers(0, 200)))
def test_any_cut(name: str, cuts: set[int]) -> None:
    form, tokenizer, text, expected = CASES[name]
    assert parse(text, tokenizer, form, frozenset(cuts)) == expected


TEXTS = st.lists(
    st.sampled_from(
        [
            "<tool_call>", "</tool_call>", "{", "}", '"', "\\", '"name"', ": ", '"add"', ", ", '"arguments"', "\n", " ",
            "x", PLAIN_CALL, '{"name": "add", "arguments": ', '{"name": "add", "parameters": {}}', "<tool",
        ]
    ),
    max_size=12,
).map("".join)  # fmt: skip


@given(TEXTS, st.sampled_from(["hermes", "as text", "llama"]), st.sets(st.integers(0, 300)))
def test_whatever_comes_ends_in_content_and_calls_that_say_the_same_for_any_cut(
    text: str, which: str, cuts: set[int]
) -> None:
    form, tokenizer = {"hermes": (HERMES, MARKED), "as text": (HERMES, UNMARKED), "llama": (LLAMA31, LLAMAS)}[which]
    whole = parse(text, tokenizer, form)
    assert parse(text, tokenizer, form, frozenset(cuts)) == whole
    if not any(isinstance(item, tuple) for item in whole):
        shown, marks = "".join(str(item) for item in whole), ("</tool_call>",) if which == "hermes" else ()
        for mark in marks:  # a control token that ends no call has no text
            shown, text = shown.replace(mark, ""), text.replace(mark, "")
        assert "".join(shown.split()) == "".join(text.split())


def test_arguments_come_piece_by_piece() -> None:
    parser = ToolCallParser(UNMARKED, HERMES, NAMES)
    assert parser.push('<tool_call>{"name": "add", "argum') == []
    assert parser.push('ents": {"a"') == [CallStart("add"), CallArguments('{"a"')]
    assert parser.push(": 1") == [CallArguments(": 1")]
    assert parser.push("}}") == [CallArguments("}")]
    assert parser.push("</tool_call>") + parser.finish() == []


def test_one_call_only() -> None:
    parser = ToolCallParser(UNMARKED, HERMES, NAMES, parallel=False)
    end = PLAIN_CALL.rindex("}}")
    parser.push(PLAIN_CALL[:end])
    assert not parser.satisfied
    parser.push(PLAIN_CALL[end:])
    assert parser.satisfied
    assert parse(PLAIN_CALL * 2, UNMARKED, HERMES, parallel=False) == [PLAIN_SUM]


def test_bare_calls_need_no_marks() -> None:
    first, second = (
        json.dumps({"name": "add", "arguments": {"a": "<tool_call>"}}),
        '{"name":"get_weather","arguments":{}}',
    )
    expected = [("add", '{"a": "<tool_call>"}'), ("get_weather", "{}")]
    for form in (HERMES, DEEPSEEK):
        assert parse(f"{first}\n{second}", UNMARKED, form, bare=True) == expected


def half_call(text: str, arguments: str) -> list[str | tuple[str, str]]:
    """What a beginning of a call to add tells: nothing until the name has come, then what there is of its arguments."""
    if '"name": "add"' not in text:
        return []
    return [("add", text.partition('"arguments": ')[2][: len(arguments)])]


@pytest.mark.parametrize("tokenizer", [MARKED, UNMARKED], ids=["marked", "as text"])
def test_a_call_that_is_cut_off_is_never_content(tokenizer: Tokenizer) -> None:
    # a mark that is one token is there or not; as text it may be cut, too
    end = len(PLAIN_CALL) if tokenizer is UNMARKED else PLAIN_CALL.index("</tool_call>")
    for length in range(len("<tool_call>"), end + 1):
        text = PLAIN_CALL[:length]
        assert parse(text, tokenizer, HERMES, cut_off=True) == half_call(text, PLAIN_SUM[1]), text


def test_half_of_a_call_that_had_to_be_made_is_no_content_either() -> None:
    call = f'{{"name": "add", "arguments": {A}}}'
    required = {"bare": True, "required": True, "cut_off": True}
    for length in range(len(call) + 1):
        text = call[:length]
        assert parse(text, MARKED, HERMES, **required) == half_call(text, A), text
        assert parse(f"{call}\n{text}", MARKED, HERMES, **required) == [("add", A), *half_call(text, A)], text
    # an answer that may be anything is passed on as it is
    assert parse('{"name": "ad', MARKED, HERMES, bare=True, cut_off=True) == ['{"name": "ad']


def test_what_only_looks_like_a_call_is_content_unless_it_is_cut_off() -> None:
    assert parse("<tool_call>{oops", MARKED, HERMES) == ["<tool_call>{oops"]
    assert parse("<tool_call>{oops", MARKED, HERMES, cut_off=True) == []


def test_the_one_call_that_may_be_made_stays_made() -> None:
    parser = ToolCallParser(UNMARKED, HERMES, NAMES, parallel=False)
    parser.push(PLAIN_CALL)
    assert parser.satisfied
    parser.push('\n<tool_call>{"na')  # what comes before the engine has stopped
    assert parser.satisfied
