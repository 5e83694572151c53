"""Quantised blocks ↔ numbers.

A row of a quantised tensor is cut into blocks of 32 or 256 numbers; a block keeps a scale (and, in some formats, an
offset) and few bits a number. Layouts: ggml-org/ggml, src/ggml-common.h. The formats that models are commonly
published in are written out here for torch, which uses all cores and is several times as fast as numpy; the others
go through the `gguf` package, which also quantises.

Shapes: N blocks.
"""

from collections.abc import Callable

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize

from ponder.core.errors import CheckpointError

Kind = GGMLQuantizationType

PLAIN = {Kind.F32: torch.float32, Kind.F16: torch.float16, Kind.BF16: torch.bfloat16}
SLOW = (Kind.Q5_0, Kind.Q5_1, Kind.Q2_K, Kind.Q3_K, Kind.Q5_K, Kind.IQ4_NL, Kind.IQ4_XS)
CHUNK = 1 << 18  # numbers at a time: what passes between two operations stays in the processor's cache


def dequantize_into(rows: torch.Tensor, kind: Kind, out: torch.Tensor) -> None:
    """Write the numbers of `rows`, (rows, bytes) uint8 and contiguous, into `out`, (rows, numbers) in any precision."""
    if kind in PLAIN:
        out.copy_(rows.view(PLAIN[kind]))
        return
    unpack = UNPACK[kind]
    block_numbers, block_bytes = GGML_QUANT_SIZES[kind]
    step = max(1, CHUNK // out.shape[1])
    for start in range(0, len(rows), step):
        part = out[start : start + step]
        blocks = rows[start : start + step].view(-1, block_bytes)
        direct = part.dtype == torch.float32 and part.is_contiguous()
        numbers = part.view(-1, block_numbers) if direct else torch.empty(len(blocks), block_numbers)
        unpack(blocks, numbers)
        if not direct:
            part.copy_(numbers.view(part.shape))


def is_readable(kind: Kind) -> bool:
    """Whether tensors in this format can be read."""
    return kind in PLAIN or kind in UNPACK


def require_readable(kind: Kind, where: str) -> None:
    """Raises `CheckpointError` for a format that cannot be read."""
    if not is_readable(kind):
        raise CheckpointError(f"{where} is stored as {kind.name}, which is not supported; expected one of {READABLE}")


def quantize_rows(numbers: torch.Tensor, kind: Kind) -> torch.Tensor:
    """The bytes, (rows, bytes) uint8, that keep `numbers`, (rows, numbers) in any precision, in the given format."""
    if kind in PLAIN:
        return numbers.to(PLAIN[kind]).contiguous().view(torch.uint8)
    return torch.from_numpy(quantize(numbers.to(torch.float32).contiguous().numpy(), kind))


def _scale(blocks: torch.Tensor, at: int) -> torch.Tensor:
    """The half-precision number at byte `at` of each block, (N, 1) fp32."""
    return blocks[:, at : at + 2].contiguous().view(torch.float16).float()


def _nibbles(packed: torch.Tensor) -> torch.Tensor:
    """(N, 16) bytes → (N, 32): the low halves of all bytes, then the high halves."""
    return torch.cat((packed & 15, packed >> 4), 1)


def _q4_0(blocks: torch.Tensor, out: torch.Tensor) -> None:
    out.copy_(_nibbles(blocks[:, 2:])).sub_(8).mul_(_scale(blocks, 0))


def _q4_1(blocks: torch.Tensor, out: torch.Tensor) -> None:
    out.copy_(_nibbles(blocks[:, 4:])).mul_(_scale(blocks, 0)).add_(_scale(blocks, 2))


def _q8_0(blocks: torch.Tensor, out: torch.Tensor) -> None:
    out.copy_(blocks[:, 2:].view(torch.int8)).mul_(_scale(blocks, 0))


def _q4_k(blocks: torch.Tensor, out: torch.Tensor) -> None:
    """8 groups of 32; a group's scale and offset have 6 bits each and stand against the block's two."""
    packed = blocks[:, 4:16].to(torch.int16).view(-1, 3, 4)
    first, second, high = packed.unbind(1)  # 4 scales, 4 offsets; the last 4 of both, in pieces
    scales_N8 = torch.cat((first & 63, (high & 15) | (first >> 2 & 48)), 1)
    offsets_N8 = torch.cat((second & 63, (high >> 4) | (second >> 2 & 48)), 1)
    codes = blocks[:, 16:].view(-1, 4, 1, 32)
    groups = out.view(-1, 4, 2, 32)
    groups[:, :, :1].copy_(codes & 15)
    groups[:, :, 1:].copy_(codes >> 4)
    flat = out.view(-1, 8, 32)
    flat.mul_((_scale(blocks, 0) * scales_N8).unsqueeze(-1))
    flat.sub_((_scale(blocks, 2) * offsets_N8).unsqueeze(-1))


def _q6_k(blocks: torch.Tensor, out: torch.Tensor) -> None:
    """16 groups of 16 with a scale of 8 bits each; a number's low 4 bits and high 2 are stored apart."""
    low = blocks[:, :128].view(-1, 2, 1, 64)
    high = blocks[:, 128:192].view(-1, 2, 1, 32)
    low_4 = torch.cat((low & 15, low >> 4), 2).view(-1, 2, 4, 32)
    high_2 = torch.cat((high, high >> 2, high >> 4, high >> 6), 2) & 3
    out.copy_((low_4 | high_2 << 4).view(-1, 256)).sub_(32)
    scales_N16 = blocks[:, 192:208].contiguous().view(torch.int8).float() * _scale(blocks, 208)
    out.view(-1, 16, 16).mul_(scales_N16.unsqueeze(-1))


def _through_numpy(kind: Kind) -> Callable[[torch.Tensor, torch.Tensor], None]:
    def unpack(blocks: torch.Tensor, out: torch.Tensor) -> None:
        numbers: np.ndarray = dequantize(blocks.numpy(), kind)
        out.copy_(torch.from_numpy(numbers))

    return unpack


UNPACK: dict[Kind, Callable[[torch.Tensor, torch.Tensor], None]] = {
    Kind.Q4_0: _q4_0,
    Kind.Q4_1: _q4_1,
    Kind.Q8_0: _q8_0,
    Kind.Q4_K: _q4_k,
    Kind.Q6_K: _q6_k,
    **{kind: _through_numpy(kind) for kind in SLOW},
}
READABLE = ", ".join(kind.name for kind in sorted((*PLAIN, *UNPACK)))
