"""From what is asked to the ids that a model reads. Whatever a caller wrote as text stays text.

Ids that a caller gives for a plain completion are taken as they are, control tokens included: they are its explicit
choice, as no text is.
"""

from dataclasses import dataclass

from ponder.core.errors import DataError
from ponder.serve.errors import ApiError
from ponder.serve.local.thinking import ThoughtIds
from ponder.serve.records import Conversation, PlainText
from ponder.text.infill import encode_infill, infill_format, infill_stop_ids
from ponder.text.prompt import Prompter
from ponder.text.reasoning import inside_thought


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptIds:
    """A prompt."""

    ids: tuple[int, ...]
    own_prefix: int = 0  # the first of them that are the server's words
    opens_thought: bool = False  # it ends inside a thought
    stop_ids: frozenset[int]
    echo: str = ""  # what is said before the completion


def conversation_ids(
    prompter: Prompter, asked: Conversation, *, thinking: bool | None, opens: bool, thought: ThoughtIds | None
) -> PromptIds:
    """The prompt of a chat. `opens`: a thought is opened in the prompt even where the model opens it by itself.

    Raises `ApiError` 400 for a conversation that the model's template has no place for.
    """
    control = prompter.tokenizer.control
    tools = () if asked.tool_choice == "none" else asked.tools
    if prompter.template is None:
        if tools:
            raise ApiError(400, "this model reads single questions and knows no tools; leave tools out", param="tools")
        if asked.prefix:
            raise ApiError(400, "this model cannot go on from a reply that was begun for it", param="messages")
        try:
            ids, own = prompter.encode_conversation(asked.messages), 0
        except DataError as error:
            raise ApiError(400, str(error), param="messages") from error
    else:
        try:
            encoded = prompter.template.encode(asked.messages, thinking=thinking, tools=tools, prefix=asked.prefix)
        except DataError as error:
            raise ApiError(400, str(error), param="messages") from error
        ids, own = encoded.ids, encoded.own_prefix
    begun = asked.prefix and bool(asked.messages[-1].content or asked.messages[-1].reasoning)
    opened = inside_thought(ids, control)
    if thought is not None and not begun:
        if thinking is False and (opened or not _ends_closed(ids, thought)):
            ids += thought.closing if opened else thought.skipped
        elif opens and not opened:
            ids += thought.opening
        opened = inside_thought(ids, control)
    return PromptIds(ids=ids, own_prefix=own, opens_thought=opened, stop_ids=frozenset(control.stop))


def _ends_closed(ids: tuple[int, ...], thought: ThoughtIds) -> bool:
    """Whether a prompt ends with a thought that was skipped."""
    return thought.end in ids[-len(thought.skipped) :]


def plain_ids(prompter: Prompter, asked: PlainText) -> PromptIds:
    """The prompt of a plain completion, or of an infill. Raises `ApiError` 400."""
    tokenizer = prompter.tokenizer
    control = tokenizer.control
    stop_ids = frozenset(control.stop)
    if isinstance(asked.text, tuple):
        ids, text = asked.text, ""
        if wrong := next((i for i in ids if not 0 <= i < tokenizer.vocab_size), None):
            raise ApiError(
                400, f"token id {wrong} is outside the vocabulary of {tokenizer.vocab_size} tokens", param="prompt"
            )
        text = tokenizer.decode(ids, skip_control=True) if asked.echo or asked.suffix is not None else ""
    else:
        text = asked.text
    try:
        if asked.suffix is not None:
            chosen = infill_format(tokenizer)
            if chosen is None:
                raise ApiError(
                    400, "this model has no tokens for a completion with a suffix; leave suffix out", param="suffix"
                )
            ids, stop_ids = encode_infill(tokenizer, chosen, text, asked.suffix).ids, infill_stop_ids(tokenizer)
        elif not isinstance(asked.text, tuple):
            ids = (*tokenizer.prefix, *tokenizer.encode(text))
    except DataError as error:
        raise ApiError(400, str(error), param="prompt") from error
    ids = ids or (control.eos if control.bos is None else control.bos,)  # a text that begins
    return PromptIds(
        ids=ids,
        opens_thought=inside_thought(ids, control),
        stop_ids=stop_ids,
        echo=text if asked.echo else "",
    )
