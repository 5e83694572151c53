"""One kind of plain question: how it is drawn, put into words and worked out."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ponder.data.worked.gym_task import Facts, Writer

Words = Callable[[Facts], Mapping[str, object]]


def as_they_are(facts: Facts) -> Mapping[str, object]:
    """For wordings that name the facts themselves."""
    return facts


@dataclass(frozen=True)
class Asking:
    """The facts are plain values (JSON); `write` makes a thought and an answer of them.

    `trained` and `unseen` are wordings with fields in braces, which `words` fills; `unseen` ones are never trained on.
    """

    draw: Callable[[random.Random], Facts]
    trained: tuple[str, ...]
    unseen: tuple[str, ...]
    write: Writer
    words: Words = as_they_are
