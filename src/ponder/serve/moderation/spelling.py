"""How the characters of a term may stand apart in a text: `pipe-bomb`, `p.i.p.e b.o.m.b`, `土 制 炸 弹`.

Texts and terms are compared without their spaces and signs; what stood between two characters then decides. All of it
depends on the text alone, and a gap has a greatest length, so that a text may come in any pieces.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

MOST_GAP = 4  # characters of the normalised text between two of a term
_JOINERS = "[-‐‒–—―−_.·‧•・*]"  # what people write between letters to hide a word
_JOINED = re.compile(f"{_JOINERS}{{1,3}}")
_BETWEEN_WORDS = re.compile(
    f" ?{_JOINERS}{{1,3}}| {_JOINERS}{{0,2}} ?"
)  # no full stop and space: a sentence ends there
_CLAUSE = frozenset(",;:!?，；：！？。、")
_WORDS_END = "\u0530"  # Latin, Greek and Cyrillic letters stand before it


class _Gaps(dict[str, bool]):
    """Of each character, whether it is a space or a sign."""

    def __missing__(self, character: str) -> bool:
        found = self[character] = unicodedata.category(character)[0] in "PSZ"
        return found


_gaps = _Gaps()


def squeeze(text: str) -> tuple[str, list[int]]:
    """A text without spaces and signs, and where each of its characters stood."""
    places = [place for place, character in enumerate(text) if not _gaps[character]]
    return "".join([text[place] for place in places]), places


def is_word(character: str) -> bool:
    """Whether it is a digit or a letter of a script that has gaps between words; Chinese has none."""
    return character < _WORDS_END and character.isalnum()


class Spelling:
    """A term that begins and ends with a letter, with spaces and joiners between letters at most."""

    def __init__(self, term: str) -> None:
        """Raises `ValueError` for a term with other signs: that one is meant as it is written."""
        self.squeezed, places = squeeze(term)
        self._joints = [term[a + 1 : b] for a, b in pairwise(places)]
        if not places or (places[0], places[-1]) != (0, len(term) - 1):
            raise ValueError("a sign stands at its edge")
        if not all(not joint or _BETWEEN_WORDS.fullmatch(joint) for joint in self._joints):
            raise ValueError("a sign stands in it")
        self._may_spread = len(places) >= 3 and not self.squeezed.isdigit()

    def fits(self, text: str, places: Sequence[int]) -> bool:
        """Whether it may stand in the text so, its characters at these places."""
        gaps = [text[a + 1 : b] for a, b in pairwise(places)]
        if any(len(gap) > MOST_GAP for gap in gaps):
            return False
        if self._may_spread and all(gaps):  # every character stands alone
            return True
        return all(
            gap == joint or _joins(joint, gap, text[a], text[b])
            for joint, gap, (a, b) in zip(self._joints, gaps, pairwise(places), strict=True)
        )


def _joins(joint: str, gap: str, left: str, right: str) -> bool:
    """Whether `gap` may stand where the term has `joint`."""
    if not (is_word(left) and is_word(right)):
        return _CLAUSE.isdisjoint(gap)
    if " " in joint:
        return _BETWEEN_WORDS.fullmatch(gap) is not None
    return not (left.isdigit() and right.isdigit()) and _JOINED.fullmatch(gap) is not None
