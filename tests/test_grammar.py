"""Answers in a form of their own: whatever the model would rather say, the answer fits, and nothing else changes."""

import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers

from fake_paged_model import prefix_state, scheduler, tokens_before
from ponder.core.errors import GenerationError
from ponder.core.streaming import Grammar, Request, SamplingOptions, Thinking
from ponder.engine.constraint import Constraints
from ponder.engine.engine import Engine, EngineConfig
from ponder.engine.request import Sample
from ponder.engine.step import StepPlan
from ponder.engine.stream import Output
from ponder.text.tokenizer import SpecialTokens, Tokenizer
from scripted_runner import ScriptedRunner
from small_models import small_dense
from vocabularies import small_chatml

TAGGED = Tokenizer.for_arithmetic()  # with <think> and <answer>
CHAT = small_chatml()  # bytes, no tags
TAGS = TAGGED.control
CLOSERS = '"}],0'
SCHEMAS: dict[str, Any] = {
    "object": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["a", "b", 3, None]}, "maxItems": 3},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    "tree": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"value": {"type": "boolean"}, "next": {"$ref": "#/$defs/node"}},
                "required": ["value"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
    "one of many": {"anyOf": [{"type": "number", "maximum": 5}, {"const": "none"}, {"type": "null"}]},
    "patterns": {
        "type": "array",
        "items": {"type": "string", "pattern": "^[A-F]{2}-[0-9]{1,3}$"},
        "minItems": 2,
        "maxItems": 4,
    },
}


class RandomRunner(ScriptedRunner):
    """Logits are noise, the same after the same tokens; some tokens are likelier, so that texts end."""

    def __init__(self, tokenizer: Tokenizer, *, pages: int = 4096, likely: dict[int, float] | None = None) -> None:
        super().__init__(lambda sample: 0, vocabulary=tokenizer.vocab_size, pages=pages)
        self.config = small_dense(vocab_size=tokenizer.vocab_size, max_positions=1024)
        self.bias = np.zeros(tokenizer.vocab_size, np.float32)
        for character in CLOSERS:
            if character.encode() in map(tokenizer.bytes_of, range(tokenizer.vocab_size)):
                self.bias[tokenizer.encode(character)] = 4.0
        for token, bias in (likely or {}).items():
            self.bias[token] = bias

    def run(self, plan: StepPlan) -> torch.Tensor:
        logits = np.zeros((len(plan.logit_rows), self.config.vocab_size), np.float32)
        for draw, row in enumerate(plan.draw_logits):
            noise = np.random.default_rng(prefix_state(tokens_before(plan, draw)))
            logits[row] = noise.normal(size=logits.shape[1]) + self.bias
        return torch.from_numpy(logits)


def spelling(tokenizer: Tokenizer, *texts: str | int) -> Callable[[Sample], int]:
    """A script that says these texts and ids one after the other, and then ends."""
    ids = [i for text in texts for i in ([text] if isinstance(text, int) else tokenizer.encode(text))]
    ids.append(tokenizer.control.eos)
    return lambda sample: ids[min(len(sample.output), len(ids) - 1)]


def asked(name: str = "a", grammar: Grammar | None = None, tokenizer: Tokenizer = TAGGED, **changes: Any) -> Request:
    usual: dict[str, Any] = {
        "prompt_ids": tuple(tokenizer.encode("1+1=?")),
        "max_tokens": 600,
        "stop_ids": frozenset(tokenizer.control.stop),
    }
    return Request(id=name, grammar=grammar, **{**usual, **changes})


def schema(content: Any) -> Grammar:
    return Grammar(kind="json_schema", text=json.dumps(content))


def regex(text: str) -> Grammar:
    return Grammar(kind="regex", text=text)


def outputs(
    request: Request, tokenizer: Tokenizer = TAGGED, config: EngineConfig | None = None, **runner: Any
) -> list[Output]:
    with Engine(RandomRunner(tokenizer, **runner), config, tokenizer) as engine:
        made = engine.submit(request).result()
        engine.check()
    return list(made)


GREEDY = SamplingOptions(temperature=0.0)
THOUGHT = Thinking(start_id=TAGS.think, end_id=TAGS.end_think or 0)


