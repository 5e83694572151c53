"""The loop that every training stage shares: steps, metrics, samples, checkpoints, resume."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ponder.core.metrics import JsonLines, MetricsLog
from ponder.core.progress import Reporter, Sample
from ponder.core.runs import RunFolder
from ponder.core.types import Rollout
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from ponder.train.checkpoint import (
    Progress,
    StageState,
    load_state,
    load_weights,
    read_progress,
    save_checkpoint,
)
from ponder.train.parallel import current

SHOWN = 3  # completions given to the reporter after a step


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one step has to say."""

    metrics: Mapping[str, float]
    rollouts: Sequence[Rollout] = ()  # a few, for samples.jsonl and for people
    done: bool = False  # the stage has reached its goal


class Stage(Protocol):
    """One stage of training. It owns the optimizer and reads and writes `model` in place."""

    name: str
    model: Transformer

    @property
    def total_steps(self) -> int | None:
        """How many steps it will take at most, as far as is known now."""
        ...

    @property
    def remark(self) -> str:
        """What a reader of the run's report must know of how the stage went; empty where there is nothing."""
        ...

    def step(self, step: int, seconds_left: float | None = None) -> StepResult:
        """Do step number `step`, counted from 0; `seconds_left` is what a time limit leaves, None without one."""
        ...

    def state(self) -> StageState:
        """Everything but the weights that a resume needs."""
        ...

    def load_state(self, state: StageState) -> None:
        """Continue from what `state` gave."""
        ...


def due(step: int, every: int) -> bool:
    """Whether something done every `every` steps is due after step number `step`."""
    return (step + 1) % every == 0


class Clock:
    """Wall and processor seconds, continued over a resume."""

    def __init__(self, seconds: float = 0.0, core_seconds: float = 0.0) -> None:
        self._wall = time.monotonic() - seconds
        self._cores = time.process_time() - core_seconds

    def read(self) -> tuple[float, float]:
        return time.monotonic() - self._wall, time.process_time() - self._cores

    def progress(self) -> Progress:
        """The time so far as that of a part which is done."""
        seconds, core_seconds = self.read()
        return Progress(seconds=seconds, core_seconds=core_seconds, finished=True)


def run_stage(
    stage: Stage,
    tokenizer: Tokenizer,
    run: RunFolder,
    reporter: Reporter,
    *,
    checkpoint_every: int,
    seconds_limit: float | None = None,
    chat_template: str | None = None,
) -> Progress:
    """Run a stage to its end, from its newest checkpoint if it has one, and return where it ended.

    `seconds_limit` ends the stage early after that much time of its own; without one, the result depends on
    the recipe alone. `chat_template` is saved beside the weights.
    """

    def save(step: int, progress: Progress) -> None:
        folder = run.checkpoint(stage.name, step)
        save_checkpoint(folder, stage.model, tokenizer, stage.state(), progress, chat_template)

    progress = resume_stage(stage, run)
    if progress is not None and progress.finished:
        return progress
    with MetricsLog(run.metrics) as metrics, JsonLines(run.samples) as samples:
        logs = _Logs(metrics, samples)
        if progress is None:  # the first checkpoint also marks where in the logs the stage begins
            progress = logs.mark(Progress())
            save(0, progress)
        logs.rewind(progress)
        reporter.stage(stage.name, stage.total_steps)
        clock = Clock(progress.seconds, progress.core_seconds)
        if stage.total_steps is not None and progress.step >= stage.total_steps:  # the recipe has fewer steps now
            progress = replace(progress, finished=True)
            save(progress.step, logs.mark(progress))
        while not progress.finished:
            step, before = progress.step, progress.seconds
            result = stage.step(step, None if seconds_limit is None else seconds_limit - before)
            seconds, core_seconds = current().from_first(clock.read())
            logs.write(stage.name, step, result, seconds - before)
            late = seconds_limit is not None and seconds >= seconds_limit and not result.done
            remark = f"{stage.name} was stopped by the clock after step {step + 1}." if late else stage.remark
            if late:
                reporter.note(remark)
            progress = Progress(
                step=step + 1,
                finished=result.done or late,
                seconds=seconds,
                core_seconds=core_seconds,
                remark=remark,
            )
            reporter.expect(stage.total_steps)
            reporter.step(step, result.metrics)
            if result.rollouts:
                reporter.samples([Sample.of(rollout) for rollout in result.rollouts[:SHOWN]])
            if progress.finished or due(step, checkpoint_every):
                save(step + 1, logs.mark(progress))
    return progress


@dataclass(frozen=True)
class _Logs:
    """The two logs of a run, which a resume cuts back to what its checkpoint knows."""

    metrics: MetricsLog
    samples: JsonLines

    def mark(self, progress: Progress) -> Progress:
        """The progress with the present ends of the logs."""
        return replace(progress, metrics_offset=self.metrics.offset(), samples_offset=self.samples.offset())

    def rewind(self, progress: Progress) -> None:
        """Drop what was logged after the checkpoint."""
        self.metrics.truncate(progress.metrics_offset)
        self.samples.truncate(progress.samples_offset)

    def write(self, stage: str, step: int, result: StepResult, seconds: float) -> None:
        """The lines of one step."""
        self.metrics.log(stage, step, {**result.metrics, "time/seconds": seconds})
        for rollout in result.rollouts:
            self.samples.append(rollout.row(stage, step))


def resume_stage(stage: Stage, run: RunFolder) -> Progress | None:
    """Load the stage's newest checkpoint into it; None where there is none yet."""
    newest = run.latest_checkpoint(stage.name)
    if newest is None:
        return None
    load_weights(newest, stage.model)
    stage.load_state(load_state(newest))
    return read_progress(newest)
