"""Routing, balancing and dispatch of the mixture of experts, against hand-worked cases and a loop over tokens."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ponder.core.errors import ConfigError
from ponder.models.config import MoeConfig
from ponder.models.moe import GroupedLinear, MixtureOfExperts, Routes, RoutingStats, route, sequence_balance
from small_models import random_ids, random_model, small_moe, small_softmax_moe, small_v3


def logits_for(scores: list[list[float]]) -> torch.Tensor:
    """The gate's outputs whose sigmoids are these affinities."""
    return torch.tensor(scores).logit()


def chosen(routes: Routes) -> list[dict[int, float]]:
    """For each token, expert → weight."""
    pairs = zip(routes.experts_NK.tolist(), routes.weights_NK.tolist(), strict=True)
    return [dict(zip(experts, weights, strict=True)) for experts, weights in pairs]


def moe_of(experts: int, per_token: int, **changes: object) -> MoeConfig:
    return small_moe(routed_experts=experts, experts_per_token=per_token, **changes)


def test_weights_are_normalised_over_the_chosen_and_scaled() -> None:
    routes = route(logits_for([[0.8, 0.6, 0.4, 0.2]]), torch.zeros(4), moe_of(4, 2, route_scale=2.5))
    assert chosen(routes) == [pytest.approx({0: 2.5 * 0.8 / 1.4, 1: 2.5 * 0.6 / 1.4})]
    assert routes.scores_NE.tolist() == [pytest.approx([0.8, 0.6, 0.4, 0.2])]


def test_bias_changes_the_choice_but_not_the_weights() -> None:
    # biased: -0.2, 0.6, 0.4, 1.2, so experts 1 and 3, with their plain affinities 0.6 and 0.2 as weights
    routes = route(logits_for([[0.8, 0.6, 0.4, 0.2]]), torch.tensor([-1.0, 0.0, 0.0, 1.0]), moe_of(4, 2))
    assert chosen(routes) == [pytest.approx({1: 0.75, 3: 0.25})]


GROUPED = [[0.9, 0.1, 0.6, 0.65, 0.5, 0.55, 0.2, 0.3]]  # four groups of two; sums 1.0, 1.25, 1.05, 0.5


def test_groups_limit_the_choice() -> None:
    """The two best groups are the second and third, so the best expert of all (0.9) may not be used."""
    routes = route(logits_for(GROUPED), torch.zeros(8), moe_of(8, 3, groups=4, groups_per_token=2))
    assert chosen(routes) == [pytest.approx({2: 0.6 / 1.8, 3: 0.65 / 1.8, 5: 0.55 / 1.8})]
    free = route(logits_for(GROUPED), torch.zeros(8), moe_of(8, 3))
    assert chosen(free) == [pytest.approx({0: 0.9 / 2.15, 3: 0.65 / 2.15, 2: 0.6 / 2.15})]


def test_a_group_is_judged_by_its_biased_scores() -> None:
    bias = torch.tensor([0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])  # the first group now has 1.1, the third 1.05
    routes = route(logits_for(GROUPED), bias, moe_of(8, 3, groups=4, groups_per_token=2))
    assert chosen(routes) == [pytest.approx({0: 0.9 / 2.15, 3: 0.65 / 2.15, 2: 0.6 / 2.15})]


def test_a_group_counts_only_its_two_best() -> None:
    # two groups of three: 0.5 + 0.5 (+ 0.5) loses to 0.9 + 0.2 (+ 0.1)
    scores = [[0.5, 0.5, 0.5, 0.9, 0.2, 0.1]]
    routes = route(logits_for(scores), torch.zeros(6), moe_of(6, 2, groups=2, groups_per_token=1))
    assert chosen(routes) == [pytest.approx({3: 0.9 / 1.1, 4: 0.2 / 1.1})]


