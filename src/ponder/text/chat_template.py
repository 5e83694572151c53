"""Conversations → ids and what of them the assistant has to produce, by structure."""

import re
from collections.abc import Sequence
from typing import Protocol

from ponder.core.errors import DataError
from ponder.core.types import Message, Tool
from ponder.text.chat_formats import FORMATS, R1_ZERO, ChatFormat, FormatTemplate
from ponder.text.chat_pieces import EncodedChat
from ponder.text.jinja_template import JinjaTemplate
from ponder.text.thought_format import ThoughtFormat
from ponder.text.tokenizer import Tokenizer
from ponder.text.tool_formats import ToolFormat

__all__ = ["ChatTemplate", "EncodedChat", "choose_template", "template_of"]

_MARKER = re.compile(r"<[|｜][^<>]*[|｜]>")
# Conversations in which no two of the formats say the same. White space around contents tells who trims them, capitals
# and signs who changes them otherwise.
_ONE, _TWO = " oNe <b>&'1\"", "\n tWo {2} "
_PROBES = (
    [Message("user", _ONE)],
    [Message("user", _ONE), Message("assistant", _TWO)],
    [Message("system", " zErO "), Message("user", _ONE), Message("assistant", _TWO), Message("user", "Three")],
)


class ChatTemplate(Protocol):
    """Puts a conversation into the form that a model was trained on."""

    name: str
    thought: ThoughtFormat | None  # how thoughts stand in its replies; None where it has none
    tools: ToolFormat  # how its replies call tools

    def encode(
        self,
        messages: Sequence[Message],
        *,
        generation: bool = True,
        thinking: bool | None = None,
        tools: Sequence[Tool] = (),
        prefix: bool = False,
    ) -> EncodedChat:
        """The ids of a conversation, and which of them the assistant has to produce.

        `generation`: ends with what asks the assistant for a reply. `thinking`: whether that reply is to begin with a
        thought; None is the family's own habit; without effect where it has no thoughts. `tools`: what the model may
        call. `prefix`: the last message is the beginning of the reply, which goes on from where it ends. No id of a
        control token comes from the text of a message or of a tool. Thoughts of turns before the last user message are
        dropped where the family does so: there, a conversation is a prefix of a longer one only up to its last reply
        with a thought.

        Raises `DataError` for a conversation that the template has no place for, `TokenizerError` for a character that
        the vocabulary cannot express.
        """
        ...


def choose_template(tokenizer: Tokenizer, jinja: str | None) -> ChatTemplate:
    """The template of a model from what it was published with.

    Without jinja text the model is a base model: R1-Zero's prompt. A jinja text that says the same as a family's
    format on every probe is that family; any other is followed as it is. One difference is wanted: the first
    edition of R1's templates left it to the model to open its thought, and the authors' advice is to open it for it.
    """
    if not jinja:
        return FormatTemplate(tokenizer, R1_ZERO)
    published = JinjaTemplate(tokenizer, jinja)
    for chat_format in FORMATS:
        if chat_format.thought is not None and tokenizer.control.think is None:
            continue
        template = FormatTemplate(tokenizer, chat_format)
        if _same(published, template):
            return template
    return published


def template_of(tokenizer: Tokenizer, name: str) -> ChatTemplate:
    """The template of a family by its name. Raises `DataError` for a name or a vocabulary that does not fit."""
    found = {chat_format.name: chat_format for chat_format in FORMATS}.get(name)
    if found is None:
        raise DataError(f"chat template {name!r} is unknown; expected one of {', '.join(f.name for f in FORMATS)}")
    return FormatTemplate(tokenizer, _with_tokens(found, tokenizer))


def _with_tokens(chat_format: ChatFormat, tokenizer: Tokenizer) -> ChatFormat:
    """The format itself, once it is known that the vocabulary has its control tokens."""
    turns = (part for turn in chat_format.turns.values() for part in turn)
    used = _MARKER.findall(" ".join((chat_format.begin, *turns, chat_format.prompt, chat_format.end)))
    if missing := [token for token in dict.fromkeys(used) if token not in tokenizer.control_tokens]:
        raise DataError(
            f"the {chat_format.name} chat template needs the control tokens {', '.join(missing)}, which this "
            "vocabulary lacks; expected the template that the model was published with"
        )
    return chat_format


def _same(published: JinjaTemplate, template: FormatTemplate) -> bool:
    """Whether both say the same of every probe."""
    thought = template.thought
    for messages in _PROBES:
        for generation in (False, True):
            ours = "".join(p.text for p in template.pieces(messages, generation=generation, thinking=None))
            try:
                theirs = published.render(messages, generation=generation, thinking=None)
            except DataError:
                return False
            if generation and thought is not None and thought.opened and "</think>" in published.source:
                ours, theirs = ours.removesuffix(thought.open), theirs.removesuffix(thought.open)
            if ours != theirs:
                return False
    return True
