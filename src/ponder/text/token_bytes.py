"""Ids → text by bytes, so that text decoded token by token is the text decoded at once.

A character may be spread over several tokens. Bytes that are no UTF-8 become U+FFFD, as `bytes.decode` does it.
"""

import codecs
import json
from collections.abc import Callable, Iterable
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from ponder.core.errors import CheckpointError

_PLAIN = {"Fuse"}  # what only joins tokens
_SENTENCE_PIECE = {"Replace", "ByteFallback", "Metaspace", "Strip", "Fuse"}


def _byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's table): printable ones themselves,
    the others from U+0100 on.
    """
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}


BYTE_OF_CHARACTER = _byte_alphabet()
# bytes that no UTF-8 text contains
NEVER_IN_UTF8 = frozenset({0xC0, 0xC1, *range(0xF5, 0x100)})


class TokenBytes(dict[int, bytes]):
    """The bytes that each token stands for, by the decoder that the tokenizer's file names. Added tokens stand for what
    they say, an id beyond the vocabulary for nothing. Filled in as they are asked for.
    """

    def __init__(self, backend: RustTokenizer) -> None:
        """Raises `CheckpointError` for a decoder that is neither byte-level, SentencePiece's nor a plain joining."""
        super().__init__({i: token.content.encode() for i, token in backend.get_added_tokens_decoder().items()})
        self._backend = backend
        steps = _steps(json.loads(backend.decoder.__getstate__())) if backend.decoder is not None else []
        kinds = {step["type"] for step in steps}
        # SentencePiece's form puts a space before the first word, which is no part of the text
        self.drops_first_space = False
        self._convert: Callable[[str], bytes]
        self.byte_level = "ByteLevel" in kinds
        if self.byte_level:
            self._convert = _from_byte_level
        elif kinds <= _PLAIN:
            self._convert = str.encode
        elif kinds <= _SENTENCE_PIECE:
            self._convert = _sentence_piece(steps)
            self.drops_first_space = any(
                (s["type"] == "Strip" and s["content"] == " " and s["start"] > 0)
                or (s["type"] == "Metaspace" and s.get("prepend_scheme") != "never")
                for s in steps
            )
        else:
            strange = ", ".join(sorted(kinds - _SENTENCE_PIECE))
            raise CheckpointError(
                f"the tokenizer's decoder {strange} is not supported; expected ByteLevel, SentencePiece's "
                "(Replace, ByteFallback, Metaspace, Strip) or Fuse"
            )

    def __missing__(self, token: int) -> bytes:
        text = self._backend.id_to_token(token) if token >= 0 else None
        self[token] = b"" if text is None else self._convert(text)
        return self[token]

    def text(self, ids: Iterable[int]) -> str:
        """The text of ids, all at once."""
        joined = b"".join([self[token] for token in ids])
        return (joined.removeprefix(b" ") if self.drops_first_space else joined).decode("utf-8", errors="replace")

    def missing(self) -> bytes:
        """The bytes of UTF-8 text that a byte-level vocabulary has no token for, so that it cannot express them."""
        if not self.byte_level:
            return b""
        lacks = (b for c, b in BYTE_OF_CHARACTER.items() if self._backend.token_to_id(c) is None)
        return bytes(sorted(byte for byte in lacks if byte not in NEVER_IN_UTF8))


class StreamDecoder:
    """Text as its tokens come. A character is given out when its last byte has come."""

    def __init__(self, token_bytes: TokenBytes, skipped: Iterable[int], *, at_start: bool = True) -> None:
        """`skipped`: ids without text. `at_start`: the first token begins the text; one that goes on from another keeps
        its space.
        """
        self._token_bytes, self._skipped = token_bytes, frozenset(skipped)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._at_start = at_start and token_bytes.drops_first_space

    def skips(self, token: int) -> bool:
        """Whether this token has no text."""
        return token in self._skipped

    def push(self, token: int) -> str:
        """The text that this token completes; empty in the middle of a character. A skipped token ends a character,
        as `finish` does.
        """
        if token in self._skipped:
            return self.finish()
        new = self._token_bytes[token]
        if self._at_start and new:
            self._at_start = False
            new = new.removeprefix(b" ")
        return self._decoder.decode(new)

    def finish(self) -> str:
        """What is left at the end: U+FFFD where a character was begun and not ended."""
        return self._decoder.decode(b"", final=True)


def _steps(decoder: dict[str, Any]) -> list[dict[str, Any]]:
    if decoder["type"] != "Sequence":
        return [decoder]
    return [step for part in decoder["decoders"] for step in _steps(part)]


def _from_byte_level(token: str) -> bytes:
    try:
        return bytes(BYTE_OF_CHARACTER[c] for c in token)
    except KeyError:  # a token that stands for itself
        return token.encode()


def _sentence_piece(steps: list[dict[str, Any]]) -> Callable[[str], bytes]:
    replacements = [(s["pattern"]["String"], s["content"]) for s in steps if s["type"] == "Replace"]
    replacements += [(s["replacement"], " ") for s in steps if s["type"] == "Metaspace"]
    has_bytes = any(s["type"] == "ByteFallback" for s in steps)

    def convert(token: str) -> bytes:
        if has_bytes and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes.fromhex(token[3:5])
        for old, new in replacements:
            token = token.replace(old, new)
        return token.encode()

    return convert