@pytest.mark.parametrize("tokenizer", [TAGGED, CHAT], ids=["tagged", "bytes"])
@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**62))
def test_every_answer_is_valid_json_of_its_schema(name: str, tokenizer: Tokenizer, seed: int) -> None:
    grammar = schema(SCHEMAS[name])
    made = outputs(asked(grammar=grammar, tokenizer=tokenizer, seeds=tuple(range(seed, seed + 3))), tokenizer)
    validator = jsonschema_rs.validator_for(SCHEMAS[name])
    for output in made:
        assert output.reason == "stop", output
        assert validator.is_valid(json.loads(output.text)), output.text
    assert len({output.ids for output in made}) > 1 or name == "one of many"


@pytest.mark.parametrize("tokenizer", [TAGGED, CHAT], ids=["tagged", "bytes"])
@pytest.mark.parametrize(
    "pattern", [r"[a-f]{3,9}(-\d{1,4})?", r"(yes|no|maybe), said (Ann|Bob)\.", r"a?b{0,5}c{1,5} d{2}"]
)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**62))
def test_every_answer_matches_its_expression_as_a_whole(pattern: str, tokenizer: Tokenizer, seed: int) -> None:
    for output in outputs(asked(grammar=regex(pattern), tokenizer=tokenizer, seeds=(seed, seed + 1)), tokenizer):
        assert output.reason == "stop"
        assert re.fullmatch(pattern, output.text), output.text


def test_every_answer_is_derived_from_its_lark_grammar() -> None:
    rules = 'start: sum "=?"\nsum: number | number SIGN sum\nSIGN: "+" | "-"\nnumber: /[1-9][0-9]{0,2}/'
    for output in outputs(asked(grammar=Grammar(kind="lark", text=rules), seeds=tuple(range(8)))):
        assert output.reason == "stop"
        assert re.fullmatch(r"[1-9]\d{0,2}([+-][1-9]\d{0,2})*=\?", output.text), output.text


@pytest.mark.parametrize("text", ["hello world", " hello", '"hell \u00e9"'])
def test_text_that_is_set_comes_as_it_is_whatever_the_tokenizer_would_put_before_it(text: str) -> None:
    """SentencePiece writes a word at the start of a text as if a space were before it."""
    words = ("\u2581", *"helowrd", "\u2581hello", "hello", "\u2581world", "th", '"')
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    backend = RustTokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(["<s>", "</s>"])
    tokenizer = Tokenizer(backend, SpecialTokens(bos="<s>", eos="</s>"))
    [output] = outputs(asked(grammar=regex(re.escape(text)), tokenizer=tokenizer), tokenizer)
    assert (output.text, output.reason) == (text, "stop")


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**62), share=st.floats(0.0, 1.0))
def test_an_answer_that_was_begun_is_gone_on_with(name: str, seed: int, share: float) -> None:
    whole = schema(SCHEMAS[name])
    [first] = outputs(asked(grammar=whole, tokenizer=CHAT, seeds=(seed,)), CHAT)
    begun = first.text[: round(share * len(first.text))]
    [rest] = outputs(asked(grammar=replace(whole, begun=begun), tokenizer=CHAT, seeds=(seed + 1,)), CHAT)
    if rest.reason == "stop":
        assert jsonschema_rs.is_valid(SCHEMAS[name], json.loads(begun + rest.text)), begun + rest.text


@pytest.mark.parametrize(("begun", "rest"), [("", "ab12"), ("a", "b12"), ("ab1", "2"), ("ab12", "")])
def test_the_rest_of_what_is_set(begun: str, rest: str) -> None:
    [output] = outputs(asked(grammar=replace(regex("ab12"), begun=begun), tokenizer=CHAT), CHAT)
    assert (output.text, output.reason) == (rest, "stop")


def test_in_a_vocabulary_with_tags_they_stand_around_the_answer() -> None:
    [output] = outputs(asked(grammar=regex("[a-z]{2}")))
    assert (output.ids[0], output.ids[-2], output.ids[-1]) == (TAGS.answer, TAGS.end_answer, TAGS.eos)
    prompt = (*TAGGED.encode("1+1=?"), TAGS.answer or 0)
    [output] = outputs(asked(grammar=regex("[a-z]{2}"), prompt_ids=prompt))  # the prompt has opened the answer
    assert len(output.text) == 2
    assert (output.ids.count(TAGS.answer or 0), output.ids[-2:]) == (0, (TAGS.end_answer, TAGS.eos))


