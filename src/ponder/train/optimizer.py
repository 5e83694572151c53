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
from ponder.train.parallel import (
    for_first,
    gathered,
    is_sharded,
    own_part,
    parted_like,
    rows_of_process,
    shard_of,
    total_norm,
)

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
        in_shards = any(is_sharded(parameter) for parameter, _ in jobs)  # then all processes go through them in order
        for _ in map(self._update, jobs) if in_shards else self._workers.map(self._update, jobs):
            pass

    @torch.no_grad()
    def _update(self, job: tuple[nn.Parameter, dict[str, Any]]) -> None:
        parameter, group = job
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        gradient, momentum = own_part(parameter.grad), own_part(state["momentum"])
        momentum.lerp_(gradient, 1 - group["momentum"])
        direction = gradient.lerp(momentum, group["momentum"])
        scale = group["lr"] * max(1.0, parameter.shape[-2] / parameter.shape[-1]) ** 0.5
        change = _orthogonal_part(direction, parameter)
        own_part(parameter).mul_(1 - group["lr"] * group["weight_decay"]).add_(change, alpha=-scale)


def _orthogonal_part(direction: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """`orthogonalise` of what has `direction` on this process. A matrix is gathered, since it takes all of its rows;
    of (E, rows, columns), each process has some whole matrices.
    """
    if not is_sharded(parameter):
        return orthogonalise(direction)
    if parameter.dim() > 2:
        return orthogonalise(direction) if direction.numel() else direction
    return rows_of_process(orthogonalise(gathered(shard_of(direction, parameter))))


class AdamW(torch.optim.Optimizer):
    """torch's own fused AdamW (Loshchilov and Hutter 2019), number for number; `workers` share the parameters out."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        workers: Workers,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "eps": 1e-8})
        self._workers = workers

    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closures
        """One update of every parameter that has a gradient."""
        jobs = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        jobs.sort(key=lambda job: -job[0].numel())  # the longest first, so that the workers end together
        for parameter, _ in jobs:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        for _ in self._workers.map(self._update, jobs):
            pass

    @torch.no_grad()
    def _update(self, job: tuple[nn.Parameter, dict[str, Any]]) -> None:
        parameter, group = job
        assert parameter.grad is not None
        state = self.state[parameter]
        state["step"] += 1
        own, gradient, mean, square = (
            [own_part(t)] for t in (parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"])
        )
        torch._fused_adamw_(
            own, gradient, mean, square, [], [state["step"]],
            lr=group["lr"], beta1=group["betas"][0], beta2=group["betas"][1], weight_decay=group["weight_decay"],
            eps=group["eps"], amsgrad=False, maximize=False,
        )  # fmt: skip


class Optimizer:
    """One optimizer to the trainer: splits the parameters, clips, schedules, steps, saves."""

    def __init__(self, model: nn.Module, config: OptimizerConfig, workers: Workers) -> None:
        self._config, self._workers = config, workers
        self._named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in self._named:
            inside_block = parameter.dim() >= 2 and not name.endswith(
                ("embedding.weight", "embedding.rows", "head.weight", "head.rows", "gate.weight")
            )
            (matrices if config.muon_learning_rate and inside_block else rest).append(parameter)
        betas = (config.beta1, config.beta2)
        self._parts: list[tuple[torch.optim.Optimizer, float]] = []
        if rest or not matrices:  # an adapter may have matrices alone
            adamw = AdamW(rest, config.learning_rate, betas, config.weight_decay, workers)
            self._parts.append((adamw, config.learning_rate))
        if matrices:
            muon = Muon(matrices, config.muon_learning_rate, config.muon_momentum, config.weight_decay, workers)
            self._parts.append((muon, config.muon_learning_rate))

    def clip(self) -> float:
        """Scale the gradients down to the configured norm; returns the global norm before."""
        gradients = [p.grad for _, p in self._named if p.grad is not None]
        norm = total_norm(gradients)
        factor = self._config.clip_norm / (norm + 1e-6)
        if not float(factor) >= 1.0:  # true for NaN too
            for _ in self._workers.map(lambda gradient: own_part(gradient).mul_(factor), gradients):
                pass
        return float(norm)

    def step(self, scale: float) -> None:
        """Step at `scale` times the peak rates, then drop the gradients."""
        for part, peak in self._parts:
            for group in part.param_groups:
                group["lr"] = peak * scale
            part.step()
            part.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor of the state under `<parameter>/<slot>`. Of several processes, the first alone gets them all."""
        return {
            f"{name}/{slot}": for_first(value) if is_sharded(value) else value.cpu()
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
            parameter = by_name[name]
            owner[parameter].state[parameter][slot] = (
                parted_like(value, parameter) if value.dim() else value.to(parameter.device, copy=True)
            )
