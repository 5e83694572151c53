"""Counting the words by which a thought checks itself, takes a try back, and tries again."""

import re
from dataclasses import dataclass

_CHECK = re.compile(r"\b(ok|yes|no|check|verify|correct|right|wrong)\b", re.IGNORECASE)
_RETRACTION = re.compile(r"\b(no|wrong|mistake|incorrect)\b", re.IGNORECASE)
_RETRY = re.compile(r"\b(wait|instead|again|retry)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reflections:
    """How often a thought checked a result, took one back, and started over."""

    checks: int
    retractions: int
    retries: int


def count_reflections(thought: str) -> Reflections:
    """Count whole words, whatever their case. R1v2 counts reflective words in the same way."""
    return Reflections(len(_CHECK.findall(thought)), len(_RETRACTION.findall(thought)), len(_RETRY.findall(thought)))
