"""A GGUF file, opened: its header is read, its tensors go by their Hugging Face names."""

import os
import re
from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from ponder.core.errors import CheckpointError
from ponder.models.config import ModelConfig
from ponder.weights.gguf.blocks import PLAIN, dequantize_into, is_readable, require_readable
from ponder.weights.gguf.config import ROPE_FREQUENCIES, architecture_of, config_from_metadata
from ponder.weights.gguf.header import GgufHeader, StoredTensor, read_header
from ponder.weights.gguf.names import Layout, gguf_layout
from ponder.weights.gguf.tokenizer import CHAT_TEMPLATE, read_tokenizer
from ponder.weights.opened import OpenCheckpoint, with_licence_name
from ponder.weights.source import TensorInfo

PIECE = 1 << 20  # bytes that are read at a time


def open_gguf(path: Path) -> OpenCheckpoint:
    """Open a model from its header alone; close its `source` when done.

    Raises `CheckpointError` for what is no GGUF file, damaged, of an architecture or tokenizer that Ponder does not
    have, or at odds with itself. A quantisation that cannot be read is refused when a tensor is.
    """
    header = read_header(path)
    metadata, where = header.metadata, str(path)
    architecture = architecture_of(metadata, where)
    files = GgufFiles(header)
    try:
        frequencies = header.tensors.get(ROPE_FREQUENCIES)
        divisors = None if frequencies is None else files.numbers(frequencies)
        shapes = {name: tensor.shape for name, tensor in header.tensors.items()}
        config = config_from_metadata(metadata, shapes, divisors, where)
        tokenizer = read_tokenizer(metadata, config.vocab_size, where)
        source = GgufSource(path, header, config, architecture, files)
    except BaseException:
        files.close()
        raise
    template = metadata.get(CHAT_TEMPLATE)
    return OpenCheckpoint(
        path=path,
        format="gguf",
        config=config,
        source=source,
        tokenizer=tokenizer,
        chat_template=template if isinstance(template, str) else None,
        metadata=with_licence_name(
            {
                name.removeprefix("general."): str(value)
                for name, value in metadata.items()
                if name.startswith("general.") and isinstance(value, str | int | float)
            }
        ),
    )