@pytest.mark.parametrize("opened", [True, False])
def test_the_thought_is_free_and_the_answer_fits(opened: bool) -> None:
    assert TAGS.think is not None
    likely = {TAGS.end_think or 0: 3.5, TAGS.think: 9.0, TAGS.eos: 3.0, TAGS.answer or 0: 3.0}
    thinking = Thinking(start_id=TAGS.think, end_id=TAGS.end_think or 0, opened=opened)
    prompt = (*TAGGED.encode("1+1=?"), *([TAGS.think] if opened else []))
    request = asked(grammar=regex("[0-9]{2}!"), thinking=thinking, prompt_ids=prompt, seeds=tuple(range(6)))
    made = outputs(request, likely=likely)
    for output in made:
        assert output.reason == "stop"
        assert re.fullmatch("[0-9]{2}!", output.text)
        inside = output.ids[: output.ids.index(TAGS.end_think)]
        # which would have ended the reply, or taken the thought for an answer
        assert {TAGS.eos, TAGS.answer, TAGS.end_answer}.isdisjoint(inside)
        assert opened or inside[0] == TAGS.think
    assert any(not re.fullmatch("[0-9!]*", output.thought) for output in made)


def test_where_a_thought_may_open_the_answer_may_also_come_at_once() -> None:
    likely = {TAGS.think or 0: 1.0, TAGS.end_think or 0: 6.0, TAGS.answer or 0: 1.0}
    made = outputs(asked(grammar=regex("[0-9]{2}"), thinking=THOUGHT, seeds=tuple(range(20))), likely=likely)
    assert {output.ids[0] for output in made} == {TAGS.think, TAGS.answer}
    assert all(re.fullmatch("[0-9]{2}", output.text) for output in made)


@pytest.mark.parametrize("tagged", [True, False])
def test_a_thought_that_is_closed_by_force_is_followed_by_the_answer(tagged: bool) -> None:
    """What is forced beside the end of the thought is no part of the answer."""
    tokenizer, end = (TAGGED, TAGS.end_think or 0) if tagged else (CHAT, CHAT.encode_control("<|im_start|>"))
    closing = (*tokenizer.encode("so"), end, *tokenizer.encode("zz"))
    thinking = Thinking(start_id=None, end_id=end, opened=True, budget=5, closing_ids=closing)
    request = asked(grammar=regex("[0-9]{3}"), tokenizer=tokenizer, thinking=thinking, seeds=(1, 2))
    for output in outputs(request, tokenizer, likely={tokenizer.control.eos: 9.0}):
        assert output.ids[5 : 5 + len(closing)] == closing
        answer = output.ids[5 + len(closing) :]
        assert re.fullmatch("[0-9]{3}", tokenizer.decode(answer, skip_control=True))
        assert output.reason == "stop"


def test_answer_now_leads_to_the_answer() -> None:
    thinking = Thinking(start_id=TAGS.think, end_id=TAGS.end_think or 0, opened=True)
    with Engine(RandomRunner(TAGGED), None, TAGGED) as engine:
        stream = engine.submit(asked(grammar=regex("[0-9]{2}"), thinking=thinking, prompt_ids=(TAGS.think or 0,)))
        for _ in range(4):
            engine.step()
        stream.answer_now()
        [output] = stream.result()
    assert re.fullmatch("[0-9]{2}", output.text)
    assert output.ids[4] == TAGS.end_think


def test_what_fits_by_itself_is_not_changed() -> None:
    said = '{ "name": "Bob", "age": 7,\n  "tags": ["a", 3] }'.replace("\n", " ")
    for tokenizer, script in (
        (CHAT, spelling(CHAT, said)),
        (TAGGED, spelling(TAGGED, TAGS.answer or 0, said, TAGS.end_answer or 0)),
    ):
        results = []
        for grammar in (None, schema(SCHEMAS["object"])):
            runner = ScriptedRunner(script, vocabulary=tokenizer.vocab_size)
            runner.config = small_dense(vocab_size=tokenizer.vocab_size, max_positions=256)
            with Engine(runner, None, tokenizer) as engine:
                request = asked(grammar=grammar, tokenizer=tokenizer, sampling=GREEDY, max_tokens=100)
                results.append(engine.submit(request).result()[0])
        assert results[0].text == said
        assert (results[0].ids, results[0].reason) == (results[1].ids, results[1].reason)


