"""Strings that end a text, looked for as it comes.

One automaton for all strings of a request (Aho and Corasick 1975): its state is the longest end of the text that some
stop string begins with, which is exactly what may not be shown yet. A character costs a few steps, however many the
strings are.
"""

from collections import deque
from collections.abc import Sequence

from ponder.core.errors import GenerationError

MAX_CHARACTERS = 16384  # of all stop strings of a request


class StopStrings:
    """Finds the stop string that ends first; of those that end together, the longest."""

    def __init__(self, strings: Sequence[str]) -> None:
        """Raises `GenerationError` for strings that are empty or too long together."""
        total = sum(map(len, strings))
        if not all(strings) or total > MAX_CHARACTERS:
            raise GenerationError(
                f"{len(strings)} stop strings of {total} characters; expected none to be empty and at most "
                f"{MAX_CHARACTERS} characters in all"
            )
        self._next: list[dict[str, int]] = [{}]  # by state, where a character leads; state 0: no string has begun
        self._fallback = [0]  # the state of the longest proper end
        self.depth = [0]  # how many of the last characters the state stands for
        self.found = [0]  # the length of the longest string that ends here, 0 for none
        for string in strings:
            state = 0
            for character in string:
                state = self._next[state].get(character) or self._branch(state, character)
            self.found[state] = len(string)
        self._link()

    def step(self, state: int, character: str) -> int:
        """The state after one character more."""
        while state and character not in self._next[state]:
            state = self._fallback[state]
        return self._next[state].get(character, 0)

    def _branch(self, state: int, character: str) -> int:
        new = self._next[state][character] = len(self._next)
        self._next.append({})
        self._fallback.append(0)
        self.depth.append(self.depth[state] + 1)
        self.found.append(0)
        return new

    def _link(self) -> None:
        queue = deque(self._next[0].values())  # in rising depth: a fallback is shorter, so it is ready
        while queue:
            state = queue.popleft()
            for character, below in self._next[state].items():
                self._fallback[below] = self.step(self._fallback[state], character)
                queue.append(below)
            self.found[state] = self.found[state] or self.found[self._fallback[state]]


class StopSearch:
    """One text. What it gives out holds no stop string and no beginning of one."""

    def __init__(self, stops: StopStrings) -> None:
        self._stops = stops
        self._state, self._held = 0, ""
        self.found = ""  # the stop string that was found; what follows is not looked at

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return bool(self.found)

    def push(self, text: str) -> str:
        """The text that is certain now to belong to no stop string."""
        if self.stopped:
            return ""
        for i, character in enumerate(text):
            self._state = self._stops.step(self._state, character)
            if length := self._stops.found[self._state]:
                whole, self._held = self._held + text[: i + 1], ""
                self.found = whole[len(whole) - length :]
                return whole[: len(whole) - length]
        whole = self._held + text
        certain = len(whole) - self._stops.depth[self._state]
        self._held = whole[certain:]
        return whole[:certain]

    def finish(self) -> str:
        """What was held back: no more text comes, or what comes next belongs elsewhere."""
        held, self._held, self._state = self._held, "", 0
        return held
