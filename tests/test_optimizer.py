"""Muon against torch's own and by its property; the split of parameters; saving and restoring."""

import pytest
import torch
from torch import nn

from ponder.core.errors import ConfigError
from ponder.core.workers import Workers
from ponder.models.transformer import Transformer
from ponder.train.optimizer import Muon, Optimizer, OptimizerConfig, orthogonalise
from tiny_recipe import MODEL


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(24, 24), (40, 12), (12, 40)])
def test_orthogonalise_brings_every_singular_value_near_one(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(orthogonalise(random(*shape)))
    assert values.min() > 0.3
    assert values.max() < 1.3
    assert 0.7 < values.median() < 1.25


def test_orthogonalise_keeps_the_singular_vectors() -> None:
    matrix = random(16, 16, seed=3)
    u, _, vt = torch.linalg.svd(matrix)
    turned = u.T @ orthogonalise(matrix) @ vt.T
    assert (turned - torch.diag(turned.diagonal())).abs().max() < 1e-4


def test_stacked_matrices_are_orthogonalised_one_by_one() -> None:
    stack = random(3, 10, 20)
    together = orthogonalise(stack)
    for matrix, expected in zip(stack, together, strict=True):
        assert torch.allclose(orthogonalise(matrix), expected, atol=1e-6)


def test_muon_takes_the_steps_of_torchs_own() -> None:
    """torch.optim.Muon works in bf16 inside its iteration, hence the tolerance; ours keeps fp32."""
    ours, theirs = (nn.Parameter(random(32, 16, seed=1)) for _ in range(2))
    with Workers() as workers:
        mine = Muon([ours], lr=0.02, momentum=0.95, weight_decay=0.01, workers=workers)
        reference = torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=0.01, nesterov=True)
        for step in range(4):
            gradient = random(32, 16, seed=10 + step)
            ours.grad, theirs.grad = gradient.clone(), gradient.clone()
            mine.step()
            reference.step()
    moved = (theirs.detach() - random(32, 16, seed=1)).norm()
    assert (ours.detach() - theirs.detach()).norm() < 0.02 * moved


def test_a_stack_of_experts_moves_as_its_matrices_would_alone() -> None:
    stack = nn.Parameter(random(4, 8, 6))
    single = [nn.Parameter(matrix.clone()) for matrix in stack.detach()]
    with Workers() as workers:
        for parameters in ([stack], single):
            optimizer = Muon(parameters, lr=0.1, momentum=0.9, weight_decay=0.0, workers=workers)
            for i, parameter in enumerate(parameters):
                parameter.grad = random(4, 8, 6, seed=5) if parameter is stack else random(4, 8, 6, seed=5)[i]
            optimizer.step()
    assert torch.allclose(stack.detach(), torch.stack([p.detach() for p in single]), atol=1e-6)


def test_muon_takes_the_matrices_inside_the_blocks_and_adamw_the_rest() -> None:
    model = Transformer(MODEL, torch.Generator().manual_seed(0))
    with Workers() as workers:
        optimizer = Optimizer(model, OptimizerConfig(muon_learning_rate=0.02), workers)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step(1.0)
    slots: dict[str, set[str]] = {}
    for key in optimizer.state_tensors():
        name, slot = key.rsplit("/", 1)
        slots.setdefault(name, set()).add(slot)
    assert slots["embedding.weight"] == slots["head.weight"] == {"step", "exp_avg", "exp_avg_sq"}
    assert slots["blocks.0.attention_norm.weight"] == {"step", "exp_avg", "exp_avg_sq"}
    assert slots["blocks.1.feed_forward.gate.weight"] == {"step", "exp_avg", "exp_avg_sq"}
    assert slots["blocks.1.feed_forward.experts.gate_up"] == {"momentum"}
    assert slots["blocks.0.attention.kv_b.weight"] == {"momentum"}
    assert len(slots) == len(list(model.named_parameters()))


def test_muon_goes_without_adamw_where_all_that_learns_are_matrices() -> None:
    """As an adapter may be: from no momentum, a step along an orthogonal gradient is that gradient, 0.7 to 1.2 long."""
    model = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(model.weight)
    model.weight.grad = torch.eye(2)
    with Workers() as workers:
        optimizer = Optimizer(model, OptimizerConfig(muon_learning_rate=0.1), workers)
        optimizer.step(1.0)
    assert optimizer.state_tensors().keys() == {"weight/momentum"}
    assert torch.allclose(model.weight.detach(), -0.1 * torch.eye(2), atol=0.03)


def test_clip_scales_the_gradient_to_the_norm_and_tells_the_old_one() -> None:
    model = nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.tensor([[3.0, 4.0]])
    with Workers() as workers:
        assert Optimizer(model, OptimizerConfig(clip_norm=1.0), workers).clip() == pytest.approx(5.0)
    assert torch.allclose(model.weight.grad, torch.tensor([[0.6, 0.8]]), atol=1e-5)


def test_the_first_adamw_step_by_hand() -> None:
    """From zero moments the bias-corrected step is -lr · g / (|g| + eps): the learning rate, whatever the gradient."""
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0]]))
    model.weight.grad = torch.tensor([[0.3, -0.007]])
    with Workers() as workers:
        Optimizer(model, OptimizerConfig(learning_rate=0.01), workers).step(0.5)
    assert torch.allclose(model.weight.detach(), torch.tensor([[0.995, 2.005]]), atol=1e-5)


def test_rates_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"learning_rate = 0; expected a positive number"):
        OptimizerConfig(learning_rate=0)
    with pytest.raises(ConfigError, match=r"muon_learning_rate = -1; expected 0 or more"):
        OptimizerConfig(muon_learning_rate=-1)
