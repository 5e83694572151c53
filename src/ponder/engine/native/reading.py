"""Where packing takes numbers from: a module in memory, or the files of one that is on disk."""

from typing import Protocol

import torch

from ponder.engine.native.library import SourceType
from ponder.engine.native.packing import BLOCKS, Rows, StoredBlocks, plain_rows
from ponder.weights.source import TensorSource
from ponder.weights.unread import UnreadModel

Piece = tuple[SourceType, torch.Tensor]  # rows as they are written: numbers, or the bytes of blocks


class Reading(Protocol):
    """Gives the numbers of what was planned."""

    def rows(self, rows: Rows) -> list[Piece]:
        """The rows in order, in pieces."""
        ...

    def vector(self, tensor: torch.Tensor) -> torch.Tensor:
        """In fp32."""
        ...


class FromModule:
    """The planned tensors are the numbers."""

    def rows(self, rows: Rows) -> list[Piece]:
        """See `Reading`."""
        return [plain_rows(rows.tensor)]

    def vector(self, tensor: torch.Tensor) -> torch.Tensor:
        """See `Reading`."""
        return tensor.detach().float()


class FromFiles:
    """The planned tensors are those of an `UnreadModel`. Blocks that the kernels know go to them as they are."""

    def __init__(self, model: UnreadModel, source: TensorSource) -> None:
        self._model, self._source = model, source
        self._blocks = source if isinstance(source, StoredBlocks) else None

    def rows(self, rows: Rows) -> list[Piece]:
        """See `Reading`."""
        known = rows.stored_as and all(self._source.infos[name].stored in BLOCKS for name in rows.stored_as)
        if self._blocks is None or not known:
            return [plain_rows(self._model.numbers(rows.tensor))]
        stored = (self._blocks.raw(name) for name in rows.stored_as)
        return [(SourceType[kind], blocks) for kind, blocks in stored]

    def vector(self, tensor: torch.Tensor) -> torch.Tensor:
        """See `Reading`."""
        return self._model.numbers(tensor).float()
