"""Checks answers to multiple choice: the letter that a text settles on."""

import re
from collections.abc import Mapping

from ponder.core.types import Problem
from ponder.text.boxed import last_boxed
from ponder.verify.checkers import Finding, show

LONGEST_TEXT = 20_000  # characters; the end of a longer text is read
_THOUGHT_END = "</think>"
# what may stand before a letter; none is given back (`+`), or parts that overlap would be tried in all combinations
_OPEN = r"[\s*_\"'`(\[{$]{0,8}+(?:\\(?:text|mathrm|mathbf|boxed|fbox)\s?\{)?+[\s(\[*]{0,4}+"
# a letter alone; "A" and "I" are none where they are words: "Answer: A good policy", "B, I think"
_LETTER = r"([B-HJ]|[AI](?!\s+(?!because\b|since\b|as\b|is\b)[a-z]))(?![A-Za-z0-9'’])"
_SAYING = "think|believe|guess|choose|pick|say|go|with|would|will|that|it|is|it['’]s"
_SAID = rf"(?:I(?:['’](?:d|ll|m))?(?:\s+(?:{_SAYING})){{1,5}}\s+)?+"  # "Answer: I think it is B"
_AFTER = rf"{_OPEN}(?i:(?:option|choice|letter)\s++)?{_OPEN}{_LETTER}"
_ANSWER = re.compile(rf"(?i:answer(?:\s++is)?\s*+[:=：]?|答案(?:是|为)?\s*+[:：]?)\s*+{_SAID}{_AFTER}")
_OPTION = re.compile(rf"(?i:(?:choice|option)(?:\s++is)?\s*+[:=：]?){_AFTER}")
_ALONE = re.compile(rf"^{_OPEN}{_LETTER}[\s)\]}}.*:,$\"'`]*$")
_FIRST = re.compile(rf"^{_OPEN}{_LETTER}\s*(?:[).:\]}}]|[-–—]\s)")
_MORE = re.compile(rf"[\s)\]}}*.\"'$]*(?:or|and|,|/|&|\bor\b)\s*[(\[*]*{_LETTER}")


def stated_letter(text: str, choices: Mapping[str, str] | None = None) -> str | None:
    """The letter that a text gives as its answer; None where it gives none, or several.

    In this order: the last box; after the last "answer is", "Answer:" and the like; after the last "option" or
    "choice"; the text itself, where it is a letter, a letter and its choice, or a choice's own words. Text before the
    last `</think>` is left out.
    """
    text = text[-LONGEST_TEXT:].rpartition(_THOUGHT_END)[2].strip()
    boxed = last_boxed(text)
    if boxed is not None:
        return _alone(re.sub(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}", r"\1", boxed), choices)
    cues = list(_ANSWER.finditer(text)) or list(_OPTION.finditer(text))
    if cues:
        last = cues[-1]
        return None if _MORE.match(text, last.end()) else last.group(1)
    return _alone(text, choices)


def check_choice(problem: Problem, answer: str) -> Finding:
    """An `AnswerChecker`: right if the letter that the text settles on is the problem's.

    `facts["choices"]`, where there is one, has the choices by letter; then the words of a choice are its letter.
    """
    if problem.answer is None:
        return Finding(None, "the problem has no reference answer")
    given = problem.facts.get("choices")
    choices = {str(key): str(value) for key, value in given.items()} if isinstance(given, Mapping) else None
    letter = stated_letter(answer, choices)
    if letter is None:
        return Finding(0.0, f"no single letter is given; expected {problem.answer}")
    if choices is not None and letter not in choices:
        return Finding(0.0, f"{letter} is none of {', '.join(choices)}; expected {problem.answer}")
    if letter == problem.answer.strip():
        return Finding(1.0, f"{letter}, as expected")
    return Finding(0.0, f"{show(letter)}, expected {problem.answer}")


def _alone(text: str, choices: Mapping[str, str] | None) -> str | None:
    """The letter of a text that is nothing but an answer."""
    if found := _ALONE.match(text):
        return found.group(1)
    if choices:
        same = [letter for letter, words in choices.items() if _plain(words) == _plain(text)]
        if len(same) == 1:
            return same[0]
    found = _FIRST.match(text)
    if found is None or len(text) > 500 or "\n" in text:
        return None
    rest = text[found.end() :]
    if re.search(r"(?:^|[\s(])[A-J]\)", rest) or _MORE.match(text, found.end(1)):
        return None  # a list of choices, not one of them
    if choices and found.group(1) in choices and _plain(rest) and _plain(rest) != _plain(choices[found.group(1)]):
        return None  # the letter of one with the words of another, or a sentence
    return found.group(1)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+|[^\w\s.,;:!?\"'`*$]", text.casefold()))
