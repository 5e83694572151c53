"""The program in an answer."""

import re

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE)
_PYTHON = {"python", "py", "python3", ""}


def program_in(answer: str) -> str:
    """The last fenced block of Python, else the answer itself. A fence that is not closed runs to the end."""
    blocks = [body for _, language, body in _FENCE.findall(answer) if language.lower() in _PYTHON]
    if blocks:
        return str(blocks[-1])
    opened = re.search(r"^[ \t]*```[ \t]*(?:python3?|py)?[ \t]*\n(.*)", answer, re.DOTALL | re.MULTILINE)
    return opened.group(1) if opened else answer
