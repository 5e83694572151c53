"""Counting words, sentences and capitals, as the rules mean them."""

import re

_ABBREVIATION = re.compile(
    r"mrs?|ms|dr|prof|st|sr|jr|vs|etc|e\.g|i\.e|eg|ie|inc|ltd|corp|vol|fig|al|dept|est|approx|gov|hon|rep|rev|col|lt|sgt"
    r"|capt|cmdr|mt|ft|p\.(?:p\.)?s|[ap]\.m|u\.s|u\.k|u\.s\.a|jan|feb|apr|aug|sept?|oct|nov|ph\.d|m\.d|[bm]\.a|b\.c|a\.d"
)
# A run of marks is read once, from its first: "....x" would else be tried from each dot to each other one.
_END = re.compile(r"(?<![.!?。！？])[.!?。！？]++[\"'”’)\]*_]*+(?=\s|$)|[。！？]+|[।॥؟۔]+")
_LETTER = re.compile(r"\w")
_BLACK = re.compile(r"\S")
_WORD = re.compile(r"\w+")
_PARTS = re.compile(r"(?=n['’]t\b)|(?=['’](?:s|m|re|ve|ll|d)\b)", re.IGNORECASE)
_TOKEN = re.compile(r"[^\W_]+(?:[.\-/&'’_][^\W_]+)*|[^\W_](?:\.[^\W_])+\.?", re.UNICODE)


def count_words(text: str) -> int:
    """Runs of letters, digits and underscores."""
    return len(_WORD.findall(text))


def count_capital_words(text: str) -> int:
    """Words without a small letter: NASA, I, U.S.; a hyphenated word is one."""
    return sum(part.isupper() for token in _TOKEN.findall(text) for part in _PARTS.split(token))


def count_sentences(text: str) -> int:
    """Sentences: what ends in . ! or ? before space, an abbreviation or initial aside, and what is left at the end."""
    count, start, space = 0, _black(text, 0), -1  # where the sentence starts, and its first space
    looked, found = 0, False  # how far letters were looked for, and whether the sentence has one
    for end in _END.finditer(text):
        found = found or _LETTER.search(text, looked, end.end()) is not None
        looked = end.end()
        if not found:
            continue
        if space < start and (space := text.find(" ", start)) < 0:
            space = len(text)
        if end.group() == "." and _goes_on(text, start, end.start(), one_word=space >= end.start()):
            continue
        count, start, found = count + 1, _black(text, end.end()), False
    return count + (found or _LETTER.search(text, looked) is not None)


def _black(text: str, start: int) -> int:
    """The first place from `start` on that is no white space."""
    found = _BLACK.search(text, start)
    return found.start() if found else len(text)


def _goes_on(text: str, start: int, stop: int, *, one_word: bool) -> bool:
    """Whether the dot at `stop` belongs to an abbreviation, an initial or a list's number, and not to a sentence."""
    last = text[max(start, stop - 30) : stop].rpartition(" ")[2].rpartition("\n")[2].lstrip("(\"'*").lower()
    rest = text[stop + 1 : stop + 101].lstrip()
    if _ABBREVIATION.fullmatch(last):
        return bool(rest) and not (last in ("etc", "a.m", "p.m", "u.s", "u.k") and rest[:1].isupper())
    if len(last) == 1 and last.isalpha() and last != "i":
        return bool(rest)
    return last.isdigit() and one_word  # "1." at the head of a line
