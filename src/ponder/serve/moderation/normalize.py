"""The form in which texts are compared with rules.

Every character is folded by itself, so that a text may come in any pieces: compatibility forms are decomposed
(full-width letters, ligatures; Unicode NFKD), case is folded, accents and invisible characters are dropped, Cyrillic
and Greek letters that look like Latin ones become these, and every run of white space becomes one space. Digits for
letters (`b0mb`), letters of other scripts and drawings of letters stay what they are.
"""

import re
import unicodedata

from ponder.serve.moderation.lookalikes import LATIN_LETTERS

SPACE = " "
_SPACES = re.compile(" {2,}")
_MOST_REMEMBERED = 65_536  # characters; the others are folded anew each time
# invisible, though neither of a format nor an accent: grapheme joiner, Hangul fillers, variation selectors
_INVISIBLE = frozenset([0x034F, 0x115F, 0x1160, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10)])


class _Folds(dict[int, str]):
    """From a character's number to what it becomes; for `str.translate`."""

    def __missing__(self, number: int) -> str:
        folded = fold(chr(number))
        if len(self) < _MOST_REMEMBERED:
            self[number] = folded
        return folded


def fold(character: str) -> str:
    """What one character becomes: nothing, a space, or one or more characters."""
    if character.isspace():
        return SPACE
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    kept = "".join(SPACE if c.isspace() else c for c in decomposed if not _is_dropped(c))
    return kept.translate(LATIN_LETTERS)


def _is_dropped(character: str) -> bool:
    if character.isspace():
        return False
    if unicodedata.combining(character) or ord(character) in _INVISIBLE or 0xE0100 <= ord(character) <= 0xE01EF:
        return True
    return unicodedata.category(character) in ("Cc", "Cf", "Me")


_folds = _Folds()


def normalize(text: str) -> str:
    """A whole text."""
    return _SPACES.sub(SPACE, text.translate(_folds))


class Normalizer:
    """A text that comes in pieces. What `push` returns, joined, is `normalize` of the pieces joined."""

    def __init__(self) -> None:
        self._after_space = False
        self.taken = 0  # characters of the text until now

    def push(self, text: str) -> tuple[str, list[int]]:
        """What a piece becomes, and for each character of it the place in the text that it comes from."""
        folded: list[str] = []
        origins: list[int] = []
        for place, character in enumerate(text, self.taken):
            for c in _folds[ord(character)]:
                if c == SPACE and self._after_space:
                    continue
                self._after_space = c == SPACE
                folded.append(c)
                origins.append(place)
        self.taken += len(text)
        return "".join(folded), origins
