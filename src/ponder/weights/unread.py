"""A model whose numbers stay on disk until they are asked for, a few at a time."""

import torch

from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer
from ponder.weights.hf.names import FileTensor, file_tensors
from ponder.weights.source import TensorSource

# kinds that are read as they are; all others become fp32
_KEPT = {"BF16": torch.bfloat16, "F16": torch.float16}


class UnreadModel:
    """A module without memory, and for each of its tensors the numbers that the files have."""

    def __init__(self, config: ModelConfig, source: TensorSource) -> None:
        """`source` stays open for as long as numbers are asked for, and holds what `check_tensors` looks for."""
        with torch.device("meta"):
            self.module = Transformer(config)
        self._source = source
        self._stored: dict[int, list[tuple[str, FileTensor]]] = {}  # by the memory that they would fill
        for name, tensor in file_tensors(self.module).items():
            self._stored.setdefault(_memory(tensor.view), []).append((name, tensor))
        self._last: tuple[int, int, torch.Tensor] | None = None  # memory, where in it the numbers begin, and they

    def numbers(self, tensor: torch.Tensor) -> torch.Tensor:
        """What a tensor of the module, or a view of one, would hold: in half precision where the files are, else fp32.

        Read anew at each call, but for the piece that was read last; it may be a view of that.
        """
        memory, (first, last) = _memory(tensor), _extent(tensor)
        if self._last is None or self._last[0] != memory or not self._covers(first, last):
            self._last = self._read(memory, first, last)
        _, start, numbers = self._last
        return numbers.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset() - start)

    def _covers(self, first: int, last: int) -> bool:
        assert self._last is not None
        _, start, numbers = self._last
        return start <= first and last <= start + len(numbers)

    def _read(self, memory: int, first: int, last: int) -> tuple[int, int, torch.Tensor]:
        """All of the files' tensors that have a part between `first` and `last`."""
        touched = [(name, stored.view) for name, stored in self._stored[memory] if _overlaps(stored.view, first, last)]
        first = min(_extent(view)[0] for _, view in touched)
        last = max(_extent(view)[1] for _, view in touched)
        kinds = {self._source.infos[name].stored for name, _ in touched}
        dtype = _KEPT.get(next(iter(kinds)), torch.float32) if len(kinds) == 1 else torch.float32
        numbers = torch.empty(last - first, dtype=dtype)
        for name, view in touched:
            place = numbers.as_strided(view.shape, view.stride(), view.storage_offset() - first)
            self._source.read_into(name, place)
        return memory, first, numbers


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _extent(tensor: torch.Tensor) -> tuple[int, int]:
    """Where in its memory a tensor begins and ends."""
    first = int(tensor.storage_offset())
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return first, first + sum((size - 1) * stride for size, stride in steps) + 1


def _overlaps(tensor: torch.Tensor, first: int, last: int) -> bool:
    begin, end = _extent(tensor)
    return begin < last and first < end
