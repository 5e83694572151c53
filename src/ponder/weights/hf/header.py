"""The header of a safetensors file: read with every claim checked, and written.

A file is 8 bytes N, little-endian; N bytes of JSON that map each tensor's name to its type, shape and place; the
numbers. https://huggingface.co/docs/safetensors (format).
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder.core.errors import CheckpointError

LARGEST_HEADER = 100_000_000  # bytes; the format's own bound
METADATA = "__metadata__"
ITEM_BYTES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
ALIGNMENT = 8  # of the first number in a file that we write


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file, as its header has it."""

    dtype: str
    shape: tuple[int, ...]
    start: int  # of its first number, in bytes from the start of the file
    bytes: int


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors of a file, by name, in the order of the header. Reads nothing else.

    Raises `CheckpointError` where the file is cut short or longer than its header says, where the header is no
    header, and where tensors overlap or leave gaps.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = _header_length(path, file.read(8), size)
            text = file.read(length)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    entries = {
        name: _entry(path, name, fields, 8 + length) for name, fields in _parse(path, text).items() if name != METADATA
    }
    _check_extent(path, entries, 8 + length, size)
    return entries


def header_bytes(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> bytes:
    """The header, its length included, of a file that holds these (name, dtype, shape) one after the other."""
    content: dict[str, object] = {METADATA: {"format": "pt"}}
    start = 0
    for name, dtype, shape in tensors:
        end = start + math.prod(shape) * ITEM_BYTES[dtype]
        content[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def parse_json(text: str | bytes) -> Any:
    """Raises `ValueError` and `RecursionError` as `json.loads` does, and `ValueError` for what JSON allows and nobody
    can use: a name that stands in an object twice, and half a character (an escaped surrogate without its pair).
    """
    text = text.decode("utf-8") if isinstance(text, bytes) else text
    content = json.loads(text, object_pairs_hook=_object_without_repeats)
    if "\\u" in text:
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    return content


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise ValueError(f"{name!r} stands in it twice")
        content[name] = value
    return content


def damaged(path: Path, detail: str) -> CheckpointError:
    """The error for a file that is not what it was when it was written."""
    return CheckpointError(f"{path} is damaged or cut short ({detail}); take an earlier checkpoint or copy it again")


def _header_length(path: Path, first: bytes, size: int) -> int:
    if len(first) < 8:
        raise damaged(path, f"it has {size} bytes; the shortest safetensors file has 10")
    length = int.from_bytes(first, "little")
    if length > LARGEST_HEADER:
        raise damaged(path, f"its header claims {length:,} bytes; expected at most {LARGEST_HEADER:,}")
    if 8 + length > size:
        raise damaged(path, f"its header claims {length:,} bytes and the file has {size:,}")
    return length


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    try:
        content = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its header is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise damaged(path, f"its header is a JSON {type(content).__name__}; expected an object")
    return content


def _entry(path: Path, name: str, fields: Any, data_start: int) -> Entry:
    if not isinstance(fields, dict) or not {"dtype", "shape", "data_offsets"} <= fields.keys():
        raise damaged(path, f"its header says {fields!r:.80} of {name}; expected dtype, shape and data_offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        known = ", ".join(ITEM_BYTES)
        raise CheckpointError(f"{path}: {name} is of the unknown type {dtype!r:.40}; expected one of {known}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise damaged(path, f"{name} has the shape {shape!r:.80} and the offsets {offsets!r:.80}")
    expected = math.prod(shape) * ITEM_BYTES[dtype]
    if offsets[1] - offsets[0] != expected:
        raise damaged(path, f"{name}, {dtype} {shape}, takes {expected:,} bytes; its offsets are {offsets}")
    return Entry(dtype, tuple(shape), data_start + offsets[0], expected)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 2**63 for number in value)


def _check_extent(path: Path, entries: Mapping[str, Entry], data_start: int, size: int) -> None:
    """Tensors follow each other without overlap or gap, up to the end of the file."""
    end = data_start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].bytes)):
        if entry.start != end:
            raise damaged(path, f"{name} begins at byte {entry.start:,}, where byte {end:,} is next")
        end += entry.bytes
    if end != size:
        raise damaged(path, f"its header asks for {end:,} bytes and the file has {size:,}")
