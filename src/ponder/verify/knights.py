"""Checks answers to puzzles of knights and knaves: who is which, in any order."""

import re
from collections.abc import Mapping

from ponder.core.types import Problem
from ponder.verify.checkers import Finding

LONGEST_TEXT = 20_000  # characters; the end of a longer text is read
# What no part of an expression gives back is not read twice: `++` and `*+`.
_LINK = re.compile(r"[*_\"')]*+(?:\s*+,\s*+(?:and\s++)?|\s++and\s++)[*_\"'(]*+", re.IGNORECASE)
_ROLE = re.compile(
    r"[*_\"')]*+\s*+(?:is|are|was|were|as|[:=]|[-–—]++>?)"
    r"[\s*_]*+(not[\s*_]++)?(?:an?[\s*_]++|the[\s*_]++)?(knight|knave)s?(?![A-Za-z])(?!\s+or\b)",
    re.IGNORECASE,
)


def check_knights(problem: Problem, answer: str) -> Finding:
    """An `AnswerChecker`: right if the text says of everyone in `facts["knights"]` what they are.

    What counts is the last that it says of each: "Zoey is a knight", "Zoey: knave", "Zoey and Amy are knaves".
    """
    knights = problem.facts.get("knights")
    if not isinstance(knights, Mapping) or not knights:
        return Finding(None, "the problem does not say who is a knight")
    said = stated_roles(answer, [str(name) for name in knights])
    missing = [name for name in knights if name not in said]
    if missing:
        return Finding(0.0, f"does not say what {missing[0]} is")
    wrong = [name for name, knight in knights.items() if said[name] != bool(knight)]
    if wrong:
        return Finding(0.0, f"{wrong[0]} is no {'knight' if said[wrong[0]] else 'knave'}")
    return Finding(1.0, f"right about all {len(knights)}")


def stated_roles(text: str, names: list[str]) -> dict[str, bool]:
    """For each name that the text says something of: whether the last that it says is "knight"."""
    text = text[-LONGEST_TEXT:].rpartition("</think>")[2]
    names = sorted(names, key=len, reverse=True)
    any_name = "|".join(f"({re.escape(name)})" for name in names)
    each_name = re.compile(rf"(?<![A-Za-z])(?:{any_name})(?![A-Za-z])", re.IGNORECASE)
    said: dict[str, bool] = {}
    together: list[str] = []  # "Zoey, Amy and Bob"
    end = 0  # of the last name, or of what was said of it
    for found in each_name.finditer(text):
        if found.start() < end or found.lastindex is None:
            continue
        if not _LINK.fullmatch(text, end, found.start()):
            together = []
        together.append(names[found.lastindex - 1])
        end = found.end()
        if role := _ROLE.match(text, end):
            knight = (role.group(2).lower() == "knight") != bool(role.group(1))
            said.update(dict.fromkeys(together, knight))
            together, end = [], role.end()
    return said
