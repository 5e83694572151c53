"""A model's tensors on disk, opened but not read.

Whatever the file format, a tensor goes by its Hugging Face name and has the shape that Hugging Face gives it, so
that loading, converting and inspecting are written once for all formats.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import torch

from ponder.core.errors import CheckpointError

SHOWN = 3  # names in an error; the others are counted


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorInfo:
    """What a header says of one tensor."""

    shape: tuple[int, ...]  # of the tensor as Hugging Face has it
    stored: str  # how its numbers are stored, in the format's own words: F32, BF16, F8_E4M3, Q4_1, …
    bytes: int  # on disk, scales included
    file: Path
    readable: bool = True  # whether Ponder knows how to read numbers that are stored so

    @property
    def count(self) -> int:
        """How many numbers the tensor has."""
        return math.prod(self.shape)


class TensorSource(Protocol):
    """Tensors that are read one by one, each straight from its file; nothing is kept. Closed by leaving `with`."""

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Every tensor by its Hugging Face name. What only serves to read another (scales) is not among them."""
        ...

    def read(self, name: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """A new tensor, quantised numbers dequantised. Raises `CheckpointError` where the file is damaged."""
        ...

    def read_into(self, name: str, out: torch.Tensor) -> None:
        """Read into `out`, any view of the tensor's shape or one with as many numbers, in `out`'s precision."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Where the disk refuses what belongs to a model at `path` (no permission, a name too long), one error says so."""
    try:
        yield
    except OSError as error:
        place = str(error.filename or path)
        raise CheckpointError(f"cannot read {place[:200]}: {error.strerror or error}") from error
