"""The program in an answer."""

import re

_FENCE = re.compile(r"[ \t]*((`|~)\2{2,})[ \t]*([\w+-]*)")
_PYTHON = ("python", "py", "python3")


def program_in(answer: str) -> str:
    """The last fenced block of Python, else the last one that names no language, else the answer itself.

    A fence that is not closed runs to the end. The time is linear in the answer's length, whatever it holds.
    """
    answer = answer.replace("\r\n", "\n")
    blocks, left = _blocks(answer.split("\n"))
    named = [body for language, body in blocks if language in _PYTHON]
    unnamed = [body for language, body in blocks if not language]
    if named or unnamed:
        return (named or unnamed)[-1]
    return answer if left is None else left


def _blocks(lines: list[str]) -> tuple[list[tuple[str, str]], str | None]:
    """The closed blocks, each with its language; and what follows the first fence of Python that is not closed."""
    closing = _closing_fences(lines)
    blocks: list[tuple[str, str]] = []
    left = None
    at = 0
    while at < len(lines) - 1:
        fence = _FENCE.match(lines[at])
        end = _end(closing, fence.group(2), len(fence.group(1)), at) if fence else None
        if fence and end is not None:
            blocks.append((fence.group(3).lower(), "".join(f"{line}\n" for line in lines[at + 1 : end])))
            at = end
        elif fence and left is None and fence.group(1) == "```" and _names_python_alone(lines[at]):
            left = "\n".join(lines[at + 1 :])
        at += 1
    return blocks, left


def _names_python_alone(line: str) -> bool:
    return line.strip(" \t").removeprefix("```").lstrip(" \t") in ("", *_PYTHON)


def _closing_fences(lines: list[str]) -> dict[tuple[str, int], list[int]]:
    """The numbers of the lines that are nothing but a fence, by its character and length; the last one first."""
    closing: dict[tuple[str, int], list[int]] = {}
    for number in range(len(lines) - 1, -1, -1):
        bare = lines[number].strip(" \t")
        if bare[:3] in ("```", "~~~") and bare.count(bare[0]) == len(bare):
            closing.setdefault((bare[0], len(bare)), []).append(number)
    return closing


def _end(closing: dict[tuple[str, int], list[int]], mark: str, length: int, start: int) -> int | None:
    """The line that closes a fence opened at `start`: the next one of its length, or else of the next length below."""
    for each in range(length, 2, -1):
        later = closing.get((mark, each), [])
        while later and later[-1] <= start:
            later.pop()
        if later:
            return later[-1]
    return None