def softmax_logits_for(scores: list[list[float]]) -> torch.Tensor:
    """The gate's outputs whose softmax are these affinities, which add up to 1."""
    return torch.tensor(scores).log() + 3.0


def test_softmax_weights_stay_as_they_are() -> None:
    """V2: affinities 0.4, 0.3, 0.2, 0.1 over all experts; the two best keep theirs, times the scale."""
    scores = [[0.1, 0.4, 0.2, 0.3]]
    moe = small_softmax_moe(routed_experts=4, experts_per_token=2, route_scale=16.0)
    routes = route(softmax_logits_for(scores), None, moe)
    assert chosen(routes) == [pytest.approx({1: 6.4, 3: 4.8})]
    assert routes.scores_NE.tolist() == [pytest.approx(scores[0])]
    normalised = route(softmax_logits_for(scores), None, replace(moe, normalize_weights=True, route_scale=1.0))
    assert chosen(normalised) == [pytest.approx({1: 4 / 7, 3: 3 / 7})]


def test_v2_judges_a_group_by_its_best_expert() -> None:
    """Groups (0.3, 0.02), (0.2, 0.18), (0.25, 0.05): V2 takes the first and third, V3's sums the second and first."""
    scores = [[0.3, 0.02, 0.2, 0.18, 0.25, 0.05]]
    moe = small_softmax_moe(routed_experts=6, experts_per_token=3, groups=3, groups_per_token=2)
    assert chosen(route(softmax_logits_for(scores), None, moe)) == [pytest.approx({0: 0.3, 4: 0.25, 5: 0.05})]
    free = replace(moe, groups=1, groups_per_token=1)
    assert chosen(route(softmax_logits_for(scores), None, free)) == [pytest.approx({0: 0.3, 4: 0.25, 2: 0.2})]


def test_a_gate_without_a_bias_has_none_to_move() -> None:
    mixture = mixture_of(small_softmax_moe())
    assert mixture.balance_bias is None
    assert "balance_bias" not in mixture.state_dict()
    mixture.update_balance_bias(torch.tensor([9, 1, 5, 5, 5, 5, 5, 5]))
    assert mixture.balance_bias is None


@pytest.mark.parametrize(
    "changes",
    [
        {"scoring": "softmax"},
        {"group_score": "max"},
        {"balance_bias": False},
        {"scoring": "softmax", "balance_bias": False},
    ],
)
def test_gates_that_nobody_has_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"expected V3's gate \(sigmoid, top2_sum, true\) or V2's"):
        small_moe(**changes)


def mixture_of(moe: MoeConfig) -> MixtureOfExperts:
    mixture = random_model(small_v3(moe=moe)).blocks[1].feed_forward
    assert isinstance(mixture, MixtureOfExperts)
    return mixture


