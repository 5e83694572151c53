"""Packing: examples of any length into rows of one size, so that little of a row is padding.

An example is never cut, and the examples of a row never see each other: whoever runs a row is given the lengths.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ponder.core.errors import ConfigError, DataError

TooLong = Literal["refuse", "leave_out"]  # what becomes of an example that is longer than a row
PATIENCE = 16  # examples in a row that found no room before a step is called full
HOPELESS = 1000  # examples of an endless stream, left out one after the other, before it is given up


@dataclass(frozen=True, kw_only=True)
class PackingConfig:
    """How examples become rows."""

    row_tokens: int = 2048  # tokens of a row; no example may be longer
    rows: int = 2  # of a step
    too_long: TooLong = "refuse"
    positions: int | None = None  # of the model's context, which no example may be longer than either

    def __post_init__(self) -> None:
        if self.row_tokens < 2 or self.rows < 1:
            raise ConfigError(
                f"packing: row_tokens = {self.row_tokens}, rows = {self.rows}; expected 2 or more, and 1 or more"
            )

    @property
    def longest(self) -> int:
        """Tokens of an example at most."""
        return self.row_tokens if self.positions is None else min(self.row_tokens, self.positions)

    @property
    def limit(self) -> str:
        """What bounds an example, in words, with what to do about it."""
        if self.longest < self.row_tokens:
            return f"the model's context of {self.longest} positions; take a model with a longer one"
        return f"a row of {self.row_tokens} tokens; make rows longer (row_tokens)"


@dataclass(frozen=True, kw_only=True)
class PackingState:
    """Where a stream of examples stands between two steps."""

    drawn: int = 0  # examples of the stream that have been looked at
    waiting: tuple[int, ...] = ()  # places in the stream of those that found no room yet; they come first
    left_out: int = 0  # examples that were longer than a row


@dataclass(frozen=True, kw_only=True)
class Packed:
    """The rows of one step, as places in the stream."""

    rows: tuple[tuple[int, ...], ...]  # a row may be empty at the end of a finite stream
    state: PackingState = field(default_factory=PackingState)  # after the step


def pack_step(
    length_of: Callable[[int], int], config: PackingConfig, state: PackingState, end: int | None = None
) -> Packed:
    """Fill the rows of one step with the next examples of a stream.

    `length_of(place)` is the length of the example at that place; a finite stream ends before `end`. In the order of
    the stream, each example goes to the row that it leaves the least room in (best fit). One that finds no room waits
    and comes first in the next step, so none is passed over for long. The result depends on the arguments alone.

    Raises `DataError` for an example that is longer than a row or than the model's context, unless those are left out;
    and then where an endless stream gives nothing else.
    """
    rows: list[list[int]] = [[] for _ in range(config.rows)]
    room = [config.row_tokens] * config.rows
    waiting: list[int] = []
    drawn, left_out, misses, too_long = state.drawn, state.left_out, 0, 0
    old = list(state.waiting)
    while misses < PATIENCE and any(room) and (old or end is None or drawn < end):
        if old:
            place = old.pop(0)
        else:
            place, drawn = drawn, drawn + 1
        length = length_of(place)
        if length > config.longest:
            if config.too_long == "refuse":
                raise DataError(
                    f"example {place} has {length} tokens, more than {config.limit}, or let such examples be left out "
                    "(too_long = leave_out), as a run may from here on that goes on with --resume"
                )
            left_out, too_long = left_out + 1, too_long + 1
            if end is None and too_long == HOPELESS:
                raise DataError(
                    f"{HOPELESS} examples one after the other were left out: they are longer than {config.limit}"
                )
            continue
        too_long = 0
        row = best_fit(room, length)
        if row is None:
            waiting.append(place)
            misses += 1
            continue
        rows[row].append(place)
        room[row] -= length
        misses = 0
    after = PackingState(drawn=drawn, waiting=(*waiting, *old), left_out=left_out)
    return Packed(rows=tuple(map(tuple, rows)), state=after)


def best_fit(room: Sequence[int], length: int) -> int | None:
    """The row with the least room that still takes `length`, the first of equals; None where there is none."""
    fitting = [row for row, free in enumerate(room) if free >= length]
    return min(fitting, key=lambda row: room[row]) if fitting else None


def count_steps(length_of: Callable[[int], int], config: PackingConfig, end: int) -> int:
    """How many steps a finite stream takes until every example has been in a row."""
    state, steps = PackingState(), 0
    while state.drawn < end or state.waiting:
        packed = pack_step(length_of, config, state, end)
        state = packed.state
        steps += any(packed.rows)
    return steps
