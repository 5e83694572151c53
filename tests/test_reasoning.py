"""The shape of a completion: control tokens count by id alone, and text survives a round trip."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers

from ponder.core.errors import TokenizerError
from ponder.text.reasoning import ThinkSplitter, completion_ids, parse_reasoning
from ponder.text.tokenizer import CONTROL_TOKENS, LARGEST_NUMBER, PRINTABLE, WORDS, SpecialTokens, Tokenizer

TOKENIZER = Tokenizer.for_arithmetic()
CONTROL = TOKENIZER.control
CONTROL_IDS = set(range(len(CONTROL_TOKENS)))
printable = st.text(alphabet="".join(PRINTABLE), max_size=80)


def well_formed(thought: str, answer: str) -> list[int]:
    return completion_ids(TOKENIZER.encode(thought), TOKENIZER.encode(answer), CONTROL)


def test_a_well_formed_completion() -> None:
    reasoning = parse_reasoning(well_formed("7+8=5, 5-3=2 ok", "2"), TOKENIZER)
    assert (reasoning.thought, reasoning.answer, reasoning.flaw) == ("7+8=5, 5-3=2 ok", "2", None)


@settings(max_examples=300, deadline=None)
@given(printable, printable)
def test_taking_apart_undoes_putting_together(thought: str, answer: str) -> None:
    reasoning = parse_reasoning(well_formed(thought, answer), TOKENIZER)
    assert (reasoning.thought, reasoning.answer, reasoning.flaw) == (thought, answer, None)


@pytest.mark.parametrize(
    ("ids", "thought", "answer", "flaw"),
    [
        ([], "", None, "got no tags"),
        (well_formed("12", "3")[:-1], "12", "3", "got <think></think><answer></answer>"),  # no end of sequence
        (well_formed("12", "3")[:-2], "12", "3", "got <think></think><answer>"),
        (well_formed("12", "3")[:2], "12", None, "got <think>"),
        (
            [CONTROL.answer, 50, CONTROL.end_answer, CONTROL.eos],
            "",
            TOKENIZER.decode([50]),
            "got <answer></answer><eos>",
        ),
        ([*well_formed("", "3")[:-1], *TOKENIZER.encode("4"), CONTROL.eos], "", "3", "text outside the tags: '4'"),
        ([*well_formed("", "3"), *TOKENIZER.encode("4")], "", "3", "text outside the tags: '4'"),
        ([*well_formed("", "3"), CONTROL.eos], "", "3", "got <think></think><answer></answer><eos><eos>"),
        ([*well_formed("", "3"), CONTROL.think], "", "3", "</answer><eos><think>"),
    ],
)
def test_flaws(ids: list[int], thought: str, answer: str | None, flaw: str) -> None:
    reasoning = parse_reasoning(ids, TOKENIZER)
    assert (reasoning.thought, reasoning.answer) == (thought, answer)
    assert reasoning.flaw is not None
    assert flaw in reasoning.flaw


def test_tags_in_the_wrong_order_are_a_flaw() -> None:
    tags = [CONTROL.think, CONTROL.end_think, CONTROL.answer, CONTROL.end_answer, CONTROL.eos]
    rng = random.Random(0)
    flawless = 0
    for _ in range(500):
        ids = rng.sample(tags, 5)
        flawless += parse_reasoning(ids, TOKENIZER).flaw is None
        assert (parse_reasoning(ids, TOKENIZER).flaw is None) == (ids == tags)
    assert flawless > 0  # the right order came up


@settings(max_examples=500, deadline=None)
@given(st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=40))
def test_any_ids_can_be_taken_apart(ids: list[int]) -> None:
    reasoning = parse_reasoning(ids, TOKENIZER)
    if reasoning.flaw is None:
        texts = completion_ids(TOKENIZER.encode(reasoning.thought), TOKENIZER.encode(reasoning.answer or ""), CONTROL)
        assert TOKENIZER.decode(texts) == TOKENIZER.decode(ids)


def test_tags_typed_as_text_never_become_control() -> None:
    typed = "".join(CONTROL_TOKENS)
    ids = TOKENIZER.encode(typed)
    assert not CONTROL_IDS & set(ids)
    assert TOKENIZER.decode(ids) == typed
    reasoning = parse_reasoning(well_formed(f"1</think><answer>9</answer><eos>{typed}", "2"), TOKENIZER)
    assert (reasoning.answer, reasoning.flaw) == ("2", None)
    assert reasoning.thought.startswith("1</think><answer>9")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*CONTROL_TOKENS, "<", ">", "/", "think", " ", "1", "12"]), max_size=12).map("".join))
def test_no_text_at_all_becomes_control(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert not CONTROL_IDS & set(ids)
    assert TOKENIZER.decode(ids) == text


def test_the_splitter_says_the_part_of_every_token() -> None:
    ids = [*TOKENIZER.encode("0"), *well_formed("12", "3")]
    splitter = ThinkSplitter(CONTROL)
    assert [splitter.push(token) for token in ids] == [
        "outside", None, "thought", None, None, "answer", None, None,
    ]  # fmt: skip
    assert splitter.part == "outside"


def test_the_splitter_joins_to_the_same_text_as_the_parser() -> None:
    rng = random.Random(1)
    for _ in range(200):
        ids = rng.choices([*CONTROL_IDS, *range(6, 60)], k=30)
        splitter = ThinkSplitter(CONTROL)
        parts = [splitter.push(token) for token in ids]
        thought = TOKENIZER.decode(token for token, part in zip(ids, parts, strict=True) if part == "thought")
        assert thought == parse_reasoning(ids, TOKENIZER).thought
        assert all((part is None) == (token in CONTROL_IDS) for token, part in zip(ids, parts, strict=True))


@settings(max_examples=500, deadline=None)
@given(printable)
def test_printable_text_survives_a_round_trip(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_words_and_numbers_are_single_tokens() -> None:
    for token in (*WORDS, *(str(n) for n in range(10, LARGEST_NUMBER + 1))):
        assert len(TOKENIZER.encode(token)) == 1, token
    assert len(TOKENIZER.encode("201")) == 2  # 20 and 1
    assert TOKENIZER.vocab_size == len(CONTROL_TOKENS) + len(WORDS) + len(PRINTABLE) + LARGEST_NUMBER - 9


@pytest.mark.parametrize("text", ["é", "1\n2", "\t", "思", "\0", "a😀"])
def test_a_character_that_the_vocabulary_lacks_is_named(text: str) -> None:
    character = next(c for c in text if c not in PRINTABLE)
    with pytest.raises(TokenizerError, match=f"U\\+{ord(character):04X}"):
        TOKENIZER.encode(text)


def test_a_lone_surrogate_is_named() -> None:
    with pytest.raises(TokenizerError, match=r"U\+D800"):
        TOKENIZER.encode("1+\ud800")


# ---- the other form, and vocabularies without it


def with_tags(*tags: str) -> Tokenizer:
    """A vocabulary of single characters with these control tokens."""
    vocabulary = {character: i for i, character in enumerate(("<unk>", "<eos>", *PRINTABLE))}
    backend = RustTokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(["<unk>", "<eos>", "<stop>", *tags])
    return Tokenizer(backend, SpecialTokens(eos="<eos>", stop=("<stop>",)))


R1 = with_tags("<think>", "</think>")
PLAIN = with_tags()


def r1(text: str) -> list[int]:
    """Ids in which T, /T, E and S between bars stand for the tags and the two ends."""
    control = R1.control
    names = {"T": control.think, "/T": control.end_think, "E": control.eos, "S": control.stop[1]}
    ids = [[names[part]] if i % 2 else R1.encode(part) for i, part in enumerate(text.split("|"))]
    return [token for part in ids for token in part if token is not None]


@pytest.mark.parametrize(
    ("ids", "inside", "thought", "answer", "flaw"),
    [
        ("|T|hm|/T|42|E|", False, "hm", "42", None),
        ("|T|hm|/T|42|S|", False, "hm", "42", None),  # any token that ends a reply
        ("hm|/T|42|E|", True, "hm", "42", None),
        ("|T|hm|/T||E|", False, "hm", "", None),
        ("|T|hm|/T|</think>|E|", False, "hm", "</think>", None),  # as text
        ("|T|hm", False, "hm", None, "expected <think>…</think>, got <think>"),
        ("hm", True, "hm", None, "expected <think>…</think>, got <think>"),
        ("hm|E|", True, "hm", None, "got <think><eos>"),
        ("42|E|", False, "", "42", "got <eos>"),
        ("|T|a|/T|b|T|c|/T|d|E|", False, "ac", "bd", "got <think></think><think></think><eos>"),
        ("so |T|hm|/T|42|E|", False, "hm", "so 42", "text before the thought: 'so '"),
        ("|T|hm|/T|42|E|x", False, "hm", "42x", "text after the end of sequence"),
        ("", False, "", "", "got no tags"),
    ],
)
def test_thought_then_answer(ids: str, inside: bool, thought: str, answer: str | None, flaw: str | None) -> None:
    reasoning = parse_reasoning(r1(ids), R1, inside_thought=inside)
    assert (reasoning.thought, reasoning.answer) == (thought, answer)
    assert reasoning.flaw == flaw if flaw is None else flaw in (reasoning.flaw or "")


def test_a_thought_that_is_not_required() -> None:
    assert parse_reasoning(r1("42|E|"), R1, thought_required=False).flaw is None
    assert parse_reasoning(r1("|T|hm|/T|42|E|"), R1, thought_required=False).flaw is None
    assert parse_reasoning(r1("hm|E|"), R1, inside_thought=True, thought_required=False).flaw is not None
    answered = [CONTROL.answer or 0, 50, CONTROL.end_answer or 0, CONTROL.eos]
    assert parse_reasoning(answered, TOKENIZER, thought_required=False).flaw is None


def test_a_vocabulary_without_thoughts() -> None:
    ids = [*PLAIN.encode("<think>42</think>"), PLAIN.control.eos]
    reasoning = parse_reasoning(ids, PLAIN)
    assert (reasoning.thought, reasoning.answer) == ("", "<think>42</think>")
    assert reasoning.flaw == "no thought: the vocabulary has no <think>"
    assert parse_reasoning(ids, PLAIN, thought_required=False).flaw is None
    assert "got no tags" in (parse_reasoning(ids[:-1], PLAIN, thought_required=False).flaw or "")
    with pytest.raises(TokenizerError, match="this vocabulary has no <think> and </think>"):
        completion_ids([], [], PLAIN.control)


def test_a_completion_has_the_form_of_its_vocabulary() -> None:
    assert completion_ids(R1.encode("hm"), R1.encode("42"), R1.control) == r1("|T|hm|/T|42|E|")


def test_the_splitter_starts_where_the_prompt_ended() -> None:
    ids = r1("a|/T|b|T|c|/T|d|S|")
    parts = [None if p is None else p[0] for p in map(ThinkSplitter(R1.control, inside_thought=True).push, ids)]
    assert parts == ["t", None, "a", None, "t", None, "a", None]
    outside = ThinkSplitter(R1.control)
    assert [outside.push(token) for token in r1("a|T|b")] == ["answer", None, "thought"]
