"""Finds what rules look for in texts that come in pieces. What is found depends on the text, never on the pieces.

Places are decided from left to right: a place is decided once no match can begin there that is not yet whole. Of each
rule the first match is told.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import ahocorasick  # type: ignore[import-not-found]

from ponder.serve.moderation.normalize import Normalizer, normalize
from ponder.serve.moderation.rules import Rule
from ponder.serve.moderation.spelling import MOST_GAP, Spelling, is_word, squeeze


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
    spelling: Spelling | None  # None: it stands in a text exactly as it is written


class _Terms:
    """Terms that are looked for together."""

    def __init__(self) -> None:
        self._found: dict[str, list[_Term]] = {}
        self._automaton = ahocorasick.Automaton()
        self.longest = 0

    def add(self, form: str, rule: Rule, spelling: Spelling | None) -> None:
        whole = is_word(form[0]) and is_word(form[-1])
        self._found.setdefault(form, []).append(_Term(rule, len(form), whole, spelling))

    def make(self) -> None:
        """No more are added."""
        for form, terms in self._found.items():
            self._automaton.add_word(form, terms)
        self._automaton.make_automaton()
        self.longest = max(map(len, self._found), default=0)

    def iter(self, form: str) -> Iterator[tuple[int, list[_Term]]]:
        """Where a term's last character stands, and the terms."""
        return self._automaton.iter(form)

    def first_open(self, form: str, places: Sequence[int], begin: int, end: int) -> int | None:
        """The first place from `begin` on where a term may stand that a text of `end` characters has not yet whole."""
        first = len(form)
        following = end
        while first > max(0, len(form) - self.longest):  # backwards, as long as no gap is too wide
            if following - places[first - 1] - 1 > MOST_GAP or places[first - 1] < begin:
                break
            first -= 1
            following = places[first]
        return next((places[start] for start in range(first, len(form)) if self._automaton.match(form[start:])), None)


class Matcher:
    """Some rules, ready to be looked for."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._spelled, self._literal = _Terms(), _Terms()
        for rule in rules:
            for term in rule.terms:
                try:
                    spelling = Spelling(term)
                except ValueError:
                    self._literal.add(term, rule, None)
                else:
                    self._spelled.add(spelling.squeezed, rule, spelling)
        self._spelled.make()
        self._literal.make()
        self._patterns = [(pattern, rule) for rule in rules for pattern in rule.patterns]
        spelled = self._spelled.longest * (1 + MOST_GAP)
        widths = [spelled, self._literal.longest, *(pattern.width for pattern, _ in self._patterns)]
        self.window = max(widths) + 1  # the most characters of a normalised text that are held back

    def find(self, text: str, begin: int, done: set[int], *, ended: bool) -> tuple[list[Match], int]:
        """The matches that begin at `begin` or later, and up to where all is decided. `done`: rules to leave out."""
        boundary = len(text)
        first: dict[int, Match] = {}
        if self._spelled.longest:
            form, places = squeeze(text)
            boundary = _find_terms(self._spelled, text, form, places, begin, done, first, ended)
        if self._literal.longest:
            everywhere = range(len(text))
            boundary = min(boundary, _find_terms(self._literal, text, text, everywhere, begin, done, first, ended))
        matches = list(first.values())
        for pattern, rule in self._patterns:
            if rule.number in done:
                continue
            if not ended:  # one character more, for the edge of a word
                boundary = min(boundary, max(begin, len(text) - pattern.width))
            if found := pattern.search(text, begin):
                matches.append(Match(*found, rule, text[found[0] : found[1]]))
        return matches, boundary


def _find_terms(
    terms: _Terms,
    text: str,
    form: str,  # in which it is searched
    places: Sequence[int],  # of the form's characters in the text
    begin: int,
    done: set[int],
    first: dict[int, Match],  # by rule, the first of two and the shorter at one place; it grows here
    ended: bool,
) -> int:
    """Up to where all is decided. A text may be one term a hundred thousand times: only the first is kept."""
    boundary = len(text)
    for last, found in terms.iter(form):
        end = places[last] + 1
        for term in found:
            start, number = places[last - term.length + 1], term.rule.number
            if start < begin or number in done:
                continue
            if number in first and (first[number].begin, first[number].end) <= (start, end):
                continue
            if term.whole_words and _inside_word(text, start, end):
                continue
            if term.spelling is not None and not term.spelling.fits(text, places[last - term.length + 1 : last + 1]):
                continue
            if term.whole_words and end == len(text) and not ended:  # the word may go on
                boundary = min(boundary, start)
            first[number] = Match(start, end, term.rule, text[start:end])
    if not ended and (still_open := terms.first_open(form, places, begin, len(text))) is not None:
        boundary = min(boundary, still_open)
    return boundary


def _inside_word(text: str, start: int, end: int) -> bool:
    """Whether letters or digits stand directly before or after."""
    return (start > 0 and is_word(text[start - 1])) or (end < len(text) and is_word(text[end]))


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
