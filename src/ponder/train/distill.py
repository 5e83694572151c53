"""Distillation of a teacher's distributions: the student learns, at every token, all that the teacher thinks possible.

Generalised knowledge distillation (GKD, Agarwal et al. 2023, arXiv 2306.13649, algorithm 1): the teacher judges its own
traces, and, for a share of the sequences, what the student itself has just written. How it departs from the paper: the
share holds in every step, where the paper throws a coin for each whole step; no gradient goes through the sampling, as
there.

Shapes: M scored tokens, flat; D the student's hidden size, E the teacher's.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch

from ponder.algo.distillation import Divergence, token_divergence
from ponder.core.errors import ConfigError, NonFiniteLossError
from ponder.core.generator import TrainableGenerator
from ponder.core.seeds import derive_seed
from ponder.core.types import Grade, Problem, Rollout, Sampling
from ponder.core.workers import Workers
from ponder.models.transformer import Transformer
from ponder.text.prompt import Prompter
from ponder.text.tokenizer import Tokenizer
from ponder.train.batch import PaddedBatch, micro_batches
from ponder.train.checkpoint import StageState
from ponder.train.gradients import MicroBatch, accumulate_gradients
from ponder.train.loop import StepResult
from ponder.train.optimizer import Optimizer, OptimizerConfig
from ponder.train.parallel import current
from ponder.train.precision import ComputeModel
from ponder.train.rollout import collect_groups, rollout_metrics
from ponder.train.schedule import warmup_then_fall

SAMPLES_PER_STEP = 4  # of what the student wrote, for samples.jsonl


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """What the student learns from, and the settings of logit distillation."""

    kind: Literal["traces", "logits"] = "traces"  # texts (SFT), or the teacher's distributions: one vocabulary needed
    steps: int = 200
    sequences_per_step: int = 32
    divergence: Divergence = "forward"  # of teacher and student; see ponder.algo.distillation
    beta: float = 0.5  # jsd's weight of the teacher: towards 0 as forward, towards 1 as reverse
    temperature: float = 1.0  # tau of both distributions
    on_policy: float = 0.5  # share of the sequences that the student writes itself; the others are the teacher's traces
    max_tokens: int = 256  # of what the student writes
    sampling_temperature: float = 1.0
    warmup_steps: int = 5
    final_rate_share: float = 0.1  # of the peak learning rate, reached at the last step along a cosine
    micro_batch_tokens: int = 1024  # memory and speed only; never changes the result beyond rounding
    vocabulary_chunk: int = 8192  # logits that are made at once for each token; memory only, likewise
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=3e-4))

    def __post_init__(self) -> None:
        for name in ("steps", "sequences_per_step", "max_tokens", "warmup_steps", "micro_batch_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"distill.{name} = {getattr(self, name)}; expected 1 or more")
        if self.vocabulary_chunk < 1:
            raise ConfigError(f"distill.vocabulary_chunk = {self.vocabulary_chunk}; expected 1 or more")
        for name in ("on_policy", "final_rate_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"distill.{name} = {getattr(self, name)}; expected a share from 0 to 1")
        if not 0.0 < self.beta < 1.0:
            raise ConfigError(
                f"distill.beta = {self.beta}; expected a number between 0 and 1 (for its ends there are forward and "
                "reverse)"
            )
        for name in ("temperature", "sampling_temperature"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"distill.{name} = {getattr(self, name)}; expected a positive number")


class PromptCompletion(NamedTuple):
    """A prompt and its completion, as ids."""

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True)
class _Report:
    """Sums over the tokens of one micro-batch."""

    divergence: float
    agreed: int


class LogitDistillation:
    """The stage of logit distillation (see `ponder.train.loop.Stage`)."""

    name = "distill"

    def __init__(
        self,
        model: Transformer,
        teacher: Transformer,
        prompter: Prompter,
        generator: TrainableGenerator,
        config: DistillConfig,
        draw_trace: Callable[[int, int], PromptCompletion],
        draw_problem: Callable[[int, int], Problem],
        grade: Grade,
        workers: Workers,
        seed: int,
    ) -> None:
        """`draw_trace(step, index)` and `draw_problem(step, index)` give what stands at that place of a step: a trace
        of the teacher, and a problem for the student, which `generator` samples. The teacher reads what the student
        reads, prompt and all; their vocabularies are the same (`require_same_vocabulary`).
        """
        self.model = model
        self._compute = ComputeModel(model, "fp32", workers)
        self._teacher = teacher.requires_grad_(False).to(current().device)
        self._prompter, self._generator, self._config = prompter, generator, config
        self._draw_trace, self._draw_problem, self._grade = draw_trace, draw_problem, grade
        self._workers, self._seed = workers, seed
        self._sampling = Sampling(max_tokens=config.max_tokens, temperature=config.sampling_temperature)
        self._optimizer = Optimizer(self._compute.master, config.optimizer, workers)
        self._own_sequences = round(config.on_policy * config.sequences_per_step)  # by the student, of each step
        # rows beyond the vocabulary stand for nothing, and two models may have filled them up differently
        self._vocabulary = prompter.tokenizer.vocab_size

    @property
    def total_steps(self) -> int:
        return self._config.steps

    @property
    def remark(self) -> str:
        return ""

    def step(self, step: int, seconds_left: float | None = None) -> StepResult:
        started = time.monotonic()
        metrics: dict[str, float] = {"data/on_policy_share": self._own_sequences / self._config.sequences_per_step}
        rollouts: list[Rollout] = []
        if self._own_sequences:
            rollouts, sampled = self._sample_own(step)
            metrics |= sampled
        own = [PromptCompletion(r.completion.prompt_ids, r.completion.ids) for r in rollouts]
        traces = [self._draw_trace(step, i) for i in range(self._config.sequences_per_step - self._own_sequences)]
        metrics |= self._update(step, [*own, *traces])
        tokens = sum(len(s.prompt_ids) + len(s.ids) for s in (*own, *traces))
        metrics["speed/tokens_per_second"] = tokens / max(time.monotonic() - started, 1e-9)
        done = step + 1 >= self._config.steps
        return StepResult(metrics=metrics, rollouts=rollouts[:SAMPLES_PER_STEP], done=done)

    def state(self) -> StageState:
        self._compute.publish()
        return StageState(tensors=self._optimizer.state_tensors())

    def load_state(self, state: StageState) -> None:
        self._optimizer.load_state_tensors(dict(state.tensors))
        self._compute.refresh(frozen=True)

    def _sample_own(self, step: int) -> tuple[list[Rollout], dict[str, float]]:
        """What the student writes, graded for people to see: the verdicts teach nothing here."""
        self._compute.publish()
        self._generator.refresh(step)
        groups = collect_groups(
            [self._draw_problem(step, i) for i in range(self._own_sequences)],
            self._prompter,
            self._generator,
            self._grade,
            self._sampling,
            group_size=1,
            seed=derive_seed(self._seed, self.name, step),
        )
        return [group.rollouts[0] for group in groups], rollout_metrics(groups, self._prompter.tokenizer)

    def _update(self, step: int, sequences: Sequence[PromptCompletion]) -> dict[str, float]:
        tokens = sum(len(s.ids) for s in sequences)

        def loss_of(rows: MicroBatch) -> tuple[torch.Tensor, _Report]:
            return self._loss([sequences[i] for i in rows], tokens)

        lengths = [len(s.prompt_ids) + len(s.ids) for s in sequences]
        cuts = micro_batches(lengths, self._config.micro_batch_tokens)
        reports = accumulate_gradients(self._compute.model, cuts, loss_of, self._workers)
        divergence, norm = math.fsum(r.divergence for r in reports) / tokens, self._optimizer.clip()
        if not (math.isfinite(divergence) and math.isfinite(norm)):
            raise NonFiniteLossError(
                f"{self.name}: step {step} has loss {divergence} and gradient norm {norm}; the step was not taken and "
                "the last checkpoint is good. Begin another run with a lower distill.optimizer.learning_rate"
            )
        scale = self._learning_rate_scale(step)
        self._optimizer.step(scale)
        return {
            "loss/divergence": divergence,
            "distill/agreement": sum(r.agreed for r in reports) / tokens,
            "optimizer/gradient_norm": norm,
            "optimizer/learning_rate_scale": scale,
        }

    def _loss(self, sequences: Sequence[PromptCompletion], step_tokens: int) -> tuple[torch.Tensor, _Report]:
        config = self._config
        batch = PaddedBatch.collate(
            [[*s.prompt_ids, *s.ids] for s in sequences],
            [len(s.prompt_ids) for s in sequences],
            self._prompter.tokenizer.control.pad,
        )
        scored_BT = batch.scored_BT[:, 1:]
        with torch.no_grad():
            teacher_ME = self._teacher(batch.ids_BT)[:, :-1][scored_BT]
        states_MD = self._compute.model(batch.ids_BT)[:, :-1][scored_BT]
        head_VD, teacher_head_VE = (m.head.weight[: self._vocabulary] for m in (self._compute.model, self._teacher))
        divergence_M = token_divergence(
            states_MD,
            head_VD,
            teacher_ME,
            teacher_head_VE,
            divergence=config.divergence,
            temperature=config.temperature,
            beta=config.beta,
            vocabulary_chunk=config.vocabulary_chunk,
        )
        with torch.no_grad():
            same_M = _likeliest(states_MD, head_VD, config.vocabulary_chunk) == _likeliest(
                teacher_ME, teacher_head_VE, config.vocabulary_chunk
            )
        total = divergence_M.sum()
        return total / step_tokens, _Report(float(total.detach()), int(same_M.sum()))

    def _learning_rate_scale(self, step: int) -> float:
        config = self._config
        return warmup_then_fall(
            step, steps=config.steps, warmup_steps=config.warmup_steps, final_share=config.final_rate_share
        )


def require_same_vocabulary(teacher: Tokenizer, student: Tokenizer) -> None:
    """Raises `ConfigError` that says how two vocabularies differ: logits can be compared token by token only."""
    advice = "learn from the teacher's texts instead (distill.kind = traces), or take a student of its vocabulary"
    if teacher.vocab_size != student.vocab_size:
        raise ConfigError(
            f"the teacher's vocabulary has {teacher.vocab_size:,} tokens, the student's {student.vocab_size:,}; "
            f"{advice}"
        )
    for token in range(teacher.vocab_size):
        theirs, ours = teacher.bytes_of(token), student.bytes_of(token)
        if theirs != ours:
            raise ConfigError(
                f"token {token} is {theirs.decode('utf-8', 'replace')!r} in the teacher's vocabulary and "
                f"{ours.decode('utf-8', 'replace')!r} in the student's; {advice}"
            )
    if teacher.control != student.control:
        names = _control_ids(teacher), _control_ids(student)
        name = next(name for name in names[0] if names[0][name] != names[1][name])
        raise ConfigError(
            f"the control token {name!r} is {names[0][name]} in the teacher's vocabulary and {names[1][name]} in the "
            f"student's; {advice}"
        )


def _control_ids(tokenizer: Tokenizer) -> dict[str, object]:
    """The control ids of a vocabulary by name."""
    return dict(vars(tokenizer.control))


def _likeliest(states: torch.Tensor, head: torch.Tensor, chunk: int) -> torch.Tensor:
    """The likeliest token at each position, (M,), a part of the vocabulary at a time."""
    best = torch.full((states.shape[0],), -torch.inf)
    token = torch.zeros(states.shape[0], dtype=torch.long)
    for first in range(0, head.shape[0], chunk):
        value, index = (states @ head[first : first + chunk].T).float().max(dim=-1)
        token = torch.where(value > best, index + first, token)
        best = torch.maximum(best, value)
    return token
