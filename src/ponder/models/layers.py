"""The small parts: linear map, RMSNorm, SwiGLU.

Shapes: D hidden size, F intermediate size; leading dimensions are free.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ponder.algo.native import functions as native
from ponder.algo.products import linear


class Linear(nn.Module):
    """y = x Wᵀ, plus a bias where asked for. Weight (out, in), bias (out,)."""

    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_features)) if bias else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · weight (Zhang and Sennrich 2019)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if native.takes_rows(x, len(self.weight)):
            return native.norm(x, self.weight, self.eps)
        if x.dtype != self.weight.dtype:  # weights that are held in more precision than activations
            return F.rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, self.eps).to(x.dtype)
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def swiglu(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) · up of two halves: (…, 2F) → (…, F)."""
    if native.takes_rows(gate_up, gate_up.shape[-1] // 2):
        return native.swiglu(gate_up)
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)) (Shazeer 2020), with gate and up as the two halves of one matrix."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.gate_up = Linear(hidden_size, 2 * intermediate_size)
        self.down = Linear(intermediate_size, hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(swiglu(self.gate_up(x)))
