"""Losses of what the head says, without ever holding the logits of all tokens: the cross-entropy of tokens, and the
divergence from what another model says.

Shapes: M scored tokens, D hidden size, E that of the other model, V vocabulary.
"""

import math
from typing import Any, NamedTuple, Protocol

import torch

from ponder.algo.columns import columns_that_matter
from ponder.algo.native import functions as native
from ponder.algo.products import outer, times, times_transposed
from ponder.algo.trained_rows import rows_gradient, trained_rows

CHUNK_BYTES = 128 << 20  # of logits that are held at once; memory and speed only


class _Target(Protocol):
    """What the head is to say of the scored tokens."""

    def loss_and_slope(
        self, logits_MV: torch.Tensor, rows: slice, weight: float
    ) -> tuple[float, torch.Tensor, torch.Tensor | None]:
        """The loss of these rows; the gradient of `weight` times that, perhaps in place of the logits; and the columns
        that matter in it, None for all of them.
        """
        ...


class _HeadLoss(torch.autograd.Function):
    """Makes the gradients while the logits of a chunk are there: the loss is a sum, so they need nothing later."""

    @staticmethod
    def forward(
        ctx: Any,
        states_MD: torch.Tensor,
        head_VD: torch.Tensor,
        target: _Target,
        weight: float,
        rows_KD: torch.Tensor | None,
        ids_K: torch.Tensor | None,
    ) -> torch.Tensor:
        """`rows_KD` and `ids_K`: the rows of the head that are trained, where the others are not."""
        wants_states, wants_head = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        grad_states = torch.empty_like(states_MD) if wants_states else None
        grad_rows = None if rows_KD is None else torch.zeros_like(rows_KD, dtype=_wide(rows_KD.dtype))
        grad_head: torch.Tensor | None = None
        total = 0.0
        for rows in _chunks(len(states_MD), len(head_VD) * states_MD.element_size()):
            states = states_MD[rows]
            loss, slope, kept = target.loss_and_slope(times_transposed(states, head_VD), rows, weight)
            total += loss
            if grad_rows is not None and ids_K is not None:
                grad_rows += rows_gradient(slope, states, ids_K)
            table = head_VD
            if kept is not None:
                slope, table = slope.index_select(1, kept), head_VD.index_select(0, kept)
            if grad_states is not None:
                grad_states[rows] = times(slope, table)
            if wants_head:
                grad_head = _add_rows(grad_head, outer(slope, states), kept, head_VD)
        if wants_head:
            grad_head = torch.zeros_like(head_VD) if grad_head is None else grad_head.to(head_VD.dtype)
        if grad_rows is not None and rows_KD is not None:
            grad_rows = grad_rows.to(rows_KD.dtype)
        ctx.save_for_backward(grad_states, grad_head, grad_rows)
        return torch.tensor(total * weight, dtype=_wide(states_MD.dtype))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        scale = float(grad_outputs[0])
        states, head, rows = (g if g is None or scale == 1.0 else g * scale for g in ctx.saved_tensors)
        return states, head, None, None, rows, None


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _chunks(tokens: int, bytes_each: int) -> list[slice]:
    """Equal parts of at most `CHUNK_BYTES`."""
    parts = max(1, math.ceil(tokens * bytes_each / CHUNK_BYTES))
    size = max(1, math.ceil(tokens / parts))
    return [slice(start, start + size) for start in range(0, tokens, size)]


