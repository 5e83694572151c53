"""Regular expressions of rules: RE2's syntax without what has no bound.

RE2 takes time in proportion to the text, whatever the expression. That a match has a greatest length is needed for
streaming: so many characters are held back, no more.
"""

import re2  # type: ignore[import-untyped]

from ponder.serve.moderation.lookalikes import with_latin_letters
from ponder.serve.moderation.normalize import normalize

MOST_WIDTH = 256  # characters


class PatternError(ValueError):
    """An expression that cannot be used."""


class Pattern:
    """A compiled expression and the most characters that it can match."""

    def __init__(self, source: str) -> None:
        """Raises `PatternError`. Look-alikes of Latin letters are searched as these: so they stand in folded texts."""
        self.source = source = with_latin_letters(source)
        self.width = _Width(source).measure()
        if not 0 < self.width <= MOST_WIDTH:
            raise PatternError(f"it can match {self.width} characters; expected 1 to {MOST_WIDTH}")
        options = re2.Options()
        options.case_sensitive = False
        options.log_errors = False
        options.max_mem = 1 << 22
        try:
            self._compiled = re2.compile(source, options)
        except re2.error as error:
            raise PatternError(str(error.args[0] if error.args else error)) from None
        if self._compiled.match("") is not None:
            raise PatternError("it matches the empty text; expected at least one character")

    def search(self, text: str, begin: int) -> tuple[int, int] | None:
        """The first match that starts at `begin` or later; what stands before counts for word boundaries."""
        found = self._compiled.search(text, begin)
        return None if found is None else (found.start(), found.end())


class _Width:
    """Reads an expression and adds up how long its matches can be."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0

    def measure(self) -> int:
        width = self._alternatives()
        if self._at < len(self._source):
            raise PatternError("there is a ')' without its '('")
        return width

    def _peek(self, text: str) -> bool:
        return self._source.startswith(text, self._at)

    def _take(self) -> str:
        if self._at >= len(self._source):
            raise PatternError("it ends too early")
        self._at += 1
        return self._source[self._at - 1]

    def _alternatives(self) -> int:
        widest = self._sequence()
        while self._peek("|"):
            self._at += 1
            widest = max(widest, self._sequence())
        return widest

    def _sequence(self) -> int:
        width = 0
        while self._at < len(self._source) and self._source[self._at] not in "|)":
            width += self._atom() * self._times()
        return width

    def _atom(self) -> int:
        character = self._take()
        match character:
            case "(":
                return self._group()
            case "[":
                return self._set()
            case "\\":
                return self._escape()
            case "^" | "$":
                raise PatternError(
                    f"'{character}' is not offered: a text has no lines here; write \\b for a word's edge"
                )
            case "*" | "+" | "?":
                raise PatternError(f"'{character}' follows nothing")
        if normalize(character) not in (character, character.lower()):
            raise PatternError(
                f"the character {character!r} never occurs, since texts are folded first; "
                f"write {normalize(character)!r}"
            )
        return 1

    def _group(self) -> int:
        if self._peek("?:"):
            self._at += 2
        elif self._peek("?"):
            raise PatternError("of the groups with '(?', only '(?:' is offered; case makes no difference anyway")
        width = self._alternatives()
        if self._at >= len(self._source):
            raise PatternError("there is a '(' without its ')'")
        self._at += 1
        return width

    def _set(self) -> int:
        if self._peek("^"):
            self._at += 1
        if self._peek("]"):
            self._at += 1
        while not self._peek("]"):
            if self._peek("[:"):
                end = self._source.find(":]", self._at)
                if end < 0:
                    raise PatternError("there is a '[:' without its ':]'")
                self._at = end + 2
            elif self._take() == "\\":
                self._escape()
        self._at += 1
        return 1

    def _escape(self) -> int:
        character = self._take()
        if character in "bB":
            return 0
        if character in "pP":
            if self._peek("{"):
                end = self._source.find("}", self._at)
                if end < 0:
                    raise PatternError("there is a '{' without its '}'")
                self._at = end + 1
            else:
                self._take()
            return 1
        if character in "dDsSwW" or not character.isalnum():
            return 1
        raise PatternError(f"'\\{character}' is not offered; expected \\b, \\d, \\s, \\w, \\p{{…}} or an escaped sign")

    def _times(self) -> int:
        if self._peek("*") or self._peek("+") or self._peek("{"):
            times = self._counted()
        elif self._peek("?"):
            self._at += 1
            times = 1
        else:
            return 1
        if self._peek("?"):  # lazy
            self._at += 1
        return times

    def _counted(self) -> int:
        sign = self._take()
        if sign != "{":
            raise PatternError(
                f"'{sign}' has no bound; write {'{0,20}' if sign == '*' else '{1,20}'}, or another number"
            )
        end = self._source.find("}", self._at)
        least, comma, most = self._source[self._at : max(end, self._at)].partition(",")
        self._at = end + 1
        if end < 0 or not least.isdigit() or not (most.isdigit() or not comma):
            raise PatternError("a '{' begins a count; expected {3} or {0,20}, or write \\{ for the sign itself")
        return int(most if comma else least)
