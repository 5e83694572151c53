"""The thought of one completion: how long it is, and when it is closed by force.

A thought begins where the prompt ends inside one, or with the first start id that is sampled; it ends with the end id.
After it, both are ordinary tokens, unless there may be one thought only. When the budget is used up, when a thought
that began late leaves just enough room for an answer, or on "answer now", the closing ids are forced and the model goes
on to its answer.
"""

from enum import Enum

from ponder.core.streaming import Thinking


class _Phase(Enum):
    BEFORE = "before"
    INSIDE = "inside"
    AFTER = "after"


class Thought:
    """Follows one completion token by token."""

    __slots__ = ("_answer_now", "_phase", "_settings", "tokens")

    def __init__(self, settings: Thinking) -> None:
        self._settings = settings
        self._phase = _Phase.INSIDE if settings.opened else _Phase.BEFORE
        self._answer_now = False
        self.tokens = 0  # of the thought so far, the forced ones not counted

    @property
    def bars_end(self) -> bool:
        """Whether the end id may not be sampled next, since the thought is too short."""
        return self._phase is _Phase.INSIDE and self.tokens < self._settings.min_tokens

    @property
    def barred(self) -> int | None:
        """The id that may not be sampled next; None where any may."""
        if self._phase is _Phase.AFTER:
            return self._settings.start_id if self._settings.once else None
        return self._settings.end_id if self.bars_end else None

    def push(self, token: int, left: int | None = None) -> bool:
        """Take note of a sampled token. True where ids are `due` after it. `left`: how many tokens may follow it; a
        thought with a budget is closed while there is room for that and one token of answer.
        """
        if self._phase is _Phase.AFTER:
            return False
        if self._phase is _Phase.INSIDE:
            if token == self._settings.end_id:
                self._phase = _Phase.AFTER
                return False
            self.tokens += 1
        elif token == self._settings.start_id:
            self._phase = _Phase.INSIDE
        closing = len(self._settings.forced_ids)
        if self._settings.budget is not None and left is not None and left <= closing + 1:
            self._answer_now = True  # it began late, or is about to
        return self._is_due()

    def answer_now(self) -> None:
        """Close the thought as soon as one is open."""
        self._answer_now = True

    def due(self) -> tuple[int, ...]:
        """The ids to force now, () for none. Having given them once, it takes the thought for closed."""
        if not self._is_due():
            return ()
        self._phase = _Phase.AFTER
        return self._settings.forced_ids

    def _is_due(self) -> bool:
        if self._phase is not _Phase.INSIDE:
            return False
        return self._answer_now or (self._settings.budget is not None and self.tokens >= self._settings.budget)
