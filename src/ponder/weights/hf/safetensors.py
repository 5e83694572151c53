"""The tensors of a Hugging Face folder: one safetensors file, or several with an index.

Opening reads the headers alone. A tensor goes straight from the file into the memory that it is wanted in; where its
precision changes, through a small buffer that is used again. Nothing is mapped, so that what is read never counts
as this process's memory twice.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from ponder.core.errors import CheckpointError
from ponder.weights.hf import fp8
from ponder.weights.hf.header import ITEM_BYTES, Entry, damaged, parse_json, read_header
from ponder.weights.source import TensorInfo, some

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
DTYPES: Mapping[str, torch.dtype] = {
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F64": torch.float64,
}
READABLE = (*DTYPES, fp8.STORED)
LONGEST_NAME = 255  # of a file, in bytes, on the usual file systems
PIECE = 1 << 21  # numbers that are read at a time
WORTH_TWO_THREADS = 1 << 20  # bytes: from here on two threads read more per second than one


class SafetensorsFolder:
    """A `TensorSource` on a folder. FP8 weights are one tensor with their scales, which are not listed.

    Raises `CheckpointError` for a folder without weights, damaged files, shards that are missing or disagree with the
    index, and pickles.
    """

    def __init__(self, folder: Path) -> None:
        self._entries: dict[str, tuple[Path, Entry]] = {}
        for path, entries in _read_headers(folder).items():
            self._entries |= {name: (path, entry) for name, entry in entries.items()}
        self._scales = self._fold_scales()
        self._infos = {name: self._info(name) for name in self._entries}
        self._local = threading.local()  # each thread's buffer
        self._second = ThreadPoolExecutor(1, "read-weights")
        self._files: dict[Path, int] = {}
        try:
            for path in {path for path, _ in self._entries.values()}:
                self._files[path] = os.open(path, os.O_RDONLY)
        except OSError as error:
            self.close()
            raise CheckpointError(f"cannot read {error.filename}: {error.strerror}") from error

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        return self._infos

    def read(self, name: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        out = torch.empty(self._infos[name].shape, dtype=dtype)
        self.read_into(name, out)
        return out

    @torch.no_grad()
    def read_into(self, name: str, out: torch.Tensor) -> None:
        path, entry = self._entries[name]
        out = out.detach()
        if out.numel() != self._infos[name].count:
            raise CheckpointError(f"{path}: {name} has shape {entry.shape}; expected {tuple(out.shape)}")
        if entry.dtype == fp8.STORED:
            self._read_fp8(name, out)
            return
        if entry.dtype not in DTYPES:
            raise CheckpointError(f"{path}: {name} holds {entry.dtype}; expected one of {', '.join(READABLE)}")

        def read_piece(start: int, piece: torch.Tensor) -> None:
            self._read_numbers(path, entry, start, piece)

        self._on_two_threads(read_piece, list(_pieces(out)), entry.bytes)

    def close(self) -> None:
        """Close the files. Nothing can be read afterwards."""
        self._second.shutdown()
        while self._files:
            os.close(self._files.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fold_scales(self) -> dict[str, tuple[Path, Entry]]:
        """Take the scales of FP8 weights out of the entries, by the name of their weight."""
        scales = {}
        for name in [name for name, (_, entry) in self._entries.items() if entry.dtype == fp8.STORED]:
            path, entry = self._entries[name]
            scale_path, scale = self._entries.pop(name + fp8.SCALE_SUFFIX, (path, None))
            if scale is None:
                raise CheckpointError(
                    f"{path}: {name} is FP8 and there is no {name + fp8.SCALE_SUFFIX}; without its scales, one to a "
                    f"block of {fp8.BLOCK} × {fp8.BLOCK}, it cannot be read"
                )
            expected = fp8.scale_shape(entry.shape) if len(entry.shape) == 2 else None
            if (scale.dtype, scale.shape) != ("F32", expected):
                raise CheckpointError(
                    f"{scale_path}: {name + fp8.SCALE_SUFFIX} is {scale.dtype} {scale.shape}; expected F32 {expected}, "
                    f"a scale to each block of {fp8.BLOCK} × {fp8.BLOCK} numbers of {entry.shape}"
                )
            scales[name] = scale_path, scale
        return scales

    def _info(self, name: str) -> TensorInfo:
        path, entry = self._entries[name]
        scales = self._scales[name][1].bytes if name in self._scales else 0
        return TensorInfo(
            shape=entry.shape,
            stored=entry.dtype,
            bytes=entry.bytes + scales,
            file=path,
            readable=entry.dtype in READABLE,
        )

    def _read_fp8(self, name: str, out: torch.Tensor) -> None:
        path, entry = self._entries[name]
        rows, columns = entry.shape
        if out.shape != entry.shape and not out.is_contiguous():
            out.copy_(self.read(name, out.dtype).view(out.shape))
            return
        out_RC = out.view(rows, columns)
        scale_path, scale = self._scales[name]
        scales = torch.empty(scale.shape)
        self._read_numbers(scale_path, scale, 0, scales)

        def read_band(first: int, band: torch.Tensor) -> None:
            stored = self._buffer(band.numel()).view(band.shape)
            self._fill(path, entry.start + first * columns, stored)
            band.copy_(fp8.dequantise(stored, scales[first // fp8.BLOCK, None]))

        bands = [(first, out_RC[first : first + fp8.BLOCK]) for first in range(0, rows, fp8.BLOCK)]
        self._on_two_threads(read_band, bands, entry.bytes)

    def _read_numbers(self, path: Path, entry: Entry, start: int, out: torch.Tensor) -> None:
        """Read the numbers from `start` on, as many as `out` holds."""
        dtype, item = DTYPES[entry.dtype], ITEM_BYTES[entry.dtype]
        if out.dtype == dtype and out.is_contiguous():
            self._fill(path, entry.start + start * item, out)
            return
        stored = self._buffer(out.numel() * item)
        self._fill(path, entry.start + start * item, stored)
        out.copy_(stored.view(dtype).view(out.shape))

    def _fill(self, path: Path, place: int, out: torch.Tensor) -> None:
        """Read bytes into the contiguous memory of `out`."""
        memory = out.reshape(-1).view(torch.uint8).numpy().data
        done = 0
        while done < len(memory):
            try:
                got = os.preadv(self._files[path], [memory[done:]], place + done)
            except OSError as error:
                raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
            if not got:
                raise damaged(path, f"it ends at byte {place + done:,}, inside a tensor")
            done += got

    def _buffer(self, size: int) -> torch.Tensor:
        held: torch.Tensor | None = getattr(self._local, "buffer", None)
        if held is None or len(held) < size:
            held = self._local.buffer = torch.empty(size, dtype=torch.uint8)
        return held[:size]

    def _on_two_threads(
        self, read: Callable[[int, torch.Tensor], None], pieces: list[tuple[int, torch.Tensor]], size: int
    ) -> None:
        def read_all(part: list[tuple[int, torch.Tensor]]) -> None:
            for start, piece in part:
                read(start, piece)

        if size < WORTH_TWO_THREADS:
            read_all(pieces)
            return
        other = self._second.submit(read_all, pieces[1::2])
        try:
            read_all(pieces[::2])
        finally:
            other.result()


def _pieces(out: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Parts of at most `PIECE` numbers, flat where memory is, each with how many numbers come before it."""
    if out.numel() <= PIECE:
        yield 0, out
    elif out.is_contiguous():
        flat = out.view(-1)
        yield from ((start, flat[start : start + PIECE]) for start in range(0, len(flat), PIECE))
    else:
        inner = out[0].numel()
        if inner > PIECE:
            for i, part in enumerate(out):
                yield from ((i * inner + start, piece) for start, piece in _pieces(part))
        else:
            rows = PIECE // inner
            yield from ((i * inner, out[i : i + rows]) for i in range(0, len(out), rows))


