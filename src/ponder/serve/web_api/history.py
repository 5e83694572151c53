"""Which earlier turns of a conversation go to the model.

Thoughts never do. A turn whose answer was withdrawn, failed or stayed empty is left out with its question. Where the
rest does not fit in the context beside room for an answer, the oldest turns are left out, and the page says how many.
"""

from collections.abc import Sequence

from ponder.core.types import Message
from ponder.serve.records import ModelInfo
from ponder.serve.seams import Backend
from ponder.serve.web_api.records import StoredMessage

MOST_ROOM = 8192  # tokens that are kept free for the answer, or half of a smaller context
TURN_TOKENS = 16  # what a template puts around the messages of a turn, with something to spare
BYTES_PER_TOKEN = 3  # of a model that does not tell its tokens: few texts need more tokens than this

Turn = tuple[Message, ...]  # a question and its answer; the last turn is a question alone


def turns_of(path: Sequence[StoredMessage]) -> list[Turn]:
    """The turns of a branch that ends with a question, without those that the model shall not see."""
    turns = []
    for question, answer in zip(path[:-1:2], path[1::2], strict=True):
        if answer.content and not answer.retracted:
            turns.append((Message("user", question.content), Message("assistant", answer.content)))
    return [*turns, (Message("user", path[-1].content),)]


async def fitting_turns(turns: list[Turn], backend: Backend, model: ModelInfo) -> list[Turn]:
    """The newest turns that fit; the last one always, whether it fits or not."""
    left = model.context - min(MOST_ROOM, model.context // 2)
    sizes = [sum(len(message.content.encode("utf-8", "replace")) for message in turn) for turn in turns]
    if sum(sizes) + TURN_TOKENS * len(turns) <= left:  # no token is shorter than a byte
        return turns
    first = len(turns)
    for turn, size in zip(reversed(turns), reversed(sizes), strict=True):
        if model.tokenizes:
            size = sum([len(await backend.tokenize(model.id, message.content)) for message in turn])
        else:
            size = -(-size // BYTES_PER_TOKEN)
        left -= size + TURN_TOKENS
        if left < 0:
            break
        first -= 1
    return turns[min(first, len(turns) - 1) :]
