"""Supervised fine-tuning: next-token loss on what the assistant says in example conversations.

R1's cold start and its second fine-tuning (section 2.3) are this stage, with other examples. Shapes: B sequences,
T tokens, M tokens to learn.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from ponder.core.errors import ConfigError, DataError, NonFiniteLossError, TrainingError, ran_out_of_memory
from ponder.core.seeds import python_rng
from ponder.core.workers import Workers
from ponder.data.packing import PackingConfig, PackingState, TooLong, count_steps, pack_step
from ponder.models.head import head_divergence, head_loss
from ponder.models.moe import RoutingStats
from ponder.models.transformer import Transformer
from ponder.text.examples import Example
from ponder.train.balance import balance_experts
from ponder.train.batch import PaddedBatch, micro_batches
from ponder.train.checkpoint import StageState
from ponder.train.gradients import MicroBatch, accumulate_gradients
from ponder.train.loop import StepResult
from ponder.train.optimizer import Optimizer, OptimizerConfig
from ponder.train.parallel import current
from ponder.train.precision import DTYPES, ComputeModel, Precision, rounded_copy
from ponder.train.schedule import warmup_then_fall


class ExampleSource(Protocol):
    """Examples by number, the same whenever one is asked for: so a resume sees what it would have seen."""

    @property
    def size(self) -> int | None:
        """How many there are; None: as many as one asks for, and no two numbers need give the same."""
        ...

    def example(self, index: int) -> Example:
        """Example number `index`, counted from 0."""
        ...


@dataclass(frozen=True, kw_only=True)
class SftConfig:
    """Fine-tuning settings."""

    steps: int = 400
    epochs: float = 0.0  # passes over a finite set, instead of `steps`; 0, as where `steps` is changed: `steps` counts
    tokens_per_step: int = 4096  # a multiple of row_tokens; read tokens and learned ones together
    row_tokens: int = 2048  # examples are packed into rows of so many tokens; none may be longer
    too_long: TooLong = "refuse"  # what becomes of an example longer than a row; those left out are counted
    micro_batch_rows: int = 1  # rows of a micro-batch: memory and speed only, never changes the result beyond rounding
    gradient_checkpointing: bool = False  # computes every block twice and keeps less: memory and speed only
    precision: Precision = "fp32"  # of the forward and backward pass; trained weights are in fp32 either way
    warmup_steps: int = 20
    final_rate_share: float = 0.1  # of the peak learning rate, reached at the last step along a cosine
    mtp_weight: float = 0.3  # of the multi-token prediction loss, where the model has such modules
    # logits are divided by it in the loss of the examples' tokens: above 1, what is right even so is said at
    # temperature 1 with more certainty than the examples have
    temperature: float = 1.0
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=3e-4))

    def __post_init__(self) -> None:
        for name in ("steps", "tokens_per_step", "row_tokens", "micro_batch_rows", "warmup_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"sft.{name} = {getattr(self, name)}; expected 1 or more")
        if self.epochs < 0 or self.mtp_weight < 0:
            raise ConfigError(f"sft.epochs = {self.epochs}, sft.mtp_weight = {self.mtp_weight}; expected 0 or more")
        if not (math.isfinite(self.temperature) and self.temperature > 0.0):
            raise ConfigError(f"sft.temperature = {self.temperature}; expected a number above 0")
        if not 0.0 <= self.final_rate_share <= 1.0:
            raise ConfigError(f"sft.final_rate_share = {self.final_rate_share}; expected a share from 0 to 1")
        if self.row_tokens < 2 or self.tokens_per_step % self.row_tokens:
            raise ConfigError(
                f"sft.tokens_per_step = {self.tokens_per_step} is not a multiple of sft.row_tokens = {self.row_tokens}"
            )

    @property
    def packing(self) -> PackingConfig:
        """How a step's examples become rows."""
        rows = self.tokens_per_step // self.row_tokens
        return PackingConfig(row_tokens=self.row_tokens, rows=rows, too_long=self.too_long)


@dataclass(frozen=True)
class _Report:
    """Sums over one micro-batch."""

    next_token: float
    divergence: float
    mtp: float = 0.0
    balance: float = 0.0
    load: dict[int, torch.Tensor] = field(default_factory=dict)