class _Tokens(NamedTuple):
    """It is to say these tokens: Σ -log p(id)."""

    ids_M: torch.Tensor

    def loss_and_slope(
        self, logits_MV: torch.Tensor, rows: slice, weight: float
    ) -> tuple[float, torch.Tensor, torch.Tensor | None]:
        ids_M = self.ids_M[rows]
        if native.takes_rows(logits_MV, native.LANES):
            loss, mass_V = native.cross_entropy_(logits_MV, ids_M, weight)
            return loss, logits_MV, columns_that_matter(mass_V, logits_MV.dtype)
        wide_MV = logits_MV.to(_wide(logits_MV.dtype))
        log_sum_M1 = wide_MV.logsumexp(dim=-1, keepdim=True)
        own_M1 = wide_MV.gather(-1, ids_M.unsqueeze(-1))
        loss = float((log_sum_M1 - own_M1).sum(dtype=torch.float64))
        slope_MV = (wide_MV - log_sum_M1).exp_()
        slope_MV[torch.arange(len(ids_M)), ids_M] -= 1.0
        return loss, slope_MV.mul_(weight).to(logits_MV.dtype), None


class _Distribution(NamedTuple):
    """It is to say what another head says of its own states: Σ KL(other ‖ this)."""

    states_ME: torch.Tensor
    head_VE: torch.Tensor

    def loss_and_slope(
        self, logits_MV: torch.Tensor, rows: slice, weight: float
    ) -> tuple[float, torch.Tensor, torch.Tensor | None]:
        others_MV = times_transposed(self.states_ME[rows], self.head_VE)
        same_type = others_MV.dtype == logits_MV.dtype
        if same_type and native.takes_rows(logits_MV, native.LANES) and native.takes_rows(others_MV, native.LANES):
            loss, mass_V = native.divergence_(logits_MV, others_MV, weight)
            return loss, logits_MV, columns_that_matter(mass_V, logits_MV.dtype)
        wide = _wide(logits_MV.dtype)
        log_q_MV, log_p_MV = (each.to(wide).log_softmax(dim=-1) for each in (logits_MV, others_MV))
        p_MV = log_p_MV.exp()
        loss = float(((log_p_MV - log_q_MV) * p_MV).sum(dtype=torch.float64))
        return loss, log_q_MV.exp_().sub_(p_MV).mul_(weight).to(logits_MV.dtype), None


def _add_rows(
    so_far: torch.Tensor | None, part: torch.Tensor, kept: torch.Tensor | None, head_VD: torch.Tensor
) -> torch.Tensor:
    """The gradient of the head with that of one chunk more; of `kept` rows, where it is not of all."""
    if so_far is None:
        return part if kept is None else torch.zeros_like(head_VD).index_copy_(0, kept, part)
    wide = so_far.to(_wide(part.dtype))  # a sum over chunks loses nothing to rounding; a single chunk needs none
    return wide.add_(part) if kept is None else wide.index_add_(0, kept, part.to(wide.dtype))


def head_loss(
    states_MD: torch.Tensor, head_VD: torch.Tensor, ids_M: torch.Tensor, *, weight: float = 1.0
) -> torch.Tensor:
    """Σ over the tokens of -log p(id | state), in nats, times `weight`: one over the divisor of the whole step.

    Softmax and sum are in fp32 at least, whatever the precision of the states. The gradients are made in the forward
    pass, so that no logits are kept for the backward pass or made twice.
    """
    return _loss(states_MD, head_VD, _Tokens(ids_M), weight)


def head_divergence(
    states_MD: torch.Tensor,
    head_VD: torch.Tensor,
    other_states_ME: torch.Tensor,
    other_head_VE: torch.Tensor,
    *,
    weight: float = 1.0,
) -> torch.Tensor:
    """Σ over the tokens of KL(p‖q), in nats, times `weight`: q is what the head says of the states, p what another
    model's head says of its own, of the same vocabulary. No gradient reaches the other model. Else as `head_loss`.
    """
    return _loss(states_MD, head_VD, _Distribution(other_states_ME.detach(), other_head_VE.detach()), weight)


def _loss(states_MD: torch.Tensor, head_VD: torch.Tensor, target: _Target, weight: float) -> torch.Tensor:
    trained = trained_rows(head_VD)
    if trained is not None:  # a frozen head, but for some rows
        return _HeadLoss.apply(states_MD, head_VD.detach(), target, weight, *trained)
    return _HeadLoss.apply(states_MD, head_VD, target, weight, None, None)