class GgufFiles:
    """The bytes of a model's tensors. Nothing is mapped, so that what is read is not counted as memory twice."""

    def __init__(self, header: GgufHeader) -> None:
        self._files: dict[Path, int] = {}
        try:
            for path in header.files:
                self._files[path] = os.open(path, os.O_RDONLY)
        except OSError as error:
            self.close()
            raise CheckpointError(f"cannot read {error.filename}: {error.strerror}") from error

    def read(self, tensor: StoredTensor, start: int, out: torch.Tensor) -> None:
        """Fill `out`, contiguous, with the tensor's bytes from `start` on."""
        memory = out.reshape(-1).view(torch.uint8).numpy().data
        done, place = 0, tensor.offset + start
        while done < len(memory):
            try:
                got = os.preadv(self._files[tensor.file], [memory[done:]], place + done)
            except OSError as error:
                raise CheckpointError(f"cannot read {tensor.file}: {error.strerror or error}") from error
            if not got:
                raise CheckpointError(f"{tensor.file} ends at byte {place + done:,}, inside tensor {tensor.name!r}")
            done += got

    def numbers(self, tensor: StoredTensor) -> torch.Tensor:
        """A whole tensor, dequantised to fp32."""
        require_readable(tensor.kind, f"{tensor.file}: {tensor.name}")
        rows = torch.empty(tensor.bytes // tensor.row_bytes, tensor.row_bytes, dtype=torch.uint8)
        self.read(tensor, 0, rows)
        out = torch.empty(tensor.shape)
        dequantize_into(rows, tensor.kind, out.view(len(rows), -1))
        return out

    def close(self) -> None:
        """Nothing can be read afterwards."""
        while self._files:
            os.close(self._files.popitem()[1])


class GgufSource:
    """A `TensorSource` on GGUF files. Raises `CheckpointError` where tensors are missing, unknown or of another shape
    than the config asks for.
    """

    def __init__(
        self, path: Path, header: GgufHeader, config: ModelConfig, architecture: str, files: GgufFiles
    ) -> None:
        self.path, self._files = path, files
        whole_kv_b = any(name.endswith("attn_kv_b.weight") for name in header.tensors)
        # each Hugging Face tensor: the tensors that hold it, and which of their parts it is
        self._places: dict[str, list[tuple[Layout, StoredTensor, int]]] = {}
        used = {ROPE_FREQUENCIES}
        for layout in gguf_layout(config, architecture, whole_kv_b=whole_kv_b):
            tensor = header.tensors.get(layout.name)
            if tensor is None:
                if layout.optional:
                    continue
                raise CheckpointError(f"{path} lacks the tensor {layout.name!r} that its metadata asks for")
            if tensor.shape != layout.shape:
                raise CheckpointError(
                    f"{tensor.file}: {layout.name} has shape {tensor.shape}; expected {layout.shape} by its metadata"
                )
            used.add(layout.name)
            for part, name in enumerate(layout.parts):
                self._places.setdefault(name, []).append((layout, tensor, part))
        spare_from = config.layers if f"{architecture}.nextn_predict_layers" in header.metadata else None
        if unknown := [name for name in header.tensors if name not in used and not _is_spare(name, spare_from)]:
            raise CheckpointError(f"{path} holds {unknown[0]!r}, which a model of its metadata has no place for")
        self._infos = {name: self._info(places) for name, places in self._places.items()}

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        return self._infos

    def read(self, name: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        out = torch.empty(self._infos[name].shape, dtype=dtype)
        self.read_into(name, out)
        return out

    @torch.no_grad()
    def read_into(self, name: str, out: torch.Tensor) -> None:
        info, out = self._infos[name], out.detach()
        if out.numel() != info.count:
            raise CheckpointError(f"{info.file}: {name} has shape {info.shape}; expected {tuple(out.shape)}")
        layout, tensor, part = self._places[name][0]
        require_readable(tensor.kind, f"{tensor.file}: {layout.name}")
        if layout.form == "keys":
            out.copy_(self._expansion(name).view(out.shape))
            return
        row_bytes, start, rows = _extent(layout, tensor, part)
        if layout.form == "heads" or not out.is_contiguous():
            numbers = out if out.is_contiguous() else torch.empty(out.shape, dtype=out.dtype)
            dequantize_into(self.raw(name)[1], tensor.kind, numbers.view(rows, -1))
            if numbers is not out:
                out.copy_(numbers)
            return
        if PLAIN.get(tensor.kind) == out.dtype:
            self._files.read(tensor, start, out)
            return
        step = max(1, PIECE // row_bytes)
        held, out_2d = torch.empty(min(step, rows), row_bytes, dtype=torch.uint8), out.view(rows, -1)
        for first in range(0, rows, step):
            count = min(step, rows - first)
            self._files.read(tensor, start + first * row_bytes, held[:count])
            dequantize_into(held[:count], tensor.kind, out_2d[first : first + count])

    def raw(self, name: str) -> tuple[str, torch.Tensor]:
        """A tensor as it is stored: the name of its quantisation, and for each of its rows, in Hugging Face's order,
        the bytes of its blocks: (rows, bytes) uint8.

        Raises `CheckpointError` for `kv_b_proj`, which a file may hold in two pieces, one of them transposed.
        """
        layout, tensor, part = self._places[name][0]
        if layout.form == "keys":
            raise CheckpointError(f"{tensor.file} holds {name} in pieces, so that it has no blocks of its own")
        row_bytes, start, rows = _extent(layout, tensor, part)
        blocks = torch.empty(rows, row_bytes, dtype=torch.uint8)
        self._files.read(tensor, start, blocks)
        if layout.form == "heads":
            pairs = blocks.view(layout.heads, -1, 2, row_bytes)
            blocks = pairs.transpose(1, 2).reshape(rows, row_bytes)
        return tensor.kind.name, blocks

    def close(self) -> None:
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _expansion(self, name: str) -> torch.Tensor:
        """kv_b_proj from its halves, (H, keys and values of a head, latent)."""
        (_, keys, _), (_, values, _) = self._places[name]
        require_readable(values.kind, f"{values.file}: {values.name}")
        return torch.cat((self._files.numbers(keys).transpose(1, 2), self._files.numbers(values)), 1)

    def _info(self, places: list[tuple[Layout, StoredTensor, int]]) -> TensorInfo:
        layout, tensor, _ = places[0]
        kinds = dict.fromkeys(place[1].kind.name for place in places)
        if layout.form == "keys":
            heads, keys, latent = layout.part_shape
            shape: tuple[int, ...] = (heads * (keys + places[1][0].shape[1]), latent)
        else:
            shape = layout.part_shape
        size = sum(stored.bytes // len(place.parts) for place, stored, _ in places)
        return TensorInfo(
            shape=shape,
            stored="+".join(kinds),
            bytes=size,
            file=tensor.file,
            readable=all(is_readable(stored.kind) for _, stored, _ in places),
        )


def _extent(layout: Layout, tensor: StoredTensor, part: int) -> tuple[int, int, int]:
    """The bytes of a row of one part of a tensor, where the part begins in it, and how many rows it has."""
    if len(tensor.shape) == 1 and layout.form == "heads":  # a bias: its numbers are permuted
        return tensor.bytes // tensor.shape[0], 0, tensor.shape[0]
    rows = prod(layout.part_shape[:-1])
    return tensor.row_bytes, part * rows * tensor.row_bytes, rows


def _is_spare(name: str, spare_from: int | None) -> bool:
    """Whether a file may hold this tensor though nobody reads it: rotary frequencies in old files, and parts of
    multi-token prediction modules, the blocks from `spare_from` on.
    """
    block = re.match(r"blk\.([0-9]{1,9})(\.|$)", name)
    beyond = spare_from is not None and block is not None and int(block[1]) >= spare_from
    return beyond or name.endswith(("rotary_emb.inv_freq", "rope_freqs.weight", "attn_rot_embd.weight"))
