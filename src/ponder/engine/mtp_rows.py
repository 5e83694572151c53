"""A multi-token prediction module over the paged cache: its rows, and what it needs of earlier positions.

The module (DeepSeek-V3 section 2.2) has one block with attention, so it has a cache: one more layer in the pages of the
main model. A row stands at the position p of its token, takes the main model's state at p-1 and predicts the token at
p+1; nothing stands at position 0. What it writes is therefore a function of the tokens up to p, like all else in the
page: a page that is shared, copied, or found again after a preemption is right for the module too. (vLLM keeps the row
of token p in place p-1, so that a page's last row depends on a token behind the page, and a hit's last page has to be
computed again.) So that a row can be run in a later step than the position before it, the states are kept by page too.

Shapes: N rows, W of them wanted, D hidden size, V vocabulary.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from ponder.engine.runner import Runner, cells
from ponder.engine.step import StepPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class MtpRows:
    """Rows of the module: first one each of the sequences that have one, then those of the others, each in one piece
    and at positions that rise one by one. The lowest position is 1.
    """

    tokens: "array[int]"
    positions: "array[int]"
    slots: "array[int]"  # the row's line in `tables`
    tables: NDArray[np.int32]  # (sequences, pages): the page of each `page_size` positions
    chunks: list[tuple[int, int]]  # first row and length of each sequence that has more than one
    wanted: "array[int]"  # the rows whose predictions are wanted, rising
    decode_rows: int = 0  # how many of the rows are alone of their sequence

    @property
    def table_width(self) -> int:
        """See `StepPlan`."""
        return int(self.tables.shape[1])


class Predicted(NamedTuple):
    """Of the wanted rows, until the next call."""

    states_WD: torch.Tensor  # normed: the head makes the logits of them, and the module's next row takes them
    logits_WV: torch.Tensor  # fp32


@runtime_checkable
class MtpRunner(Runner, Protocol):
    """A runner that keeps the cache of the model's first module too."""

    @property
    def mtp(self) -> "MtpPages":
        """What the module needs of earlier positions."""
        ...

    def predict(self, rows: MtpRows, before_ND: torch.Tensor | None = None) -> Predicted:
        """Run rows of the module. `before_ND`: the state that each row is given; None: the main model's own, at the
        position before it, which has been run.
        """
        ...


class MtpPages:
    """By page: the main model's states, and over how many of its positions, from the first on, the module has run."""

    def __init__(self, hidden_size: int, pages: int, page_size: int, dtype: torch.dtype) -> None:
        self._page_size = page_size
        # not filled: memory is taken when a page is first written
        self._states = torch.empty(pages, page_size, hidden_size, dtype=dtype)
        self._positions_run: NDArray[np.int32] = np.zeros(pages, np.int32)

    def copy(self, copies: Sequence[tuple[int, int]]) -> None:
        """Follow the cache's page copies."""
        for source, target in copies:
            self._states[target] = self._states[source]
            self._positions_run[target] = self._positions_run[source]

    def write(self, plan: StepPlan, states_ND: torch.Tensor) -> None:
        """Keep the main model's states of a step's rows. A page that begins anew has nothing of the module."""
        page_N, offset_N = cells(plan, self._page_size)
        self._states[torch.from_numpy(page_N), torch.from_numpy(offset_N)] = states_ND.to(self._states.dtype)
        self._positions_run[page_N[offset_N == 0]] = 0

    def before(self, rows: MtpRows) -> torch.Tensor:
        """The main model's state at the position before each row, (N, D)."""
        position_N = np.asarray(rows.positions, np.int64) - 1
        page_N = rows.tables[np.asarray(rows.slots), position_N // self._page_size]
        return self._states[torch.from_numpy(page_N.astype(np.int64)), torch.from_numpy(position_N % self._page_size)]

    def covered(self, pages: Sequence[int], length: int) -> int:
        """How many of the first `length` positions in these pages the module has run over, one after the other.
        Position 0, where it has nothing to do, is one of them.
        """
        size = self._page_size
        count = -(-length // size)
        first_P = np.arange(count) * size
        missing_P = self._positions_run[list(pages[:count])] < np.minimum(size, length - first_P)
        page = int(missing_P.argmax())
        return max(1, page * size + int(self._positions_run[pages[page]])) if missing_P[page] else length

    def cover(self, pages: Sequence[int], first: int, last: int) -> None:
        """The module has run over the positions from `first` to before `last`, and all before them."""
        size = self._page_size
        for page in range(first // size, -(-last // size)):
            self._positions_run[pages[page]] = max(self._positions_run[pages[page]], min(size, last - page * size))
