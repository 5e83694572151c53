"""Any published jinja chat template, followed without letting a message's text into it.

Every message is rendered with a mark in place of its text (its outer white space stays, so that a template may trim
it). The result is cut at the marks: what is between them is the template's own and may hold control tokens, what goes
in their place is plain text. Put together again, it has to be what the template says of the messages themselves, to
the character. It is not where a template changes contents or decides by them (capitals, R1's cut at `</think>`, of a
content that has one): that conversation is refused, for nobody could tell whose words are whose.
"""

import datetime
import functools
from collections.abc import Sequence
from dataclasses import replace

from ponder.core.errors import DataError
from ponder.core.types import Message, Tool
from ponder.text.chat_pieces import EncodedChat, Piece, PieceEncoder
from ponder.text.jinja_marks import Field, Mark, Marks, as_it_is, marked_fields, marked_tool
from ponder.text.jinja_sandbox import EndlessTemplateError, compile_template
from ponder.text.thought_format import ThoughtFormat, begun_reply, go_on
from ponder.text.tokenizer import Tokenizer
from ponder.text.tool_formats import as_function, tool_format_of, tools_as_text


class JinjaTemplate:
    """A `ChatTemplate` made of jinja text, rendered as transformers' `apply_chat_template` does."""

    def __init__(self, tokenizer: Tokenizer, source: str) -> None:
        """Raises `DataError` for text that is no jinja template, and for one that does not come to an end."""
        self.name, self.source = "jinja", source
        self.thought = ThoughtFormat() if tokenizer.control.think is not None else None
        self.tools = tool_format_of(source)
        self._template = compile_template(source)
        special = tokenizer.special
        named = {"bos_token": special.bos, "eos_token": special.eos, "pad_token": special.pad}
        self._named = {name: token for name, token in named.items() if token is not None}
        self._encoder = PieceEncoder(tokenizer)
        self._prefix = "q7X"  # of the marks
        while self._prefix in source:
            self._prefix += "X"
        self._prompt = self._find_prompt()

    def encode(
        self,
        messages: Sequence[Message],
        *,
        generation: bool = True,
        thinking: bool | None = None,
        tools: Sequence[Tool] = (),
        prefix: bool = False,
    ) -> EncodedChat:
        """See `ponder.text.chat_template.ChatTemplate`."""
        pieces = self.pieces(messages, generation=generation, thinking=thinking, tools=tools, prefix=prefix)
        encoded = self._encoder.encode(pieces)
        blank = any(m.content and not m.content.strip() for m in messages)  # which is taken for the template's own
        return replace(encoded, own_prefix=0) if blank else encoded

    def render(
        self,
        messages: Sequence[Message],
        *,
        generation: bool,
        thinking: bool | None,
        tools: Sequence[Tool] = (),
        now: datetime.datetime | None = None,
        mark: Mark = as_it_is,
    ) -> str:
        """The conversation as one text, in which control tokens and contents can no longer be told apart. `now` is the
        time for templates that tell it; `mark` replaces what people wrote.
        """
        switches = {} if thinking is None else {"enable_thinking": thinking, "thinking": thinking}
        try:
            return self._template(
                messages=[marked_fields(i, m, mark) for i, m in enumerate(messages)],
                tools=[marked_tool(as_function(tool), mark) for tool in tools] or None,
                add_generation_prompt=generation,
                strftime_now=(now or datetime.datetime.now()).strftime,
                **self._named,
                **switches,
            )
        except DataError:
            raise
        except Exception as error:  # whatever its expressions may raise
            raise DataError(f"the chat template cannot render this conversation: {error}") from error

    def pieces(
        self,
        messages: Sequence[Message],
        *,
        generation: bool,
        thinking: bool | None,
        tools: Sequence[Tool] = (),
        prefix: bool = False,
    ) -> list[Piece]:
        """The conversation in the template's words and people's. Raises `DataError` where the template refuses it.

        A template that has no place for tools is given them, what was called and what came back as text.
        """
        if not messages:
            raise DataError("the conversation is empty; expected at least one message")
        if prefix:
            begun = begun_reply(messages)
            pieces = self.pieces(messages[:-1], generation=True, thinking=thinking, tools=tools)
            opened = self._encoder.encode(pieces).opens_thought
            return [*pieces, *go_on(begun, self.thought, opened=opened)]
        if not tools and not any(m.role == "tool" or m.tool_calls for m in messages):
            return self._follow(messages, generation=generation, thinking=thinking)
        try:
            return self._follow(messages, generation=generation, thinking=thinking, tools=tools)
        except EndlessTemplateError:
            raise
        except DataError:
            told = tools_as_text(self.tools, messages, tools)
            return self._follow(told, generation=generation, thinking=thinking)

    def _follow(
        self, messages: Sequence[Message], *, generation: bool, thinking: bool | None, tools: Sequence[Tool] = ()
    ) -> list[Piece]:
        now = datetime.datetime.now()
        render = functools.partial(self.render, generation=generation, thinking=thinking, tools=tools, now=now)
        whole = render(messages)
        empty = any(m.role == "assistant" and not m.content for m in messages)
        for with_empty in (True, False) if empty else (False,):
            marks = Marks(self._prefix, messages, with_empty)
            try:
                own, fields = marks.split(render(messages, mark=marks.put))
            except DataError:
                continue
            pieces = self._cut(marks, own, fields)
            if "".join(piece.text for piece in pieces) == whole:
                self._require_places(messages, marks, fields)
                return pieces
        raise DataError(
            "the chat template changes the text of messages or decides by it, so that its own words cannot be told "
            "from theirs; it cannot be followed in this conversation. Choose a family's format, or a template that "
            "puts every message's text in as it is"
        )

    def _require_places(self, messages: Sequence[Message], marks: Marks, fields: Sequence[Field]) -> None:
        """Raises `DataError` where the template leaves out what must not be lost: the last question, a last thought,
        a tool, a call or its result.
        """
        found = {(field.kind, field.number) for field in fields}
        last = len(messages) - 1
        if (messages[last].reasoning or "").strip() and ("r", last) not in found:
            raise DataError("the last turn has a thought, and the chat template has no place for one; leave it out")
        asked = max((i for i, m in enumerate(messages) if m.role == "user"), default=None)
        if asked is not None and messages[asked].content.strip() and ("c", asked) not in found:
            raise DataError("the chat template leaves out what the user says last; it cannot be followed")
        results = (i for i, m in enumerate(messages) if m.role == "tool" and m.content.strip())
        if not all(("c", i) in found for i in results) or not all(("v", i) in found for i in marks.required):
            raise DataError("the chat template leaves out tools; it cannot be followed with any")

    def _cut(self, marks: Marks, own_texts: Sequence[str], fields: Sequence[Field]) -> list[Piece]:
        """The template's own texts with people's between them."""
        replies = [marks.reply_of(field) for field in fields]
        pieces: list[Piece] = []
        for i, own in enumerate(own_texts):
            before = replies[i - 1] if i else None
            after = replies[i] if i < len(fields) else None
            ended = started = 0  # how much of it belongs to the reply before it and to the one after it
            if before is not None:
                ended = len(own) if after == before else self._end_of_reply(own)
            if after is not None and after != before:
                started = self._start_of_reply(own, marks.text(fields[i]))
            middle = own[ended : len(own) - started] if ended + started < len(own) else ""
            pieces += [
                Piece(own[:ended], own=True, target=True),
                Piece(middle, own=True),
                Piece(own[max(ended, len(own) - started) :], own=True, target=True),
            ]
            if i < len(fields):
                pieces.append(Piece(marks.inner(fields[i]), target=after is not None))
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
