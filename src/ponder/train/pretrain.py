"""Pretraining of a base model on generated documents: next-token loss, plus multi-token prediction.

First every document is worked step by step to the end, until the model thinks well when made to (a gate on skill,
not on seconds). From there the learning rate falls to zero: over some more worked documents (polish), then over
documents most of which give the answer straight, as on the web, while others give up on the way (habit). So the
base can reason but rarely does. Shapes: B sequences, T tokens.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from ponder.algo.logprobs import score_tokens
from ponder.core.errors import ConfigError, NonFiniteLossError
from ponder.core.seeds import python_rng
from ponder.core.workers import Workers
from ponder.data.problems import Document
from ponder.models.moe import RoutingStats
from ponder.models.transformer import Transformer
from ponder.text.reasoning import completion_ids
from ponder.text.tokenizer import Tokenizer
from ponder.train.balance import balance_experts
from ponder.train.batch import PaddedBatch, micro_batches
from ponder.train.checkpoint import StageState
from ponder.train.gradients import MicroBatch, accumulate_gradients
from ponder.train.loop import StepResult, due
from ponder.train.optimizer import Optimizer, OptimizerConfig
from ponder.train.parallel import current
from ponder.train.precision import ComputeModel
from ponder.train.schedule import warmed_up

Manner = Literal["thorough", "worked", "straight"]
DocumentMaker = Callable[[random.Random, Manner], Document]  # a document about a training problem, in that manner
SkillProbe = Callable[[], float]  # accuracy when made to think, on a fixed slice of training problems


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Pretraining settings. Defaults are the `chain` recipe's."""

    documents_per_step: int = 64
    max_skill_steps: int = 800  # the first phase ends here even where the gate was never passed
    gate_accuracy: float = 0.9  # accuracy when made to think that ends the first phase
    gate_every: int = 25  # steps between two looks at the skill
    polish_steps: int = 0  # more of the same documents, while the learning rate begins to fall
    habit_steps: int = 150  # documents that mostly answer straight, until the learning rate is 0
    worked_share: float = 0.25  # of the documents in the habit phase; the others answer straight
    warmup_steps: int = 20
    mtp_weight: float = 0.3  # lambda of the multi-token prediction loss (V3 section 4.2: 0.3, later 0.1)
    micro_batch_tokens: int = 1024  # memory and speed only; never changes the result beyond rounding
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=3e-3, muon_learning_rate=0.01, beta2=0.98)
    )

    def __post_init__(self) -> None:
        for name in (
            "documents_per_step",
            "max_skill_steps",
            "gate_every",
            "habit_steps",
            "warmup_steps",
            "micro_batch_tokens",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"pretrain.{name} = {getattr(self, name)}; expected 1 or more")
        for name in ("polish_steps", "mtp_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"pretrain.{name} = {getattr(self, name)}; expected 0 or more")
        if not 0.0 < self.gate_accuracy <= 1.0:
            raise ConfigError(f"pretrain.gate_accuracy = {self.gate_accuracy}; expected a share above 0, at most 1")
        if not 0.0 <= self.worked_share <= 1.0:
            raise ConfigError(f"pretrain.worked_share = {self.worked_share}; expected a share from 0 to 1")


@dataclass(frozen=True)
class _Report:
    """Sums over one micro-batch."""

    next_token: float
    mtp: float
    balance: float
    load: dict[int, torch.Tensor]


class Pretraining:
    """The pretraining stage (see `ponder.train.loop.Stage`)."""

    name = "pretrain"

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        config: PretrainConfig,
        make_document: DocumentMaker,
        probe_skill: SkillProbe,
        workers: Workers,
        seed: int,
    ) -> None:
        self.model = model
        self._tokenizer, self._config, self._workers, self._seed = tokenizer, config, workers, seed
        self._make_document, self._probe_skill = make_document, probe_skill
        self._compute = ComputeModel(model, "fp32", workers)
        self._optimizer = Optimizer(self._compute.master, config.optimizer, workers)
        self._gate_passed_at: int | None = None  # the first step after the gate, once it is known
        self._skill: float | None = None  # the last look at it
        self._step_seconds = 0.0  # of a step, the newest weighing most

    @property
    def total_steps(self) -> int:
        first = self._config.max_skill_steps if self._gate_passed_at is None else self._gate_passed_at
        return first + self._config.polish_steps + self._config.habit_steps

    @property
    def remark(self) -> str:
        skill, gate = self._skill, self._config.gate_accuracy
        if self._gate_passed_at is None or skill is None or skill >= gate:
            return ""
        return (
            f"The base went on without passing its skill gate: made to think, it answered {100 * skill:.1f} % of the "
            f"training problems right, expected {100 * gate:.1f} %. Where thinking is no better than answering at "
            "once, RL deletes it."
        )

    def step(self, step: int, seconds_left: float | None = None) -> StepResult:
        started = time.monotonic()
        rng = python_rng(self._seed, self.name, step)
        in_habit = self._gate_passed_at is not None and step >= self._gate_passed_at + self._config.polish_steps
        share = self._config.worked_share if in_habit else 1.0
        manners = [self._manner(rng, in_habit=in_habit) for _ in range(self._config.documents_per_step)]
        documents = [self._make_document(rng, manner) for manner in manners]
        metrics = self._update(step, documents, self._learning_rate_scale(step)) | {"data/worked_share": share}
        if self._gate_passed_at is None:
            to_come = (self._config.polish_steps + self._config.habit_steps) * self._step_seconds
            hurried = seconds_left is not None and seconds_left <= to_come
            at_limit = current().from_first(step + 1 >= self._config.max_skill_steps or hurried)
            if at_limit or due(step, self._config.gate_every):
                self._compute.publish()
                self._skill = metrics["skill/forced_accuracy"] = current().from_first(self._probe_skill())
                if at_limit or self._skill >= self._config.gate_accuracy:
                    self._gate_passed_at = step + 1
        seconds = time.monotonic() - started
        self._step_seconds = 0.9 * self._step_seconds + 0.1 * seconds if self._step_seconds else seconds
        return StepResult(metrics=metrics, done=step + 1 >= self.total_steps)

    def state(self) -> StageState:
        self._compute.publish()
        numbers = {"gate_passed_at": self._gate_passed_at, "skill": self._skill}
        return StageState(tensors=self._optimizer.state_tensors(), numbers=numbers)

    def load_state(self, state: StageState) -> None:
        self._optimizer.load_state_tensors(dict(state.tensors))
        self._gate_passed_at, self._skill = state.numbers["gate_passed_at"], state.numbers["skill"]
        self._compute.refresh(frozen=True)

    def _manner(self, rng: random.Random, *, in_habit: bool) -> Manner:
        if not in_habit:
            return "thorough"
        return "worked" if rng.random() < self._config.worked_share else "straight"

    def _learning_rate_scale(self, step: int) -> float:
        if self._gate_passed_at is not None:
            return 1.0 - (step - self._gate_passed_at) / (self._config.polish_steps + self._config.habit_steps)
        return warmed_up(step, self._config.warmup_steps)

    def _update(self, step: int, documents: Sequence[Document], scale: float) -> dict[str, float]:
        started = time.monotonic()
        sequences, prompt_lengths = encode_documents(documents, self._tokenizer)
        scored_tokens = sum(map(len, sequences)) - sum(prompt_lengths)

        def loss_of(rows: MicroBatch) -> tuple[torch.Tensor, _Report]:
            pad = self._tokenizer.control.pad
            batch = PaddedBatch.collate([sequences[i] for i in rows], [prompt_lengths[i] for i in rows], pad)
            return self._loss(batch, scored_tokens, len(sequences))

        cuts = micro_batches([len(s) for s in sequences], self._config.micro_batch_tokens)
        reports = accumulate_gradients(self._compute.model, cuts, loss_of, self._workers)
        loss = sum(r.next_token for r in reports) / scored_tokens
        norm = self._optimizer.clip()
        if not (loss < float("inf") and norm < float("inf")):  # false for NaN too
            raise NonFiniteLossError(
                f"pretrain: step {step} has loss {loss} and gradient norm {norm}; the step was not taken and the last "
                f"checkpoint is good. Its first document: {documents[0].prompt!r}. Begin another run with lower "
                "pretrain.optimizer rates"
            )
        self._optimizer.step(scale)
        load = balance_experts(self._compute.master, [r.load for r in reports])
        return {
            "loss/next_token": loss,
            "loss/mtp": sum(r.mtp for r in reports) / scored_tokens,
            "loss/balance": sum(r.balance for r in reports) / len(sequences),
            "optimizer/learning_rate_scale": scale,
            "optimizer/gradient_norm": norm,
            "routing/max_load": load,
            "speed/tokens_per_second": sum(map(len, sequences)) / max(time.monotonic() - started, 1e-9),
        }

    def _loss(self, batch: PaddedBatch, scored_tokens: int, sequences: int) -> tuple[torch.Tensor, _Report]:
        model, moe = self._compute.model, self.model.config.moe
        stats = RoutingStats(batch.valid_BT)
        hidden_BTD = model(batch.ids_BT, stats=stats)
        head = model.head.weight
        next_token = -score_tokens(hidden_BTD, head, batch.ids_BT, batch.scored_BT).logp_M.sum()
        mtp = torch.zeros(())
        if self._config.mtp_weight:
            for k, states in enumerate(model.mtp_hidden(hidden_BTD, batch.ids_BT, stats), start=1):
                logp_M = score_tokens(states, head, batch.ids_BT[:, k:], batch.scored_BT[:, k:]).logp_M
                mtp = mtp - logp_M.sum() / model.config.mtp_depth
        loss = (next_token + self._config.mtp_weight * mtp) / scored_tokens
        if moe is not None:
            loss = loss + moe.sequence_balance_weight * stats.balance_sum / sequences
        sums = [float(torch.as_tensor(t).detach()) for t in (next_token, mtp, stats.balance_sum)]
        return loss, _Report(sums[0], sums[1], sums[2], stats.load)


def encode_documents(documents: Sequence[Document], tokenizer: Tokenizer) -> tuple[list[list[int]], list[int]]:
    """The ids of each document, prompt and completion, and the lengths of the prompts."""
    texts = [text for d in documents for text in (d.prompt, d.thought, d.answer)]
    encoded = iter(tokenizer.encode_batch(texts))
    sequences, prompt_lengths = [], []
    for prompt in encoded:
        sequences.append([*prompt, *completion_ids(next(encoded), next(encoded), tokenizer.control)])
        prompt_lengths.append(len(prompt))
    return sequences, prompt_lengths
