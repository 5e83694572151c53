"""What runs a step: the model with its paged cache, behind one protocol.

Shapes: R rows whose logits are wanted, D draws, V vocabulary, L layers with experts, K experts per token.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ponder.algo.sampling import Sampled
from ponder.engine.step import StepPlan
from ponder.models.config import ModelConfig


class Runner(Protocol):
    """A model with a cache of pages. One thread at a time calls it."""

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        ...

    @property
    def pages(self) -> int:
        """Pages of the cache."""
        ...

    @property
    def page_size(self) -> int:
        """Positions of a page."""
        ...

    def run(self, plan: StepPlan) -> torch.Tensor:
        """Carry out a step (see step.py) and return the logits of its `logit_rows`, (R, V) fp32.

        They are the caller's to write over until the next call. A row's logits depend on the tokens before it and the
        weights, not on what else is in the step (up to rounding): a sequence that has gone to NaN harms no other.
        """
        ...

    def sample(
        self, logits_DV: torch.Tensor, seed_D: torch.Tensor, index_D: torch.Tensor, temperature: float
    ) -> Sampled:
        """`ponder.algo.sampling.sample` with the uniform number of (seed, index), both int64. A row without a
        distribution gives id -1 or a log-probability that is not finite.
        """
        ...

    def routes(self, pages: Sequence[int], tokens: int) -> NDArray[np.int16] | None:
        """The experts that the first `tokens` of the sequence with these pages went to, (tokens, L, K); None where the
        model has none.
        """
        ...

    def refresh(self) -> None:
        """Take over the weights of the module that it was made of, as they are now. What is cached is void then. Raises
        `WeightsLostError` where it fails half-way.
        """
        ...

    def close(self) -> None:
        """Give back memory and threads. Twice is harmless."""
        ...


class RouteStore:
    """The experts of every position in the cache, page by page like the cache itself."""

    def __init__(self, config: ModelConfig, pages: int, page_size: int) -> None:
        self._page_size = page_size
        self._store: NDArray[np.int16] | None = None
        if config.moe is not None and config.routed_layers:
            shape = (pages, page_size, len(config.routed_layers), config.moe.experts_per_token)
            self._store = np.empty(shape, np.int16)  # not filled: memory is taken when a page is first written

    @property
    def wanted(self) -> bool:
        """Whether there is anything to keep."""
        return self._store is not None

    def copy(self, copies: Sequence[tuple[int, int]]) -> None:
        """Follow the cache's page copies."""
        if self._store is not None:
            for source, target in copies:
                self._store[target] = self._store[source]

    def write(self, plan: StepPlan, chosen_NLK: NDArray[np.int16]) -> None:
        """Keep the choices of all rows of a step."""
        if self._store is not None:
            page_N, offset_N = cells(plan, self._page_size)
            self._store[page_N, offset_N] = chosen_NLK

    def of(self, pages: Sequence[int], tokens: int) -> NDArray[np.int16] | None:
        """See `Runner.routes`."""
        if self._store is None:
            return None
        return self._store[list(pages)].reshape(-1, *self._store.shape[2:])[:tokens]


def cells(plan: StepPlan, page_size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Page, and offset in it, of every row of a step."""
    positions, slots = np.asarray(plan.positions, np.int64), np.asarray(plan.slots, np.int64)
    pages = np.asarray(plan.tables)[slots * plan.table_width + positions // page_size]
    return pages.astype(np.int64), positions % page_size


def pages_for(sequences: int, positions: int, page_size: int) -> int:
    """Pages in which so many sequences of so many positions each run side by side without giving way."""
    return sequences * (-(-positions // page_size) + 1)  # the scheduler keeps one ready for each
