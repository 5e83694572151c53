"""Any open checkpoint → a GGUF file that llama.cpp loads, tensor by tensor: the model is never in memory as a whole."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, LlamaFileType

from ponder.core.errors import CheckpointError, RunError
from ponder.core.files import atomic_file
from ponder.models.config import Llama3RopeConfig
from ponder.weights.checkpoint import check_tensors, check_vocabulary
from ponder.weights.gguf.blocks import Kind, quantize_rows
from ponder.weights.gguf.config import ROPE_FREQUENCIES, config_to_metadata, gguf_architecture, llama3_divisors
from ponder.weights.gguf.names import Layout, gguf_layout
from ponder.weights.gguf.tokenizer import tokenizer_to_metadata
from ponder.weights.opened import OpenCheckpoint

GgufDtype = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
GGUF_DTYPES: Mapping[str, tuple[Kind, LlamaFileType]] = {
    "f32": (Kind.F32, LlamaFileType.ALL_F32),
    "f16": (Kind.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (Kind.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (Kind.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (Kind.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
EXACT = ("_norm.weight", "ffn_gate_inp.weight", "exp_probs_b.bias")  # llama.cpp expects these in fp32
LEVELS = {Kind.F16: 1, Kind.Q8_0: 127, Kind.Q4_0: 8}  # the largest number of a block, in units of its scale
ENDS_OF_MODEL = ("token_embd.weight", "output.weight")
# what files say of a model that is worth keeping, and GGUF's name for it
GENERAL = {
    name: name.replace("license_", "license.")
    for name in (
        *("name", "author", "organization", "description", "basename", "finetune", "size_label", "license"),
        *("license.name", "license.link", "license_name", "license_link", "url", "repo_url", "source.url"),
    )
}
PIECE = 1 << 22  # numbers that are converted at a time
ALIGNMENT = 32  # of each tensor in the file

Progress = Callable[[int, int], None]  # bytes written, bytes in all


@dataclass(frozen=True)
class WrittenGguf:
    """What came of writing a file."""

    path: Path
    bytes: int
    kinds: Mapping[str, int]  # how many tensors are stored in which format
    not_quantized: tuple[str, ...]  # kept in F16 because their rows do not divide into blocks of 32
    without_mtp: bool  # the model has multi-token prediction modules, which llama.cpp's files leave out


def write_gguf(
    path: Path, opened: OpenCheckpoint, *, dtype: GgufDtype, on_progress: Progress | None = None
) -> WrittenGguf:
    """Write a model with its tokenizer and chat template.

    Norms, biases and routing stay in fp32. With "q4_0", embedding and head, which suffer most, become Q8_0. Memory
    holds one tensor at a time. The file is there when it is whole. Raises `CheckpointError` for a model or tokenizer
    that llama.cpp has no form for, for a source that is damaged or does not fit its config, and for numbers beyond
    half precision; `RunError` where `path` exists or the disk refuses.
    """
    if dtype not in GGUF_DTYPES:
        raise CheckpointError(f"GGUF cannot be written as {dtype!r}; expected one of {', '.join(GGUF_DTYPES)}")
    if path.exists():
        raise RunError(f"{path} exists already; choose another name or move it away")
    if opened.tokenizer is None:
        raise CheckpointError(f"{opened.path} has no tokenizer; a GGUF file holds one, so put its tokenizer.json there")
    check_tensors(opened)
    check_vocabulary(opened.path, opened.config, opened.tokenizer)
    config = replace(opened.config, mtp_depth=0)
    wanted, file_type = GGUF_DTYPES[dtype]
    layouts = [layout for layout in gguf_layout(config, gguf_architecture(config)) if not layout.optional]
    kinds = {layout.name: _kind(layout, wanted) for layout in layouts}
    metadata = _metadata(opened) | config_to_metadata(config) | {"general.file_type": int(file_type)}
    metadata |= tokenizer_to_metadata(opened.tokenizer, opened.chat_template, config.vocab_size)
    with atomic_file(path) as temporary:
        _write(temporary, opened, layouts, kinds, metadata, on_progress)
        size = temporary.stat().st_size
    names = [kind.name for kind in kinds.values()]
    return WrittenGguf(
        path=path,
        bytes=size,
        kinds={name: names.count(name) for name in dict.fromkeys(names)},
        not_quantized=tuple(name for name, kind in kinds.items() if kind == Kind.F16 != wanted),
        without_mtp=opened.config.mtp_depth > 0,
    )


def _kind(layout: Layout, wanted: Kind) -> Kind:
    if len(layout.shape) == 1 or layout.name.endswith(EXACT):
        return Kind.F32
    if wanted == Kind.Q4_0 and layout.name in ENDS_OF_MODEL:
        wanted = Kind.Q8_0
    return Kind.F16 if layout.shape[-1] % GGML_QUANT_SIZES[wanted][0] else wanted


def _metadata(opened: OpenCheckpoint) -> dict[str, Any]:
    kept = {f"general.{GENERAL[name]}": value for name, value in opened.metadata.items() if name in GENERAL}
    return {
        "general.type": "model",
        "general.name": opened.path.stem,
        **kept,
        "general.quantization_version": 2,
    }


def _write(
    path: Path,
    opened: OpenCheckpoint,
    layouts: list[Layout],
    kinds: Mapping[str, Kind],
    metadata: Mapping[str, Any],
    on_progress: Progress | None,
) -> None:
    config = opened.config
    writer = GGUFWriter(path, gguf_architecture(replace(config, mtp_depth=0)))
    for key, value in metadata.items():
        _add(writer, key, value)
    divisors = None
    if isinstance(config.rope_scaling, Llama3RopeConfig):
        divisors = llama3_divisors(config.rope_scaling, config.rope_theta, config.rope_dim)
        _announce(writer, ROPE_FREQUENCIES, tuple(divisors.shape), Kind.F32)
    for layout in layouts:
        _announce(writer, layout.name, layout.shape, kinds[layout.name])
    total = sum(tensor.nbytes for tensor in writer.tensors[0].values())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout is not None
    file, done = writer.fout[0], 0
    try:
        writer.write_padding(file, file.tell())
        if divisors is not None:
            file.write(divisors.numpy().data)
            writer.write_padding(file, file.tell())
        for layout in layouts:
            kind = kinds[layout.name]
            for piece in _pieces(opened, layout):
                blocks = quantize_rows(_checked(piece, kind, f"{opened.path}: {layout.name}"), kind)
                file.write(blocks.numpy().data)
                done += blocks.numel()
            writer.write_padding(file, file.tell())
            if on_progress is not None:
                on_progress(done, total)
    finally:
        writer.close()


def _announce(writer: GGUFWriter, name: str, shape: tuple[int, ...], kind: GGMLQuantizationType) -> None:
    block_numbers, block_bytes = GGML_QUANT_SIZES[kind]
    size = math.prod(shape) // block_numbers * block_bytes
    # of the type, the writer looks at nothing but whether `shape` counts bytes, as it would for uint8
    writer.add_tensor_info(name, shape, np.dtype(np.float32), size, raw_dtype=kind)


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        # ours alone are read back to the last bit; llama.cpp reads single precision
        (writer.add_float64 if key.startswith("ponder.") else writer.add_float32)(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _pieces(opened: OpenCheckpoint, layout: Layout) -> Iterator[torch.Tensor]:
    """The tensor's rows in the file's order, (rows, numbers), a few at a time."""
    for part in layout.parts:
        numbers = _rearranged(opened, layout, part)
        rows = numbers.reshape(-1, layout.shape[-1])
        step = max(1, PIECE // layout.shape[-1])
        for start in range(0, len(rows), step):
            yield rows[start : start + step]


def _rearranged(opened: OpenCheckpoint, layout: Layout, part: str) -> torch.Tensor:
    stored = opened.source.infos[part].stored
    precision = {"F16": torch.float16, "BF16": torch.bfloat16}.get(stored, torch.float32)  # as it is, no larger
    numbers = opened.source.read(part, precision)
    if layout.form == "heads":
        halves = numbers.view(layout.heads, 2, -1, *numbers.shape[1:])
        return halves.transpose(1, 2).reshape(numbers.shape)
    if layout.form in ("keys", "values"):
        heads = numbers.view(layout.heads, -1, numbers.shape[-1])
        keys = layout.shape[2] if layout.form == "keys" else heads.shape[1] - layout.shape[1]
        return heads[:, :keys].transpose(1, 2) if layout.form == "keys" else heads[:, keys:]
    return numbers


def _checked(numbers: torch.Tensor, kind: Kind, where: str) -> torch.Tensor:
    """Refuse numbers that half precision, of themselves or of a block's scale, would make infinite."""
    if not bool(torch.isfinite(numbers).all()):
        raise CheckpointError(f"{where} holds numbers that are not finite; it cannot be exported")
    largest = numbers.abs().max().item()
    if largest > 65504.0 * LEVELS.get(kind, math.inf):
        raise CheckpointError(f"{where} holds {largest:g}, beyond what {kind.name} can hold; export as bf16 instead")
    return numbers
