"""The program in an answer."""

import re

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE)
_PYTHON = ("python", "py", "python3")


def program_in(answer: str) -> str:
    """The last fenced block of Python, else the last one that names no language, else the answer itself.

    A fence that is not closed runs to the end.
    """
    blocks = [(language.lower(), body) for _, language, body in _FENCE.findall(answer)]
    named = [body for language, body in blocks if language in _PYTHON]
    unnamed = [body for language, body in blocks if not language]
    if named or unnamed:
        return str((named or unnamed)[-1])
    opened = re.search(r"^[ \t]*```[ \t]*(?:python3?|py)?[ \t]*\n(.*)", answer, re.DOTALL | re.MULTILINE)
    return opened.group(1) if opened else answer
