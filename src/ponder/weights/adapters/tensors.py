"""adapter_model.safetensors: PEFT's names of an adapter's tensors, of a model in memory and of a file.

Shapes: I inputs, O outputs, R rank, K trained rows, D hidden size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ponder.core.errors import CheckpointError
from ponder.models.adapters import AdaptedLinear, AdaptedTable, adapted_maps, part_tensors
from ponder.models.attention import GroupedQueryAttention
from ponder.models.transformer import Block, Transformer
from ponder.weights.adapters.config import ADAPTER_WEIGHTS, FILE_NAMES
from ponder.weights.hf.header import read_header
from ponder.weights.hf.names import FileTensor, layer_prefix, pairs_to_halves
from ponder.weights.source import some

PREFIX = "base_model.model."
A, B, MAGNITUDE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"
ROWS = ".token_adapter.trainable_tokens_delta"
_SPELLINGS = {MAGNITUDE + ".weight": MAGNITUDE, ".token_adapter.base_layer.weight": ".weight"}  # of some versions
_PLACES = {"attention": "self_attn", "feed_forward": "mlp", "feed_forward.shared": "mlp.shared_experts"}
FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class LowRank:
    """The change of one linear map, in fp32."""

    a_RI: torch.Tensor
    b_OR: torch.Tensor
    magnitude_O: torch.Tensor | None = None


@dataclass(frozen=True)
class AdapterTensors:
    """What a file holds, by Hugging Face's names of modules without `.weight`."""

    low_rank: Mapping[str, LowRank]
    rows: Mapping[str, torch.Tensor]  # (K, D) in fp32
    whole: Mapping[str, torch.Tensor] = field(default_factory=dict)  # in place of the base's, as the file has them


def file_tensors_of_adapter(model: Transformer) -> dict[str, FileTensor]:
    """Every tensor of the model's adapter by its name in the file, as a view of the model's own memory."""
    tensors: dict[str, FileTensor] = {}
    for layer, path, linear in adapted_maps(model):
        block = model.blocks[layer]
        assert isinstance(block, Block)
        place = layer_prefix(layer) + _PLACES[path.rpartition(".")[0]] + "."
        tensors |= _of_linear(PREFIX + place, linear, _rotated_heads(block, model.config.rope_layout))
    tables = {"model.embed_tokens": model.embedding}
    if not model.config.tie_embeddings:
        tables["lm_head"] = model.head  # type: ignore[assignment]  # an adapted model has a table there
    for name, table in tables.items():
        if isinstance(table, AdaptedTable):
            tensors[PREFIX + name + ROWS] = _whole(table.rows)
    return tensors


def load_tensors(folder: Path, model: Transformer) -> None:
    """Put a saved adapter into the model's own. Raises `CheckpointError` where they do not fit."""
    path, places = folder / ADAPTER_WEIGHTS, file_tensors_of_adapter(model)
    found = read_numbers(folder)
    missing, unexpected = [n for n in places if n not in found], [n for n in found if n not in places]
    if missing or unexpected:
        parts = [f"lacks {some(missing)}"] if missing else []
        parts += [f"holds {some(unexpected)}, which the model's adapter has no place for"] if unexpected else []
        raise CheckpointError(f"{path} {' and '.join(parts)}; it is an adapter of other targets or of another model")
    for name, place in places.items():
        if found[name].shape != place.shape:
            raise CheckpointError(
                f"{path}: {name} has shape {tuple(found[name].shape)}; expected {place.shape} (its rank or its model "
                "is another)"
            )
    with torch.no_grad():
        for name, place in places.items():
            place.view.copy_(found[name].view(place.view.shape))