def test_any_json_is_a_schema_too() -> None:
    [output] = outputs(asked(grammar=schema(True), seeds=(5,)))
    json.loads(output.text)
    assert output.reason == "stop"


def test_white_space_ends() -> None:
    """A model that would rather write spaces for ever has to go on."""
    [output] = outputs(
        asked(grammar=schema({"type": "array", "maxItems": 1}), sampling=GREEDY),
        CHAT,
        likely={CHAT.encode(" ")[0]: 40.0},
    )
    assert max(len(run) for run in re.findall(" +", output.text)) == 64


def test_samples_that_gave_way_end_as_they_would_have() -> None:
    request = asked(grammar=schema(SCHEMAS["tree"]), thinking=THOUGHT, seeds=tuple(range(6)), max_tokens=100)
    alone = outputs(request)
    with Engine(RandomRunner(TAGGED, pages=60), None, TAGGED) as engine:
        made = engine.submit(request).result()
        assert engine.statistics().scheduler.preemptions > 0
        engine.check()
    assert [output.ids for output in made] == [output.ids for output in alone]


def test_logprobs_are_of_what_the_grammar_left() -> None:
    sampling = SamplingOptions(logprobs=TAGGED.vocab_size, temperature=0.7)
    [output] = outputs(asked(grammar=regex("[0-3]{4}"), sampling=sampling))
    digits = {i for i in range(TAGGED.vocab_size) if re.fullmatch("[0-3]{1,3}", TAGGED.decode([i]))}
    said = output.ids[1:-2]  # without the answer's tags and the end
    for token, logprob, likeliest in zip(said, output.logprobs[1:], output.likeliest[1:], strict=False):
        told = dict(likeliest)
        assert told.keys() <= digits
        assert logprob == pytest.approx(told[token], abs=1e-5)
        assert sum(np.exp(value) for value in told.values()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingOptions(top_k=1),
        SamplingOptions(top_p=0.1, min_p=0.5),
        SamplingOptions(presence_penalty=100.0, frequency_penalty=100.0),
        SamplingOptions(repetition_penalty=5.0, temperature=3.0),
    ],
)
def test_the_other_settings_work_on_what_the_grammar_allows(sampling: SamplingOptions) -> None:
    """Here the model is all but sure of what is not allowed."""
    made = outputs(asked(grammar=regex("x{5}"), sampling=sampling, seeds=(1, 2)), likely={TAGGED.encode("y")[0]: 200.0})
    assert [output.text for output in made] == ["xxxxx", "xxxxx"]


def test_a_stop_string_ends_the_answer_all_the_same() -> None:
    [output] = outputs(
        asked(grammar=regex("ab+c"), stop_strings=("bb",), sampling=GREEDY), likely={TAGGED.encode("b")[0]: 30.0}
    )
    assert (output.text, output.reason) == ("a", "stop")


def test_samples_with_and_without_a_grammar_share_a_batch() -> None:
    grammars = {"free": None, "digits": regex("[0-9]{3}"), "letters": regex("[a-z]{3}")}
    requests = {name: asked(name, grammar, max_tokens=12, seeds=(3, 4)) for name, grammar in grammars.items()}
    alone = {name: [output.ids for output in outputs(request)] for name, request in requests.items()}
    with Engine(RandomRunner(TAGGED), None, TAGGED) as engine:
        streams = {name: engine.submit(request) for name, request in requests.items()}
        assert {name: [output.ids for output in stream.result()] for name, stream in streams.items()} == alone


def test_a_request_without_stop_ids_ends_where_its_grammar_does() -> None:
    [output] = outputs(asked(grammar=regex("abc"), stop_ids=frozenset()))
    assert (output.text, output.reason, output.ids[-1]) == ("abc", "stop", TAGS.eos)


