"""From a model's tensors to the kernels' packed matrices.

The plan lists every matrix of a model with the tensors that its rows come from, once: packing, packing a file's own
blocks unchanged, and writing new weights over old ones all go through it.

Shapes: D hidden size, F intermediate size, H heads, N, V, C as in models/attention.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import nn

from ponder.core.errors import ConfigError
from ponder.engine.formats import WeightFormat
from ponder.engine.native.library import MatrixPart, NumberFormat, SourceType, VectorPart
from ponder.models.attention import GroupedQueryAttention, MultiHeadLatentAttention
from ponder.models.config import ModelConfig
from ponder.models.layers import SwiGLU
from ponder.models.moe import MixtureOfExperts
from ponder.models.transformer import Block, MtpModule, Transformer

BLOCKS = {"Q8_0": NumberFormat.Q8, "Q4_0": NumberFormat.Q4, "Q4_1": NumberFormat.Q4M}
FINE = {
    NumberFormat.Q8: NumberFormat.Q8_FINE,
    NumberFormat.Q4: NumberFormat.Q4_FINE,
    NumberFormat.Q4M: NumberFormat.Q4M_FINE,
}
_TYPES = {torch.float32: SourceType.F32, torch.bfloat16: SourceType.BF16, torch.float16: SourceType.F16}


@runtime_checkable
class StoredBlocks(Protocol):
    """A file that gives out quantised rows as they are stored (weights/gguf/reader.py)."""

    def raw(self, name: str) -> tuple[str, torch.Tensor]:
        """The quantisation's name, and (rows, bytes of a row) uint8, rows in Hugging Face's order."""
        ...


@dataclass(frozen=True)
class Rows:
    """Some rows of a matrix: where they come from, in the model and in a file."""

    tensor: torch.Tensor
    stored_as: tuple[str, ...] = ()  # their Hugging Face names, one after the other; none: never taken from a file


@dataclass(frozen=True)
class PlannedMatrix:
    """One packed matrix: its rows are those of its sources, in order."""

    part: MatrixPart
    sources: tuple[Rows, ...]
    layer: int = 0
    index: int = 0  # head or expert
    paired: bool = False  # gate and up are its two halves
    exact: Literal["", "fp32", "half"] = ""  # kept in fp32, or at least in bf16, whatever the format

    @property
    def outputs(self) -> int:
        return sum(rows.tensor.shape[0] for rows in self.sources)

    @property
    def inputs(self) -> int:
        return self.sources[0].tensor.shape[1]


@dataclass(frozen=True)
class PlannedVector:
    """One vector: norm weights or a bias. Its numbers are those of its sources, in order."""

    part: VectorPart
    sources: tuple[torch.Tensor, ...]
    layer: int = 0


def plan(model: Transformer, *, mtp: bool = False) -> Iterator[PlannedMatrix | PlannedVector]:
    """Every matrix and vector of the model; with `mtp`, its first multi-token prediction module too, whose block is the
    layer after the last.
    """
    config = model.config
    for block in model.blocks:
        yield from _block(block, config)
    if mtp:
        module = model.mtp[0]
        assert isinstance(module, MtpModule)
        project = Rows(module.project.weight, (f"model.layers.{config.layers}.eh_proj.weight",))
        yield PlannedVector(VectorPart.MTP_EMBEDDING_NORM, (module.embedding_norm.weight,))
        yield PlannedVector(VectorPart.MTP_STATE_NORM, (module.hidden_norm.weight,))
        yield PlannedMatrix(MatrixPart.MTP_PROJECT, (project,), config.layers)
        yield from _block(module.block, config)
        yield PlannedVector(VectorPart.MTP_NORM, (module.norm.weight,))
    yield PlannedVector(VectorPart.FINAL_NORM, (model.norm.weight,))
    if config.tie_embeddings:
        yield PlannedMatrix(MatrixPart.HEAD, (Rows(model.head.weight, ("model.embed_tokens.weight",)),))
    else:
        yield PlannedMatrix(MatrixPart.HEAD, (Rows(model.head.weight, ("lm_head.weight",)),))
        yield PlannedMatrix(MatrixPart.EMBEDDING, (Rows(model.embedding.weight, ("model.embed_tokens.weight",)),))


def _block(block: nn.Module, config: ModelConfig) -> Iterator[PlannedMatrix | PlannedVector]:
    assert isinstance(block, Block)
    layer = block.layer
    yield PlannedVector(VectorPart.ATTENTION_NORM, (block.attention_norm.weight,), layer)
    yield PlannedVector(VectorPart.FEED_FORWARD_NORM, (block.feed_forward_norm.weight,), layer)
    attention, feed_forward, name = block.attention, block.feed_forward, f"model.layers.{layer}."
    if isinstance(attention, MultiHeadLatentAttention):
        yield from _latent(attention, layer, name + "self_attn.")
    else:
        yield from _grouped(attention, layer, name + "self_attn.", config)
    if isinstance(feed_forward, MixtureOfExperts):
        yield from _mixture(feed_forward, layer, name + "mlp.")
    else:
        yield from _swiglu(feed_forward, layer, name + "mlp.")


def _grouped(
    attention: GroupedQueryAttention, layer: int, name: str, config: ModelConfig
) -> Iterator[PlannedMatrix | PlannedVector]:
    projections = (attention.q, attention.k, attention.v)
    # rows that are kept in another order than the file's are not taken from it
    kept = config.rope_layout == "halves"
    names = [(f"{name}{p}_proj.weight",) if kept or p == "v" else () for p in "qkv"]
    sources = tuple(Rows(p.weight, n) for p, n in zip(projections, names, strict=True))
    yield PlannedMatrix(MatrixPart.FIRST, sources, layer)
    yield PlannedMatrix(MatrixPart.ATTENTION_OUT, (Rows(attention.o.weight, (f"{name}o_proj.weight",)),), layer)
    biases = tuple(p.bias for p in projections if p.bias is not None)
    if biases:
        yield PlannedVector(VectorPart.FIRST_BIAS, biases, layer)
    if attention.q_norm is not None and attention.k_norm is not None:
        yield PlannedVector(VectorPart.QUERY_NORM, (attention.q_norm.weight,), layer)
        yield PlannedVector(VectorPart.KEY_NORM, (attention.k_norm.weight,), layer)


def _latent(attention: MultiHeadLatentAttention, layer: int, name: str) -> Iterator[PlannedMatrix | PlannedVector]:
    down = Rows(attention.kv_a.weight)
    if attention.compresses_queries:
        first = Rows(attention.q_a.weight, (f"{name}q_a_proj.weight",))
        yield PlannedMatrix(MatrixPart.QUERY_UP, (Rows(attention.q_b.weight),), layer)
        yield PlannedVector(VectorPart.QUERY_NORM, (attention.q_norm.weight,), layer)
    else:
        first = Rows(attention.q.weight)
    yield PlannedMatrix(MatrixPart.FIRST, (first, down), layer)
    yield PlannedVector(VectorPart.KEY_NORM, (attention.kv_norm.weight,), layer)
    expansion_HXC = attention.kv_b.weight.detach().view(attention.heads, -1, attention.latent)
    for head in range(attention.heads):  # small matrices, one per head, whose products are summed twice
        key_NC, value_VC = expansion_HXC[head].split((attention.nope, attention.value))
        yield PlannedMatrix(MatrixPart.KEY_HEAD, (Rows(key_NC.t()),), layer, head, exact="half")
        yield PlannedMatrix(MatrixPart.VALUE_HEAD, (Rows(value_VC),), layer, head, exact="half")
    yield PlannedMatrix(MatrixPart.ATTENTION_OUT, (Rows(attention.o.weight, (f"{name}o_proj.weight",)),), layer)


def _swiglu(feed_forward: SwiGLU, layer: int, name: str) -> Iterator[PlannedMatrix]:
    both = Rows(feed_forward.gate_up.weight, (f"{name}gate_proj.weight", f"{name}up_proj.weight"))
    yield PlannedMatrix(MatrixPart.GATE_UP, (both,), layer, paired=True)
    yield PlannedMatrix(MatrixPart.DOWN, (Rows(feed_forward.down.weight, (f"{name}down_proj.weight",)),), layer)


def _mixture(mixture: MixtureOfExperts, layer: int, name: str) -> Iterator[PlannedMatrix | PlannedVector]:
    yield PlannedMatrix(MatrixPart.ROUTER, (Rows(mixture.gate.weight),), layer, exact="fp32")
    if mixture.balance_bias is not None:
        yield PlannedVector(VectorPart.BALANCE_BIAS, (mixture.balance_bias,), layer)
    if mixture.shared is not None:
        yield from _swiglu(mixture.shared, layer, name + "shared_experts.")
    for e in range(mixture.moe.routed_experts):
        expert = f"{name}experts.{e}."
        both = Rows(mixture.experts.gate_up[e], (f"{expert}gate_proj.weight", f"{expert}up_proj.weight"))
        down = Rows(mixture.experts.down[e], (f"{expert}down_proj.weight",))
        yield PlannedMatrix(MatrixPart.EXPERT_GATE_UP, (both,), layer, e, paired=True)
        yield PlannedMatrix(MatrixPart.EXPERT_DOWN, (down,), layer, e)


def number_format(matrix: PlannedMatrix, weights: WeightFormat) -> NumberFormat:
    """How the matrix is held when its rows are not taken from a file unchanged. See also `fine`."""
    if weights == "fp32" or matrix.exact == "fp32":
        return NumberFormat.F32
    if weights == "bf16" or matrix.exact == "half":
        return NumberFormat.BF16
    if weights == "q4" and matrix.part not in (MatrixPart.HEAD, MatrixPart.EMBEDDING):
        return NumberFormat.Q4M
    return NumberFormat.Q8


def fine(matrix: PlannedMatrix, held: NumberFormat, layers: int) -> NumberFormat:
    """The format with activations of 16 bits instead of 8, where it should be that.

    Int8 weights get them everywhere: one sequence costs the same, since reading the weights takes longer than either,
    and a batch of 32 a quarter more. Int4 weights get them where errors reach the logits most directly, in the last
    eighth of the layers and in the head. Share of tokens of encyclopedia text whose most likely successor is that
    of SmolLM2-135M in fp32: int8 98.0 % (8 bits everywhere: 95.7 %).
    """
    last = matrix.part == MatrixPart.HEAD or matrix.layer >= layers - max(1, layers // 8)
    wanted = matrix.part != MatrixPart.EMBEDDING and (last or held == NumberFormat.Q8)
    return FINE.get(held, held) if wanted else held


def stored_rows(
    matrix: PlannedMatrix, source: StoredBlocks
) -> tuple[NumberFormat, list[tuple[SourceType, torch.Tensor]]] | None:
    """The file's own blocks for all rows of the matrix; None where the kernels cannot hold all of them alike."""
    names = [name for rows in matrix.sources for name in rows.stored_as]
    if not all(rows.stored_as for rows in matrix.sources):
        return None
    pieces = [source.raw(name) for name in names]
    kinds = {kind for kind, _ in pieces}
    if not kinds <= BLOCKS.keys():
        return None
    if len(kinds) == 1:
        (kind,) = kinds
        held = BLOCKS[kind]
    elif kinds <= {"Q4_0", "Q4_1"}:
        held = NumberFormat.Q4M  # which holds a Q4_0 block too
    else:
        return None
    return held, [(SourceType[kind], blocks) for kind, blocks in pieces]


def plain_rows(tensor: torch.Tensor) -> tuple[SourceType, torch.Tensor]:
    """The tensor as contiguous numbers that the kernels read."""
    if tensor.dtype not in _TYPES:
        raise ConfigError(f"weights of {tensor.dtype}; the native kernels take float32, bfloat16 and float16")
    return _TYPES[tensor.dtype], tensor.detach().contiguous()
