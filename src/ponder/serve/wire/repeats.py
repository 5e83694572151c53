"""Names that stand twice where each may stand once."""

from collections.abc import Iterable


def first_repeated(names: Iterable[str]) -> int | None:
    """The number of the first name that an earlier one equals; None where all differ. One pass: a body may hold a
    hundred thousand names.
    """
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name in seen:
            return number
        seen.add(name)
    return None
