"""Matrix products with bf16 weights that oneDNN has packed.

`F.linear` in bf16 goes to oneDNN as well, but hands it the weight in rows, and each call brings them into the order of
the processor's instructions. torch.compile packs frozen weights once, with the operators that stand here, which eager
code may call too. They are not part of PyTorch's public interface, so they are tried before they are used.

Shapes: N rows, I inputs, O outputs.
"""

from functools import cache

import torch
import torch.nn.functional as F

WITHOUT_PACKING = "oneDNN cannot pack them here ({reason}), so each product does it anew, which is slower"
EMULATED = "this processor has no bf16 instructions, so bf16 is emulated"
BETTER = "--weights fp32 may be faster"


class PackedMatrix:
    """A weight (O, I), rounded to bf16 and packed. Rows in and out are bf16; sums and what follows them are in fp32."""

    def __init__(self, weight_OI: torch.Tensor, bias_O: torch.Tensor | None = None) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach().to(torch.bfloat16).contiguous())
        self._bias = None if bias_O is None else bias_O.detach().to(torch.bfloat16).clone()
        self._unary = torch.ops.mkldnn._linear_pointwise.default
        self._binary = torch.ops.mkldnn._linear_pointwise.binary

    def linear(self, x: torch.Tensor) -> torch.Tensor:
        """The map x · weightᵀ + bias, (…, I) → (…, O)."""
        y: torch.Tensor = self._unary(x, self._packed, self._bias, "none", [], "")
        return y

    def precise(self, x: torch.Tensor) -> torch.Tensor:
        """The map in fp32: to what a product gives in bf16, a second one adds what the first has lost to rounding."""
        rounded = self.linear(x)
        rest: torch.Tensor = self._binary(x, rounded, self._packed, self._bias, "sub")
        return rounded.float() + rest

    def silu(self, x: torch.Tensor) -> torch.Tensor:
        """The map and then silu."""
        y: torch.Tensor = self._unary(x, self._packed, self._bias, "swish", [], "")
        return y

    def times(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """The map, times a `factor` (…, O)."""
        y: torch.Tensor = self._binary(x, factor, self._packed, self._bias, "mul")
        return y


@cache
def unavailable() -> str | None:
    """Why weights cannot be packed in this PyTorch and on this processor; None where they can."""
    x_NI = torch.linspace(-1.0, 1.0, 2 * 48).view(2, 48).to(torch.bfloat16)
    weight_OI = torch.linspace(0.5, -0.5, 32 * 48).view(32, 48).to(torch.bfloat16)
    expected = F.linear(x_NI.float(), weight_OI.float())
    try:
        matrix = PackedMatrix(weight_OI)
        activated = matrix.silu(x_NI)
        made = (matrix.linear(x_NI), matrix.precise(x_NI), activated, matrix.times(x_NI, activated))
    except (AttributeError, RuntimeError, TypeError) as error:  # no such operator, or another one than is known here
        return str(error).strip().split("\n", 1)[0]
    wanted = (expected, expected, F.silu(expected), expected * F.silu(expected))
    if not all(torch.allclose(a.float(), b, rtol=0.02, atol=0.02) for a, b in zip(made, wanted, strict=True)):
        return f"PyTorch {torch.__version__} computes something else by the operators that pack them"
    return None


def emulated() -> bool:
    """Whether this processor lacks instructions for bf16. Only x86 says so; others are taken to have them."""
    able = torch.cpu.get_capabilities()
    return able.get("architecture") == "x86_64" and not (able.get("avx512_bf16") or able.get("amx_bf16"))


def bf16_notice() -> str | None:
    """What somebody who has chosen bf16 in PyTorch should know, in one sentence; None where nothing is wrong."""
    reason = unavailable()
    told = [EMULATED] * emulated() + ([WITHOUT_PACKING.format(reason=reason)] if reason else [])
    return f"{'; '.join(told)}. {BETTER}" if told else None
