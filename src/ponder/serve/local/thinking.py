"""How long a reply may think.

A thought never takes all of `max_tokens`: a quarter of it, but no more than 1,024 tokens, is kept for the answer.
Within that, an effort of "low" allows an eighth of `max_tokens` and "high" a half; "max", or none, allows all that is
left. A budget in tokens holds besides. Where nothing is left to think with, the thought is skipped in the prompt.
"""

from dataclasses import dataclass

from ponder.core.errors import TokenizerError
from ponder.core.streaming import Thinking
from ponder.serve.records import Effort
from ponder.text.chat_pieces import Piece, PieceEncoder
from ponder.text.thought_format import ThoughtFormat
from ponder.text.tokenizer import Tokenizer

ANSWER_SHARE = 4  # one part in so many of max_tokens is kept for the answer …
LARGEST_ANSWER_SHARE = 1024  # … but no more tokens than this
EFFORT_SHARES: dict[Effort, float] = {"low": 1 / 8, "high": 1 / 2, "max": 1.0}  # of max_tokens


@dataclass(frozen=True, slots=True)
class ThoughtIds:
    """The words around a thought as ids."""

    start: int
    end: int
    opening: tuple[int, ...]  # what opens a thought in the prompt
    closing: tuple[int, ...]  # what closes one that must end
    skipped: tuple[int, ...]  # a thought that is opened and closed in the prompt


def thought_ids(tokenizer: Tokenizer, thought: ThoughtFormat | None) -> ThoughtIds | None:
    """None where the vocabulary cannot mark thoughts. A model that has tags and no form for them gets R1's."""
    control = tokenizer.control
    if control.think is None or control.end_think is None:
        return None
    form = thought or ThoughtFormat()
    encoder = PieceEncoder(tokenizer)
    answer = form.answer[0] if control.answer is not None else ""

    def ids(text: str) -> tuple[int, ...]:
        try:
            return encoder.encode([Piece(text, own=True)]).ids
        except TokenizerError:  # a vocabulary of ASCII alone has no line break
            return encoder.encode([Piece(text.replace("\n", ""), own=True)]).ids

    return ThoughtIds(
        start=control.think,
        end=control.end_think,
        opening=ids(form.open),
        closing=ids(form.close + answer),
        skipped=ids(form.skipped + answer),
    )


def thought_room(max_tokens: int, effort: Effort | None, budget: int | None, around: int) -> int:
    """Most tokens of a thought, `around` the ids that open and close it by force. Less than 1: there is no room."""
    answer = min(max(1, max_tokens // ANSWER_SHARE), LARGEST_ANSWER_SHARE)
    room = max_tokens - answer - around
    if effort is not None:
        room = min(room, int(max_tokens * EFFORT_SHARES[effort]))
    return room if budget is None else min(room, budget)


def bound_thought(ids: ThoughtIds, *, opened: bool, max_tokens: int, room: int) -> Thinking:
    """The engine's bounds for a thought of at most `room` tokens, which may be 0: one that is opened all the same is
    closed at once, by the tag alone where max_tokens leaves no place for more.
    """
    most = max_tokens - 1 - (0 if opened else 1)  # with what closes it; one token at least is the answer's
    closing = ids.closing if most >= len(ids.closing) else (ids.end,)
    budget = min(max(room, 0), most - len(closing))
    return Thinking(
        start_id=ids.start,
        end_id=ids.end,
        opened=opened,
        closing_ids=closing,
        budget=budget if budget >= 0 else None,  # one or two tokens: too few for any thought that is closed
        once=True,
    )