def _read_headers(folder: Path) -> dict[Path, dict[str, Entry]]:
    """Each file of weights with its tensors. Refuses what disagrees with the index."""
    if (folder / WEIGHTS).is_file():
        return {folder / WEIGHTS: read_header(folder / WEIGHTS)}
    if not (folder / INDEX).is_file():
        refuse_only_pickles(folder)
        raise _no_weights(folder)
    shards = _read_index(folder / INDEX)
    headers = {}
    for shard, promised in shards.items():
        path = folder / shard
        if not path.is_file():
            raise CheckpointError(f"{folder} has no {shard}, which {INDEX} names; copy that file here as well")
        entries = headers[path] = read_header(path)
        lacking = promised - entries.keys()
        if lacking:
            raise _disagree(folder, f"{shard} lacks {some(sorted(lacking))}, which the index says it holds")
        extra = entries.keys() - promised
        if extra:
            elsewhere = next((other for other, names in shards.items() if names & extra), None)
            where = f"which the index places in {elsewhere}" if elsewhere else "which the index does not name"
            raise _disagree(folder, f"{shard} holds {some(sorted(extra))}, {where}")
    return headers


def _read_index(path: Path) -> dict[str, set[str]]:
    """The tensors that the index promises of each shard."""
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CheckpointError(f"cannot read {path}: expected a 'weight_map' of tensor and file names")
    shards: dict[str, set[str]] = {}
    for name, shard in weight_map.items():
        shards.setdefault(shard, set()).add(name)
    for shard in shards:
        if is_pickle(shard):
            raise CheckpointError(f"{path} names {shard!r:.120}; {_about_pickles()}")
        strange = any(character in shard for character in "/\\:\0") or len(shard.encode()) > LONGEST_NAME
        if strange or not shard.endswith(".safetensors"):
            raise CheckpointError(
                f"{path} names the file {shard!r:.120}; expected the plain name of a .safetensors file in the same "
                "folder. Nothing outside the folder is read"
            )
    return shards


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model's folder."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no {path.name}; it is not the folder of a model") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"cannot read {path}: expected a JSON object, got {type(content).__name__}")
    return content


def is_pickle(name: str) -> bool:
    """Whether a file's name is that of a pickle, in small letters or capitals."""
    return name.lower().endswith(PICKLE_SUFFIXES)


def refuse_pickle(path: Path) -> None:
    """Raise `CheckpointError` if the file's name is that of a pickle."""
    if is_pickle(path.name):
        raise CheckpointError(f"{path} is a pickle; {_about_pickles()}")


def refuse_only_pickles(folder: Path) -> None:
    """Raise `CheckpointError` if pickles are all that a folder has of weights."""
    names = [path.name for path in folder.iterdir()]
    pickles = sorted(name for name in names if is_pickle(name))
    if pickles and not any(name.lower().endswith((".safetensors", ".gguf")) for name in names):
        raise CheckpointError(f"{folder} has no {WEIGHTS}, only {some(pickles)}; {_about_pickles()}")


def _about_pickles() -> str:
    return (
        "opening a pickle executes whatever code its maker put there, so Ponder reads none. Take the model's "
        "safetensors or GGUF files; most models on the Hugging Face Hub have them"
    )


def _no_weights(folder: Path) -> CheckpointError:
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    found = f" and no {INDEX} that tells how {some(others)} belong together" if others else ""
    return CheckpointError(f"{folder} has no {WEIGHTS}{found}; it is not the folder of a model")


def _disagree(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{folder}: {what}; {INDEX} and its shards are of different models or versions")
