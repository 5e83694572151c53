"""The files beside the weights: who begins and ends a text, the chat template, and that transformers agrees."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as RustTokenizer
from transformers import AutoTokenizer

from ponder.core.errors import CheckpointError
from ponder.text.tokenizer import SpecialTokens, Tokenizer
from ponder.weights.checkpoint import load_model, save_model
from ponder.weights.hf.folder import write_files
from ponder.weights.hf.tokenizer import read_chat_template, read_tokenizer, tokenizer_files
from small_models import random_model, small_dense

SPECIAL = ("<|begin|>", "<|end|>", "<|pad|>", "<|eot|>")
TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}<|eot|>{% endfor %}"


def byte_level(*, adds_bos: bool = False) -> RustTokenizer:
    """Every byte a token, and four special ones: ids 256 to 259."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = RustTokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", 256)]
        )
    return backend


def write_folder(folder: Path, *, adds_bos: bool = False, **files: object) -> None:
    byte_level(adds_bos=adds_bos).save(str(folder / "tokenizer.json"))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], SpecialTokens]] = {
    "tokenizer_config, by name": (
        {"tokenizer_config": {"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"}},
        {},
        SpecialTokens(bos="<|begin|>", eos="<|end|>", pad="<|pad|>"),
    ),
    "as objects (DeepSeek, Llama 2)": (
        {"tokenizer_config": {"bos_token": {"content": "<|begin|>"}, "eos_token": {"content": "<|end|>"},
                              "add_bos_token": True}},
        {},
        SpecialTokens(bos="<|begin|>", eos="<|end|>", add_bos=True),
    ),
    "several ends (Llama 3, Qwen)": (
        {"tokenizer_config": {"eos_token": "<|eot|>"}, "generation_config": {"eos_token_id": [259, 257]}},
        {"eos_token_id": 257},
        SpecialTokens(eos="<|eot|>", stop=("<|end|>",)),
    ),
    "special_tokens_map": (
        {"tokenizer_config": {}, "special_tokens_map": {"eos_token": {"content": "<|end|>"}, "pad_token": "<|pad|>"}},
        {},
        SpecialTokens(eos="<|end|>", pad="<|pad|>"),
    ),
    "ids of config.json alone": (
        {}, {"bos_token_id": 256, "eos_token_id": 257}, SpecialTokens(bos="<|begin|>", eos="<|end|>")
    ),
    "names and ids that mean nothing": (
        {"tokenizer_config": {"eos_token": "<|end|>", "pad_token": "<unknown>"}},
        {"bos_token_id": 9999, "eos_token_id": None, "pad_token_id": -1},
        SpecialTokens(eos="<|end|>"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_special_tokens(case: str, tmp_path: Path) -> None:
    files, config, expected = CASES[case]
    write_folder(tmp_path, **files)
    tokenizer = read_tokenizer(tmp_path, config)
    assert tokenizer is not None
    assert tokenizer.special == expected


def test_a_post_processor_tells_that_texts_begin_with_bos(tmp_path: Path) -> None:
    write_folder(tmp_path, adds_bos=True, tokenizer_config={"bos_token": "<|begin|>", "eos_token": "<|end|>"})
    tokenizer = read_tokenizer(tmp_path, {})
    assert tokenizer is not None
    assert tokenizer.special.add_bos
    assert tokenizer.encode("ab") == read_tokenizer(tmp_path, {}).encode("ab")  # type: ignore[union-attr]
    assert len(tokenizer.encode("ab")) == 2  # plain text has no control tokens


def test_no_tokenizer(tmp_path: Path) -> None:
    assert read_tokenizer(tmp_path, {}) is None
    write_folder(tmp_path)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: the tokenizer names no token that ends a text"):
        read_tokenizer(tmp_path, {})


def test_chat_templates(tmp_path: Path) -> None:
    def template(value: object) -> str | None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": value}))
        return read_chat_template(tmp_path)

    assert read_chat_template(tmp_path) is None
    assert template(None) is None
    assert template("text") == "text"
    assert template([{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]) == "b"
    assert template([{"name": "rag", "template": "a"}]) == "a"
    with pytest.raises(CheckpointError, match="chat_template is 7; expected text"):
        template(7)
    for strange in ([{"name": ["x"], "template": "a"}], [{"template": "a"}], ["a"]):
        with pytest.raises(CheckpointError, match="expected text, or a list of objects with a name and a template"):
            template(strange)
    (tmp_path / "chat_template.jinja").write_text("of its own")
    assert read_chat_template(tmp_path) == "of its own"


@pytest.mark.parametrize("adds_bos", [False, True])
def test_transformers_agrees(adds_bos: bool, tmp_path: Path) -> None:
    """AutoTokenizer on what we write: the same ids, special tokens and chat template."""
    special = SpecialTokens(bos="<|begin|>", eos="<|end|>", pad="<|pad|>", add_bos=adds_bos, stop=("<|eot|>",))
    tokenizer = Tokenizer(byte_level(adds_bos=adds_bos), special)
    write_files(tmp_path, tokenizer_files(tokenizer, TEMPLATE))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (256, 257, 258)
    text = "Grüße, 你好 <think>"
    assert theirs(text, add_special_tokens=False).input_ids == tokenizer.encode(text)
    assert theirs(text).input_ids == [256] * adds_bos + tokenizer.encode(text)
    shown = theirs.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert shown == "<|begin|>hi<|eot|>"
    assert json.loads((tmp_path / "generation_config.json").read_text()) == {
        "bos_token_id": 256, "eos_token_id": [257, 259], "pad_token_id": 258
    }  # fmt: skip
    again = read_tokenizer(tmp_path, {})
    assert again is not None
    assert (again.special, read_chat_template(tmp_path)) == (special, TEMPLATE)


def test_a_saved_model_keeps_tokenizer_and_template(tmp_path: Path) -> None:
    special = SpecialTokens(bos="<|begin|>", eos="<|end|>", pad="<|end|>", stop=("<|eot|>",))
    tokenizer = Tokenizer(byte_level(), special)
    save_model(tmp_path, random_model(small_dense(vocab_size=264)), tokenizer, TEMPLATE)
    loaded = load_model(tmp_path)
    assert (loaded.tokenizer.special, loaded.chat_template) == (special, TEMPLATE)
    assert loaded.tokenizer.control == tokenizer.control
    assert loaded.tokenizer.encode("one + two") == tokenizer.encode("one + two")
