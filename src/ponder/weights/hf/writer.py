"""Any open checkpoint → a Hugging Face folder, tensor by tensor: the model is never in memory as a whole."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from ponder.core.errors import CheckpointError, RunError
from ponder.core.files import atomic_directory, require_room
from ponder.models.config import ModelConfig
from ponder.weights.checkpoint import check_tensors, check_vocabulary
from ponder.weights.hf import fp8
from ponder.weights.hf.config import config_to_json
from ponder.weights.hf.folder import CONFIG, write_files
from ponder.weights.hf.header import ITEM_BYTES, header_bytes
from ponder.weights.hf.names import is_spare, layer_prefix
from ponder.weights.hf.safetensors import DTYPES, INDEX, WEIGHTS
from ponder.weights.hf.tokenizer import tokenizer_files
from ponder.weights.opened import OpenCheckpoint
from ponder.weights.source import TensorInfo

WriteDtype = Literal["f32", "bf16", "f16", "fp8"]
WRITE_DTYPES: Mapping[str, str] = {
    "f32": "F32",
    "bf16": "BF16",
    "f16": "F16",
    "fp8": "BF16",
}  # of what stays unquantised
SHARD_BYTES = 5_000_000_000
ROUTING_BIAS = "e_score_correction_bias"  # fp32 in every published file: routing decides by small differences

Progress = Callable[[int, int], None]  # bytes written, bytes in all


@dataclass(frozen=True)
class _Output:
    """What is written of one tensor of the source: itself, and its scales where it becomes FP8."""

    source: str
    parts: tuple[tuple[str, str, tuple[int, ...]], ...]  # name, dtype, shape

    @property
    def bytes(self) -> int:
        return sum(math.prod(shape) * ITEM_BYTES[dtype] for _, dtype, shape in self.parts)


def write_hf_folder(
    folder: Path,
    opened: OpenCheckpoint,
    *,
    dtype: WriteDtype,
    shard_bytes: float = SHARD_BYTES,
    extra_files: Mapping[str, str] | None = None,
    on_progress: Progress | None = None,
) -> None:
    """Write config.json, safetensors (several with an index beyond `shard_bytes`) and the tokenizer's files.

    "fp8" quantises what DeepSeek-V3's files do and keeps the rest in bf16. The multi-token prediction modules get
    their copies of embedding and head, as published. `extra_files` are texts by their names, such as a README.md.
    Memory holds one tensor at a time. The folder is there when it is whole. Raises `CheckpointError` for a source
    that is damaged or does not fit its config, `RunError` where `folder` holds something already or the disk refuses.
    """
    _refuse_occupied(folder)
    check_tensors(opened)
    if opened.tokenizer is not None:
        check_vocabulary(opened.path, opened.config, opened.tokenizer)
    outputs = _plan(opened, dtype)
    total = sum(output.bytes for output in outputs)
    require_room(folder, total, "make room, choose a folder on another disk or a smaller --dtype")
    shards = _cut(outputs, shard_bytes)
    done = 0
    with atomic_directory(folder) as unfinished:
        for name, shard in shards.items():
            with open(unfinished / name, "xb") as file:
                file.write(header_bytes(part for output in shard for part in output.parts))
                for output in shard:
                    for tensor in _read(opened, output, dtype):
                        file.write(_memory(tensor))
                    done += output.bytes
                    if on_progress is not None:
                        on_progress(done, total)
        if len(shards) > 1:
            (unfinished / INDEX).write_text(_index(shards, total), encoding="utf-8")
        write_files(unfinished, {**_files(opened, dtype), **(extra_files or {})})


def _plan(opened: OpenCheckpoint, dtype: WriteDtype) -> list[_Output]:
    infos = opened.source.infos
    pairs = [(name, name) for name in infos if not is_spare(name, opened.config)]
    pairs += [(copy, name) for copy, name in _mtp_copies(opened.config).items()]
    return [_Output(source, _parts(name, infos[source].shape, dtype)) for name, source in pairs]


def _mtp_copies(config: ModelConfig) -> dict[str, str]:
    """The copies that each multi-token prediction module of a published checkpoint holds, with what they copy."""
    head = "model.embed_tokens.weight" if config.tie_embeddings else "lm_head.weight"
    copies = {}
    for depth in range(config.mtp_depth):
        prefix = layer_prefix(config.layers + depth)
        copies[prefix + "embed_tokens.weight"] = "model.embed_tokens.weight"
        copies[prefix + "shared_head.head.weight"] = head
    return copies


def _parts(name: str, shape: tuple[int, ...], dtype: WriteDtype) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
    if dtype == "fp8" and fp8.is_quantised(name):
        return (name, fp8.STORED, shape), (name + fp8.SCALE_SUFFIX, "F32", fp8.scale_shape(shape))
    return ((name, "F32" if name.endswith(ROUTING_BIAS) else WRITE_DTYPES[dtype], shape),)


def _cut(outputs: list[_Output], shard_bytes: float) -> dict[str, list[_Output]]:
    """The tensors of each file, by its name; a tensor larger than a shard has one of its own."""
    shards: list[list[_Output]] = [[]]
    filled = 0
    for output in outputs:
        if shards[-1] and filled + output.bytes > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(output)
        filled += output.bytes
    if len(shards) == 1:
        return {WEIGHTS: shards[0]}
    return {f"model-{i:05}-of-{len(shards):05}.safetensors": shard for i, shard in enumerate(shards, start=1)}


def _read(opened: OpenCheckpoint, output: _Output, dtype: WriteDtype) -> Iterator[torch.Tensor]:
    """The tensors to write, one to a part."""
    _, stored, _ = output.parts[0]
    if stored == fp8.STORED:
        yield from _quantise(opened, output.source)
        return
    tensor = opened.source.read(output.source, DTYPES[stored])
    if dtype in ("f16", "fp8") and not tensor.isfinite().all():
        beyond = " beyond 65,504, the largest of f16, or none at all" if dtype == "f16" else " that are none"
        raise CheckpointError(f"{opened.path}: {output.source} holds numbers{beyond} (inf, nan); choose bf16")
    yield tensor


def _quantise(opened: OpenCheckpoint, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    info: TensorInfo = opened.source.infos[name]
    weight = opened.source.read(name, DTYPES.get(info.stored, torch.float32))
    try:
        return fp8.quantise(weight)
    except CheckpointError as error:
        raise CheckpointError(f"{opened.path}: {name}: {error}") from None


def _memory(tensor: torch.Tensor) -> memoryview:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _index(shards: Mapping[str, list[_Output]], total: int) -> str:
    weight_map = {part[0]: name for name, shard in shards.items() for output in shard for part in output.parts}
    content = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return json.dumps(content, indent=2) + "\n"


def _files(opened: OpenCheckpoint, dtype: WriteDtype) -> dict[str, str | dict[str, object]]:
    tokenizer = opened.tokenizer
    control = None if tokenizer is None else tokenizer.control
    config = config_to_json(opened.config, control, DTYPES[WRITE_DTYPES[dtype]])
    if dtype == "fp8":
        config["quantization_config"] = dict(fp8.QUANTIZATION)
    beside = {} if tokenizer is None else tokenizer_files(tokenizer, opened.chat_template)
    return {CONFIG: config, **beside}


def _refuse_occupied(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} holds something already; choose another name or move it away")
