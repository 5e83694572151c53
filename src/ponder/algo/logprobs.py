"""Log-probabilities of tokens: the one place where logits are shifted against ids.

Shapes: B sequences, T tokens, V vocabulary, M chosen positions. Anything called logp, mask or id `_BT` is
indexed by the token it scores.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from ponder.algo.columns import columns_that_matter
from ponder.algo.native import functions as native
from ponder.algo.products import outer, times, times_transposed
from ponder.algo.trained_rows import rows_gradient, table_product, trained_rows


def token_logprobs(logits_BTV: torch.Tensor, ids_BT: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Natural log-probability of each token given those before it, (B, T); the first token's is 0."""
    scores_BTV = logits_BTV[:, :-1].float() / temperature
    logp_BT = scores_BTV.gather(-1, ids_BT[:, 1:, None]).squeeze(-1) - scores_BTV.logsumexp(-1)
    return F.pad(logp_BT, (1, 0))  # nothing predicts the first token


class ScoredTokens(NamedTuple):
    """Log-probability and entropy (nats) of chosen tokens, in row-major order of their mask."""

    logp_M: torch.Tensor
    entropy_M: torch.Tensor  # detached


class _Scores(torch.autograd.Function):
    """Log-probabilities and entropies by the compiled kernels: two passes over the logits, not ten."""

    @staticmethod
    def forward(
        ctx: Any,
        states_MD: torch.Tensor,
        head_VD: torch.Tensor,
        ids_M: torch.Tensor,
        temperature: float,
        rows_KD: torch.Tensor | None,
        ids_K: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`rows_KD` and `ids_K`: the rows of the head that are trained, where the others are not."""
        logits_MV = times_transposed(states_MD, head_VD)
        logp_M, entropy_M, log_sum_M = native.score(logits_MV, ids_M, temperature)
        ctx.temperature, ctx.logits, ctx.rows_dtype = temperature, None, None if rows_KD is None else rows_KD.dtype
        if any(ctx.needs_input_grad):
            ctx.logits = logits_MV
            ctx.save_for_backward(states_MD, head_VD, ids_M, log_sum_M, ids_K)
        ctx.mark_non_differentiable(entropy_M)
        return logp_M, entropy_M

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states_MD, head_VD, ids_M, log_sum_M, ids_K = ctx.saved_tensors
        if ctx.logits is None:
            raise RuntimeError("the gradient of scored tokens can be taken once: their logits are worked on in place")
        slope_MV, ctx.logits = ctx.logits, None
        grad_M = grad_outputs[0].float().contiguous()
        mass_V = native.score_backward_(slope_MV, ids_M, ctx.temperature, log_sum_M, grad_M)
        grad_rows = None if ids_K is None else rows_gradient(slope_MV, states_MD, ids_K).to(ctx.rows_dtype)
        kept, table = columns_that_matter(mass_V, slope_MV.dtype), head_VD
        if kept is not None:
            slope_MV, table = slope_MV.index_select(1, kept), head_VD.index_select(0, kept)
        grad_states = times(slope_MV, table) if ctx.needs_input_grad[0] else None
        grad_head = None
        if ctx.needs_input_grad[1]:
            grad_head = outer(slope_MV, states_MD)
            grad_head = grad_head if kept is None else torch.zeros_like(head_VD).index_copy_(0, kept, grad_head)
        return grad_states, grad_head, None, None, grad_rows, None


def score_tokens(
    hidden_BTD: torch.Tensor,
    head_VD: torch.Tensor,
    ids_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    temperature: float = 1.0,
) -> ScoredTokens:
    """`token_logprobs` at the tokens where `mask_BT` is true, without making logits anywhere else.

    The first column is never scored, whatever the mask says: nothing predicts the first token.
    """
    chosen = mask_BT[:, 1:]
    return score_states(hidden_BTD[:, :-1][chosen], head_VD, ids_BT[:, 1:][chosen], temperature)


def score_states(
    states_MD: torch.Tensor, head_VD: torch.Tensor, ids_M: torch.Tensor, temperature: float = 1.0
) -> ScoredTokens:
    """Each token's log-probability and entropy from the state that predicts it."""
    if native.takes_rows(states_MD, native.LANES) and head_VD.dtype == states_MD.dtype:
        trained = trained_rows(head_VD)
        if trained is None:
            return ScoredTokens(*_Scores.apply(states_MD, head_VD, ids_M, temperature, None, None))
        return ScoredTokens(*_Scores.apply(states_MD, head_VD.detach(), ids_M, temperature, *trained))
    scores_MV = table_product(states_MD, head_VD).float()
    if temperature != 1.0:
        scores_MV = scores_MV / temperature
    logp_MV = scores_MV.log_softmax(dim=-1)
    logp_M = logp_MV.gather(-1, ids_M.unsqueeze(-1)).squeeze(-1)
    with torch.no_grad():
        entropy_M = -(logp_MV.exp() * logp_MV).sum(dim=-1)
    return ScoredTokens(logp_M, entropy_M)
