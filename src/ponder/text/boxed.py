"""Answers in a box, as mathematics is asked to state them."""

import re

LONGEST_ANSWER = 2_000  # characters of a box

_BOX = re.compile(r"\\(?:boxed|framebox|fbox)\s*(\{|[^\s{}$\\])")


def last_boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{…}` (or `\fbox`, `\framebox`) whose braces are closed; braces inside may nest.

    >>> last_boxed(r"so \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    for box in reversed(list(_BOX.finditer(text))[-20:]):
        if box.group(1) != "{":
            return box.group(1)
        end = _closing_brace(text, box.end())
        if end is not None:
            return text[box.end() : end]
    return None


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for at in range(start, min(len(text), start + LONGEST_ANSWER + 1)):
        if text[at] in "{}" and text[at - 1] != "\\":
            depth += 1 if text[at] == "{" else -1
            if depth == 0:
                return at
    return None