class Sft:
    """A fine-tuning stage (see `ponder.train.loop.Stage`). Parameters that need no gradient stay as they are."""

    def __init__(
        self,
        model: Transformer,
        source: ExampleSource,
        config: SftConfig,
        workers: Workers,
        seed: int,
        *,
        name: str = "sft",
        pad: int = 0,
        reference: Transformer | None = None,
    ) -> None:
        """`pad` fills the ends of rows in models with experts; no loss and no load is counted there. `reference`: the
        model whose distribution is learned where examples say so; it stays as it is.

        Raises `DataError` for a set without examples, `ConfigError` for epochs of an endless one.
        """
        self.model, self.name = model, name
        self._source, self._config, self._workers, self._seed, self._pad = source, config, workers, seed, pad
        if source.size is not None and source.size < 1:
            raise DataError(f"{name}: there is no example to learn from; expected at least one")
        self._packer = replace(config.packing, positions=model.config.max_positions)
        self._end: int | None = None  # of the stream of examples
        self._steps = config.steps
        self._orders: dict[int, list[int]] = {}  # the shuffled order of an epoch
        if config.epochs:
            if source.size is None:
                raise ConfigError(f"{name}: sft.epochs = {config.epochs} of an endless set of examples; set sft.steps")
            self._end = math.ceil(config.epochs * source.size)
            self._steps = self._count_steps(source.size)
        self._compute = ComputeModel(model, config.precision, workers)
        self._optimizer = Optimizer(self._compute.master, config.optimizer, workers)
        self._reference = None if reference is None else _frozen(reference, config.precision)
        self._packing = PackingState()

    @property
    def total_steps(self) -> int:
        return self._steps

    @property
    def remark(self) -> str:
        left_out = self._packing.left_out
        if not left_out:
            return ""
        return f"{self.name}: {left_out} examples were longer than {self._packer.longest} tokens and were left out."

    def step(self, step: int, seconds_left: float | None = None) -> StepResult:
        started = time.monotonic()
        drawn: dict[int, Example] = {}

        def length_of(place: int) -> int:
            drawn[place] = self._source.example(self._index(place))
            return len(drawn[place].ids)

        packed = pack_step(length_of, self._packer, self._packing, self._end)
        rows = [[drawn[place] for place in row] for row in packed.rows if row]
        if not rows:
            raise DataError(f"{self.name}: step {step} found no example that fits in {self._packer.longest} tokens")
        self._compute.refresh()
        metrics = self._update(step, rows, self._learning_rate_scale(step))
        self._packing = packed.state
        tokens = sum(len(example.ids) for row in rows for example in row)
        metrics |= {
            "data/examples": float(sum(map(len, rows))),
            "data/filled_share": tokens / self._config.tokens_per_step,
            "data/left_out": float(packed.state.left_out),
            "speed/tokens_per_second": tokens / max(time.monotonic() - started, 1e-9),
        }
        return StepResult(metrics=metrics, done=step + 1 >= self._steps)

    def state(self) -> StageState:
        self._compute.publish()
        packing = self._packing
        numbers = {"drawn": packing.drawn, "waiting": list(packing.waiting), "left_out": packing.left_out}
        return StageState(tensors=self._optimizer.state_tensors(), numbers=numbers)

    def load_state(self, state: StageState) -> None:
        self._optimizer.load_state_tensors(dict(state.tensors))
        numbers = state.numbers
        self._packing = PackingState(
            drawn=numbers["drawn"], waiting=tuple(numbers["waiting"]), left_out=numbers["left_out"]
        )
        self._compute.refresh(frozen=True)

    def _index(self, place: int) -> int:
        """Which example stands at a place of the stream: a finite set is shuffled anew for every pass."""
        size = self._source.size
        if size is None:
            return place
        epoch, offset = divmod(place, size)
        if epoch not in self._orders:
            order = list(range(size))
            python_rng(self._seed, self.name, "epoch", epoch).shuffle(order)
            self._orders = {e: o for e, o in self._orders.items() if e >= epoch - 1} | {epoch: order}
        return self._orders[epoch][offset]

    def _count_steps(self, size: int) -> int:
        lengths = [len(self._source.example(index).ids) for index in range(size)]
        assert self._end is not None
        steps = count_steps(lambda place: lengths[self._index(place)], self._packer, self._end)
        self._orders = {}
        if not steps:
            raise DataError(f"{self.name}: every example is longer than {self._packer.limit}")
        return steps

    def _learning_rate_scale(self, step: int) -> float:
        config = self._config
        return warmup_then_fall(
            step, steps=self._steps, warmup_steps=config.warmup_steps, final_share=config.final_rate_share
        )

    def _update(self, step: int, rows: Sequence[Sequence[Example]], scale: float) -> dict[str, float]:
        examples = [example for row in rows for example in row]
        target_tokens = sum(example.target_tokens for example in examples)
        rehearsed = sum(example.rehearsed for example in examples)

        def loss_of(chosen: MicroBatch) -> tuple[torch.Tensor, _Report]:
            picked = [rows[i] for i in chosen] if self._packs else [[examples[i]] for i in chosen]
            return self._loss([e for row in picked for e in row], target_tokens, len(examples))

        try:
            reports = accumulate_gradients(
                self._compute.model, self._cuts(rows), loss_of, self._workers, self._compute.masters()
            )
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
            raise TrainingError(self._out_of_memory(step)) from error
        loss = math.fsum(r.next_token for r in reports) / max(target_tokens - rehearsed, 1)
        divergence = math.fsum(r.divergence for r in reports) / max(rehearsed, 1)
        norm = self._optimizer.clip()
        if not (math.isfinite(loss + divergence) and math.isfinite(norm)):
            raise NonFiniteLossError(
                f"{self.name}: step {step} has loss {loss + divergence} and gradient norm {norm}; the step was not "
                "taken and the last checkpoint is good. Begin another run with lower optimizer rates of this stage"
            )
        self._optimizer.step(scale)
        metrics = {
            "loss/next_token": loss,
            "optimizer/learning_rate_scale": scale,
            "optimizer/gradient_norm": norm,
            "data/target_share": target_tokens / sum(len(example.ids) for example in examples),
        }
        if self._reference is not None:
            metrics |= {"loss/divergence": divergence, "data/rehearsed_share": rehearsed / target_tokens}
        return metrics | self._other_losses(reports, target_tokens, len(examples))

    @property
    def _packs(self) -> bool:
        """Whether examples stand end to end. Balance of experts and multi-token prediction go by sequences: there each
        has a row of its own.
        """
        return self.model.config.moe is None and not self.model.config.mtp_depth

    def _cuts(self, rows: Sequence[Sequence[Example]]) -> list[MicroBatch]:
        """Which rows share a micro-batch; or which examples, where each has a row of its own."""
        at_once = self._config.micro_batch_rows
        if self._packs:
            return [list(range(i, min(i + at_once, len(rows)))) for i in range(0, len(rows), at_once)]
        return micro_batches([len(e.ids) for row in rows for e in row], at_once * self._config.row_tokens)

    def _loss(
        self, examples: Sequence[Example], target_tokens: int, step_examples: int
    ) -> tuple[torch.Tensor, _Report]:
        if not self._packs:
            return self._padded_loss(examples, target_tokens, step_examples)
        model = self._compute.model
        lengths = [len(example.ids) for example in examples]
        ids_T = torch.tensor([token for example in examples for token in example.ids])
        learned_T = torch.tensor([mark for example in examples for mark in _learned_as_tokens(example)])
        hidden_BTD = model(ids_T[None], lengths=lengths, recompute=self._config.gradient_checkpointing)
        states_MD = self._tempered(hidden_BTD[0, :-1][learned_T[1:]])
        weight = 1.0 / target_tokens
        loss = head_loss(states_MD, model.head.weight, ids_T[learned_T], weight=weight)
        divergence = self._divergence(hidden_BTD.split(lengths, dim=1), examples, weight)
        report = _Report(float(loss.detach()) * target_tokens, float(divergence.detach()) * target_tokens)
        return loss + divergence, report

    def _tempered(self, states_MD: torch.Tensor) -> torch.Tensor:
        """States whose logits are divided by the temperature."""
        return states_MD if self._config.temperature == 1.0 else states_MD / self._config.temperature

    def _divergence(self, hidden: Sequence[torch.Tensor], examples: Sequence[Example], weight: float) -> torch.Tensor:
        """How far these states (1, T, D) of each example are from the reference's distribution where it is learned."""
        chosen = [i for i, example in enumerate(examples) if example.rehearsed]
        if not chosen:
            return torch.zeros(())
        if self._reference is None:
            raise DataError(f"{self.name}: examples are to be learned as a reference model's distribution; give it one")
        lengths = [len(examples[i].reference) for i in chosen]
        with torch.no_grad():
            if self._packs:
                read_T = torch.tensor([token for i in chosen for token in examples[i].reference])
                theirs = self._reference(read_T[None], lengths=lengths).split(lengths, dim=1)
            else:
                batch = PaddedBatch.collate([examples[i].reference for i in chosen], [0] * len(chosen), self._pad)
                states_BTD = self._reference(batch.ids_BT, stats=RoutingStats(batch.valid_BT))
                theirs = [states_BTD[row : row + 1, :length] for row, length in enumerate(lengths)]
        ours_MD = torch.cat([_before_last(hidden[i], examples[i].rehearsed) for i in chosen])
        theirs_MD = torch.cat([_before_last(t, examples[i].rehearsed) for t, i in zip(theirs, chosen, strict=True)])
        heads = self._compute.model.head.weight, self._reference.head.weight
        return head_divergence(ours_MD, heads[0], theirs_MD, heads[1], weight=weight)

    def _padded_loss(
        self, examples: Sequence[Example], target_tokens: int, step_examples: int
    ) -> tuple[torch.Tensor, _Report]:
        model, moe = self._compute.model, self.model.config.moe
        batch = PaddedBatch.collate([e.ids for e in examples], [0] * len(examples), self._pad)
        learned_BT = torch.zeros_like(batch.valid_BT)
        for row, example in enumerate(examples):
            learned_BT[row, : len(example.ids)] = torch.tensor(_learned_as_tokens(example))
        stats = RoutingStats(batch.valid_BT)
        hidden_BTD = model(batch.ids_BT, stats=stats, recompute=self._config.gradient_checkpointing)
        states, weight = [hidden_BTD], 1.0 / target_tokens
        if self._config.mtp_weight:
            states += model.mtp_hidden(hidden_BTD, batch.ids_BT, stats)
        sums = []
        for k, hidden in enumerate(states):  # module k predicts k + 1 tokens ahead
            chosen_BT = learned_BT[:, k + 1 :]
            ids_M = batch.ids_BT[:, k + 1 :][chosen_BT]
            states_MD = self._tempered(hidden[:, :-1][chosen_BT])
            sums.append(head_loss(states_MD, model.head.weight, ids_M, weight=weight))
        mtp = torch.stack(sums[1:]).mean() if sums[1:] else torch.zeros(())
        rows = [hidden_BTD[row : row + 1, : len(example.ids)] for row, example in enumerate(examples)]
        divergence = self._divergence(rows, examples, weight)
        loss = sums[0] + self._config.mtp_weight * mtp + divergence
        if moe is not None:
            loss = loss + moe.sequence_balance_weight * stats.balance_sum / step_examples
        balance = float(torch.as_tensor(stats.balance_sum).detach())
        report = _Report(
            next_token=float(sums[0].detach()) * target_tokens,
            divergence=float(divergence.detach()) * target_tokens,
            mtp=float(mtp.detach()) * target_tokens,
            balance=balance,
            load=stats.load,
        )
        return loss, report

    def _other_losses(self, reports: Sequence[_Report], target_tokens: int, examples: int) -> dict[str, float]:
        """Metrics of multi-token prediction and of experts, where the model has them; moves the experts' balance."""
        metrics: dict[str, float] = {}
        if self.model.config.mtp_depth:
            metrics["loss/mtp"] = math.fsum(r.mtp for r in reports) / target_tokens
        if self.model.config.moe is not None:
            metrics["loss/balance"] = math.fsum(r.balance for r in reports) / examples
            metrics["routing/max_load"] = balance_experts(self._compute.master, [r.load for r in reports])
        return metrics

    def _out_of_memory(self, step: int) -> str:
        config = self._config
        advice = "use fewer workers" if config.gradient_checkpointing else "switch gradient_checkpointing on"
        return (
            f"{self.name}: out of memory in step {step}, with {self._workers.count} micro-batches at once of "
            f"{config.micro_batch_rows} × {config.row_tokens} tokens; no step was taken and the last checkpoint is "
            f"good. Lower micro_batch_rows, then row_tokens; or {advice}; or train fewer weights (an adapter)"
        )


def _frozen(model: Transformer, precision: Precision) -> Transformer:
    """The model as losses are computed on it, whole in every process, which no gradient reaches."""
    model = model.requires_grad_(False).to(current().device)
    return model if precision == "fp32" else rounded_copy(model, DTYPES[precision])


def _learned_as_tokens(example: Example) -> list[bool]:
    """Which of its tokens are learned as they are. A token is predicted from the one before it; nothing predicts the
    first.
    """
    until = len(example.ids) - example.rehearsed
    return [mark and 0 < place < until for place, mark in enumerate(example.target)]


def _before_last(hidden_1TD: torch.Tensor, tokens: int) -> torch.Tensor:
    """The states that predict the last `tokens` of a sequence, (tokens, D)."""
    return hidden_1TD[0, -tokens - 1 : -1]
