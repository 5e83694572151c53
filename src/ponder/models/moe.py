"""DeepSeekMoE: shared and routed experts, balanced by a bias on the routing scores (V3 section 2.1.2) or not (V2).

Shapes: N tokens, D hidden size, E routed experts, K experts per token, G groups, F expert intermediate size.
No token is ever dropped, and no expert has a capacity.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from ponder.algo.products import outer, times, times_transposed
from ponder.models.config import ModelConfig, MoeConfig
from ponder.models.layers import Linear, SwiGLU, swiglu


class Routes(NamedTuple):
    """Which experts each token goes to, and with what weight."""

    experts_NK: torch.Tensor  # int64
    weights_NK: torch.Tensor
    scores_NE: torch.Tensor  # affinities, before the bias


class RoutingStats:
    """What a forward pass fills in when training wants to see the routing.

    No dataclass: of those, FSDP gives each block a copy, and what is filled in there would be lost.
    """

    load: dict[int, torch.Tensor]  # layer → tokens sent to each expert, (E,)
    balance_sum: torch.Tensor | float  # Σ over sequences and layers of Σ_i f_i P_i (V3 equations 17 to 20)

    def __init__(self, valid_BT: torch.Tensor | None = None) -> None:
        """Give `valid_BT` where a batch is padded: padding goes through the experts but is not counted."""
        self.valid_BT, self.load, self.balance_sum = valid_BT, {}, 0.0


@dataclass
class RouteMap:
    """The experts of each token and MoE layer: read from it where a pass is a replay, else filled in by the pass.

    A choice between experts is not continuous: two passes over the same tokens may choose differently where scores
    are equal to within rounding. Replaying the sampler's choices in training removes that (arXiv 2510.11370).
    """

    chosen: dict[int, torch.Tensor] = field(default_factory=dict)  # layer → (B, T, K); -1: not known
    replay: bool = False


def route(
    logits_NE: torch.Tensor, bias_E: torch.Tensor | None, moe: MoeConfig, given_NK: torch.Tensor | None = None
) -> Routes:
    """The choice looks at affinity + bias, the weights at affinity alone (V3 equation 16).

    With groups, only the `groups_per_token` groups with the highest sum of their two best biased scores (V3) or the
    highest best score (V2) are eligible. Weights are normalised over the chosen experts if the config says so, then
    multiplied by `route_scale`. Where `given_NK` is not negative, it is the choice.
    """
    logits_NE = logits_NE.float()
    scores_NE = logits_NE.sigmoid() if moe.scoring == "sigmoid" else logits_NE.softmax(dim=-1)
    choice_NE = scores_NE.detach() if bias_E is None else scores_NE.detach() + bias_E
    if moe.groups > 1:
        by_group_NGX = choice_NE.unflatten(1, (moe.groups, -1))
        if moe.group_score == "top2_sum":
            group_scores_NG = by_group_NGX.topk(2, dim=-1).values.sum(dim=-1)
        else:
            group_scores_NG = by_group_NGX.amax(dim=-1)
        best_groups = group_scores_NG.topk(moe.groups_per_token, dim=-1, sorted=False).indices
        closed_NG = torch.ones_like(group_scores_NG, dtype=torch.bool).scatter_(1, best_groups, False)
        choice_NE = by_group_NGX.masked_fill(closed_NG.unsqueeze(-1), float("-inf")).flatten(1)
    experts_NK = choice_NE.topk(moe.experts_per_token, dim=-1, sorted=False).indices
    if given_NK is not None:
        experts_NK = torch.where(given_NK >= 0, given_NK, experts_NK)
    weights_NK = scores_NE.gather(1, experts_NK)
    if moe.normalize_weights:
        weights_NK = weights_NK / (weights_NK.sum(dim=-1, keepdim=True) + 1e-20)
    return Routes(experts_NK, weights_NK * moe.route_scale, scores_NE)


def sequence_balance(routes: Routes, sequences: int, valid_BT: torch.Tensor | None) -> torch.Tensor:
    """Σ over sequences of Σ_i f_i P_i: f_i = E/(K T) · times expert i was chosen, P_i the mean normalised affinity.

    1 for a sequence that is spread evenly; alpha and the number of sequences are applied by the caller.
    """
    N, E = routes.scores_NE.shape
    K = routes.experts_NK.shape[1]
    B, T = sequences, N // sequences
    valid = torch.ones(B, T) if valid_BT is None else valid_BT.float()
    lengths_B1 = valid.sum(dim=1, keepdim=True).clamp_min(1.0)
    chosen_NE = torch.zeros(N, E).scatter_(1, routes.experts_NK, 1.0)
    share_NE = routes.scores_NE / (routes.scores_NE.sum(dim=-1, keepdim=True) + 1e-20)
    f_BE = torch.einsum("bt,bte->be", valid, chosen_NE.view(B, T, E)) * E / (K * lengths_B1)
    p_BE = torch.einsum("bt,bte->be", valid, share_NE.view(B, T, E)) / lengths_B1
    return (f_BE * p_BE).sum()


class GroupedLinear(torch.autograd.Function):
    """Rows sorted by expert, each times its own expert's matrix: one product per expert into one buffer."""

    @staticmethod
    def forward(ctx: Any, x_MI: torch.Tensor, weight_EOI: torch.Tensor, ends: list[int]) -> torch.Tensor:
        """`ends[e]` is where the rows of expert e end. Returns (M, O)."""
        ctx.save_for_backward(x_MI, weight_EOI)
        ctx.ends = ends
        out_MO = x_MI.new_empty(x_MI.shape[0], weight_EOI.shape[1])
        for expert, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if end > start:
                times_transposed(x_MI[start:end], weight_EOI[expert], out_MO[start:end])
        return out_MO

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x_MI, weight_EOI = ctx.saved_tensors
        grad_MO = grad_outputs[0].contiguous()
        grad_x_MI, grad_weight_EOI = torch.empty_like(x_MI), torch.zeros_like(weight_EOI)
        for expert, (start, end) in enumerate(zip([0, *ctx.ends], ctx.ends, strict=False)):
            if end > start:
                times(grad_MO[start:end], weight_EOI[expert], grad_x_MI[start:end])
                outer(grad_MO[start:end], x_MI[start:end], grad_weight_EOI[expert])
        return grad_x_MI, grad_weight_EOI, None


