"""Text ↔ ids. What a person or a document says in text never becomes a control token: those are put in by structure.

Which tokens are control tokens: every added token of the tokenizer's file that the file calls special, and every
other one that looks like markup, which is to say that it is longer than one character and has a character that is
neither letter, digit nor white space (`<think>`, `<tool_call>`, `｜DSML｜`). What is left is ordinary text that was
added for other reasons and stays what it is: runs of spaces (Phi), single letters whose bytes the vocabulary lacked
(DeepSeek LLM and Coder), whole words.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from ponder.core.errors import CheckpointError, TokenizerError
from ponder.text.token_bytes import StreamDecoder, TokenBytes

CONTROL_TOKENS = ("<pad>", "<eos>", "<think>", "</think>", "<answer>", "</answer>")
WORDS = (", ", "; ", " ok", " yes", " no", " wait ", " so ")
PRINTABLE = tuple(chr(code) for code in range(32, 127))
LARGEST_NUMBER = 200
# the longest token that matches, as few alternatives as say so: words, numbers from 100, from 10, single characters
ARITHMETIC_PATTERN = "|".join((*WORDS, "200", "1[0-9][0-9]", "[1-9][0-9]", r"[\x20-\x7e]"))

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """The tokens that a vocabulary uses to begin, end and pad a text, as its files name them."""

    bos: str | None = None
    eos: str | None = None
    pad: str | None = None
    add_bos: bool = False  # the model expects `bos` before a text
    stop: tuple[str, ...] = ()  # further tokens that end a reply (<|im_end|>, <|eot_id|>)


ARITHMETIC_SPECIAL = SpecialTokens(eos=CONTROL_TOKENS[1], pad=CONTROL_TOKENS[0])


@dataclass(frozen=True, kw_only=True)
class ControlIds:
    """The ids that give a completion its structure. A vocabulary may lack the tags."""

    eos: int
    pad: int  # that of `eos` where the vocabulary has none of its own
    bos: int | None = None
    stop: tuple[int, ...] = ()  # all that end a reply; `eos` is always among them
    think: int | None = None
    end_think: int | None = None
    answer: int | None = None
    end_answer: int | None = None

    def __post_init__(self) -> None:
        if self.eos not in self.stop:
            object.__setattr__(self, "stop", (self.eos, *self.stop))


class Tokenizer:
    """A `tokenizers` tokenizer whose control tokens cannot be written in text."""

    def __init__(self, backend: RustTokenizer, special: SpecialTokens) -> None:
        """Takes the backend over. Raises `CheckpointError` where `special` names tokens that it lacks."""
        _complete(backend)
        self._backend, self.special = backend, special
        added = backend.get_added_tokens_decoder()
        self._control = {t.content: i for i, t in added.items() if t.special or _is_markup(t.content)}
        # The backend leaves special tokens out of its search through text if told so, and only those. It takes the
        # others for special from now on; `backend_json` says what the file said.
        self._backend.encode_special_tokens = True
        self._not_special = frozenset(t.content for t in added.values() if t.content in self._control and not t.special)
        self._backend.add_special_tokens([t for t in added.values() if t.content in self._not_special])
        self._strips = {t.content: (t.lstrip, t.rstrip) for t in added.values() if t.lstrip or t.rstrip}
        self._control_ids = frozenset(self._control.values())
        self.control = self._find_control()
        self._bytes = TokenBytes(backend)
        self._missing_bytes = self._bytes.missing()
        self._unknown = _unknown_id(backend)
        self.vocab_size = max(backend.get_vocab().values(), default=-1) + 1  # ids may have holes

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
        return cls(backend, ARITHMETIC_SPECIAL)

    @classmethod
    def load(cls, path: Path, special: SpecialTokens | None = None) -> "Tokenizer":
        """Read a `tokenizer.json`. It does not say which tokens begin and end a text: without `special`, Ponder's own
        (`<eos>`, `<pad>`) are expected.
        """
        return cls(read_backend(path), special or ARITHMETIC_SPECIAL)

    def save(self, path: Path) -> None:
        """Write a `tokenizer.json`."""
        path.write_text(self.backend_json(), encoding="utf-8")

    def backend_json(self) -> str:
        """The text of the tokenizer.json. A length that texts are cut or filled to is left out of it: it belongs to
        batches that somebody once made, and whoever encodes with the file would lose text without a word.
        """
        if not self._not_special:
            return str(self._backend.to_str(pretty=True))
        content = json.loads(self._backend.to_str())
        for token in content["added_tokens"]:
            if token["content"] in self._not_special:
                token["special"] = False
        return json.dumps(content, ensure_ascii=False, indent=2)

    @property
    def control_tokens(self) -> dict[str, int]:
        """Every control token with its id, not only those that `control` names."""
        return dict(self._control)

    def strips(self, control_token: str) -> tuple[bool, bool]:
        """Whether a control token takes the white space before and after it (Phi's `<|end|>`)."""
        return self._strips.get(control_token, (False, False))

    @property
    def prefix(self) -> tuple[int, ...]:
        """What the model expects before a text of its own: its bos, or nothing. A chat template says it itself."""
        return (self.control.bos,) if self.special.add_bos and self.control.bos is not None else ()

    def token_id(self, token: str) -> int | None:
        """The id of a token by its name in the vocabulary, None if there is none."""
        return self._optional(token)

    def encode_control(self, token: str) -> int:
        """The id of a control token. Raises `TokenizerError` for anything else."""
        if token not in self._control:
            raise TokenizerError(f"{token!r} is no control token of this vocabulary; expected one of {self._some()}")
        return self._control[token]

    def encode(self, text: str) -> list[int]:
        """The ids of plain text, never that of a control token. Raises `TokenizerError` for a character that the
        vocabulary cannot express.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many texts at once."""
        for text in texts:
            self._check_expressible(text)
        encoded = [e.ids for e in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]
        for i, text in enumerate(texts):
            if self._unknown in encoded[i]:
                raise self._lacks(next((c for c in text if self._backend.token_to_id(c) is None), text[:1]), text)
            if not self._control_ids.isdisjoint(encoded[i]):
                encoded[i] = [token for token, _ in self._cut_at_control(text)]
        return encoded

    def encode_spans(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        """The ids of plain text, each with the characters [start, end) that it stands for. Tokens that share a
        character have the same span.
        """
        ids = self.encode(text)
        found = self._backend.encode(text, add_special_tokens=False)
        if found.ids != ids:
            return self._cut_at_control(text)
        return [(token, _widen(span)) for token, span in zip(ids, found.offsets, strict=True)]

    def _cut_at_control(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        """For a model that finds a control token in text by itself (its own vocabulary holds it, as SentencePiece's
        does): the text is encoded in two parts, cut in the middle of what it found.
        """
        encoded = self._backend.encode(text, add_special_tokens=False)
        for token, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
            if token in self._control_ids:
                middle = (start + end) // 2
                if not start < middle < end:
                    raise self._lacks(text[start:end], text)
                before, after = self._cut_at_control(text[:middle]), self._cut_at_control(text[middle:])
                return before + [(t, (s + middle, e + middle)) for t, (s, e) in after]
        return [(token, _widen(span)) for token, span in zip(encoded.ids, encoded.offsets, strict=True)]

    def decode(self, ids: Iterable[int], *, skip_control: bool = False) -> str:
        """The text of ids. Control tokens are written out, or left out with `skip_control`; padding is left out."""
        ids = list(ids)
        if self._skipped(skip_control).isdisjoint(ids):
            return self._bytes.text(ids)
        decoder = self.stream_decoder(skip_control=skip_control)
        return "".join([decoder.push(token) for token in ids]) + decoder.finish()

    def bytes_of(self, token: int) -> bytes:
        """The bytes that a token stands for: a control token for its name, an id beyond the vocabulary for nothing."""
        return self._bytes[token]

    def stream_decoder(self, *, skip_control: bool = False, at_start: bool = True) -> StreamDecoder:
        """For one text that comes token by token: its pieces join to what `decode` says of all ids. Without `at_start`
        it goes on from another, as a completion does from its prompt: no space is dropped at its beginning.
        """
        return StreamDecoder(self._bytes, self._skipped(skip_control), at_start=at_start)

    @property
    def drops_first_space(self) -> bool:
        """Whether a text's tokens begin with a space that is no part of it, as SentencePiece's do."""
        return self._bytes.drops_first_space

    def _skipped(self, skip_control: bool) -> frozenset[int]:
        padding = frozenset({self.control.pad} - {self.control.eos})
        return padding | self._control_ids if skip_control else padding

    def _find_control(self) -> ControlIds:
        special = self.special
        named = (special.bos, special.eos, special.pad, *special.stop)
        if missing := [token for token in named if token is not None and self._optional(token) is None]:
            raise CheckpointError(f"the tokenizer lacks the control tokens {', '.join(missing)}")
        stop = [i for token in (special.eos, *special.stop) if (i := self._optional(token)) is not None]
        if not stop:
            raise CheckpointError("the tokenizer names no token that ends a text; expected an end-of-sequence token")
        pad = self._optional(special.pad)
        return ControlIds(
            eos=stop[0],
            pad=stop[0] if pad is None else pad,
            bos=self._optional(special.bos),
            stop=tuple(dict.fromkeys(stop)),
            **dict(zip(("think", "end_think", "answer", "end_answer"), map(self._control.get, TAGS), strict=True)),
        )

    def _optional(self, token: str | None) -> int | None:
        found = None if token is None else self._backend.token_to_id(token)
        return found if found is None else int(found)

    def _check_expressible(self, text: str) -> None:
        if not text.isascii() and (lone := _SURROGATE.search(text)):  # which the library cannot take
            raise self._lacks(lone.group(), text)
        if self._missing_bytes:  # which the library drops without a word
            lost = set(self._missing_bytes)
            if not lost.isdisjoint(text.encode()):
                raise self._lacks(next(c for c in text if not lost.isdisjoint(c.encode())), text)

    def _lacks(self, character: str, text: str) -> TokenizerError:
        code = f" (U+{ord(character):04X})" if len(character) == 1 else ""
        only_ascii = all(token.isascii() for token in self._backend.get_vocab())
        advice = "this model reads printable ASCII" if only_ascii else "leave it out"
        return TokenizerError(f"the vocabulary lacks the character {character!r}{code} in {_shorten(text)!r}; {advice}")

    def _some(self, limit: int = 12) -> str:
        names = sorted(self._control)
        return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


TAGS = CONTROL_TOKENS[2:]


def read_backend(path: Path) -> RustTokenizer:
    """The library's tokenizer from a tokenizer.json, for `Tokenizer`. Raises `CheckpointError`."""
    try:
        backend = RustTokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"cannot read the tokenizer {path}: {error}") from error
    _complete(backend)
    return backend


def _complete(backend: RustTokenizer) -> None:
    """Texts are encoded whole, neither cut nor filled up; a byte-level vocabulary says how it is decoded."""
    backend.no_truncation()
    backend.no_padding()
    steps = [part.__getstate__() for part in (backend.normalizer, backend.pre_tokenizer) if part is not None]
    if backend.decoder is None and any(b'"ByteLevel"' in step for step in steps):
        backend.decoder = decoders.ByteLevel()


def _unknown_id(backend: RustTokenizer) -> int | None:
    """The id that stands for what the vocabulary lacks, None where it lacks nothing or the library drops it."""
    if isinstance(backend.model, models.Unigram):  # which does not tell
        unknown = json.loads(backend.to_str())["model"].get("unk_id")
        return None if unknown is None else int(unknown)
    name = getattr(backend.model, "unk_token", None)
    return None if name is None else backend.token_to_id(name)


def _is_markup(token: str) -> bool:
    return len(token) > 1 and not all(c.isalnum() or c.isspace() for c in token)


def _widen(span: tuple[int, int]) -> tuple[int, int]:
    """Byte-level post-processors trim white space from spans: what is left empty ends where it ended."""
    start, end = span
    return (start, end) if start < end else (max(end - 1, 0), end)


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
