"""Counting what training costs in floating-point operations, and stopping at a budget of them.

Operations are counted from the model's shape (`ponder.plan.flops`): a token that is sampled, or read in a prompt, is
one forward pass; a token that is trained on is three. A count does not depend on the machine nor on what else runs on
it, and a run that is resumed comes to the same one.
"""

import time
from collections.abc import Callable, Sequence

from ponder.core.generator import GenerationProgress, TrainableGenerator
from ponder.core.types import Completion, Prompt, Sampling
from ponder.models.config import ModelConfig
from ponder.plan.flops import causal_keys, forward_flops, training_flops
from ponder.train.checkpoint import StageState
from ponder.train.grpo import Grpo
from ponder.train.loop import StepResult


def sampling_cost(config: ModelConfig, tokens: int, length: float) -> float:
    """FLOPs of `tokens` read or sampled, in sequences of `length` on average."""
    return tokens * forward_flops(config, causal_keys(length)).total


def training_cost(config: ModelConfig, tokens: int, length: float, *, mtp: bool = False) -> float:
    """FLOPs of `tokens` trained on once. `mtp`: with the modules of multi-token prediction."""
    return tokens * training_flops(config, length, mtp=mtp).model


class CountingGenerator:
    """A `TrainableGenerator` that counts tokens: a prompt once for all its samples, as it is read once."""

    def __init__(self, inner: TrainableGenerator) -> None:
        self._inner = inner
        self.tokens = 0
        self.sequences = 0  # completions
        self.length = 0  # tokens of all sequences, each with its prompt

    @property
    def weight_version(self) -> int:
        return self._inner.weight_version

    def refresh(self, version: int) -> None:
        """See `ponder.core.generator.TrainableGenerator`."""
        self._inner.refresh(version)

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_progress: GenerationProgress | None = None,
    ) -> list[list[Completion]]:
        """See `ponder.core.generator.Generator`."""
        made = self._inner.generate(prompts, sampling, seeds, on_progress)
        for prompt, completions in zip(prompts, made, strict=True):
            self.tokens += len(prompt.ids) + sum(len(c.ids) for c in completions)
            self.sequences += len(completions)
            self.length += sum(len(prompt.ids) + len(c.ids) for c in completions)
        return made


class MeteredGrpo:
    """`Grpo` as a stage that knows what it has cost, tells when it passes `mark`, and ends at `budget`.

    Either may be None. `on_mark` is called after the first step that reaches the mark, with the weights as they are
    then; its time is not the stage's.
    """

    def __init__(
        self,
        inner: Grpo,
        generator: CountingGenerator,
        *,
        mark: float | None = None,
        budget: float | None = None,
        on_mark: Callable[[], None] = lambda: None,
    ) -> None:
        """`generator` is the one that `inner` samples with."""
        self.name, self.model = inner.name, inner.model
        self._inner, self._generator = inner, generator
        self._mark, self._budget, self._on_mark = mark, budget, on_mark
        self._marked = False
        self.flops = 0.0
        self.core_seconds = 0.0  # of the steps alone

    @property
    def total_steps(self) -> int | None:
        return self._inner.total_steps if self._budget is None else None

    @property
    def remark(self) -> str:
        return self._inner.remark

    def step(self, step: int, seconds_left: float | None = None) -> StepResult:
        before, cores = (self._generator.tokens, self._generator.sequences, self._generator.length), time.process_time()
        result = self._inner.step(step, seconds_left)
        self.core_seconds += time.process_time() - cores
        sampled = self._generator.tokens - before[0]
        sequences = self._generator.sequences - before[1]
        length = (self._generator.length - before[2]) / max(sequences, 1)
        self.flops += sampling_cost(self.model.config, sampled, length)
        self.flops += training_cost(self.model.config, round(result.metrics["data/trained_tokens"]), length)
        if self._mark is not None and not self._marked and self.flops >= self._mark:
            self._on_mark()
            self._marked = True
        over = self._budget is not None and self.flops >= self._budget
        metrics = {**result.metrics, "cost/flops": self.flops}
        return StepResult(metrics=metrics, rollouts=result.rollouts, done=result.done or over)

    def state(self) -> StageState:
        inner = self._inner.state()
        meter = {"flops": self.flops, "core_seconds": self.core_seconds, "marked": self._marked}
        return StageState(tensors=inner.tensors, numbers={"inner": dict(inner.numbers), "meter": meter})

    def load_state(self, state: StageState) -> None:
        self._inner.load_state(StageState(tensors=state.tensors, numbers=state.numbers["inner"]))
        meter = state.numbers["meter"]
        self.flops, self.core_seconds, self._marked = meter["flops"], meter["core_seconds"], meter["marked"]
