"""Text ↔ ids. What a person or a document says in text never becomes a control token: those are put in by structure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from ponder.core.errors import CheckpointError, TokenizerError

CONTROL_TOKENS = ("<pad>", "<eos>", "<think>", "</think>", "<answer>", "</answer>")
WORDS = (", ", "; ", " ok", " yes", " no", " wait ", " so ")
PRINTABLE = tuple(chr(code) for code in range(32, 127))
LARGEST_NUMBER = 200
# the longest token that matches, as few alternatives as say so: words, numbers from 100, from 10, single characters
ARITHMETIC_PATTERN = "|".join((*WORDS, "200", "1[0-9][0-9]", "[1-9][0-9]", r"[\x20-\x7e]"))

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class ControlIds:
    """The ids that give a completion its structure."""

    pad: int
    eos: int
    think: int
    end_think: int
    answer: int
    end_answer: int


class Tokenizer:
    """A `tokenizers` tokenizer whose control tokens cannot be written in text."""

    def __init__(self, backend: RustTokenizer) -> None:
        self._backend = backend
        # text that looks like a control token is encoded as the plain characters that it is
        self._backend.encode_special_tokens = True
        ids = {token: backend.token_to_id(token) for token in CONTROL_TOKENS}
        missing = [token for token, i in ids.items() if i is None]
        if missing:
            raise CheckpointError(f"the tokenizer lacks the control tokens {', '.join(missing)}")
        self.control = ControlIds(*(i for i in ids.values() if i is not None))

    @classmethod
    def for_arithmetic(cls) -> "Tokenizer":
        """The vocabulary of the generated worlds: printable ASCII; numbers 10 to 200 and a few words as one token."""
        numbers = tuple(str(n) for n in range(10, LARGEST_NUMBER + 1))
        plain = sorted((*WORDS, *PRINTABLE, *numbers), key=lambda token: (-len(token), token))
        vocabulary = {token: i for i, token in enumerate((*CONTROL_TOKENS, *plain))}
        backend = RustTokenizer(models.WordLevel(vocabulary, unk_token=CONTROL_TOKENS[0]))
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(ARITHMETIC_PATTERN), behavior="isolated")
        backend.decoder = decoders.Fuse()  # for whoever decodes with the file alone: no spaces between tokens
        backend.add_special_tokens(list(CONTROL_TOKENS))
        return cls(backend)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read a `tokenizer.json`."""
        try:
            return cls(RustTokenizer.from_file(str(path)))
        except CheckpointError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"cannot read the tokenizer {path}: {error}") from error

    def save(self, path: Path) -> None:
        """Write a `tokenizer.json`."""
        path.write_text(self._backend.to_str(pretty=True), encoding="utf-8")

    @property
    def vocab_size(self) -> int:
        return self._backend.get_vocab_size()

    @cached_property
    def _tokens(self) -> list[str]:
        return [self._backend.id_to_token(i) or "" for i in range(self.vocab_size)]

    def encode(self, text: str) -> list[int]:
        """The ids of plain text. Raises `TokenizerError` for a character that the vocabulary lacks."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many texts at once."""
        for text in texts:
            if not text.isascii() and (lone := _SURROGATE.search(text)):  # which the library cannot take
                raise _lacks(lone.group(), text)
        encoded = [e.ids for e in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]
        for text, ids in zip(texts, encoded, strict=True):
            if self.control.pad in ids:
                raise _lacks(next(c for c in text if self._backend.token_to_id(c) is None), text)
        return encoded

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, control tokens written out; padding is left out."""
        tokens = self._tokens
        return "".join(tokens[i] for i in ids if i != self.control.pad)


def _lacks(character: str, text: str) -> TokenizerError:
    return TokenizerError(
        f"the vocabulary lacks the character {character!r} (U+{ord(character):04X}) in {_shorten(text)!r}; "
        "this model reads printable ASCII"
    )


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
