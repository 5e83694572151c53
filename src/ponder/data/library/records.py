"""What is known of a problem set: where it comes from, how its rows become problems, how answers are judged."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from ponder.core.errors import ConfigError
from ponder.data.library.rows import Row

# how answers are judged; `recipes.problem_sets` has the checker of each
Kind = Literal["math", "code", "choice", "logic", "instructions", "exact", "gym"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_SLOT = re.compile(r"\{([a-z]+)\}")


def read_kind(text: str) -> Kind:
    """A kind by its name. Raises `ConfigError` for another name."""
    for kind in KINDS:
        if text == kind:
            return kind
    raise ConfigError(f"kind = {text!r}; expected one of {', '.join(KINDS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A row as a problem: its question without the prompt around it."""

    text: str
    answer: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    slots: Mapping[str, str] = field(default_factory=dict)  # what the prompt may show beside the question
    id: str = ""  # the set's own name of it


class NotUsable(Exception):
    """A row that nothing here can judge: it is left out, for the reason that the message tells."""


Layout = Callable[[Row], Question]


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitFiles:
    """Where a split lies: names in a repository on the Hub, and in a folder on this machine. Patterns as in a shell.

    `local` is a list of alternatives; the first that is there is read.
    """

    hub: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    rows: int | None = None  # as published; None where that is not known


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemSet:
    """A named problem set."""

    name: str
    title: str
    kind: Kind
    licence: str  # SPDX where there is one
    layout: Layout
    splits: Mapping[str, SplitFiles] = field(default_factory=dict)  # the first is the default
    prompt: str = "{question}"
    hub: str = ""  # a data set on the Hub; empty where it is not there
    revision: str = ""  # the commit that the names and rows here are of
    home: str = ""  # where else it is published
    note: str = ""
    drop_unanswered: bool = False  # rows without an answer are known and left out

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        return f"{self.hub}@{self.revision[:7]}" if self.hub else self.home


def in_prompt(prompt: str, question: Question) -> str:
    """The prompt with the question in it. A slot is filled once: braces in a question stay as they are.

    >>> in_prompt("Q: {question}", Question(text="what is {question}?"))
    'Q: what is {question}?'
    """
    slots = {"question": question.text, **question.slots}
    return _SLOT.sub(lambda found: slots.get(found[1], found[0]), prompt)
