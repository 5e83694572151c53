"""Muon for matrices, AdamW for the rest.

Muon: Jordan et al. 2024 (momentum, orthogonalised by a quintic Newton–Schulz iteration).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ponder.core.errors import ConfigError
from ponder.core.workers import Workers

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the published implementation


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Learning rates are peaks; the schedule multiplies both."""

    learning_rate: float = 3e-4  # AdamW's
    muon_learning_rate: float = 0.0  # for matrices inside the blocks; 0: AdamW for everything
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    muon_momentum: float = 0.95
    clip_norm: float = 1.0  # global gradient norm is scaled down to this

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ConfigError(f"optimizer.learning_rate = {self.learning_rate}; expected a positive number")
        for name in ("beta1", "beta2", "muon_momentum"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"optimizer.{name} = {getattr(self, name)}; expected 0 or more, below 1")
        if self.weight_decay < 0 or not self.clip_norm > 0:
            raise ConfigError(
                f"optimizer.weight_decay = {self.weight_decay}, optimizer.clip_norm = {self.clip_norm}; expected 0 or "
                "more, and a positive number"
            )
        if self.muon_learning_rate < 0:
            raise ConfigError(f"optimizer.muon_learning_rate = {self.muon_learning_rate}; expected 0 or more")


def orthogonalise(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Push all singular values of each (…, rows, columns) matrix towards 1 (to about 0.7 to 1.2)."""
    a, b, c = NEWTON_SCHULZ
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose update is orthogonalised; (E, rows, columns) tensors are E matrices.

    The update is scaled by sqrt(max(1, rows / columns)). Parameters are worked side by side by `workers`.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float, workers: Workers
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._workers = workers

    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closures
        """One update of every parameter that has a gradient."""
        jobs = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        jobs.sort(key=lambda job: -job[0].numel())  # the longest first, so that the workers end together
        for _ in self._workers.map(self._update, jobs):
            pass

    @torch.no_grad()
    def _update(self, job: tuple[nn.Parameter, dict[str, Any]]) -> None:
        parameter, group = job
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
        direction = parameter.grad.lerp(state["momentum"], group["momentum"])
        scale = group["lr"] * max(1.0, parameter.shape[-2] / parameter.shape[-1]) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(orthogonalise(direction), alpha=-scale)


class Optimizer:
    """One optimizer to the trainer: splits the parameters, clips, schedules, steps, saves."""

    def __init__(self, model: nn.Module, config: OptimizerConfig, workers: Workers) -> None:
        self._config = config
        self._named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in self._named:
            inside_block = parameter.dim() >= 2 and not name.endswith(
                ("embedding.weight", "head.weight", "gate.weight")
            )
            (matrices if config.muon_learning_rate and inside_block else rest).append(parameter)
        betas = (config.beta1, config.beta2)
        self._parts: list[tuple[torch.optim.Optimizer, float]] = [
            (
                torch.optim.AdamW(
                    rest, lr=config.learning_rate, betas=betas, weight_decay=config.weight_decay, fused=True
                ),
                config.learning_rate,
            )
        ]
        if matrices:
            muon = Muon(matrices, config.muon_learning_rate, config.muon_momentum, config.weight_decay, workers)
            self._parts.append((muon, config.muon_learning_rate))

    def clip(self) -> float:
        """Scale the gradients down to the configured norm; returns the global norm before."""
        return float(torch.nn.utils.clip_grad_norm_([p for _, p in self._named], self._config.clip_norm))

    def step(self, scale: float) -> None:
        """Step at `scale` times the peak rates, then drop the gradients."""
        for part, peak in self._parts:
            for group in part.param_groups:
                group["lr"] = peak * scale
            part.step()
            part.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor of the state under `<parameter>/<slot>`."""
        return {
            f"{name}/{slot}": value
            for name, parameter in self._named
            for part, _ in self._parts
            for slot, value in part.state.get(parameter, {}).items()
        }

    def load_state_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Restore what `state_tensors` gave."""
        owner = {p: part for part, _ in self._parts for group in part.param_groups for p in group["params"]}
        by_name = dict(self._named)
        for key, value in tensors.items():
            name, slot = key.rsplit("/", 1)
            owner[by_name[name]].state[by_name[name]][slot] = value.clone()
