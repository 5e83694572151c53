"""Log-probabilities of tokens: the alignment, and both ways of computing them."""

import math

import pytest
import torch

from ponder.algo.logprobs import score_states, score_tokens, token_logprobs
from ponder.algo.products import outer, times, times_transposed


def test_hand_worked_alignment() -> None:
    # after token 0 the model says (1/2, 1/4, 1/4), after token 1 (1/8, 3/8, 1/2); the last row predicts nothing here
    logits = torch.tensor([[[0.5, 0.25, 0.25], [0.125, 0.375, 0.5], [1.0, 1.0, 1.0]]]).log()
    logp = token_logprobs(logits, torch.tensor([[0, 1, 2]]))
    assert logp.tolist() == [pytest.approx([0.0, math.log(0.25), math.log(0.5)])]


def test_temperature_divides_the_scores() -> None:
    # scores 0 and ln 4 at temperature 2: weights 1 and 2
    logits = torch.tensor([[[0.0, math.log(4)], [0.0, 0.0]]])
    assert token_logprobs(logits, torch.tensor([[0, 1]]), 2.0)[0, 1].item() == pytest.approx(math.log(2 / 3))


def random_case(temperature: float) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    hidden, head = torch.randn(3, 6, 4, generator=rng), torch.randn(9, 4, generator=rng)
    ids = torch.randint(9, (3, 6), generator=rng)
    mask = torch.rand(3, 6, generator=rng) < 0.5
    mask[:, 0] = False
    return hidden, head, ids, mask


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_score_tokens_equals_the_slow_way(temperature: float) -> None:
    hidden, head, ids, mask = random_case(temperature)
    scored = score_tokens(hidden, head, ids, mask, temperature)
    slow = [
        math.log(torch.softmax(hidden[b, t - 1] @ head.T / temperature, dim=-1)[ids[b, t]])
        for b in range(3)
        for t in range(6)
        if mask[b, t]
    ]
    assert scored.logp_M.tolist() == pytest.approx(slow, abs=1e-5)
    full = token_logprobs(hidden @ head.T, ids, temperature)
    assert torch.allclose(full[mask], scored.logp_M, atol=1e-6)


def test_entropy() -> None:
    hidden, head, ids, mask = random_case(1.0)
    entropy = score_tokens(hidden, head, ids, mask).entropy_M
    expected = torch.distributions.Categorical(logits=(hidden @ head.T)[:, :-1][mask[:, 1:]]).entropy()
    assert torch.allclose(entropy, expected, atol=1e-6)
    uniform = score_tokens(torch.zeros(1, 2, 4), head, ids[:1, :2], torch.tensor([[False, True]]))
    assert uniform.entropy_M.tolist() == pytest.approx([math.log(9)])
    assert uniform.logp_M.tolist() == pytest.approx([-math.log(9)])


def test_gradient_and_what_is_detached() -> None:
    hidden, head, ids, mask = random_case(1.0)
    hidden.requires_grad_()
    scored = score_tokens(hidden, head, ids, mask)
    assert not scored.entropy_M.requires_grad
    scored.logp_M.sum().backward()
    # d logp / d hidden = head[token] - Σ p head; no gradient anywhere else
    states = hidden.detach()[:, :-1][mask[:, 1:]]
    expected = head[ids[mask]] - torch.softmax(states @ head.T, dim=-1) @ head
    assert torch.allclose(hidden.grad[:, :-1][mask[:, 1:]], expected, atol=1e-6)
    assert hidden.grad[:, :-1][~mask[:, 1:]].abs().max() == 0.0
    assert hidden.grad[:, -1].abs().max() == 0.0


def test_empty_mask() -> None:
    hidden, head, ids, mask = random_case(1.0)
    scored = score_tokens(hidden, head, ids, torch.zeros_like(mask))
    assert scored.logp_M.shape == scored.entropy_M.shape == (0,)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_tokens_that_count_for_nothing_have_gradients_of_zero(precision: torch.dtype) -> None:
    """Such as those of a micro-batch whose advantages are all zero: no column of the vocabulary is left of it."""
    states = torch.randn(28, 64, generator=torch.Generator().manual_seed(0)).to(precision).requires_grad_()
    head = torch.randn(640, 64, generator=torch.Generator().manual_seed(1)).to(precision).requires_grad_()
    scored = score_states(states, head, torch.arange(28))
    (scored.logp_M * 0.0).sum().backward()
    for tensor in (states, head):
        assert tensor.grad is not None
        assert tensor.grad.shape == tensor.shape
        assert not tensor.grad.any()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_products_of_no_numbers(precision: torch.dtype) -> None:
    none, wide = torch.zeros(28, 0, dtype=precision), torch.zeros(0, 576, dtype=precision)
    assert torch.equal(times(none, wide), torch.zeros(28, 576, dtype=precision))
    assert outer(none, torch.ones(28, 4, dtype=precision)).shape == (0, 4)
    assert times_transposed(wide, torch.ones(8, 576, dtype=precision)).shape == (0, 8)
