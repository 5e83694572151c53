"""Any published jinja chat template, followed without letting a message's text into it.

Every message is rendered with a mark in place of its text (its outer white space stays, so that a template may trim
it). The result is cut at the marks: what is between them is the template's own and may hold control tokens, what goes
in their place is plain text. Put together again, it has to be what the template says of the messages themselves, to
the character. It is not where a template changes contents or decides by them (capitals, R1's cut at `</think>`, of a
content that has one): that conversation is refused, for nobody could tell whose words are whose.
"""

import datetime
import re
from collections.abc import Sequence

from ponder.core.errors import DataError
from ponder.core.types import Message
from ponder.text.chat_pieces import EncodedChat, Piece, PieceEncoder
from ponder.text.jinja_sandbox import EndlessTemplateError, compile_template
from ponder.text.tokenizer import Tokenizer


class JinjaTemplate:
    """A `ChatTemplate` made of jinja text, rendered as transformers' `apply_chat_template` does without tools."""

    def __init__(self, tokenizer: Tokenizer, source: str) -> None:
        """Raises `DataError` for text that is no jinja template, and for one that does not come to an end."""
        self.name, self.source = "jinja", source
        self._template = compile_template(source)
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

    def render(
        self,
        messages: Sequence[Message],
        *,
        generation: bool,
        thinking: bool | None,
        now: datetime.datetime | None = None,
    ) -> str:
        """The conversation as one text, in which control tokens and contents can no longer be told apart. `now` is the
        time for templates that tell it.
        """
        fields = [{"role": m.role, "content": m.content} for m in messages]
        for field, message in zip(fields, messages, strict=True):
            if message.reasoning is not None:
                field["reasoning_content"] = message.reasoning
        switches = {} if thinking is None else {"enable_thinking": thinking, "thinking": thinking}
        try:
            return self._template(
                messages=fields,
                tools=None,
                add_generation_prompt=generation,
                strftime_now=(now or datetime.datetime.now()).strftime,
                **self._named,
                **switches,
            )
        except DataError:
            raise
        except Exception as error:  # whatever its expressions may raise
            raise DataError(f"the chat template cannot render this conversation: {error}") from error

    def pieces(self, messages: Sequence[Message], *, generation: bool, thinking: bool | None) -> list[Piece]:
        """The conversation in the template's words and people's. Raises `DataError` where the template refuses it."""
        if not messages:
            raise DataError("the conversation is empty; expected at least one message")
        now = datetime.datetime.now()
        whole = self.render(messages, generation=generation, thinking=thinking, now=now)
        empty = any(m.role == "assistant" and not m.content for m in messages)
        for with_empty in (True, False) if empty else (False,):
            parts = self._render_marked(messages, with_empty, generation=generation, thinking=thinking, now=now)
            pieces = [] if parts is None else self._cut(messages, parts)
            if parts is not None and "".join(piece.text for piece in pieces) == whole:
                self._require_places(messages, set(zip(parts[1::3], parts[2::3], strict=True)))
                return pieces
        raise DataError(
            "the chat template changes the text of messages or decides by it, so that its own words cannot be told "
            "from theirs; it cannot be followed in this conversation. Choose a family's format, or a template that "
            "puts every message's text in as it is"
        )

    def _render_marked(
        self,
        messages: Sequence[Message],
        with_empty: bool,
        *,
        generation: bool,
        thinking: bool | None,
        now: datetime.datetime,
    ) -> list[str] | None:
        """Own text, then kind and index of a mark and own text, as often as there are marks; None where the template
        refuses them. `with_empty`: a reply without content has a mark as well, as its end is something to learn.
        """

        def mark(kind: str, index: int, text: str) -> str:
            if not text and not (with_empty and kind == "c" and messages[index].role == "assistant"):
                return text  # which a template may ask for
            start, inner = len(text) - len(text.lstrip()), text.strip()
            return f"{text[:start]}{self._prefix}{kind}{index:06d}Z{text[start + len(inner) :]}"

        marked = [
            Message(m.role, mark("c", i, m.content), None if m.reasoning is None else mark("r", i, m.reasoning))
            for i, m in enumerate(messages)
        ]
        try:
            return self._marks.split(self.render(marked, generation=generation, thinking=thinking, now=now))
        except DataError:
            return None

    def _require_places(self, messages: Sequence[Message], found: set[tuple[str, str]]) -> None:
        """Raises `DataError` where the template leaves out what must not be lost: the last question, a last thought."""
        last = len(messages) - 1
        if (messages[last].reasoning or "").strip() and ("r", f"{last:06d}") not in found:
            raise DataError("the last turn has a thought, and the chat template has no place for one; leave it out")
        asked = max((i for i, m in enumerate(messages) if m.role == "user"), default=None)
        if asked is not None and messages[asked].content.strip() and ("c", f"{asked:06d}") not in found:
            raise DataError("the chat template leaves out what the user says last; it cannot be followed")

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
        except EndlessTemplateError:
            raise
        except DataError:
            return ""
        return prompted.removeprefix(plain) if prompted.startswith(plain) else ""


def _text(messages: Sequence[Message], field: tuple[str, int]) -> str:
    message = messages[field[1]]
    return (message.content if field[0] == "c" else message.reasoning) or ""
