"""The runner without native code: PyTorch modules over a paged cache.

A step's rows are cut into batches of sequences with about as many rows, padded to the longest. In attention, a
sequence's pages are gathered into one piece.

Shapes: B sequences, T rows of each, N rows of a step, P pages, S positions, W numbers per token and layer, D hidden
size, V vocabulary.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ponder.algo.sampling import Sampled, counter_uniform, sample
from ponder.core.errors import GenerationError
from ponder.core.workers import kernel_threads
from ponder.engine.mtp_rows import MtpPages, MtpRows, Predicted
from ponder.engine.runner import RouteStore
from ponder.engine.step import StepPlan
from ponder.engine.torch_weights import TorchFormat, TorchWeights
from ponder.models.cache import Cache
from ponder.models.config import ModelConfig
from ponder.models.moe import RouteMap
from ponder.models.transformer import Transformer

Item = TypeVar("Item")

PADDED_POSITIONS = 8192  # gathering so many in vain costs about as much as running a batch more


class TorchRunner:
    """Runs steps on a `Transformer`: on the module's own weights, or on a copy of them in bf16."""

    def __init__(
        self,
        model: Transformer,
        *,
        pages: int,
        page_size: int = 16,
        weights: TorchFormat = "fp32",
        threads: int = 0,
        mtp: bool = False,
    ) -> None:
        """`weights`, `mtp`: as in `TorchWeights`. `threads` 0: as many kernel threads as the caller has now."""
        self.config: ModelConfig = model.config
        self.pages, self.page_size = pages, page_size
        self._held: TorchWeights | None = TorchWeights(model, weights, mtp=mtp)  # None once it is closed
        self._threads = threads or torch.get_num_threads()
        # Two pages more than anybody is given: one that stays zero, for table entries beyond a sequence's end, and one
        # that takes what padding writes.
        self._blank, self._waste = pages, pages + 1
        self._layers = [self._new_layer() for _ in range(model.config.layers)]
        self._routes = RouteStore(model.config, pages, page_size)

    def _new_layer(self) -> torch.Tensor:
        """A layer's pages. They are not filled: memory is taken when a page begins, and it is zeroed then."""
        shape = (self.pages + 2, self.page_size, self.config.cache_width)
        store = torch.empty(shape, dtype=self._weights.dtype)
        store[self._blank] = 0.0
        return store

    @property
    def _weights(self) -> TorchWeights:
        if self._held is None:
            raise GenerationError("the runner was closed; make a new one")
        return self._held

    @property
    def page_bytes(self) -> int:
        """Bytes that a page takes, all layers together."""
        return sum(store[0].nbytes for store in self._layers)

    @torch.inference_mode()
    def run(self, plan: StepPlan) -> torch.Tensor:
        """See `Runner`."""
        with kernel_threads(self._threads):
            return self._weights.model.head(self._states(plan)[_integers(plan.logit_rows)]).float()

    def _states(self, plan: StepPlan) -> torch.Tensor:
        """The normed states of all rows, (N, D), after the plan's copies."""
        for source, target in plan.copies:
            for store in self._layers:
                store[target] = store[source]
        self._routes.copy(plan.copies)
        token_N = _integers(plan.tokens)
        hidden_ND = torch.empty(len(token_N), self.config.hidden_size, dtype=self._weights.dtype)
        chosen: list[tuple[torch.Tensor, torch.Tensor]] = []
        for batch in self._batches(plan, first_position=0):
            route_map = RouteMap() if self._routes.wanted else None
            hidden_BTD = self._weights.model(
                token_N[batch.rows_BT], cache=batch.cache, positions_BT=batch.positions_BT, route_map=route_map
            )
            rows = batch.rows_BT[batch.valid_BT]
            hidden_ND[rows] = hidden_BTD[batch.valid_BT]
            if route_map is not None:
                picked = [route_map.chosen[layer][batch.valid_BT] for layer in self.config.routed_layers]
                chosen.append((rows, torch.stack(picked, dim=1)))
        self._keep_routes(plan, chosen)
        return hidden_ND

    def sample(
        self, logits_DV: torch.Tensor, seed_D: torch.Tensor, index_D: torch.Tensor, temperature: float
    ) -> Sampled:
        """See `Runner`."""
        with kernel_threads(self._threads):
            return sample(logits_DV, counter_uniform(seed_D, index_D), temperature)

    def routes(self, pages: Sequence[int], tokens: int) -> NDArray[np.int16] | None:
        """See `Runner`."""
        return self._routes.of(pages, tokens)

    def refresh(self) -> None:
        """See `Runner`."""
        self._weights.refresh()

    def close(self) -> None:
        """See `Runner`."""
        self._held, self._layers = None, []
        self._routes = RouteStore(self.config, 0, self.page_size)

    def _batches(self, plan: StepPlan | MtpRows, first_position: int) -> Iterator["_Batch"]:
        """The rows of a plan, batch by batch. `first_position`: the lowest at which there is a row of a sequence."""
        position_N, slot_N = _integers(plan.positions), _integers(plan.slots)
        tables = torch.from_numpy(np.asarray(plan.tables, np.int64)).view(-1, plan.table_width)
        for rows_BT, valid_BT in _row_batches(plan):
            positions_BT = torch.where(valid_BT, position_N[rows_BT], first_position)
            cache = self._cache(tables[slot_N[rows_BT[:, 0]]], positions_BT, valid_BT, first_position)
            yield _Batch(rows_BT, valid_BT, positions_BT, cache)

    def _cache(
        self, table_BP: torch.Tensor, positions_BT: torch.Tensor, valid_BT: torch.Tensor, first_position: int
    ) -> "PagedCache":
        """The pages of these sequences, as the model sees them in this step."""
        size = self.page_size
        last_B1 = positions_BT.amax(dim=1, keepdim=True)
        count = int(last_B1.max()) // size + 1
        table_BP = table_BP[:, :count]
        page_BT = torch.where(valid_BT, table_BP.gather(1, positions_BT // size), self._waste)
        offset_BT = torch.where(valid_BT, positions_BT % size, 0)
        begins_BT = (offset_BT == 0) | (positions_BT == first_position)
        return PagedCache(
            layers=self._layers,
            extent=min(count * size, self.config.max_positions),
            # what is left over in a table beyond the sequence's end may belong to anybody by now
            table_BP=torch.where(torch.arange(count) <= last_B1 // size, table_BP, self._blank),
            page_BT=page_BT,
            offset_BT=offset_BT,
            begun=page_BT[valid_BT & begins_BT],
        )

    def _keep_routes(self, plan: StepPlan, chosen: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        if chosen:
            rows, experts = (torch.cat(parts) for parts in zip(*chosen, strict=True))
            chosen_NLK = torch.empty_like(experts, dtype=torch.int16)
            chosen_NLK[rows] = experts.to(torch.int16)
            self._routes.write(plan, chosen_NLK.numpy())


class TorchMtpRunner(TorchRunner):
    """Keeps the cache of the model's multi-token prediction module too. See `MtpRunner`."""

    def __init__(
        self,
        model: Transformer,
        *,
        pages: int,
        page_size: int = 16,
        weights: TorchFormat = "fp32",
        threads: int = 0,
    ) -> None:
        """As in `TorchRunner`, for a model that has such a module."""
        super().__init__(model, pages=pages, page_size=page_size, weights=weights, threads=threads, mtp=True)
        self._layers.append(self._new_layer())  # of the module's block, which follows the last
        self.mtp = MtpPages(model.config.hidden_size, pages, page_size, self._weights.dtype)

    def _states(self, plan: StepPlan) -> torch.Tensor:
        self.mtp.copy(plan.copies)
        hidden_ND = super()._states(plan)
        self.mtp.write(plan, hidden_ND)
        return hidden_ND

    @torch.inference_mode()
    def predict(self, rows: MtpRows, before_ND: torch.Tensor | None = None) -> Predicted:
        """See `MtpRunner`."""
        with kernel_threads(self._threads):
            token_N = _integers(rows.tokens)
            if before_ND is None:
                before_ND = self.mtp.before(rows)
            state_ND = torch.empty_like(before_ND)
            for batch in self._batches(rows, first_position=1):
                state_BTD = self._weights.model.mtp_cached(
                    before_ND[batch.rows_BT],
                    token_N[batch.rows_BT],
                    cache=batch.cache,
                    positions_BT=batch.positions_BT,
                )
                state_ND[batch.rows_BT[batch.valid_BT]] = state_BTD[batch.valid_BT]
            wanted_WD = state_ND[_integers(rows.wanted)]
            return Predicted(wanted_WD, self._weights.model.head(wanted_WD).float())

    def close(self) -> None:
        """See `Runner`."""
        super().close()
        self.mtp = MtpPages(self.config.hidden_size, 0, self.page_size, torch.float32)


class _Batch(NamedTuple):
    """Rows that run together."""

    rows_BT: torch.Tensor  # of the plan; padding repeats a sequence's first row
    valid_BT: torch.Tensor  # which of them are there
    positions_BT: torch.Tensor
    cache: "PagedCache"


@dataclass(kw_only=True)
class PagedCache(Cache):
    """The cache of one batch of one step: `layers` are (P, page size, W), and `extent` says how far the batch reads."""

    table_BP: torch.Tensor  # the pages to read
    page_BT: torch.Tensor  # where each row is written
    offset_BT: torch.Tensor
    begun: torch.Tensor  # pages that get their first row now

    def write(self, layer: int, rows_BTW: torch.Tensor, positions_BT: torch.Tensor) -> torch.Tensor:
        """Store new rows and return the rows of every sequence up to `extent`, (B, extent, W)."""
        store = self.layers[layer]
        # a masked position still enters the products, where a NaN that another sequence left behind would spread
        store.index_fill_(0, self.begun, 0.0)
        store[self.page_BT, self.offset_BT] = rows_BTW
        sequences, pages = self.table_BP.shape
        gathered = store.index_select(0, self.table_BP.flatten()).view(sequences, pages * store.shape[1], -1)
        return gathered[:, : self.extent]


def _integers(numbers: "array[int]") -> torch.Tensor:
    return torch.from_numpy(np.asarray(numbers, np.int64))


def _row_batches(plan: StepPlan | MtpRows) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Rows (B, T) that run together, and which of them are there; padding repeats a sequence's first row."""
    positions = plan.positions
    decodes = sorted(range(plan.decode_rows), key=lambda row: -positions[row])
    for group in _like_lengths(decodes, [positions[row] for row in decodes], PADDED_POSITIONS):
        rows_BT = torch.tensor(group)[:, None]
        yield rows_BT, torch.ones_like(rows_BT, dtype=torch.bool)
    chunks = sorted(plan.chunks, key=lambda chunk: -chunk[1])
    for spans in _like_lengths(chunks, [count for _, count in chunks], 64):
        first_B1, count_B1 = torch.tensor(spans)[:, :, None].unbind(dim=1)
        offset_T = torch.arange(int(count_B1.max()))
        valid_BT = offset_T < count_B1
        yield first_B1 + torch.where(valid_BT, offset_T, 0), valid_BT


def _like_lengths(items: Sequence[Item], lengths: Sequence[int], spare: int) -> Iterator[list[Item]]:
    """Cut items in falling order of length where the padding of those that follow would be large."""
    first = 0
    for i, length in enumerate(lengths):
        if 2 * length < lengths[first] and (len(items) - i) * (lengths[first] - length) > spare:
            yield list(items[first:i])
            first = i
    if items:
        yield list(items[first:])
