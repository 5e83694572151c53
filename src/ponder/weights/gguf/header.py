"""The header of a GGUF file: its metadata and where its tensors lie.

Format: little-endian, version 2 or 3 (ggml-org/ggml, docs/gguf.md): magic, counts, key-value pairs, tensor infos,
padding, tensor data. The `gguf` package names the types; reading is done here because a file may be damaged or made
to do harm (each length is checked against the file before it is used) and because its reader builds an array for
each of the hundreds of thousands of strings of a vocabulary, which takes seconds.
"""

import mmap
import re
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from ponder.core.errors import CheckpointError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_DIMENSIONS = 4
MAX_NESTING = 4  # of arrays in arrays
SPLIT_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)", re.IGNORECASE)

Value = int | float | bool | str | list[str] | list["Value"] | np.ndarray

_NUMBERS = {
    GGUFValueType.UINT8: "<u1",
    GGUFValueType.INT8: "<i1",
    GGUFValueType.UINT16: "<u2",
    GGUFValueType.INT16: "<i2",
    GGUFValueType.UINT32: "<u4",
    GGUFValueType.INT32: "<i4",
    GGUFValueType.FLOAT32: "<f4",
    GGUFValueType.UINT64: "<u8",
    GGUFValueType.INT64: "<i8",
    GGUFValueType.FLOAT64: "<f8",
    GGUFValueType.BOOL: "<u1",
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as the file has it."""

    name: str
    shape: tuple[int, ...]  # slowest dimension first, as in torch; the file's own order is the reverse
    kind: GGMLQuantizationType
    offset: int  # of its first byte in the file
    bytes: int
    file: Path

    @property
    def row_bytes(self) -> int:
        """Of one row: the numbers along the last dimension, in whole blocks."""
        block_numbers, block_bytes = GGML_QUANT_SIZES[self.kind]
        return self.shape[-1] // block_numbers * block_bytes if self.shape else block_bytes


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a file says before its tensors' numbers; of a split model, all its files together."""

    metadata: dict[str, Value]
    tensors: dict[str, StoredTensor]
    files: tuple[Path, ...]


class Split(NamedTuple):
    """A model that llama.cpp has cut into several files."""

    stem: str  # what the files' names begin with
    files: int  # how many there are


def split_of(name: str) -> Split | None:
    """The split model that a file of this name is a part of; None for the name of a whole one."""
    named = SPLIT_NAME.fullmatch(name)
    return None if named is None else Split(named["stem"], int(named["count"]))


def read_header(path: Path) -> GgufHeader:
    """Read the header of a file and, of a model split by llama.cpp (`-00001-of-00003.gguf`), those of all its files.

    Raises `CheckpointError` for what is no GGUF file, cut short or damaged, and for a missing part of a split model.
    """
    header = _read_one(path)
    count = header.metadata.get("split.count", 1)
    if not isinstance(count, int) or count <= 1:
        return header
    named = SPLIT_NAME.fullmatch(path.name)
    if named is None or int(named["count"]) != count:
        raise CheckpointError(
            f"{path} is one of {count} files of a split model; expected a name that ends in -00001-of-{count:05}.gguf"
        )
    metadata: dict[str, Value] = {}
    tensors: dict[str, StoredTensor] = {}
    files = [
        path.with_name(f"{named['stem']}-{number:05}-of-{count:05}{named['suffix']}") for number in range(1, count + 1)
    ]
    for file in files:
        part = header if file == path else _read_one(file)
        metadata = part.metadata | metadata  # the first file has the model's, the others only which part they are
        tensors |= part.tensors
    expected = metadata.get("split.tensors.count", len(tensors))
    if not isinstance(expected, int) or expected != len(tensors):
        raise CheckpointError(f"{path}: its {count} files hold {len(tensors)} tensors; the first names {expected}")
    return GgufHeader(metadata, tensors, tuple(files))


def _read_one(path: Path) -> GgufHeader:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if size < 24:
                raise CheckpointError(f"{path} is no GGUF file: it has {size} bytes, fewer than a header")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Parser(path, data, size).header()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


class _Parser:
    """Reads one header from its beginning to its end."""

    def __init__(self, path: Path, data: mmap.mmap, size: int) -> None:
        self.path, self.data, self.size, self.at = path, data, size, 0

    def header(self) -> GgufHeader:
        magic = self.take(4)
        if magic != MAGIC:
            raise CheckpointError(f"{self.path} is no GGUF file: it begins with {magic!r}; expected {MAGIC!r}")
        version = self.integer("<I")
        if version not in VERSIONS:
            if version & 0xFFFF == 0:
                raise CheckpointError(f"{self.path} is a big-endian GGUF file; expected a little-endian one")
            raise CheckpointError(f"{self.path} has GGUF version {version}; expected one of {VERSIONS}")
        tensor_count, pair_count = self.integer("<Q"), self.integer("<Q")
        self.require(tensor_count * 24 + pair_count * 13)  # the least that so many can take
        metadata = {}
        for _ in range(pair_count):
            key = self.string()
            metadata[key] = self.value(self.value_type())
        infos = [self.tensor_info() for _ in range(tensor_count)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise self.damaged(f"general.alignment is {alignment!r}")
        start = -(-self.at // alignment) * alignment
        tensors = {name: self.place(name, shape, kind, start + offset) for name, shape, kind, offset in infos}
        if len(tensors) != len(infos):
            raise self.damaged("two tensors have the same name")
        return GgufHeader(metadata, tensors, (self.path,))

    def tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name, dimensions = self.string(), self.integer("<I")
        if dimensions > MAX_DIMENSIONS:
            raise self.damaged(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self.integer("<Q") for _ in range(dimensions))
        return name, shape[::-1], self.integer("<I"), self.integer("<Q")

    def place(self, name: str, shape: tuple[int, ...], number: int, offset: int) -> StoredTensor:
        try:
            kind = GGMLQuantizationType(number)
            block_numbers, block_bytes = GGML_QUANT_SIZES[kind]
        except (ValueError, KeyError):
            raise CheckpointError(
                f"{self.path}: tensor {name!r} is stored as type {number}, which is unknown; "
                "the file is damaged or newer than the gguf package that is installed"
            ) from None
        if not prod(shape):
            raise self.damaged(f"tensor {name!r} has the shape {shape}, and no numbers")
        if (width := shape[-1] if shape else 1) % block_numbers:
            raise self.damaged(f"tensor {name!r} is {kind.name} and has rows of {width} numbers")
        count = prod(shape) // block_numbers * block_bytes
        if offset + count > self.size:
            raise CheckpointError(
                f"{self.path}: tensor {name!r} ends at byte {offset + count:,} and the file has {self.size:,}; "
                "it is cut short or damaged: fetch it again"
            )
        return StoredTensor(name, shape, kind, offset, count, self.path)

    def value(self, kind: GGUFValueType, depth: int = 0) -> Value:
        if kind == GGUFValueType.STRING:
            return self.string()
        if kind == GGUFValueType.ARRAY:
            return self.array(depth)
        number = np.frombuffer(self.take(np.dtype(_NUMBERS[kind]).itemsize), _NUMBERS[kind])[0]
        return bool(number) if kind == GGUFValueType.BOOL else number.item()

    def array(self, depth: int) -> Value:
        kind, count = self.value_type(), self.integer("<Q")
        if kind == GGUFValueType.STRING:
            return self.strings(count)
        if kind == GGUFValueType.ARRAY:
            self.require(count * 12)
            if depth >= MAX_NESTING:
                raise self.damaged("arrays are nested too deeply")
            return [self.array(depth + 1) for _ in range(count)]
        dtype = np.dtype(_NUMBERS[kind])
        self.require(count * dtype.itemsize)
        return np.frombuffer(self.take(count * dtype.itemsize), dtype)

    def value_type(self) -> GGUFValueType:
        number = self.integer("<I")
        try:
            return GGUFValueType(number)
        except ValueError:
            raise self.damaged(f"a value has type {number}") from None

    def string(self) -> str:
        return self.take(self.integer("<Q")).decode("utf-8", errors="replace")

    def strings(self, count: int) -> list[str]:
        """`string`, many times: a vocabulary has hundreds of thousands."""
        self.require(count * 8)
        data, size, at, found = self.data, self.size, self.at, []
        for _ in range(count):
            start = at + 8
            at = start + int.from_bytes(data[at:start], "little")
            if at > size:
                break
            found.append(data[start:at].decode("utf-8", errors="replace"))
        self.require(at - self.at)
        self.at = at
        return found

    def integer(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def take(self, count: int) -> bytes:
        self.require(count)
        self.at += count
        return self.data[self.at - count : self.at]

    def require(self, count: int) -> None:
        if count > self.size - self.at:
            raise CheckpointError(
                f"{self.path}: its header asks for {count:,} bytes at byte {self.at:,} and the file has {self.size:,}; "
                "it is cut short or damaged: fetch it again"
            )

    def damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is damaged: {what}; fetch it again")
