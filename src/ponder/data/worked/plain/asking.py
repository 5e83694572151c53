"""One kind of plain question: how it is drawn, put into words and worked out."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ponder.data.worked.gym_task import Facts, Writer

Words = Callable[[Facts], Mapping[str, object]]
Twins = Callable[[Facts], Sequence[str]]


def as_they_are(facts: Facts) -> Mapping[str, object]:
    """For wordings that name the facts themselves."""
    return facts


def without_twins(_: Facts) -> Sequence[str]:
    """For questions that no task asks of the same numbers, or of so many that it does not matter."""
    return ()


@dataclass(frozen=True)
class Asking:
    """The facts are plain values (JSON); `write` makes a thought and an answer of them.

    `trained` and `unseen` are wordings with fields in braces, which `words` fills; `unseen` ones are never trained on.
    `twins`: the ids of the task's own problems with the same numbers. Where one of them is held out, the question is no
    training question.
    """

    draw: Callable[[random.Random], Facts]
    trained: tuple[str, ...]
    unseen: tuple[str, ...]
    write: Writer
    words: Words = as_they_are
    twins: Twins = without_twins
