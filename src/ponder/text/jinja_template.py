"""Any published jinja chat template, followed without letting a message's text into it.

Every message is rendered with a mark in place of its text (its outer white space stays, so that a template may trim
it). The result is cut at the marks: what is between them is the template's own and may hold control tokens, what goes
in their place is plain text. A template that looks into contents (R1's cuts them at `</think>`) sees marks only.
"""

import datetime
import json
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ponder.core.errors import DataError
from ponder.core.types import Message
from ponder.text.chat_pieces import EncodedChat, Piece, PieceEncoder
from ponder.text.tokenizer import Tokenizer


class JinjaTemplate:
    """A `ChatTemplate` made of jinja text, rendered as transformers' `apply_chat_template` does without tools."""

    def __init__(self, tokenizer: Tokenizer, source: str) -> None:
        """Raises `DataError` for text that is no jinja template."""
        self.name, self.source = "jinja", source
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise DataError(f"the chat template is no jinja template: {error}") from error
        special = tokenizer.special
        named = {"bos_token": special.bos, "eos_token": special.eos, "pad_token": special.pad}
        self._named = {name: token for name, token in named.items() if token is not None}
        self._encoder = PieceEncoder(tokenizer)
        self._prefix = "q7X"  # of the marks
        while self._prefix in source:
            self._prefix += "X"
        self._marks = re.compile(self._prefix + r"([cr])(\d{6})Z")
        self._prompt = self._find_prompt()

    def encode(
        self, messages: Sequence[Message], *, generation: bool = True, thinking: bool | None = None
    ) -> EncodedChat:
        """See `ponder.text.chat_template.ChatTemplate`."""
        return self._encoder.encode(self.pieces(messages, generation=generation, thinking=thinking))

    def render(self, messages: Sequence[Message], *, generation: bool, thinking: bool | None) -> str:
        """The conversation as one text, in which control tokens and contents can no longer be told apart."""
        fields = [{"role": m.role, "content": m.content} for m in messages]
        for field, message in zip(fields, messages, strict=True):
            if message.reasoning is not None:
                field["reasoning_content"] = message.reasoning
        switches = {} if thinking is None else {"enable_thinking": thinking, "thinking": thinking}
        try:
            return self._template.render(
                messages=fields, tools=None, add_generation_prompt=generation, **self._named, **switches
            )
        except DataError:
            raise
        except Exception as error:  # whatever its expressions may raise
            raise DataError(f"the chat template cannot render this conversation: {error}") from error

    def pieces(self, messages: Sequence[Message], *, generation: bool, thinking: bool | None) -> list[Piece]:
        """The conversation in the template's words and people's. Raises `DataError` where the template refuses it."""
        if not messages:
            raise DataError("the conversation is empty; expected at least one message")
        marked = [
            Message(
                m.role, self._mark("c", i, m.content), None if m.reasoning is None else self._mark("r", i, m.reasoning)
            )
            for i, m in enumerate(messages)
        ]
        parts = self._marks.split(self.render(marked, generation=generation, thinking=thinking))
        if any(self._prefix in own for own in parts[::3]):
            raise DataError("the chat template changes the text of messages; it cannot be followed")
        last = messages[-1]
        if (
            last.reasoning
            and last.reasoning.strip()
            and ("r", f"{len(messages) - 1:06d}") not in zip(parts[1::3], parts[2::3], strict=True)
        ):
            raise DataError("the last turn has a thought, and the chat template has no place for one; leave it out")
        return self._cut(messages, parts)

    def _cut(self, messages: Sequence[Message], parts: list[str]) -> list[Piece]:
        """`parts`: own text, then kind and index of a mark and own text, as often as there are marks."""
        fields = [(kind, int(index)) for kind, index in zip(parts[1::3], parts[2::3], strict=True)]
        pieces: list[Piece] = []
        for i, own in enumerate(parts[::3]):
            before = fields[i - 1] if i else None
            after = fields[i] if i < len(fields) else None
            ended = started = 0  # how much of it belongs to the reply before it and to the one after it
            if before is not None and messages[before[1]].role == "assistant":
                ended = len(own) if after == ("c", before[1]) else self._end_of_reply(own)
            if after is not None and messages[after[1]].role == "assistant":
                started = self._start_of_reply(own, _text(messages, after))
            middle = own[ended : len(own) - started] if ended + started < len(own) else ""
            pieces += [
                Piece(own[:ended], own=True, target=True),
                Piece(middle, own=True),
                Piece(own[max(ended, len(own) - started) :], own=True, target=True),
            ]
            if after is not None:
                is_reply = messages[after[1]].role == "assistant"
                pieces.append(Piece(_text(messages, after).strip(), target=is_reply))
        while pieces and not pieces[-1].text:
            pieces.pop()
        return pieces

    def _end_of_reply(self, own: str) -> int:
        """How much of what follows a reply the assistant writes: up to its end token, if one follows at once."""
        return self._encoder.control_at_end(own) or 0

    def _start_of_reply(self, own: str, text: str) -> int:
        """How much of what precedes a reply the assistant writes: what follows the words that ask for it. Where they
        are others in the middle of a conversation, the white space that the reply begins with.
        """
        if self._prompt and (place := own.rfind(self._prompt)) >= 0:
            return len(own) - place - len(self._prompt)
        space = len(text) - len(text.lstrip())
        return space if own.endswith(text[:space]) else 0

    def _find_prompt(self) -> str:
        """What the template adds to ask for a reply; empty where it cannot be told."""
        try:
            asked = [Message("user", "a")]
            plain = self.render(asked, generation=False, thinking=None)
            prompted = self.render(asked, generation=True, thinking=None)
        except DataError:
            return ""
        return prompted.removeprefix(plain) if prompted.startswith(plain) else ""

    def _mark(self, kind: str, index: int, text: str) -> str:
        """White space stays as it is, for the template to keep or to take away."""
        if not text:  # which a template may ask for
            return text
        start, inner = len(text) - len(text.lstrip()), text.strip()
        return f"{text[:start]}{self._prefix}{kind}{index:06d}Z{text[start + len(inner) :]}"


def _text(messages: Sequence[Message], field: tuple[str, int]) -> str:
    message = messages[field[1]]
    return (message.content if field[0] == "c" else message.reasoning) or ""


def _refuse(message: str) -> NoReturn:
    raise DataError(f"the chat template refuses this conversation: {message}")


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)
