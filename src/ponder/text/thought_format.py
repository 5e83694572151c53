"""How a thought stands in a reply, and how a reply goes on that somebody has begun."""

from collections.abc import Sequence
from dataclasses import dataclass

from ponder.core.errors import DataError
from ponder.core.types import Message
from ponder.text.chat_pieces import Piece


@dataclass(frozen=True, kw_only=True)
class ThoughtFormat:
    """How a thought stands before an answer. Thoughts of turns before the last user message are dropped."""

    open: str = "<think>\n"
    close: str = "\n</think>\n\n"
    answer: tuple[str, str] = ("", "")  # around an answer that follows a thought
    opened: bool = False  # by the prompt; else the assistant opens it
    always: bool = False  # the last turn has one even if it is empty

    @property
    def skipped(self) -> str:
        """The empty thought by which a prompt asks for an answer at once."""
        return self.open + self.close


def begun_reply(messages: Sequence[Message]) -> Message:
    """The last message, a reply that is to go on from where it ends. Raises `DataError` where it is none."""
    begun = messages[-1]
    if begun.role != "assistant" or begun.tool_calls:
        raise DataError("a reply can only go on from a last message that is an assistant's, without tool calls")
    if len(messages) == 1:
        raise DataError("the conversation has nothing before the reply that is to go on; expected a user's message")
    return begun


def go_on(begun: Message, thought: ThoughtFormat | None, *, opened: bool) -> list[Piece]:
    """A reply up to where it was begun, after the words that ask for it. `opened`: these have opened a thought.

    A thought without an answer goes on; an answer without a thought has none.
    """
    if thought is None:
        if begun.reasoning:
            raise DataError("the reply was begun with a thought, and this model has no place for one; leave it out")
        return [Piece(begun.content)]
    if not (begun.reasoning or begun.content):
        return []
    pieces = [Piece("" if opened else thought.open, own=True), Piece(begun.reasoning or "")]
    if begun.content:
        pieces += [Piece(thought.close + thought.answer[0], own=True), Piece(begun.content)]
    return pieces
