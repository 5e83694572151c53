"""The answer that a text states, found without knowing its language."""

import re

from ponder.text.boxed import LONGEST_ANSWER, last_boxed
from ponder.verify.math.characters import plain_characters

LONGEST_TEXT = 100_000  # characters; the end of a longer text is read

_TAGS = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = "</think>"
# Words after which an answer stands, in the languages that problems come in; "####" is GSM8K's.
_CUES = re.compile(
    r"(?:####|(?:final\s+)?answer\**(?:\s+is\b|\s*[:=])|(?:最终)?答案\**\s*(?:是|为|[:：])|答え\**\s*(?:は|[:：])"
    r"|정답\**\s*(?:은|는|[:：])|r[ée]ponse(?:\s+finale)?\**(?:\s+est\b|\s*:)"
    r"|respuesta(?:\s+final)?\**(?:\s+es\b|\s*:)|resposta(?:\s+final)?\**(?:\s+é|\s*:)"
    r"|risposta(?:\s+finale)?\**(?:\s+è|\s*:)|antwort\**(?:\s+(?:ist|lautet)\b|\s*:)"
    r"|ответ\**(?:\s+есть)?\s*[:—-])",
    re.IGNORECASE,
)
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_NUMBER = re.compile(
    r"-?(?:[0-9]+\s?)?\\[dt]?frac\{[0-9]+\}\{[0-9]+\}"
    r"|-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d))(?:\s*/\s*\d+)?%?"
)

# A line says more than its answer where it begins with a word, holds a verb, or is written in words without spaces.
_NAMES = re.compile(r"\\(?:text\w*|mbox|mathrm|operatorname|begin|end)\s*\{[^{}]*\}")
_SENTENCE = re.compile(
    r"^\W*(?<![\\A-Za-z])(?!(?:sqrt|sin|cos|tan|cot|sec|csc|log|exp)\b)(?:[^\W\d_]{3,}|(?:so|it|we|he)\b)"
    r"|\b(?:is|are|was|were|has|have|equals?)\b|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]",
    re.IGNORECASE,
)


def stated_answers(text: str) -> list[str]:
    r"""What the text may state as its answer, the surest first, each at most once.

    In this order: the last `\boxed{…}`; the last `<answer>` part; what follows the last "answer is"; the text itself
    where it is one line and no sentence; the last formula; the last number. Text before the last `</think>` is left
    out. A verifier takes the first alone: accepting any of them would reward a list of guesses.
    """
    text = plain_characters(text[-LONGEST_TEXT:].rpartition(_THOUGHT_END)[2])
    found: list[str] = []
    for answer in (last_boxed(text), _tagged(text), _cued(text), _line(text), _formula(text), _number(text)):
        if answer is not None and (answer := answer.strip()) and len(answer) <= LONGEST_ANSWER and answer not in found:
            found.append(answer)
    return found


def _tagged(text: str) -> str | None:
    start = text.lower().rfind("<answer>")
    match = _TAGS.match(text, start) if start >= 0 else None
    return match.group(1) if match else None


def _cued(text: str) -> str | None:
    last = _last(_CUES, text)
    if last is None:
        return None
    line = text[last.end() :].lstrip(" :：=*\n").split("\n", 1)[0]
    if (formula := _FORMULA.match(line)) and re.match(r"[\s*]*(?:[.。]|$)", line[formula.end() :]):
        return _body(formula)
    sentence = re.split(r"(?<=[^\s])[.。](?:\s|$)", line, maxsplit=1)[0]
    return sentence.strip(" *").rstrip(" *.。")


def _line(text: str) -> str | None:
    """A text of one line that is nothing but an answer."""
    line = text.strip("* \n")
    if "\n" in line or len(line) > 200 or re.search(r"[.!?。] ", line):
        return None
    holds_one = _FORMULA.search(line) or re.search(r"[0-9]", line)
    return None if holds_one and _SENTENCE.search(_NAMES.sub("", line)) else line


def _formula(text: str) -> str | None:
    last = _last(_FORMULA, text[-5_000:])
    return _body(last) if last else None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found


def _body(formula: re.Match[str]) -> str:
    return next((group for group in formula.groups() if group is not None), "")


def _number(text: str) -> str | None:
    numbers = _NUMBER.findall(text[-5_000:])
    return next((number for number in reversed(numbers) if number), None)
