"""Thoughts that are closed by force, in a batch of whole completions."""

from collections import deque
from collections.abc import Iterator, Sequence

from ponder.core.streaming import Thinking
from ponder.engine.thinking import Thought


class ThoughtBudgets:
    """Follows the rows of a batch and says which of their sampled ids are replaced by those that close a thought."""

    def __init__(self, thinking: Sequence[Thinking | None], max_tokens: int) -> None:
        """`thinking` of each row; None where its thought has no bound. `max_tokens` of a completion."""
        self._left = [max_tokens] * len(thinking)
        self._thoughts = [None if settings is None else Thought(settings) for settings in thinking]
        self._due = [deque(() if thought is None else thought.due()) for thought in self._thoughts]

    def replaced(self, rows: Sequence[int], sampled: Sequence[int]) -> Iterator[tuple[int, int]]:
        """The places in `rows` whose next id is forced, with that id; `sampled` are the ids that were drawn."""
        for place, (row, token) in enumerate(zip(rows, sampled, strict=True)):
            due, thought = self._due[row], self._thoughts[row]
            self._left[row] -= 1
            if due:
                yield place, due.popleft()
            elif thought is not None and thought.push(token, self._left[row]):
                due.extend(thought.due())
