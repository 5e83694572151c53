"""Matrix products of training: by the compiled kernels on a CPU that has them, else by PyTorch.

Shapes: N rows, I inputs, O outputs. None of them carries a gradient but `linear`.
"""

from typing import Any

import torch
import torch.nn.functional as F

from ponder.algo.native import functions as native


def times_transposed(x_NI: torch.Tensor, weight_OI: torch.Tensor, out_NO: torch.Tensor | None = None) -> torch.Tensor:
    """The product x · weightᵀ, (N, O). All three take a place for it, contiguous, instead of making one."""
    if native.takes_products(x_NI, weight_OI, inner=weight_OI.shape[1]):
        return native.product_transposed(x_NI, weight_OI, out_NO)
    return F.linear(x_NI, weight_OI) if out_NO is None else torch.mm(x_NI, weight_OI.t(), out=out_NO)


def times(x_NO: torch.Tensor, weight_OI: torch.Tensor, out_NI: torch.Tensor | None = None) -> torch.Tensor:
    """The product x · weight, (N, I)."""
    if native.takes_products(x_NO, weight_OI, inner=weight_OI.shape[0]):
        return native.product(x_NO, weight_OI, out_NI)
    return torch.mm(x_NO, weight_OI, out=out_NI)


def outer(a_NO: torch.Tensor, b_NI: torch.Tensor, out_OI: torch.Tensor | None = None) -> torch.Tensor:
    """The product aᵀ · b, (O, I): the gradient of a weight."""
    if native.takes_products(a_NO, b_NI):
        return native.outer_product(a_NO, b_NI, out_OI)
    return torch.mm(a_NO.t(), b_NI, out=out_OI)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NI: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x_NI, weight_OI)
        out_NO = times_transposed(x_NI, weight_OI)
        return out_NO if bias_O is None else out_NO.add_(bias_O)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_NI, weight_OI = ctx.saved_tensors
        grad_NO = grad_outputs[0]
        grad_x = times(grad_NO, weight_OI) if ctx.needs_input_grad[0] else None
        grad_weight = outer(grad_NO, x_NI) if ctx.needs_input_grad[1] else None
        grad_bias = grad_NO.sum(dim=0) if ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias


def linear(x: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None = None) -> torch.Tensor:
    """The map x · weightᵀ + bias for x (…, I), with its gradients."""
    if not (torch.is_grad_enabled() and native.takes_products(x, weight_OI)):
        return F.linear(x, weight_OI, bias_O)
    flat: torch.Tensor = _Linear.apply(x.reshape(-1, x.shape[-1]), weight_OI, bias_O)  # type: ignore[no-untyped-call]
    return flat.view(*x.shape[:-1], -1)