def read_tensors(folder: Path) -> AdapterTensors:
    """The adapter in a folder. Raises `CheckpointError` for a tensor of a kind that Ponder does not know."""
    path = folder / ADAPTER_WEIGHTS
    found = read_numbers(folder)
    low: dict[str, dict[str, torch.Tensor]] = {}
    rows: dict[str, torch.Tensor] = {}
    whole: dict[str, torch.Tensor] = {}
    for name, tensor in found.items():
        module = name.removeprefix(PREFIX)
        suffix = next((s for s in (A, B, MAGNITUDE, ROWS, ".weight") if module.endswith(s)), None)
        if suffix is None or "lora_" in module.removesuffix(suffix) or module == name:
            raise CheckpointError(f"{path} holds {name}, which is no tensor of LoRA, DoRA or trained tokens")
        module = module.removesuffix(suffix)
        if suffix == ROWS:
            rows[module] = tensor.float()
        elif suffix == ".weight":
            whole[module] = tensor
        else:
            low.setdefault(module, {})[suffix] = tensor.float()
    for module, pieces in low.items():
        if not {A, B} <= pieces.keys() or not _of_one_rank(pieces[A], pieces[B]):
            raise CheckpointError(
                f"{path}: the A and B of {module} are not both there, or no matrices of one rank; expected (rank, "
                "inputs) and (outputs, rank)"
            )
    return AdapterTensors(
        low_rank={module: LowRank(pieces[A], pieces[B], pieces.get(MAGNITUDE)) for module, pieces in low.items()},
        rows=rows,
        whole=whole,
    )


def adapted_names(folder: Path) -> list[str]:
    """Our names of the linear maps that a saved adapter changes, by its headers alone."""
    names = {value: key for key, value in FILE_NAMES.items()}
    found = dict.fromkeys(name.removesuffix(A).rpartition(".")[2] for name in _entries(folder / ADAPTER_WEIGHTS))
    return [names[name] for name in found if name in names]


def read_numbers(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a folder's adapter as they are, by the names that PEFT gives them today."""
    path = folder / ADAPTER_WEIGHTS
    _entries(path)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {error}; copy it again") from error
    for name, tensor in tensors.items():
        if tensor.dtype not in FLOATS:
            raise CheckpointError(f"{path}: {name} is {tensor.dtype}; expected {', '.join(map(str, FLOATS))}")
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {name} holds numbers that are not finite; its training has diverged")
    spelled = {}
    for name, tensor in tensors.items():
        old = next((s for s in _SPELLINGS if name.endswith(s)), "")
        spelled[name.removesuffix(old) + _SPELLINGS[old] if old else name] = tensor
    return spelled


def _of_linear(prefix: str, linear: AdaptedLinear, heads: Mapping[str, int]) -> dict[str, FileTensor]:
    tensors: dict[str, FileTensor] = {}
    for part, a_RI, b_OR, magnitude_O in part_tensors(linear):
        name = prefix + FILE_NAMES[part.name]

        def turned(tensor: torch.Tensor, count: int | None = heads.get(part.name)) -> FileTensor:
            return _whole(tensor) if count is None else pairs_to_halves(tensor, count)

        tensors |= {name + A: _whole(a_RI), name + B: turned(b_OR)}
        if magnitude_O is not None:
            tensors[name + MAGNITUDE] = turned(magnitude_O)
    return tensors


def _rotated_heads(block: Block, layout: str) -> dict[str, int]:
    """The heads of the maps whose rows the file has in another order."""
    attention = block.attention
    if layout != "interleaved" or not isinstance(attention, GroupedQueryAttention):
        return {}
    return {"q": attention.heads, "k": attention.kv_heads}


def _of_one_rank(a_RI: torch.Tensor, b_OR: torch.Tensor) -> bool:
    return a_RI.ndim == b_OR.ndim == 2 and a_RI.shape[0] == b_OR.shape[1]


def _whole(tensor: torch.Tensor) -> FileTensor:
    return FileTensor(tensor.detach(), tuple(tensor.shape))


def _entries(path: Path) -> list[str]:
    if not path.is_file():
        raise CheckpointError(
            f"{path.parent} has no {path.name}; an adapter is read from safetensors (a .bin file is a pickle, which "
            "may run code: convert it with PEFT's save_pretrained)"
        )
    return list(read_header(path))