class _Dispatch(torch.autograd.Function):
    """Each token's row once for each of its K experts, in the order of the experts."""

    @staticmethod
    def forward(ctx: Any, x_ND: torch.Tensor, order_M: torch.Tensor, back_M: torch.Tensor, K: int) -> torch.Tensor:
        """`order_M`: which choice stands at each place, token · K + k; `back_M`: where each choice stands."""
        ctx.save_for_backward(back_M)
        ctx.shape = (len(x_ND), K, x_ND.shape[1])
        return x_ND.index_select(0, order_M // K)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (back_M,) = ctx.saved_tensors
        return grad_outputs[0].index_select(0, back_M).view(ctx.shape).sum(dim=1), None, None, None


class _Collect(torch.autograd.Function):
    """The rows of the experts' outputs in the order of the tokens again."""

    @staticmethod
    def forward(ctx: Any, x_MD: torch.Tensor, order_M: torch.Tensor, back_M: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(order_M)
        return x_MD.index_select(0, back_M)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (order_M,) = ctx.saved_tensors
        return grad_outputs[0].index_select(0, order_M), None, None


class RoutedExperts(nn.Module):
    """E SwiGLU experts, their matrices stacked; tokens are sorted by expert so that each runs once."""

    def __init__(self, moe: MoeConfig, hidden_size: int) -> None:
        super().__init__()
        E, width = moe.routed_experts, moe.expert_intermediate_size
        self.gate_up = nn.Parameter(torch.empty(E, 2 * width, hidden_size))
        self.down = nn.Parameter(torch.empty(E, hidden_size, width))

    def forward(self, x_ND: torch.Tensor, routes: Routes) -> torch.Tensor:
        N, K = routes.experts_NK.shape
        flat = routes.experts_NK.flatten()
        order_M = flat.argsort(stable=True)
        ends = torch.bincount(flat, minlength=routes.scores_NE.shape[1]).cumsum(0).tolist()
        back_M = torch.empty_like(order_M)
        back_M[order_M] = torch.arange(N * K)
        dispatched_MD: torch.Tensor = _Dispatch.apply(x_ND, order_M, back_M, K)  # type: ignore[no-untyped-call]
        out_MD = self.run_sorted(dispatched_MD, ends)
        collected_MD: torch.Tensor = _Collect.apply(out_MD, order_M, back_M)  # type: ignore[no-untyped-call]
        per_choice_NKD = collected_MD.view(N, K, -1)
        return (per_choice_NKD * routes.weights_NK.to(x_ND.dtype).unsqueeze(-1)).sum(dim=1)

    def run_sorted(self, x_MD: torch.Tensor, ends: list[int]) -> torch.Tensor:
        """Each row through its own expert; those of expert e end at `ends[e]`."""
        gate_up: torch.Tensor = GroupedLinear.apply(x_MD, self.gate_up, ends)
        out_MD: torch.Tensor = GroupedLinear.apply(swiglu(gate_up), self.down, ends)
        return out_MD


class MixtureOfExperts(nn.Module):
    """Shared experts for every token, plus the routed ones that the gate chooses."""

    # (E,), a buffer: moved by `update_balance_bias`, never by a gradient; None where the gate has none
    balance_bias: torch.Tensor | None

    def __init__(self, config: ModelConfig, moe: MoeConfig) -> None:
        super().__init__()
        self.moe = moe
        self.gate = Linear(config.hidden_size, moe.routed_experts)
        self.register_buffer("balance_bias", torch.zeros(moe.routed_experts) if moe.balance_bias else None)
        self.experts = RoutedExperts(moe, config.hidden_size)
        self.shared = (
            SwiGLU(config.hidden_size, moe.shared_experts * moe.expert_intermediate_size)
            if moe.shared_experts
            else None
        )

    def forward(
        self,
        x_BTD: torch.Tensor,
        stats: RoutingStats | None = None,
        layer: int = 0,
        route_map: RouteMap | None = None,
    ) -> torch.Tensor:
        x_ND = x_BTD.flatten(0, -2)
        given = route_map.chosen[layer].flatten(0, 1) if route_map is not None and route_map.replay else None
        # in fp32 whatever the model's precision: a choice decides by small differences
        logits_NE = F.linear(x_ND.float(), self.gate.weight.float())
        routes = route(logits_NE, self.balance_bias, self.moe, given)
        if route_map is not None and not route_map.replay:
            route_map.chosen[layer] = routes.experts_NK.view(*x_BTD.shape[:2], -1)
        if stats is not None:
            self._observe(routes, x_BTD.shape[0], x_BTD.shape[1], stats, layer)
        out_ND = self.experts(x_ND, routes)
        if self.shared is not None:
            out_ND = out_ND + self.shared(x_ND)
        return out_ND.view_as(x_BTD)

    def _observe(self, routes: Routes, sequences: int, length: int, stats: RoutingStats, layer: int) -> None:
        # MTP module k runs on T-k positions; position t there counts when token t+k does: the last T-k columns
        valid_BT = None if stats.valid_BT is None else stats.valid_BT[:, -length:]
        chosen = routes.experts_NK if valid_BT is None else routes.experts_NK[valid_BT.flatten()]
        counts = torch.bincount(chosen.flatten(), minlength=self.moe.routed_experts)
        stats.load[layer] = stats.load.get(layer, 0) + counts
        if self.moe.sequence_balance_weight:
            stats.balance_sum = stats.balance_sum + sequence_balance(routes, sequences, valid_BT)

    @torch.no_grad()
    def update_balance_bias(self, load_E: torch.Tensor) -> None:
        """Raise the bias of every underloaded expert by gamma and lower that of every overloaded one (V3's gate)."""
        if self.balance_bias is None:
            return
        load = load_E.float()
        self.balance_bias += self.moe.bias_update_speed * torch.sign(load.mean() - load)
