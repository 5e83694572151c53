"""FP8 weights in blocks, as DeepSeek-V3 and R1 ship them: e4m3, with one fp32 scale to each 128 × 128 numbers.

A weight `X.weight` (R, C) has the scales `X.weight_scale_inv` (⌈R/128⌉, ⌈C/128⌉), and is e4m3 · scale. Source:
README_WEIGHTS.md of DeepSeek-V3; arXiv 2412.19437 section 3.3. e4m3 has three bits of mantissa, a largest value of
448 and a smallest step of 2⁻⁹: rounding a block changes a number x by at most max(|x| / 16, scale · 2⁻¹⁰).
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from ponder.core.errors import CheckpointError

BLOCK = 128
LARGEST = 448.0  # of e4m3
STORED = "F8_E4M3"
SCALE_SUFFIX = "_scale_inv"
# the object in config.json that says so
QUANTIZATION: Mapping[str, object] = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "weight_block_size": [BLOCK, BLOCK],
}
# the maps of attention, feed-forward layers and experts; not norms, embedding, head, gates, biases and `eh_proj`
_QUANTISED = re.compile(r"model\.layers\.\d+\.(self_attn|mlp)\.(\S+\.)?\w+_proj(_with_mqa)?\.weight")

_SMALLEST_SCALE = torch.finfo(torch.float32).tiny  # a smaller one loses its own digits
# every e4m3 number by its byte: looking them up is faster than PyTorch's conversion
_VALUES = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()


def is_quantised(name: str) -> bool:
    """Whether DeepSeek-V3's published files hold this tensor as blocks of FP8."""
    return _QUANTISED.fullmatch(name) is not None


def scale_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape of the scales of a matrix of this shape."""
    rows, columns = shape
    return -(-rows // BLOCK), -(-columns // BLOCK)


def dequantise(bytes_RC: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """e4m3 numbers as bytes (R, C) and their blocks' scales → fp32 (R, C)."""
    R, C = bytes_RC.shape
    values_RC = torch.index_select(_VALUES, 0, bytes_RC.flatten().int()).view(R, C)
    per_column = scales.repeat_interleave(BLOCK, dim=1)[:, :C]
    for band, scale_C in enumerate(per_column):
        values_RC[band * BLOCK : (band + 1) * BLOCK] *= scale_C
    return values_RC


def quantise(weight_RC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix → (e4m3 (R, C), fp32 scales): each block's scale is its largest magnitude / 448, 1 for a block of zeros.

    Raises `CheckpointError` for a number that is not finite, which no scale can hold.
    """
    R, C = weight_RC.shape
    band_rows, band_columns = scale_shape((R, C))
    scales = torch.ones(band_rows, band_columns)
    quantised = torch.empty(R, C, dtype=torch.float8_e4m3fn)
    for i in range(band_rows):
        rows = slice(i * BLOCK, (i + 1) * BLOCK)
        band = weight_RC[rows].float()
        largest_C = band.abs().amax(dim=0)
        padded = torch.nn.functional.pad(largest_C, (0, band_columns * BLOCK - C))
        largest = padded.view(band_columns, BLOCK).amax(dim=1)
        if not largest.isfinite().all():
            raise CheckpointError("a weight is infinite or not a number; it has no FP8 form")
        scales[i] = torch.where(largest > 0, (largest / LARGEST).clamp_min(_SMALLEST_SCALE), 1.0)
        scaled = band / scales[i].repeat_interleave(BLOCK)[:C]
        quantised[rows] = scaled.clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)
    return quantised, scales


def check_quantization(settings: Any, where: str) -> None:
    """Refuse a `quantization_config` other than FP8 in blocks of 128 × 128."""
    if settings is None:
        return
    supported = f"Ponder reads FP8 in blocks of {BLOCK} × {BLOCK} (e4m3), and GGUF files"
    if not isinstance(settings, Mapping):
        raise CheckpointError(f"{where}: quantization_config is {settings!r:.80}; expected an object")
    method = settings.get("quant_method")
    if method != "fp8":
        raise CheckpointError(f"{where}: weights quantised by {method!r:.40} cannot be read; {supported}")
    for name, expected in (("fmt", "e4m3"), ("weight_block_size", [BLOCK, BLOCK])):
        found = settings.get(name, expected if name == "fmt" else None)
        if found != expected:
            raise CheckpointError(f"{where}: FP8 with {name} = {found!r:.80} cannot be read; {supported}")