def explosive() -> Any:
    """Twelve choices of six, all at once: two billion cases."""
    choices = [[{"properties": {f"p{i}_{j}": {"type": "string"}}} for j in range(6)] for i in range(12)]
    return {"allOf": [{"anyOf": choice} for choice in choices]}


BAD = {
    "no JSON": (Grammar(kind="json_schema", text="{"), "JSON schema cannot be followed: it is no JSON"),
    "no schema": (Grammar(kind="json_schema", text="3"), "expected an object, or true"),
    "unknown type": (schema({"type": "strin"}), "Invalid type: strin"),
    "unknown keyword": (schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
    "remote reference": (schema({"$ref": "http://localhost:9/x.json"}), "does not fetch"),
    "fits nothing": (schema({"type": "integer", "minimum": 5, "maximum": 3}), "Unsatisfiable"),
    "refers to itself": (schema({"$ref": "#"}), "no text of this vocabulary fits it"),
    "no such characters": (schema({"const": "\u00e9\u00e9"}), "no text of this vocabulary fits it"),
    "explodes": (schema(explosive()), "too large"),
    "deep": (Grammar(kind="json_schema", text='{"not":' * 9000 + "{}" + "}" * 9000), "JSON"),
    "too deep for the library": (
        Grammar(kind="json_schema", text='{"not":' * 150 + "{}" + "}" * 150),
        "JSON schema cannot be followed: recursion limit exceeded",
    ),
    "long": (schema({"enum": ["x" * 200_000]}), "at most 131072"),
    "regex": (regex("(a"), "regular expression cannot be followed: at 1"),
    "nested regex": (regex("(" * 50_000 + ")" * 50_000), "regular expression cannot be followed"),
    "lark": (Grammar(kind="lark", text="start: foo"), 'unknown name: "foo"'),
    "nested lark": (Grammar(kind="lark", text="start: " + "(" * 20_000 + '"a"' + ")" * 20_000), "too deeply nested"),
    "no start": (Grammar(kind="lark", text='{"grammars": []}'), "begins with {"),
    "control token": (Grammar(kind="lark", text='start: <think> "a"'), "names a control token"),
    "begun otherwise": (replace(regex("[0-9]{3}"), begun="12a"), "begun with another text, from character 3 on"),
    "begun too long": (replace(regex("[0-9]{3}"), begun="1234"), "begun with another text, from character 4 on"),
    "begun in no such letters": (replace(regex(".*"), begun="é"), "of the answer that was begun, the vocabulary"),
    "control id": (Grammar(kind="lark", text="start: <[2]>"), "no text of this vocabulary fits it"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_grammar_that_cannot_be_followed_is_refused_at_once(name: str) -> None:
    grammar, expected = BAD[name]
    with Engine(RandomRunner(TAGGED), None, TAGGED) as engine:
        other = engine.submit(asked("other", regex("[0-9]{3}")))
        began = time.monotonic()
        with pytest.raises(GenerationError, match=re.escape(expected)) as refused:
            engine.submit(asked("bad", grammar))
        assert time.monotonic() - began < 10.0  # a second at worst, on a machine that has nothing else to do
        assert len(str(refused.value)) < 500
        assert other.result()[0].reason == "stop"
        assert engine.submit(asked("bad", regex("[0-9]"))).result()[0].reason == "stop"  # the id is free
        engine.check()


@pytest.mark.parametrize(
    "grammar",
    [regex("[xy]\u00e9+"), regex("((a{1,1000}b){1,1000}){1,1000}")],
    ids=["no token", "explodes"],
)
def test_a_grammar_that_leads_nowhere_ends_its_own_request(grammar: Grammar) -> None:
    likely = {TAGGED.encode("a")[0]: 30.0, TAGGED.encode("b")[0]: 30.0}
    with Engine(RandomRunner(TAGGED, likely=likely), None, TAGGED) as engine:
        lost = engine.submit(asked("lost", grammar, max_tokens=1000))
        other = engine.submit(asked("other", regex("[0-9]{3}")))
        assert other.result()[0].reason == "stop"
        [output] = lost.result()
        assert (output.reason, "its grammar" in output.error) == ("error", True), output
        engine.check()


@pytest.mark.parametrize("begun", ["", "aab"])
def test_an_answer_that_explodes_harms_no_other_of_the_same_grammar(begun: str) -> None:
    """Copies of one matcher share an automaton, which the first of them may have filled up."""
    a, b = (TAGGED.encode(letter)[0] for letter in "ab")
    grammar = replace(regex("((a{1,1000}b){1,1000}){1,1000}"), begun=begun)
    with Engine(RandomRunner(TAGGED, likely={a: 30.0, b: 30.0}), None, TAGGED) as engine:
        beside = engine.submit(asked("beside", grammar, seeds=(7,), max_tokens=60))
        [alone] = beside.result()
        beside = engine.submit(asked("beside", grammar, seeds=(7,), max_tokens=60))
        assert "its grammar" in engine.submit(asked("lost", grammar, max_tokens=1000)).result()[0].error
        assert beside.result() == (alone,)
        [after] = engine.submit(asked("after", grammar, seeds=(7,), max_tokens=60)).result()
        assert (after.ids, after.reason, after.error) == (alone.ids, "length", "")
        [whole] = engine.submit(
            asked("whole", replace(regex("((a{1,1000}b){1,1000}){1,1000}"), begun="ab"), max_tokens=60)
        ).result()
        assert whole.error == ""
        engine.check()


def test_a_grammar_that_leads_nowhere_leaves_the_prompts_pages_to_others() -> None:
    with Engine(RandomRunner(TAGGED), None, TAGGED) as engine:
        lost = engine.submit(asked("lost", regex("[xy]\u00e9+")))
        assert "its grammar" in lost.result()[0].error
        other = engine.submit(asked("other", regex("[0-9]")))
        other.result()
        assert other.usage.hit_tokens == 4


def test_logits_that_are_not_finite_are_still_found() -> None:
    with Engine(ScriptedRunner(lambda sample: 3, vocabulary=TAGGED.vocab_size), None, TAGGED) as engine:
        engine._runner.poisoned.add("sick")  # type: ignore[attr-defined]
        sick = engine.submit(asked("sick", regex("[0-9]{3}"), max_tokens=20))
        sound = engine.submit(asked("sound", regex("[0-9]{3}"), max_tokens=20))
        assert "not finite" in sick.result()[0].error
        assert re.fullmatch("[0-9]{3}", sound.result()[0].text)


def test_nothing_is_kept_of_requests_that_were_cancelled() -> None:
    with Engine(RandomRunner(TAGGED), None, TAGGED) as engine:
        streams = [engine.submit(asked(str(i), regex("[a-z]*"), seeds=(1, 2))) for i in range(5)]
        for stream in streams:
            engine.step()
            stream.cancel()
            stream.cancel()
        assert not engine.step()
        engine.check()
        assert not engine._constraints._grammars  # type: ignore[union-attr]


def test_without_the_library_only_such_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with Engine(RandomRunner(TAGGED), None, TAGGED) as engine:
        with pytest.raises(GenerationError, match="not installed; install it: pip install 'ponder"):
            engine.submit(asked("a", regex("x")))
        assert engine.submit(asked("b", max_tokens=5)).result()[0].ids


def test_without_a_tokenizer_there_are_no_grammars() -> None:
    with Engine(RandomRunner(TAGGED)) as engine, pytest.raises(GenerationError, match="give the engine a tokenizer"):
        engine.submit(asked("a", regex("x")))


def test_a_vocabulary_smaller_than_the_models_is_padded_with_nothing() -> None:
    constraints = Constraints(TAGGED, TAGGED.vocab_size + 77)
    request = asked(grammar=regex(".*"))
    constraints.admit(request, constraints.compile(regex(".*")))
    queue = scheduler(vocab_size=TAGGED.vocab_size, context=1000, pages=300)
    queue.add(request)
    plan = queue.plan()
    assert plan is not None
    plan.draws[0].tokens.append(TAGS.answer or 0)
    logits = torch.zeros(1, TAGGED.vocab_size + 77)
    assert constraints.mask(logits, plan) == {}
    allowed = logits[0].isfinite().nonzero()[:, 0].tolist()
    assert max(allowed) == TAGGED.vocab_size - 1
    assert set(range(6)) & set(allowed) == {TAGS.end_answer}
