"""Training a reward model: pairwise for helpfulness, pointwise for safety (R1, supplement on reward models).

Shapes: B sequences.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ponder.algo.preferences import bradley_terry_loss, label_loss
from ponder.core.errors import ConfigError, DataError, NonFiniteLossError, TrainingError, ran_out_of_memory
from ponder.core.seeds import python_rng
from ponder.core.workers import Workers
from ponder.data.preferences import PreferencePair, SafetyLabel
from ponder.models.scalar_head import ScoringModel
from ponder.models.transformer import Transformer
from ponder.text.prompt import Prompter
from ponder.train.batch import micro_batches
from ponder.train.checkpoint import StageState
from ponder.train.gradients import MicroBatch, accumulate_gradients
from ponder.train.loop import StepResult, due
from ponder.train.optimizer import Optimizer, OptimizerConfig
from ponder.train.parallel import current
from ponder.train.precision import ComputeModel, Precision
from ponder.train.reward_model import Kind, RewardCard, RewardModel, encode_reply, save_reward_model, score_sequences
from ponder.train.reward_quality import NO_SPREAD, SATURATED, RewardQuality, Scored, judge_labels, judge_pairs
from ponder.train.schedule import warmup_then_fall

HEAD = "scalar_head.weight"  # the state's name of the one weight that the model's own files have no place for


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """Settings of a reward model's training. R1's published values stand in brackets."""

    epochs: float = 1.0  # [1]
    items_per_step: int = 16  # pairs or labels [256]
    max_tokens: int = 1024  # of a sequence; items with a longer one are left out and counted [8192]
    centre_weight: float = 0.01  # keeps the rewards' mean near 0; pairs only
    warmup_steps: int = 5
    final_rate_share: float = 0.1  # of the peak learning rate, reached along a line at the last step
    evaluate_every: int = 100  # steps between two looks at the held-out data; the last step always looks
    precision: Precision = "fp32"  # of the forward and backward pass; trained weights are in fp32 either way
    micro_batch_tokens: int = 2048  # memory and speed only; never changes the result beyond rounding
    gradient_checkpointing: bool = False  # computes every block twice and keeps less: memory and speed only
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=2e-5))  # [6e-6]

    def __post_init__(self) -> None:
        for name in ("items_per_step", "max_tokens", "warmup_steps", "evaluate_every", "micro_batch_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"reward_model.{name} = {getattr(self, name)}; expected 1 or more")
        if not self.epochs > 0 or self.centre_weight < 0 or not 0.0 <= self.final_rate_share <= 1.0:
            raise ConfigError(
                f"reward_model.epochs = {self.epochs}, centre_weight = {self.centre_weight}, final_rate_share = "
                f"{self.final_rate_share}; expected more than 0, 0 or more, and a share from 0 to 1"
            )


@dataclass(frozen=True)
class _Item:
    """What a loss is about: two sequences, the better first, or one with its label."""

    prompt_id: str
    sequences: tuple[list[int], ...]
    safe: bool | None = None  # None: a pair

    @property
    def tokens(self) -> int:
        return sum(map(len, self.sequences))


@dataclass(frozen=True)
class _Report:
    """Of one micro-batch."""

    loss: float
    margins: list[float]  # as logits, positive where the item is on the right side
    scores: list[float]


class RewardTraining:
    """The training of a reward model (see `ponder.train.loop.Stage`).

    `model` is its body; the scalar head is part of the stage's state. Parameters that need no gradient stay as they
    are, so that an adapter can be trained in place of the whole.
    """

    def __init__(
        self,
        model: Transformer,
        prompter: Prompter,
        train: Sequence[PreferencePair] | Sequence[SafetyLabel],
        held_out: Sequence[PreferencePair] | Sequence[SafetyLabel],
        config: RewardConfig,
        workers: Workers,
        seed: int,
        *,
        name: str = "reward_model",
    ) -> None:
        """Pairs make a helpfulness model, labels one of safety.

        Raises `DataError` where nothing is left to train on or to hold out that fits in `max_tokens`.
        """
        kinds = {type(item) for item in (*train, *held_out)}
        if len(kinds) != 1:
            raise DataError(
                f"{name}: {len(train)} items to train on and {len(held_out)} held out, of {len(kinds)} kinds; expected "
                "pairs alone or labels alone, and some of them on each side"
            )
        self.kind: Kind = "helpfulness" if kinds == {PreferencePair} else "safety"
        self.model, self.name = model, name
        self.scoring = ScoringModel(model)
        self._prompter, self._config, self._workers, self._seed = prompter, config, workers, seed
        self._compute = ComputeModel(model, config.precision)
        self.scoring.scalar_head.to(current().device)
        self._running = ScoringModel(self._compute.model, self.scoring.scalar_head)
        self._trained = ScoringModel(self._compute.master, self.scoring.scalar_head)
        self._optimizer = Optimizer(self._trained, config.optimizer, workers)
        self._train, left_out = self._encode(train)
        self._held_out, not_measured = self._encode(held_out)
        self.left_out = left_out + not_measured
        if not self._train or not self._held_out:
            raise DataError(
                f"{name}: of {len(train)} items to train on {len(self._train)} fit in {config.max_tokens} tokens, and "
                f"{len(self._held_out)} of {len(held_out)} held out; expected some of each: raise max_tokens, or give "
                "more data"
            )
        self._total_items = max(1, round(config.epochs * len(self._train)))  # of all epochs
        self._order: tuple[int, list[int]] | None = None  # of the epoch that was drawn from last
        self._quality: RewardQuality | None = None

    @property
    def total_steps(self) -> int:
        return math.ceil(self._total_items / self._config.items_per_step)

    @property
    def remark(self) -> str:
        parts = [str(self._quality)] if self._quality is not None else []
        if self.left_out:
            parts.append(f"{self.left_out} items were longer than {self._config.max_tokens} tokens and left out.")
        return " ".join(parts)

    def step(self, step: int, seconds_left: float | None = None) -> StepResult:
        started = time.monotonic()
        items = [self._train[self._index(step * self._config.items_per_step + i)] for i in range(self._count(step))]
        metrics = self._update(step, items)
        metrics["speed/tokens_per_second"] = sum(i.tokens for i in items) / max(time.monotonic() - started, 1e-9)
        last = step + 1 >= self.total_steps
        if last or due(step, self._config.evaluate_every):
            self._quality = self.evaluate()
            metrics |= self._quality.metrics
        return StepResult(metrics=metrics, done=last)

    def evaluate(self) -> RewardQuality:
        """How good it is now, on the held-out data."""
        self._compute.refresh()
        self._compute.publish()
        flat = [ids for item in self._held_out for ids in item.sequences]
        scores = iter(
            score_sequences(self._running, flat, self._workers, micro_batch_tokens=self._config.micro_batch_tokens)
        )
        scored = [
            tuple(Scored(item.prompt_id, next(scores), len(ids)) for ids in item.sequences) for item in self._held_out
        ]
        if self.kind == "helpfulness":
            return judge_pairs([(pair[0], pair[1]) for pair in scored])
        return judge_labels([(one[0], bool(item.safe)) for one, item in zip(scored, self._held_out, strict=True)])

    def trained(self) -> RewardModel:
        """The model as it is now, with what is known of it. Its weights are the stage's own."""
        quality = self._quality or self.evaluate()
        card = RewardCard(
            kind=self.kind,
            max_tokens=self._config.max_tokens,
            mean=quality.mean,
            std=max(quality.std, NO_SPREAD),
            quality=quality.to_json(),
        )
        return RewardModel(self.scoring, self._prompter, card)

    def save(self, folder: Path, chat_template: str | None) -> None:
        """Write the reward model; see `ponder.train.reward_model.save_reward_model`."""
        trained = self.trained()
        save_reward_model(folder, trained.model, self._prompter.tokenizer, chat_template, trained.card)

    def state(self) -> StageState:
        self._compute.publish()
        tensors = {f"optimizer/{k}": v for k, v in self._optimizer.state_tensors().items()}
        return StageState(tensors={**tensors, HEAD: self.scoring.scalar_head.weight})

    def load_state(self, state: StageState) -> None:
        tensors = dict(state.tensors)
        with torch.no_grad():
            self.scoring.scalar_head.weight.copy_(tensors.pop(HEAD))
        self._optimizer.load_state_tensors({k.removeprefix("optimizer/"): v for k, v in tensors.items()})
        self._compute.refresh(frozen=True)

    def _encode(self, items: Sequence[PreferencePair] | Sequence[SafetyLabel]) -> tuple[list[_Item], int]:
        """Those that fit, and how many do not."""
        encoded = []
        for item in items:
            replies = (item.chosen, item.rejected) if isinstance(item, PreferencePair) else (item.response,)
            sequences = tuple(encode_reply(self._prompter, item.prompt, reply, self.kind) for reply in replies)
            if max(map(len, sequences)) <= self._config.max_tokens:
                encoded.append(_Item(item.prompt_id, sequences, item.safe if isinstance(item, SafetyLabel) else None))
        return encoded, len(items) - len(encoded)

    def _count(self, step: int) -> int:
        """Items of a step: the last one may have fewer."""
        return min(self._config.items_per_step, self._total_items - step * self._config.items_per_step)

    def _index(self, place: int) -> int:
        """Which item stands at a place of the stream: shuffled anew for every epoch."""
        epoch, offset = divmod(place, len(self._train))
        if self._order is None or self._order[0] != epoch:
            order = list(range(len(self._train)))
            python_rng(self._seed, self.name, "epoch", epoch).shuffle(order)
            self._order = (epoch, order)
        return self._order[1][offset]

    def _learning_rate_scale(self, step: int) -> float:
        config = self._config
        return warmup_then_fall(
            step,
            steps=self.total_steps,
            warmup_steps=config.warmup_steps,
            final_share=config.final_rate_share,
            fall="line",
        )

    def _update(self, step: int, items: Sequence[_Item]) -> dict[str, float]:
        def loss_of(rows: MicroBatch) -> tuple[torch.Tensor, _Report]:
            return self._loss([items[i] for i in rows], len(items))

        self._compute.refresh()
        cuts = micro_batches([item.tokens for item in items], self._config.micro_batch_tokens)
        masters = [*self._compute.masters(), self.scoring.scalar_head.weight]
        try:
            reports = accumulate_gradients(self._running, cuts, loss_of, self._workers, masters)
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
            raise TrainingError(self._out_of_memory(step)) from error
        loss, norm = math.fsum(r.loss for r in reports), self._optimizer.clip()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NonFiniteLossError(
                f"{self.name}: step {step} has loss {loss} and gradient norm {norm}; the step was not taken and the "
                "last checkpoint is good. Begin another run with a lower optimizer.learning_rate of this stage"
            )
        scale = self._learning_rate_scale(step)
        self._optimizer.step(scale)
        margins = [m for r in reports for m in r.margins]
        scores = [s for r in reports for s in r.scores]
        mean = math.fsum(scores) / len(scores)
        return {
            "loss/preference" if self.kind == "helpfulness" else "loss/safety": loss,
            "reward_model/accuracy": sum((m > 0) + 0.5 * (m == 0) for m in margins) / len(margins),
            "reward_model/margin": math.fsum(margins) / len(margins),
            "reward_model/spread": math.sqrt(math.fsum((s - mean) ** 2 for s in scores) / len(scores)),
            "reward_model/saturated_share": sum(abs(m) > SATURATED for m in margins) / len(margins),
            "optimizer/learning_rate_scale": scale,
            "optimizer/gradient_norm": norm,
        }

    def _out_of_memory(self, step: int) -> str:
        advice = "use fewer workers" if self._config.gradient_checkpointing else "switch gradient_checkpointing on"
        return (
            f"{self.name}: out of memory in step {step}, with {self._workers.count} micro-batches at once of "
            f"{self._config.micro_batch_tokens} tokens; no step was taken and the last checkpoint is good. Lower "
            f"micro_batch_tokens, then max_tokens; or {advice}; or train fewer weights (an adapter)"
        )

    def _loss(self, items: Sequence[_Item], step_items: int) -> tuple[torch.Tensor, _Report]:
        sequences = [ids for item in items for ids in item.sequences]
        scores_B = self._running(sequences, recompute=self._config.gradient_checkpointing)
        if self.kind == "helpfulness":
            chosen_B, rejected_B = scores_B[0::2], scores_B[1::2]
            loss = bradley_terry_loss(chosen_B, rejected_B, pairs=step_items, centre_weight=self._config.centre_weight)
            margins_B = chosen_B - rejected_B
        else:
            safe_B = torch.tensor([float(bool(item.safe)) for item in items])
            loss = label_loss(scores_B, safe_B, replies=step_items)
            margins_B = scores_B * (2.0 * safe_B - 1.0)
        return loss, _Report(float(loss.detach()), margins_B.tolist(), scores_B.tolist())
