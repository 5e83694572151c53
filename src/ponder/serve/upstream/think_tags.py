"""Thoughts that a server leaves in the answer's text.

Text alone cannot tell a tag that closes a thought from one that the thought talks about: the first counts. Where a
server can tell thoughts in a field of their own, that is better.
"""

from typing import Literal

OPEN, CLOSE = "<think>", "</think>"
Kind = Literal["reasoning", "content"]


class ThinkTags:
    """Splits one sample's text. A thought can only be at its beginning."""

    def __init__(self, *, opened: bool) -> None:
        """`opened`: the text begins inside the thought; it may still begin with the tag."""
        self._state: Literal["start", "lead", "thought", "gap", "answer"] = "start"
        self._opened = opened
        self._held = ""

    def push(self, text: str) -> list[tuple[Kind, str]]:
        """What the text so far surely is."""
        if self._state == "answer":
            return [("content", text)] if text else []
        self._held += text
        found: list[tuple[Kind, str]] = []
        if self._state == "start":
            self._start()
        if self._state == "lead":
            self._held = self._held.lstrip("\n")
            if self._held:
                self._state = "thought"
        if self._state == "thought":
            thought, tag, rest = self._held.partition(CLOSE)
            if tag:
                self._state, self._held = "gap", rest
                thought = thought.rstrip("\n")
            else:
                keep = _held_back(thought)
                thought, self._held = thought[: len(thought) - keep], thought[len(thought) - keep :]
            if thought:
                found.append(("reasoning", thought))
        if self._state == "gap":
            self._held = self._held.lstrip("\n")
            if self._held:
                self._state = "answer"
        if self._state == "answer" and self._held:
            found.append(("content", self._held))
            self._held = ""
        return found

    def finish(self) -> list[tuple[Kind, str]]:
        """What was held back."""
        held, self._held = self._held, ""
        inside = self._state in ("lead", "thought") or (self._state == "start" and self._opened)
        return [("reasoning" if inside else "content", held)] if held else []

    def _start(self) -> None:
        begun = self._held.lstrip()
        if begun.startswith(OPEN):
            self._state, self._held = "lead", begun[len(OPEN) :]
        elif not OPEN.startswith(begun):
            self._state = "lead" if self._opened else "answer"


def _held_back(text: str) -> int:
    """How many characters at the end could belong to the closing tag and the line ends before it."""
    for size in range(min(len(CLOSE) - 1, len(text)), 0, -1):
        if CLOSE.startswith(text[-size:]):
            break
    else:
        size = 0
    before = text[: len(text) - size]
    return len(text) - len(before.rstrip("\n"))
