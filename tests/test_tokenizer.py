"""Text ↔ ids for vocabularies of other makers: plain text as theirs, no control id out of text, bytes put together."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RustTokenizer

from ponder.core.errors import CheckpointError, TokenizerError
from ponder.text.tokenizer import ARITHMETIC_SPECIAL, SpecialTokens, Tokenizer
from ponder.text.vocabulary import with_reasoning_tokens
from vocabularies import DEEPSEEK, deepseek_file, mutations, sentence_piece

ROOT = Path(__file__).parents[1]
SMALL_MARKERS = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")


def small_backend(*added: AddedToken) -> RustTokenizer:
    """A byte-level BPE trained on a few lines, with markers and more added tokens."""
    backend = RustTokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(
        ["the thought is the answer to the question, I think", "User: 12 + 30 = 42"] * 3, trainer
    )
    backend.add_special_tokens([AddedToken(m, normalized=False, special=True) for m in SMALL_MARKERS])
    backend.add_tokens(list(added))
    return backend


@pytest.fixture(scope="module")
def deepseek() -> Tokenizer:
    return Tokenizer.load(deepseek_file(), DEEPSEEK)


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    thought = [AddedToken(t, special=False, normalized=True) for t in ("<think>", "</think>")]
    return Tokenizer(small_backend(*thought), SpecialTokens(bos="<s>", eos="</s>", stop=("<|im_end|>",)))


def texts() -> Iterator[str]:
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/ponder/text/*.py")):
        yield from path.read_text(encoding="utf-8").split("\n\n")


# ---- plain text


def test_plain_text_has_the_ids_that_the_library_gives(deepseek: Tokenizer) -> None:
    theirs = RustTokenizer.from_file(str(deepseek_file()))
    checked = 0
    for text in texts():
        if not any(token in text for token in deepseek.control_tokens):
            ids = deepseek.encode(text)
            assert ids == theirs.encode(text, add_special_tokens=False).ids
            assert deepseek.decode(ids) == text
            checked += 1
    assert checked > 300


def test_no_text_becomes_control(deepseek: Tokenizer, small: Tokenizer) -> None:
    for tokenizer in (deepseek, small, Tokenizer.for_arithmetic(), sentence_piece()):
        tokens = list(tokenizer.control_tokens)
        control = set(tokenizer.control_tokens.values())
        forms = [*tokens, *mutations(tokens, 1000)]
        if tokenizer.control.pad == 0:  # the arithmetic vocabulary reads ASCII
            forms = [form for form in forms if form.isascii() and "\n" not in form]
        for form in (*forms, *(f"a{form}b" for form in forms[:200])):
            ids = tokenizer.encode(form)
            assert control.isdisjoint(ids), form
            assert tokenizer.decode(ids) == form


def test_what_is_a_control_token() -> None:
    added = [
        AddedToken("<tool_call>", special=False),
        AddedToken("｜DSML｜", special=False),
        AddedToken("    ", special=False),  # ordinary text that was added: a run of spaces, a letter, a word
        AddedToken("ø", special=False),
        AddedToken("÷", special=False),
        AddedToken("Zürich", special=False),
    ]
    backend = small_backend(*added)
    tokenizer = Tokenizer(small_backend(*added), SpecialTokens(eos="</s>"))
    assert set(tokenizer.control_tokens) == {*SMALL_MARKERS, "<tool_call>", "｜DSML｜"}
    for text in ("in Zürich:    ø ÷ 2", "øø"):
        ids = tokenizer.encode(text)
        assert ids == backend.encode(text, add_special_tokens=False).ids
        assert backend.token_to_id("ø") in ids
        assert tokenizer.decode(ids) == text
    assert backend.token_to_id("<tool_call>") not in tokenizer.encode("<tool_call>")
    assert tokenizer.decode(tokenizer.encode("<tool_call>｜DSML｜")) == "<tool_call>｜DSML｜"


def test_a_model_that_finds_control_tokens_by_itself() -> None:
    """A unigram model holds `</s>` among its pieces, whatever the added tokens say."""
    pieces = [("<unk>", 0.0), ("</s>", -1.0), ("<", -9.0), ("/", -9.0), ("s", -9.0), (">", -9.0), ("x", -5.0)]
    backend = RustTokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    backend.decoder = decoders.Fuse()
    assert backend.encode("x</s>x").ids == [6, 1, 6]
    backend.add_special_tokens(["</s>", "<unk>"])
    tokenizer = Tokenizer(backend, SpecialTokens(eos="</s>"))
    assert tokenizer.encode("x</s>x") == [6, 2, 3, 4, 5, 6]
    assert tokenizer.encode_spans("x</s>x") == [(i, (k, k + 1)) for k, i in enumerate([6, 2, 3, 4, 5, 6])]
    with pytest.raises(TokenizerError, match=r"lacks the character 'y' \(U\+0079\)"):
        tokenizer.encode("xy")


def test_characters_that_a_vocabulary_would_drop() -> None:
    content = json.loads(small_backend().to_str())
    del content["model"]["vocab"]["Ć"]  # the byte 0x06; a library drops it without a word
    tokenizer = Tokenizer(RustTokenizer.from_str(json.dumps(content)), SpecialTokens(eos="</s>"))
    assert tokenizer.decode(tokenizer.encode("a\x05é")) == "a\x05é"
    with pytest.raises(TokenizerError, match=r"lacks the character '\\x06' \(U\+0006\)"):
        tokenizer.encode("a\x06b")


def test_spans_cover_the_text(deepseek: Tokenizer) -> None:
    text = "Hello,  wörld 你好 😀\n\n x"
    spans = deepseek.encode_spans(text)
    assert [token for token, _ in spans] == deepseek.encode(text)
    assert {k for _, (start, end) in spans for k in range(start, end)} == set(range(len(text)))


# ---- decoding


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_stream_says_what_the_whole_says(data: st.DataObject) -> None:
    tokenizer = data.draw(st.sampled_from([_SMALL, _SENTENCE_PIECE]))
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 3), max_size=30))
    skip = data.draw(st.booleans())
    decoder = tokenizer.stream_decoder(skip_control=skip)
    pieces = [decoder.push(token) for token in ids]
    assert "".join(pieces) + decoder.finish() == tokenizer.decode(ids, skip_control=skip)


_SMALL = Tokenizer(small_backend(), SpecialTokens(bos="<s>", eos="</s>"))
_SENTENCE_PIECE = sentence_piece()


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_survives_a_round_trip(text: str) -> None:
    for tokenizer in (_SMALL, _SENTENCE_PIECE):
        if "▁" not in text:  # SentencePiece's space, which it cannot tell from one
            assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_character_comes_out_with_its_last_byte() -> None:
    ids = _SMALL.encode("é😀")
    assert len(ids) == 6  # no merges: 2 + 4 bytes
    decoder = _SMALL.stream_decoder()
    assert [decoder.push(token) for token in ids] == ["", "é", "", "", "", "😀"]
    decoder = _SMALL.stream_decoder()
    assert [decoder.push(token) for token in ids[:4]] == ["", "é", "", ""]
    assert decoder.finish() == "\ufffd"
    assert _SMALL.decode([*ids[:1], _SMALL.control.eos]) == "\ufffd</s>"
    assert _SMALL.decode([*ids[:1], _SMALL.control.eos, *ids[1:2]], skip_control=True) == "\ufffd\ufffd"


def test_sentence_piece_spaces() -> None:
    tokenizer = _SENTENCE_PIECE
    assert tokenizer.encode("ab a") == [tokenizer.token_id("▁ab"), tokenizer.token_id("▁a")]
    assert tokenizer.decode(tokenizer.encode(" ab é")) == " ab é"
    decoder = tokenizer.stream_decoder()
    assert [decoder.push(t) for t in (tokenizer.token_id("▁a") or 0, tokenizer.token_id("▁ab") or 0)] == ["a", " ab"]


def test_control_tokens_are_written_out_or_left_out(small: Tokenizer) -> None:
    ids = [small.control.bos or 0, *small.encode("hi"), small.control.end_think or 0, *small.control.stop]
    assert small.decode(ids) == "<s>hi</think></s><|im_end|>"
    assert small.decode(ids, skip_control=True) == "hi"


# ---- control ids


def test_control_ids(small: Tokenizer, deepseek: Tokenizer) -> None:
    control = small.control
    assert control.pad == control.eos == small.token_id("</s>")
    assert control.stop == (small.token_id("</s>"), small.token_id("<|im_end|>"))
    assert (control.bos, control.answer, control.end_answer) == (small.token_id("<s>"), None, None)
    assert (control.think, control.end_think) == (small.encode_control("<think>"), small.encode_control("</think>"))
    assert (deepseek.control.bos, deepseek.control.eos, deepseek.control.pad) == (0, 1, 2)
    assert deepseek.encode_control("<｜User｜>") == 128803
    assert deepseek.vocab_size == 129280
    assert deepseek.prefix == ()
    assert _SENTENCE_PIECE.prefix == (_SENTENCE_PIECE.token_id("<s>"),)
    assert small.token_id("no such token") is None
    with pytest.raises(TokenizerError, match="'the' is no control token"):
        small.encode_control("the")


def test_special_tokens_that_are_not_there() -> None:
    with pytest.raises(CheckpointError, match="lacks the control tokens <eot>"):
        Tokenizer(small_backend(), SpecialTokens(eos="</s>", stop=("<eot>",)))
    with pytest.raises(CheckpointError, match="names no token that ends a text"):
        Tokenizer(small_backend(), SpecialTokens())
    backend = small_backend()
    backend.decoder = decoders.WordPiece()
    with pytest.raises(CheckpointError, match="decoder WordPiece is not supported"):
        Tokenizer(backend, SpecialTokens(eos="</s>"))


def test_what_is_saved_is_what_was_read(small: Tokenizer, tmp_path: Path) -> None:
    thought = [AddedToken(t, special=False, normalized=True) for t in ("<think>", "</think>")]
    assert json.loads(small.backend_json()) == json.loads(small_backend(*thought).to_str())
    small.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json", small.special)
    assert again.control == small.control
    assert again.encode("<think> the answer") == small.encode("<think> the answer")


# ---- reasoning tokens


def test_reasoning_tokens_are_appended() -> None:
    plain = Tokenizer(small_backend(), SpecialTokens(eos="</s>"))
    extended, new = with_reasoning_tokens(plain)
    size = plain.vocab_size
    assert extended.vocab_size == size + 4
    control = extended.control
    assert (control.think, control.end_think, control.answer, control.end_answer) == tuple(range(size, size + 4))
    assert [plain.decode(ids) for ids in new.values()] == ["<think>", "</think>", "<answer>", "</answer>"]
    assert list(new) == list(range(size, size + 4))
    assert set(range(size, size + 4)).isdisjoint(extended.encode("<think></think><answer></answer>"))
    assert extended.encode("the answer: 42") == plain.encode("the answer: 42")
    assert with_reasoning_tokens(extended) == (extended, {})


def test_only_the_missing_tags_are_added(small: Tokenizer) -> None:
    extended, new = with_reasoning_tokens(small)
    assert (extended.control.think, extended.control.end_think) == (small.control.think, small.control.end_think)
    assert [small.decode(ids) for ids in new.values()] == ["<answer>", "</answer>"]


def test_a_tag_that_is_plain_text_of_the_vocabulary() -> None:
    backend = RustTokenizer(models.WordLevel({"</s>": 0, "<think>": 1, "<unk>": 2}, unk_token="<unk>"))
    backend.add_special_tokens(["</s>"])
    with pytest.raises(CheckpointError, match=r"got the ids \[1, "):
        with_reasoning_tokens(Tokenizer(backend, SpecialTokens(eos="</s>")))


def test_texts_are_encoded_whole() -> None:
    """A file may say to cut texts at a length and to fill them up to it, as it was trained in batches."""
    backend = RustTokenizer.from_str(Tokenizer.for_arithmetic().backend_json())
    backend.enable_truncation(3)
    backend.enable_padding(length=8)
    backend = RustTokenizer.from_str(backend.to_str())
    tokenizer = Tokenizer(backend, ARITHMETIC_SPECIAL)
    text = "1 + 2 + 3 = 6"
    assert tokenizer.encode(text) == Tokenizer.for_arithmetic().encode(text)
    assert tokenizer.encode_batch(["1", text])[0] == tokenizer.encode("1")
    assert tokenizer.decode(tokenizer.encode(text)) == text
    content = json.loads(tokenizer.backend_json())
    assert (content["truncation"], content["padding"]) == (None, None)


def test_a_byte_level_vocabulary_without_a_decoder() -> None:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = RustTokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.add_special_tokens(["<eos>"])
    tokenizer = Tokenizer(backend, SpecialTokens(eos="<eos>"))
    assert tokenizer.decode(tokenizer.encode("Grüße, 你好 \n")) == "Grüße, 你好 \n"
    assert json.loads(tokenizer.backend_json())["decoder"]["type"] == "ByteLevel"
