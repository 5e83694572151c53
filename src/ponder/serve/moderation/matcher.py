"""Finds what rules look for in texts that come in pieces. What is found depends on the text, never on the pieces.

Places are decided from left to right: a place is decided once no match can begin there that is not yet whole. Of each
rule the first match is told.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import ahocorasick  # type: ignore[import-not-found]

from ponder.serve.moderation.normalize import Normalizer, normalize
from ponder.serve.moderation.rules import Rule


class Match(NamedTuple):
    """Where a rule applies, in characters of the normalised text."""

    begin: int
    end: int
    rule: Rule
    text: str  # what it matched; never stored


class _Term(NamedTuple):
    rule: Rule
    length: int
    whole_words: bool


class Matcher:
    """Some rules, ready to be looked for."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        found: dict[str, list[_Term]] = {}
        for rule in rules:
            for term in rule.terms:
                whole = term[0].isascii() and term[-1].isascii()
                found.setdefault(term, []).append(_Term(rule, len(term), whole))
        self._longest = max(map(len, found), default=0)
        self._terms = ahocorasick.Automaton()
        for term, entries in found.items():
            self._terms.add_word(term, entries)
        self._terms.make_automaton()
        self._patterns = [(pattern, rule) for rule in rules for pattern in rule.patterns]
        self.window = max([self._longest, *(pattern.width for pattern, _ in self._patterns)]) + 1

    def find(self, text: str, begin: int, done: set[int], *, ended: bool) -> tuple[list[Match], int]:
        """The matches that begin at `begin` or later, and up to where all is decided. `done`: rules to leave out."""
        boundary = len(text)
        matches: list[Match] = []
        if self._longest:
            matches, boundary = self._find_terms(text, begin, done, ended)
        for pattern, rule in self._patterns:
            if rule.number in done:
                continue
            if not ended:  # one character more, for the edge of a word
                boundary = min(boundary, max(begin, len(text) - pattern.width))
            if found := pattern.search(text, begin):
                matches.append(Match(*found, rule, text[found[0] : found[1]]))
        return matches, boundary

    def _find_terms(self, text: str, begin: int, done: set[int], ended: bool) -> tuple[list[Match], int]:
        first: dict[int, Match] = {}  # by rule: a text may be one term a hundred thousand times
        boundary = length = len(text)
        for last, terms in self._terms.iter(text):
            end = last + 1
            for term in terms:
                start, number = end - term.length, term.rule.number
                if start < begin or number in done or (number in first and first[number].begin <= start):
                    continue
                if term.whole_words:
                    if start and _continues(text[start - 1], text[start]):
                        continue
                    if end < length and _continues(text[end - 1], text[end]):
                        continue
                    if end == length and not ended:  # the word may go on
                        boundary = min(boundary, start)
                first[number] = Match(start, end, term.rule, text[start:end])
        matches = list(first.values())
        if not ended:
            for start in range(max(begin, length - self._longest), boundary):
                if self._terms.match(text[start:]):
                    return matches, start
        return matches, boundary


def _continues(left: str, right: str) -> bool:
    """Whether two neighbours belong to one word of letters and digits. Chinese has no gaps between words."""
    return left.isascii() and right.isascii() and left.isalnum() and right.isalnum()


class TextScanner:
    """One text as it comes."""

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._normalizer = Normalizer()
        self._text = ""  # normalised: the last decided character, and what is not decided
        self._origins: list[int] = []
        self._decided = 0  # characters of `_text` that are decided: 0 or 1
        self._before = 0  # normalised characters before `_text`
        self._done: set[int] = set()

    @property
    def safe(self) -> int:
        """Characters of the text at its beginning that belong to no match that is still to come."""
        return self._origins[self._decided] if self._decided < len(self._origins) else self._normalizer.taken

    def push(self, text: str) -> list[Match]:
        """What is decided now, from left to right."""
        folded, origins = self._normalizer.push(text)
        self._text += folded
        self._origins += origins
        return self._decide(ended=False)

    def finish(self) -> list[Match]:
        """The rest: no text comes any more."""
        return self._decide(ended=True)

    def origin(self, match: Match) -> int:
        """Where a match that was told just now begins in the text itself."""
        return self._told_origins[match.begin]

    def _decide(self, *, ended: bool) -> list[Match]:
        matches, boundary = self._matcher.find(self._text, self._decided, self._done, ended=ended)
        told = first_of_each(match for match in matches if match.begin < boundary)
        self._done.update(match.rule.number for match in told)
        self._told_origins = {match.begin + self._before: self._origins[match.begin] for match in told}
        result = [match._replace(begin=match.begin + self._before, end=match.end + self._before) for match in told]
        dropped = max(boundary - 1, 0)
        self._text, self._origins = self._text[dropped:], self._origins[dropped:]
        self._before += dropped
        self._decided = boundary - dropped
        return result


def first_of_each(matches: Iterable[Match]) -> list[Match]:
    """Of each rule the first match; the shorter of two at one place."""
    first: dict[int, Match] = {}
    for match in sorted(matches, key=lambda match: (match.begin, match.rule.number, match.end)):
        first.setdefault(match.rule.number, match)
    return list(first.values())


def scan(matcher: Matcher, text: str) -> list[Match]:
    """A whole text at once: what a `TextScanner` tells of it in whatever pieces."""
    folded = normalize(text)
    matches, _ = matcher.find(folded, 0, set(), ended=True)
    return first_of_each(matches)
