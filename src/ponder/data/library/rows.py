"""Rows of a data file, each with its place: JSONL, JSON, CSV, TSV and Parquet, plain or gzipped."""

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder.core.errors import DataError
from ponder.core.files import what_is

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
LONGEST_CELL = 10_000_000  # characters


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file. `number` is its line (of a JSON list or a Parquet file: its place, from 1)."""

    path: Path
    number: int
    values: Mapping[str, Any]

    @property
    def place(self) -> str:
        return f"{self.path}:{self.number}"

    def error(self, message: str) -> DataError:
        return DataError(f"{self.place}: {message}")

    def find(self, *names: str) -> Any:
        """The value of the first of these columns that is there; None where none is, or where its cell is empty.

        An empty cell is empty: another column of the row may well hold something else. NaN is what programs write where
        a number is missing.
        """
        name = self.column(*names)
        value = None if name is None else self.values[name]
        return None if value == "" or _is_nan(value) else value

    def text(self, *names: str) -> str:
        """The same as text. Raises `DataError` where there is none."""
        name = self.column(*names)
        if name is None:
            raise self.error(f"no {' or '.join(map(repr, names))}; the row has {', '.join(self.values) or 'nothing'}")
        value = self.values[name]
        text = as_text(value)
        if value is not None and text is None and not _is_nan(value):
            raise self.error(f"{name!r} is {kind_of(value)}; expected text")
        if text is None or not text.strip():
            raise self.error(f"{name!r} is empty; expected text")
        return text

    def column(self, *names: str) -> str | None:
        """The first of these columns that is there, as the row writes it: `Question` is `question`, where that is not
        there itself.
        """
        alike: dict[str, str] | None = None
        for name in names:
            if name in self.values:
                return name
            if alike is None:
                alike = {written.casefold(): written for written in self.values}
            if name.casefold() in alike:
                return alike[name.casefold()]
        return None


def as_text(value: object) -> str | None:
    """A cell as text: numbers are written out, 142.0 as 142. None for anything else, and for NaN and the infinities,
    which are no JSON.

    A list gives its first, and the others are left out: Minerva has lists of one answer written in several ways.
    """
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, bool) or value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int | float) else None


def kind_of(value: object) -> str:
    """What a cell is that is no text, for a message."""
    return str(value) if isinstance(value, float) else f"a {type(value).__name__}"


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file. Raises `DataError` with file and line where one cannot be read."""
    if what_is(path) != "file":
        raise DataError(f"{path}: no such file; expected one that ends in {', '.join(SUFFIXES)}, or these with .gz")
    name = path.name.removesuffix(".gz")
    match Path(name).suffix.lower():
        case ".jsonl" | ".ndjson":
            return _json_lines(path)
        case ".json":
            return _json_list(path)
        case ".csv":
            return _table(path, None)
        case ".tsv":
            return _table(path, "\t")
        case ".parquet":
            return _parquet(path)
    raise DataError(f"{path}: not known how to read it; expected a file that ends in {', '.join(SUFFIXES)}")


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_bytes(path).removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            yield Row(path, number, _object(path, number, line))


def _object(path: Path, number: int, line: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: not UTF-8 at byte {error.start + 1} of the line; save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{number}: not JSON: {error}; expected one object a line") from None
    return _mapping(path, number, value)


def _mapping(path: Path, number: int, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise DataError(f'{path}:{number}: a {kind}; expected an object such as {{"question": …, "answer": …}}')
    return value


def _json_list(path: Path) -> Iterator[Row]:
    try:
        content = json.loads(_bytes(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError(f"{path}:{line}: not JSON: {error}; a file of one object a line is named .jsonl") from None
    if not isinstance(content, list):
        raise DataError(f"{path}:1: a {type(content).__name__}; expected a list of objects")
    for number, value in enumerate(content, 1):
        yield Row(path, number, _mapping(path, number, value))


def _table(path: Path, mark: str | None) -> Iterator[Row]:
    """`mark` None: a comma, or the semicolon or tab that cuts the header into more columns. Programs write semicolons
    where the comma stands in numbers.
    """
    try:
        text = _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8; save the table as UTF-8") from None
    csv.field_size_limit(LONGEST_CELL)
    if mark is None:
        header_line = text.lstrip().partition("\n")[0]
        mark = max(",;\t", key=lambda each: len(next(csv.reader([header_line], delimiter=each), [])))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            place, start = start, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _header(path, place, cells)
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{path}:{place}: {len(cells)} cells; the header has {len(header)}: {', '.join(header)}"
                )
            yield Row(path, place, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}; a text with quotes doubles them") from None


def _header(path: Path, line: int, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if "" in header or len(set(header)) < len(header):
        raise DataError(f"{path}:{line}: a header with columns without a name, or twice: {', '.join(header)}")
    return header


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow  # type: ignore[import-untyped]  # of an extra
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: Parquet files need pyarrow: pip install 'ponder[reason]'") from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(path, number, values)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from None
