"""The text of one sample as its tokens come: decoded, told apart into thought and answer, ended by stop strings."""

from typing import NamedTuple

from ponder.core.types import Part
from ponder.engine.stop_strings import StopSearch, StopStrings
from ponder.text.reasoning import ThinkSplitter
from ponder.text.tokenizer import Tokenizer

_WHITE_SPACE = " \t\r\n"


class Text(NamedTuple):
    """What one token brought. The text may be that of earlier tokens, which was held back."""

    part: Part  # that the text belongs to
    text: str
    thought: bool  # the token is one of a thought


class TextStream:
    """Follows one sample token by token. Its text goes on from the prompt's: a space at its beginning stays."""

    def __init__(
        self, tokenizer: Tokenizer, stops: StopStrings | None, *, inside_thought: bool, stops_in_thought: bool
    ) -> None:
        """`inside_thought`: the prompt has opened the thought. Stop strings never reach across a control token, be it
        one between two parts or the marker of a tool call. Without `stops_in_thought` they are not sought in the white
        space after a tag either: it is the template's, and a stop string of line breaks would end every answer there.
        """
        self._decoder = tokenizer.stream_decoder(skip_control=True, at_start=False)
        self._splitter = ThinkSplitter(tokenizer.control, inside_thought)
        self._search = None if stops is None else StopSearch(stops)
        self._stops_in_thought = stops_in_thought
        self._after_tag = False  # nothing but white space has come since a part began

    @property
    def stopped(self) -> bool:
        """A stop string was found."""
        return self._search is not None and self._search.stopped

    @property
    def stop(self) -> str:
        """The stop string that was found, "" if none was."""
        return "" if self._search is None else self._search.found

    def push(self, token: int) -> Text:
        """The text that can be shown now."""
        part = self._splitter.part
        belongs = self._splitter.push(token)
        text = self._show(part, self._decoder.push(token))
        if self._splitter.part != part:
            self._after_tag = not self._stops_in_thought
        if self._search is not None and self._decoder.skips(token):
            text += self._release()
        return Text(part, text, belongs == "thought")

    def finish(self) -> Text:
        """What is left when no token comes any more."""
        part = self._splitter.part
        return Text(part, self._show(part, self._decoder.finish()) + self._release(), False)

    def _show(self, part: Part, text: str) -> str:
        if self._search is None or (part == "thought" and not self._stops_in_thought):
            return text
        if not self._after_tag:
            return self._search.push(text)
        rest = text.lstrip(_WHITE_SPACE)
        self._after_tag = not rest
        return text[: len(text) - len(rest)] + self._search.push(rest)

    def _release(self) -> str:
        return "" if self._search is None or self._search.stopped else self._search.finish()
