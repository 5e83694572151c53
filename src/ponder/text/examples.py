"""From a conversation to what a model learns from: its ids, and which of them are to be learned."""

from dataclasses import dataclass, replace

from ponder.core.errors import DataError
from ponder.core.types import Conversation
from ponder.text.chat_template import ChatTemplate


@dataclass(frozen=True, slots=True)
class Example:
    """A sequence to learn from. `target[i]`: the model has to produce `ids[i]`; the others are only read.

    The last `rehearsed` of them are learned as what a reference model says there: its whole distribution of the next
    token. It reads `reference`, which ends with the same tokens.
    """

    ids: tuple[int, ...]
    target: tuple[bool, ...]
    reference: tuple[int, ...] = ()
    rehearsed: int = 0

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.target):
            raise DataError(f"an example has {len(self.ids)} ids and {len(self.target)} marks of what to learn")
        if not any(self.target[1:]):
            raise DataError(
                f"an example of {len(self.ids)} tokens has none to learn; expected one after the first token, which "
                "nothing predicts"
            )

    @property
    def target_tokens(self) -> int:
        """How many tokens a loss is about; the first is never one of them."""
        return sum(self.target[1 : len(self.ids) - self.rehearsed]) + self.rehearsed

    def rehearse(self, reference: tuple[int, ...]) -> "Example":
        """The same, with the tokens with which it ends as `reference` does learned as the reference model's
        distribution; those before them as they were.

        >>> Example((1, 2, 3, 4), (False, True, True, True)).rehearse((5, 6, 3, 4)).rehearsed
        2
        """
        most = min(len(self.ids), len(reference)) - 1  # nothing predicts the first
        backwards = zip(reversed(self.ids), reversed(reference), strict=False)
        shared = next((n for n, (ours, theirs) in enumerate(backwards) if ours != theirs), most)
        return replace(self, reference=reference, rehearsed=min(shared, most))


def encode_conversation(template: ChatTemplate, conversation: Conversation) -> Example:
    """The ids of a conversation; what is learned is the assistant's last turn, or every one of them (`every_turn`).

    A turn is its thought, its content and its end token, as the template places them: no mark comes from looking for
    tokens. Thoughts of turns before the last user message are dropped where the model's family does so. Raises
    `DataError` for a conversation that does not end with the assistant, or that the template has no place for.
    """
    messages = conversation.messages
    if not messages or messages[-1].role != "assistant":
        ends = f"ends with a message of role {messages[-1].role!r}" if messages else "is empty"
        raise DataError(f"conversation {conversation.id!r} {ends}; expected one that ends with the assistant's reply")
    try:
        encoded = template.encode(messages, generation=False)
        target = encoded.target
        if not conversation.every_turn and any(m.role == "assistant" for m in messages[:-1]):
            # the last turn begins where the conversation without it ends
            start = len(template.encode(messages[:-1], generation=False).ids)
            target = (*(False,) * start, *target[start:])
        return Example(encoded.ids, target)
    except DataError as error:
        raise type(error)(f"conversation {conversation.id!r}: {error}") from None
