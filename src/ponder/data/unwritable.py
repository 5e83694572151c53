"""Text that cannot be written as UTF-8: half of a surrogate pair, which escapes in JSON and in Python can make."""

import re
from collections.abc import Mapping

_SURROGATE = re.compile("[\ud800-\udfff]")


def unwritable(value: object) -> str | None:
    r"""What is wrong with the first text in plain data that cannot be written; None where all of them can.

    >>> unwritable({"question": ["fine", "\ud83d x"]})
    "holds a lone surrogate, which cannot be written: '\\ud83d x'"
    """
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            if not each.isascii() and _SURROGATE.search(each):
                return f"holds a lone surrogate, which cannot be written: {each[:60]!a}"
        elif isinstance(each, Mapping):
            left += [part for pair in each.items() for part in pair][::-1]
        elif isinstance(each, list | tuple):
            left += each[::-1]
    return None
