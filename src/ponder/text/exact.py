"""Answers that are compared as they are written."""

import re

_INTEGER = re.compile(r"-?[0-9]{1,40}")


def same_answer(given: str, reference: str) -> bool:
    """Whether an answer is the reference answer: the same integer, or the same text without the space around it.

    >>> same_answer("08", "8"), same_answer("1101", "01101")
    (True, False)
    """
    given, reference = given.strip(), reference.strip()
    if given == reference:
        return True
    # 08 is 8, but where the reference itself is written 01101 it is a text
    integers = _INTEGER.fullmatch(reference) is not None and _INTEGER.fullmatch(given) is not None
    return integers and str(int(reference)) == reference and int(given) == int(reference)
