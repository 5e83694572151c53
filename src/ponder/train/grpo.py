"""R1-Zero's reinforcement learning: group-relative policy optimisation on rule-based rewards.

How it departs from the paper's settings (R1, arXiv 2501.12948 v2, hyper-parameters), each a setting below: a small
model takes a larger learning rate; the reference and its KL term are off by default (the paper: 0.001, replaced
every 400 mini-batches); the loss is averaged over tokens (the paper: over sequences); the clip range is DAPO's.

Shapes: P prompts, G samples per prompt, B sequences, T tokens, M completion tokens, flat.
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch

from ponder.algo.advantages import Normalisation, group_advantages, has_spread
from ponder.algo.logprobs import ScoredTokens, score_states, score_tokens
from ponder.algo.losses import clipped_policy_loss, token_weights
from ponder.core.errors import ConfigError, NonFiniteLossError
from ponder.core.generator import TrainableGenerator
from ponder.core.seeds import derive_seed, python_rng
from ponder.core.types import Grade, Group, Problem, Rollout, Sampling
from ponder.core.workers import Workers
from ponder.models.adapters import adapter_tensors, frozen_copy, load_adapter_tensors
from ponder.models.transformer import Transformer
from ponder.text.prompt import Prompter
from ponder.train.batch import (
    PackedCompletions,
    PaddedBatch,
    micro_batches,
    packed_micro_batches,
    replayed_routes,
)
from ponder.train.checkpoint import StageState
from ponder.train.gradients import MicroBatch, accumulate_gradients, score_micro_batches
from ponder.train.loop import StepResult
from ponder.train.optimizer import Optimizer, OptimizerConfig
from ponder.train.parallel import current
from ponder.train.precision import ComputeModel, Precision
from ponder.train.rollout import (
    GradedCount,
    GroupReward,
    collect_groups,
    group_tensors,
    rollout_metrics,
)
from ponder.train.schedule import warmed_up

SAMPLES_PER_STEP = 4  # rollouts of a step that go to samples.jsonl: one of each of its first groups
RECENT_STEPS = 4  # the stopping rule looks at the mean accuracy of this many steps


@dataclass(frozen=True, kw_only=True)
class GrpoConfig:
    """GRPO settings. R1's published values stand in brackets, in the words used here: a step is a rollout with all of
    its updates. R1's rollout is 8,192 outputs to 512 prompts, in 16 mini-batches of 512, each of which R1 calls a step.
    """

    steps: int = 40
    prompts_per_step: int = 32  # [512]
    group_size: int = 16  # [16]; two or more
    max_tokens: int = 64  # of a completion [32,768]
    temperature: float = 1.0  # [1]
    updates_per_step: int = 2  # mini-batches that a step's rollouts are cut into [16]
    clip_low: float = 0.2  # ratio is clipped below 1 - this [10: R1 clips hardly at all]
    clip_high: float = 0.28  # and above 1 + this (DAPO's asymmetric clip)
    kl_weight: float = 0.0  # beta of the KL term in the loss [0.001]; 0 keeps no reference model
    reference_every: int = 400  # steps between two replacements of the reference [25]
    advantage: Normalisation = "std"  # "std": (r - mean) / std [std]; "none": Dr. GRPO
    loss_mean: Literal["token", "sequence"] = "token"  # what the loss averages over [sequence]
    resample_rounds: int = 0  # times that groups without spread are replaced by new prompts (DAPO)
    rollout_weights: Precision = "fp32"  # what the engine holds; bf16 samples faster and less exactly
    importance_cap: float = 2.0  # with bf16 rollouts each token weighs p(trainer) / p(engine), at most this
    truncated: Literal["judge", "leave_out"] = "judge"  # cut off completions: no answer, or no verdict (DAPO's filter)
    stop_accuracy: float = 1.0  # training accuracy (mean of 4 steps) at which the stage is done
    warmup_steps: int = 5
    precision: Precision = "fp32"  # of the training passes; trained weights are in fp32 either way
    micro_batch_tokens: int = 1024  # memory and speed only; never changes the result beyond rounding
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=3e-4))

    def __post_init__(self) -> None:
        if self.group_size < 2:
            raise ConfigError(
                f"grpo.group_size = {self.group_size}; expected 2 or more: an advantage is relative to a group's mean, "
                "and a group of one has none"
            )
        for name in (
            "steps",
            "prompts_per_step",
            "max_tokens",
            "updates_per_step",
            "reference_every",
            "warmup_steps",
            "micro_batch_tokens",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"grpo.{name} = {getattr(self, name)}; expected 1 or more")
        for name in ("clip_low", "clip_high", "temperature", "importance_cap"):
            if not getattr(self, name) > 0.0:
                raise ConfigError(f"grpo.{name} = {getattr(self, name)}; expected a positive number")
        for name in ("kl_weight", "resample_rounds"):
            if getattr(self, name) < 0:
                raise ConfigError(f"grpo.{name} = {getattr(self, name)}; expected 0 or more")


@dataclass(frozen=True)
class _Sample:
    """A rollout ready for the loss."""

    rollout: Rollout
    advantage: float
    old_logp: torch.Tensor | None = None  # the trainer's, before the step's first update; None: as the sampler's

    @property
    def sequence(self) -> list[int]:
        return [*self.rollout.completion.prompt_ids, *self.rollout.completion.ids]


@dataclass(frozen=True, kw_only=True)
class _Report:
    """Sums over the tokens of one micro-batch."""

    loss: float
    clipped: float
    kl_reference: float
    kl_sampler: float
    engine_kl: float
    mismatch: float
    capped: float
    entropy: float


class Grpo:
    """A stage of reinforcement learning, R1-Zero's and R1's (see `ponder.train.loop.Stage`)."""

    name = "zero"  # unless it is given another

    def __init__(
        self,
        model: Transformer,
        prompter: Prompter,
        generator: TrainableGenerator,
        config: GrpoConfig,
        draw_problem: Callable[[int, int], Problem],
        grade: Grade,
        workers: Workers,
        seed: int,
        *,
        name: str = "zero",
        group_reward: GroupReward | None = None,
    ) -> None:
        """`draw_problem(step, index)` gives the training problem of that place; `generator` samples `model`;
        `group_reward` is given to all groups of a step at once, after `grade`.
        """
        self.model, self.name, self._group_reward = model, name, group_reward
        self._compute = ComputeModel(model, config.precision)
        self._prompter, self._generator, self._config = prompter, generator, config
        self._tokenizer = prompter.tokenizer
        self._draw_problem, self._grade, self._workers, self._seed = draw_problem, grade, workers, seed
        self._sampling = Sampling(max_tokens=config.max_tokens, temperature=config.temperature)
        self._optimizer = Optimizer(self._compute.master, config.optimizer, workers)
        self._reference = self._new_reference() if config.kl_weight else None
        self._recent: list[float] = []  # training accuracy of the last steps
        self._graded = GradedCount()

    @property
    def total_steps(self) -> int:
        return self._config.steps

    @property
    def remark(self) -> str:
        of_reward = "" if self._group_reward is None else self._group_reward.remark
        return " ".join(remark for remark in (self._graded.remark, of_reward) if remark)

    def step(self, step: int, seconds_left: float | None = None) -> StepResult:
        self._compute.publish()
        self._replace_reference(step)
        started = time.monotonic()
        groups, drawn = self._collect(step)
        rolled_out = time.monotonic()
        self._graded = self._graded.with_step(drawn)
        samples = self._to_samples(groups)
        spread_P = has_spread(*group_tensors(drawn))
        metrics = rollout_metrics(drawn, self._tokenizer) | {
            "groups/no_spread_share": 1.0 - float(spread_P.float().mean()),
            "groups/resampled": float(len(drawn) - len(groups)),
        }
        if self._group_reward is not None:
            scored = self._group_reward.metrics(drawn)
            self._group_reward.count_step(step, scored)
            metrics |= scored
        metrics |= self._learn(step, samples)
        metrics |= self._speed(drawn, samples, rolled_out - started, time.monotonic() - rolled_out)
        if "reward/accuracy" in metrics:
            self._recent = [*self._recent, metrics["reward/accuracy"]][-RECENT_STEPS:]
        good = len(self._recent) == RECENT_STEPS and sum(self._recent) / RECENT_STEPS >= self._config.stop_accuracy
        kept = [group.rollouts[0] for group in groups[:SAMPLES_PER_STEP]]
        return StepResult(metrics=metrics, rollouts=kept, done=good or step + 1 >= self._config.steps)

    def state(self) -> StageState:
        self._compute.publish()
        tensors = {f"optimizer/{k}": v for k, v in self._optimizer.state_tensors().items()}
        if self._reference is not None:
            tensors |= {f"reference/{k}": v for k, v in adapter_tensors(self._reference).items()}
        numbers: dict[str, Any] = {"recent": self._recent, "graded": asdict(self._graded)}
        if self._group_reward is not None:
            numbers["group_reward"] = self._group_reward.state()
        return StageState(tensors=tensors, numbers=numbers)

    def load_state(self, state: StageState) -> None:
        parts: dict[str, dict[str, torch.Tensor]] = {"optimizer": {}, "reference": {}}
        for key, tensor in state.tensors.items():
            part, name = key.split("/", 1)
            parts[part][name] = tensor
        self._optimizer.load_state_tensors(parts["optimizer"])
        if self._reference is not None:
            load_adapter_tensors(self._reference, parts["reference"])
        self._recent = list(state.numbers["recent"])
        self._graded = GradedCount(**state.numbers.get("graded", {}))  # older checkpoints lack it
        if self._group_reward is not None and "group_reward" in state.numbers:  # older checkpoints lack it
            self._group_reward.load_state(state.numbers["group_reward"])
        self._compute.refresh(frozen=True)

    def _replace_reference(self, step: int) -> None:
        if self._config.kl_weight and step and step % self._config.reference_every == 0:
            self._reference = self._new_reference()

    def _new_reference(self) -> Transformer:
        if current().on_cpu:
            return frozen_copy(self.model)
        whole = copy.deepcopy(self.model)  # shares nothing, since `to` moves what is shared as well
        return whole.to(current().device).requires_grad_(False)

    def _collect(self, step: int) -> tuple[list[Group], list[Group]]:
        """The groups to learn from, and all that were drawn: those without spread are replaced, in so many rounds."""
        wanted = self._config.prompts_per_step
        self._generator.refresh(step)
        groups: list[Group] = []
        drawn: list[Group] = []
        for round_number in range(self._config.resample_rounds + 1):
            problems = [self._draw_problem(step, len(drawn) + i) for i in range(wanted - len(groups))]
            new = collect_groups(
                problems,
                self._prompter,
                self._generator,
                self._grade,
                self._sampling,
                group_size=self._config.group_size,
                seed=derive_seed(self._seed, "rollout", step, round_number),
                leave_out_truncated=self._config.truncated == "leave_out",
                reward=self._group_reward,
            )
            groups, drawn = groups + new, drawn + new
            useful = [g for g, keep in zip(groups, has_spread(*group_tensors(groups)).tolist(), strict=True) if keep]
            if len(useful) == wanted or round_number == self._config.resample_rounds:
                break
            groups = useful
        return groups, drawn

    def _to_samples(self, groups: Sequence[Group]) -> list[_Sample]:
        """Every graded rollout of a group with spread, with its advantage."""
        rewards_PG, graded_PG = group_tensors(groups)
        advantages_PG = group_advantages(rewards_PG, graded_PG, normalise=self._config.advantage)
        spread_P = has_spread(rewards_PG, graded_PG)
        return [
            _Sample(rollout, advantage)
            for group, advantages, graded, keep in zip(
                groups, advantages_PG.tolist(), graded_PG.tolist(), spread_P.tolist(), strict=True
            )
            for rollout, advantage, known in zip(group.rollouts, advantages, graded, strict=True)
            if keep and known
        ]

    def _learn(self, step: int, samples: list[_Sample]) -> dict[str, float]:
        """One update for each mini-batch of the step."""
        shuffled = self._with_own_logprobs(samples) if self._config.rollout_weights != "fp32" else list(samples)
        python_rng(self._seed, "mini-batches", step).shuffle(shuffled)
        cuts = [shuffled[i :: self._config.updates_per_step] for i in range(self._config.updates_per_step)]
        scale = warmed_up(step, self._config.warmup_steps)
        # the first update has the weights that sampled: it replays the sampler's choices of experts
        updates = [self._update(step, cut, scale, replay=i == 0) for i, cut in enumerate(c for c in cuts if c)]
        if not updates:  # no group had spread: nothing to learn from, and nothing measured
            return {"optimizer/learning_rate_scale": scale}
        means = {name: sum(u[name] for u in updates) / len(updates) for name in updates[0]}
        # before the first update, trainer and engine hold the same weights: what differs is rounding
        return (
            means
            | {name: updates[0][name] for name in ("engine/logprob_mismatch", "engine/kl")}
            | {"optimizer/learning_rate_scale": scale}
        )

    def _update(self, step: int, samples: Sequence[_Sample], scale: float, *, replay: bool) -> dict[str, float]:
        tokens = sum(len(sample.rollout.completion.ids) for sample in samples)

        def loss_of(rows: MicroBatch) -> tuple[torch.Tensor, _Report]:
            return self._loss([samples[i] for i in rows], len(samples), tokens, replay=replay)

        cuts = self._cut(samples)
        self._compute.refresh()
        reports = accumulate_gradients(self._compute.model, cuts, loss_of, self._workers, self._compute.masters())
        loss, norm = math.fsum(r.loss for r in reports), self._optimizer.clip()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            named = ", ".join(sorted({s.rollout.problem.id for s in samples})[:3])
            keeps_base = "; --start_from=…/checkpoints/pretrain/… keeps the base" if self.name == "zero" else ""
            raise NonFiniteLossError(
                f"{self.name}: step {step} has loss {loss} and gradient norm {norm}; the step was not taken and the "
                f"last checkpoint is good. Its batch holds the problems {named}, … Begin another run with a lower "
                f"optimizer.learning_rate of this stage{keeps_base}"
            )
        self._optimizer.step(scale)
        return {
            "optimizer/gradient_norm": norm,
            "policy/entropy": sum(r.entropy for r in reports) / tokens,
            "policy/clipped_share": sum(r.clipped for r in reports) / tokens,
            "policy/kl_reference": sum(r.kl_reference for r in reports) / tokens,
            "policy/kl_sampler": sum(r.kl_sampler for r in reports) / tokens,
            "engine/logprob_mismatch": sum(r.mismatch for r in reports) / tokens,
            "engine/kl": sum(r.engine_kl for r in reports) / tokens,
            "policy/importance_capped_share": sum(r.capped for r in reports) / tokens,
        }

    def _with_own_logprobs(self, samples: Sequence[_Sample]) -> list[_Sample]:
        """The samples with the trainer's logprobs under the weights that sampled, where the engine's are not exact."""
        if self._config.updates_per_step == 1:
            return list(samples)  # the only update has those weights itself

        def score(rows: MicroBatch) -> list[torch.Tensor]:
            with torch.no_grad():
                logp_M = self._score(self._compute.model, [samples[i] for i in rows], replay=True).logp_M
            return list(logp_M.split([len(samples[i].rollout.completion.ids) for i in rows]))

        self._compute.refresh()
        cuts = self._cut(samples)
        scored = list(samples)
        for rows, logps in zip(cuts, score_micro_batches(self._compute.model, cuts, score, self._workers), strict=True):
            for i, logp in zip(rows, logps, strict=True):
                scored[i] = replace(samples[i], old_logp=logp)
        return scored

    def _cut(self, samples: Sequence[_Sample]) -> list[MicroBatch]:
        """Which samples share a micro-batch: those of one prompt where it is run once for all of them."""
        if not self._compute.model.has_kernel:
            return micro_batches([len(s.sequence) for s in samples], self._config.micro_batch_tokens)
        completions = [sample.rollout.completion for sample in samples]
        prompts, lengths = [c.prompt_ids for c in completions], [len(c.ids) for c in completions]
        return packed_micro_batches(prompts, lengths, self._config.micro_batch_tokens)

    def _score(self, model: Transformer, samples: Sequence[_Sample], *, replay: bool) -> ScoredTokens:
        """The tokens of the completions under `model`."""
        completions = [sample.rollout.completion for sample in samples]
        prompts, routes = [c.prompt_ids for c in completions], [c.routes for c in completions]
        temperature = self._config.temperature
        if model.has_kernel:
            packed = PackedCompletions.collate(prompts, [c.ids for c in completions])
            route_map = packed.replayed_routes(routes, model.config) if replay else None
            hidden_1TD = model(packed.ids_1T, lengths=packed.lengths, route_map=route_map)
            states_MD = hidden_1TD[0, packed.states_M]
            return score_states(states_MD, model.head.weight, packed.completion_ids_M, temperature)
        batch = PaddedBatch.collate(
            [s.sequence for s in samples], [len(ids) for ids in prompts], self._tokenizer.control.pad
        )
        route_map = replayed_routes(routes, batch.ids_BT.shape[1], model.config) if replay else None
        hidden_BTD = model(batch.ids_BT, route_map=route_map)
        return score_tokens(hidden_BTD, model.head.weight, batch.ids_BT, batch.scored_BT, temperature)

    def _loss(
        self, samples: Sequence[_Sample], step_sequences: int, step_tokens: int, *, replay: bool
    ) -> tuple[torch.Tensor, _Report]:
        config = self._config
        completions = [sample.rollout.completion for sample in samples]
        lengths_B = torch.tensor([len(c.ids) for c in completions])
        weight_B = token_weights(lengths_B, per=config.loss_mean, sequences=step_sequences, tokens=step_tokens)
        sampler_logp_M = torch.tensor([logp for c in completions for logp in c.logprobs])
        scored = self._score(self._compute.model, samples, replay=replay)
        exact = config.rollout_weights == "fp32"
        old_logp_M = sampler_logp_M if exact else self._old_logp(samples, scored.logp_M.detach())
        reference_logp_M = None
        if self._reference is not None:
            with torch.no_grad():
                reference_logp_M = self._score(self._reference, samples, replay=False).logp_M
        policy = clipped_policy_loss(
            scored.logp_M,
            old_logp_M,
            torch.tensor([s.advantage for s in samples]).repeat_interleave(lengths_B),
            weight_B.repeat_interleave(lengths_B),
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            reference_logp_M=reference_logp_M,
            kl_weight=config.kl_weight,
            sampler_logp_M=None if exact else sampler_logp_M,
            importance_cap=config.importance_cap,
        )
        gap_M = sampler_logp_M - scored.logp_M.detach()
        return policy.loss, _Report(
            loss=float(policy.loss.detach()),
            clipped=float(policy.clipped_sum),
            kl_reference=float(policy.kl_sum),
            kl_sampler=float(policy.behaviour_kl_sum),
            engine_kl=float(gap_M.sum()),
            mismatch=float(gap_M.abs().sum()),
            capped=float(policy.capped_sum),
            entropy=float(scored.entropy_M.sum()),
        )

    @staticmethod
    def _old_logp(samples: Sequence[_Sample], now_M: torch.Tensor) -> torch.Tensor:
        """The trainer's logprobs before the step's first update: those of now, where that is this one."""
        known = [s.old_logp for s in samples if s.old_logp is not None]
        return torch.cat(known) if len(known) == len(samples) else now_M

    @staticmethod
    def _speed(
        groups: Sequence[Group], samples: Sequence[_Sample], rollout_seconds: float, train_seconds: float
    ) -> dict[str, float]:
        made = sum(len(r.completion.ids) for g in groups for r in g.rollouts)
        trained = sum(len(s.sequence) for s in samples)
        return {
            "time/rollout_seconds": rollout_seconds,
            "time/train_seconds": train_seconds,
            "speed/rollout_tokens_per_second": made / max(rollout_seconds, 1e-9),
            "speed/train_tokens_per_second": trained / max(train_seconds, 1e-9),
            "data/trained_tokens": float(trained),
        }
