"""The parts of an answer that is more than one value: lists, points, intervals, unions, sets, matrices, ±."""

import re
from dataclasses import dataclass

_PAIRS = {"(": ")", "[": "]", "{": "}"}
_MATRIX = re.compile(r"^\\begin\{[pbvBV]?matrix\}(.*)\\end\{[pbvBV]?matrix\}$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parts:
    """`kind` says how they belong together; `brackets` are those of an interval or a point."""

    kind: str  # list, set, tuple, union, matrix
    brackets: str
    items: tuple[str, ...]


def parts_of(text: str) -> Parts | None:
    """The parts of an answer; None where it is a single value."""
    text = text.strip()
    if matrix := _MATRIX.match(text):
        rows = [row for row in re.split(r"\\\\", matrix.group(1)) if row.strip()]
        cells = [row.split("&") for row in rows]
        if len({len(row) for row in cells}) == 1:
            size = f"{len(cells)}x{len(cells[0])}"
            return Parts("matrix", size, tuple(cell.strip() for row in cells for cell in row))
        return None
    union = split_outside(text, "\\cup")
    if len(union) > 1:
        return Parts("union", "", tuple(union))
    for opening, closing in (("\\{", "\\}"), ("{", "}"), ("\\lbrace", "\\rbrace")):
        if text.startswith(opening) and text.endswith(closing) and _whole(text, opening, closing):
            return Parts("set", "", tuple(_expanded(_items(text[len(opening) : -len(closing)]))))
    items = _items(text)
    if len(items) > 1:
        return Parts("list", "", tuple(_expanded(items)))
    items = re.split(r"\s+(?:and|or)\s+", text)
    if len(items) > 1 and all(items):
        return Parts("list", "", tuple(_expanded(items)))
    if text[:1] in ("(", "[") and text[-1:] in (")", "]"):
        items = _items(text[1:-1])
        if len(items) > 1:
            return Parts("tuple", text[0] + text[-1], tuple(items))
    if len(both := _expanded([text])) > 1:
        return Parts("list", "", tuple(both))
    return None


def _items(text: str) -> list[str]:
    """What semicolons separate, as where the comma stands in numbers; where there are none, what commas do."""
    items = split_outside(text, ";")
    return items if len(items) > 1 else split_outside(text, ",")


def split_outside(text: str, mark: str) -> list[str]:
    """`text` cut at every `mark` that stands in no bracket. An interval's brackets need not match: [1, 2)."""
    items, depth, start, at = [], 0, 0, 0
    while at < len(text):
        if text[at] in _PAIRS:
            depth += 1
        elif text[at] in _PAIRS.values():
            depth -= 1
        elif depth <= 0 and text.startswith(mark, at):
            items.append(text[start:at].strip())
            at += len(mark)
            start = at
            continue
        at += 1
    return [*items, text[start:].strip()]


def _whole(text: str, opening: str, closing: str) -> bool:
    """Whether the first bracket is closed by the last: not so in {1} + {2}."""
    depth = 0
    inner = text[len(opening) : -len(closing)]
    for character in inner:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0 and (opening != "{" or "," in inner)


def _expanded(items: list[str]) -> list[str]:
    """Each ± as its two values."""
    found = []
    for item in items:
        if item.count("\\pm") == 1:
            before, after = item.split("\\pm")
            found += [f"{before}+{after}" if before.strip() else after, f"{before}-{after}"]
        else:
            found.append(item)
    return found