def slow_mixture(mixture: MixtureOfExperts, x_D: torch.Tensor) -> torch.Tensor:
    """One token: sort the experts by biased affinity, add up the best, then the shared expert."""

    def expert(gate_up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
        half = gate_up.shape[0] // 2
        return down @ (F.silu(gate_up[:half] @ x_D) * (gate_up[half:] @ x_D))

    moe = mixture.moe
    logits = [row @ x_D for row in mixture.gate.weight]
    if moe.scoring == "sigmoid":
        affinity = [torch.sigmoid(logit) for logit in logits]
    else:
        affinity = [logit.exp() / sum(other.exp() for other in logits) for logit in logits]
    bias = torch.zeros(moe.routed_experts) if mixture.balance_bias is None else mixture.balance_bias
    biased = [float(a.detach() + b) for a, b in zip(affinity, bias, strict=True)]
    size = moe.routed_experts // moe.groups
    best_of = 2 if moe.group_score == "top2_sum" else 1
    groups = [sum(sorted(biased[g * size : (g + 1) * size])[-best_of:]) for g in range(moe.groups)]
    open_groups = sorted(range(moe.groups), key=lambda g: -groups[g])[: moe.groups_per_token]
    eligible = [e for e in range(moe.routed_experts) if e // size in open_groups]
    best = sorted(eligible, key=lambda e: -biased[e])[: moe.experts_per_token]
    total = sum(affinity[e] for e in best) if moe.normalize_weights else 1.0
    out = torch.zeros_like(x_D)
    for e in best:
        weight = affinity[e] / total * moe.route_scale
        out = out + weight * expert(mixture.experts.gate_up[e], mixture.experts.down[e])
    if mixture.shared is not None:
        out = out + expert(mixture.shared.gate_up.weight, mixture.shared.down.weight)
    return out


@pytest.mark.parametrize(
    "moe",
    [
        small_moe(),
        small_moe(shared_experts=0, experts_per_token=1),
        small_moe(shared_experts=2, experts_per_token=8),
        small_moe(routed_experts=12, experts_per_token=3, groups=4, groups_per_token=2, route_scale=2.5),
        small_moe(normalize_weights=False),
        small_softmax_moe(),
        small_softmax_moe(normalize_weights=True),
        small_softmax_moe(routed_experts=12, experts_per_token=3, groups=4, groups_per_token=2, route_scale=4.0),
    ],
)
def test_mixture_is_the_loop_over_tokens_in_value_and_gradient(moe: MoeConfig) -> None:
    mixture = mixture_of(moe)
    x_BTD = torch.randn(3, 5, 48, generator=torch.Generator().manual_seed(2), requires_grad=True)
    results = []
    for forward in (mixture, lambda x: torch.stack([slow_mixture(mixture, t) for t in x.flatten(0, 1)]).view_as(x)):
        mixture.zero_grad()
        x_BTD.grad = None
        out_BTD = forward(x_BTD)
        out_BTD.square().sum().backward()
        results.append([out_BTD.detach(), x_BTD.grad, *(p.grad for p in mixture.parameters())])
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)


def test_experts_in_bf16_are_those_in_fp32_of_the_same_numbers() -> None:
    """Value and gradients; an expert without a row changes nothing and learns nothing."""
    draw = torch.Generator().manual_seed(3)
    x_MI, weight_EOI = (torch.randn(*shape, generator=draw).bfloat16() for shape in ((37, 48), (4, 32, 48)))
    out_grad_MO, ends, results = torch.randn(37, 32, generator=draw).bfloat16(), [5, 5, 12, 37], []
    for dtype in (torch.bfloat16, torch.float32):
        x, weight = (t.to(dtype).detach().requires_grad_() for t in (x_MI, weight_EOI))
        out: torch.Tensor = GroupedLinear.apply(x, weight, ends)
        out.backward(out_grad_MO.to(dtype))
        assert x.grad is not None
        assert weight.grad is not None
        results.append([out.detach(), x.grad, weight.grad])
    assert not results[0][2][1].any()
    for rounded, exact in zip(*results, strict=True):
        assert rounded.dtype == torch.bfloat16
        torch.testing.assert_close(rounded.float(), exact, rtol=2**-8, atol=1e-3)


@torch.no_grad()
def test_no_token_is_dropped_when_all_choose_one_expert() -> None:
    mixture = mixture_of(small_moe(experts_per_token=1, shared_experts=0))
    mixture.balance_bias.copy_(torch.tensor([0.0] * 5 + [10.0] + [0.0] * 2))
    x_BTD = torch.randn(4, 50, 48, generator=torch.Generator().manual_seed(2))
    stats = RoutingStats()
    out_BTD = mixture(x_BTD, stats, layer=1)
    assert stats.load[1].tolist() == [0, 0, 0, 0, 0, 200, 0, 0]
    gate, up = (x_BTD @ mixture.experts.gate_up[5].T).chunk(2, dim=-1)
    torch.testing.assert_close(out_BTD, (F.silu(gate) * up) @ mixture.experts.down[5].T, rtol=0.0, atol=1e-5)


def test_balance_bias_moves_by_gamma() -> None:
    mixture = mixture_of(small_moe(routed_experts=4, bias_update_speed=0.01))
    mixture.balance_bias.copy_(torch.tensor([0.5, 0.0, -0.5, 0.0]))
    mixture.update_balance_bias(torch.tensor([9, 1, 5, 5]))  # the mean is 5
    assert mixture.balance_bias.tolist() == pytest.approx([0.49, 0.01, -0.5, 0.0])


def test_updates_balance_the_load() -> None:
    mixture = mixture_of(small_moe(bias_update_speed=0.01))
    mixture.balance_bias.copy_(torch.tensor([0.4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.4]))
    x_BTD = torch.randn(4, 100, 48, generator=torch.Generator().manual_seed(2))
    busiest = []
    for _ in range(100):
        stats = RoutingStats()
        with torch.no_grad():
            mixture(x_BTD, stats, layer=0)
        busiest.append(float(stats.load[0].max() / stats.load[0].float().mean()))
        mixture.update_balance_bias(stats.load[0])
    assert busiest[0] > 2.5
    assert busiest[-1] < 1.2


def test_sequence_balance_by_hand() -> None:
    """Two experts, one per token, two sequences of two tokens.

    First: both tokens to expert 0; affinities (0.8, 0.2) and (0.6, 0.2) normalise to (0.8, 0.2) and (0.75, 0.25);
    f = 2/(1 · 2) · (2, 0) = (2, 0), P = (0.775, 0.225), sum 1.55. Second: one token each, f = (1, 1), sum 1.
    """
    scores_NE = torch.tensor([[0.8, 0.2], [0.6, 0.2], [0.8, 0.2], [0.1, 0.4]])
    routes = Routes(torch.tensor([[0], [0], [0], [1]]), torch.ones(4, 1), scores_NE)
    assert float(sequence_balance(routes, 2, None)) == pytest.approx(1.55 + 1.0)
    # without the second token of the first sequence: f = (2, 0), P = (0.8, 0.2)
    valid_BT = torch.tensor([[True, False], [True, True]])
    assert float(sequence_balance(routes, 2, valid_BT)) == pytest.approx(1.6 + 1.0)


def test_sequence_balance_teaches_the_gate() -> None:
    """Its gradient lowers the affinity of the overused expert."""
    logits_NE = torch.zeros(6, 2, requires_grad=True)
    routes = Routes(torch.zeros(6, 1, dtype=torch.int64), torch.ones(6, 1), logits_NE.sigmoid())
    sequence_balance(routes, 1, None).backward()
    assert (logits_NE.grad[:, 0] > 0).all()
    assert (logits_NE.grad[:, 1] < 0).all()


@torch.no_grad()
def test_padding_is_not_counted() -> None:
    """Two sequences of 9 and 5 tokens, padded together, count as each does alone; in every layer, MTP's too."""
    model = random_model(small_v3(mtp_depth=2))
    ids_BT = random_ids(2, 9)

    def count(ids: torch.Tensor, stats: RoutingStats) -> RoutingStats:
        model.mtp_hidden(model(ids, stats=stats), ids, stats)
        return stats

    alone = [count(ids_BT[:1], RoutingStats()), count(ids_BT[1:, :5], RoutingStats())]
    valid_BT = torch.arange(9) < torch.tensor([[9], [5]])
    together = count(ids_BT, RoutingStats(valid_BT))
    assert sorted(together.load) == [1, 2, 3]
    for layer, load in together.load.items():
        assert load.tolist() == (alone[0].load[layer] + alone[1].load[layer]).tolist()
    assert [int(load.sum()) for load in together.load.values()] == [2 * (9 + 5), 2 * (8 + 4), 2 * (7 + 3)]
    assert float(together.balance_sum) == pytest.approx(float(alone[0].balance_sum + alone[1].balance_sum), rel=1e-5)
