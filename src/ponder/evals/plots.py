"""The plots of a run as PNG, from the rows of its metrics file and its evaluations."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ponder.algo.pass_at_k import Interval
from ponder.evals.evaluator import Evaluation
from ponder.evals.figure import BLUE, GREEN, GREY, INK, ORANGE, finish, new_figure

Row = Mapping[str, Any]


class Series(NamedTuple):
    """The values of one metric by step."""

    steps: list[float]
    values: list[float]


class HeldOut(NamedTuple):
    """A figure measured on held-out problems, at the step of the weights that it belongs to."""

    step: float
    value: float
    bounds: tuple[float, float] | None = None  # of its 95 % interval


def series(rows: Iterable[Row], stage: str, name: str) -> Series:
    """Every finite value of a metric in a stage, in the order of the file."""
    found = [(row.get("step"), row.get(name)) for row in rows if row.get("stage") == stage]
    pairs = [(step, value) for step, value in found if _is_finite(step) and _is_finite(value)]
    return Series([step for step, _ in pairs], [value for _, value in pairs])


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def plot_reward(rows: Sequence[Row], base: Evaluation | None, trained: Evaluation | None) -> bytes | None:
    """Reward and accuracy over the steps of RL, with held-out accuracy before and after. None without data."""
    reward, accuracy = series(rows, "zero", "reward/mean"), series(rows, "zero", "reward/accuracy")
    if not accuracy.steps and not reward.steps:
        return None
    figure, axes = _figure("Reward and accuracy during RL", "RL step")
    _line(axes, reward, ORANGE, "mean reward (training)", width=1.2)
    _line(axes, accuracy, BLUE, "accuracy (training, sampled)")
    last = max([*reward.steps, *accuracy.steps])
    for attribute, interval, marker, label, aside in (
        ("pass_at_1", "pass_at_1_interval", "o", "held out, sampled", 0.0),
        ("greedy_accuracy", "greedy_interval", "D", "held out, greedy", 0.015 * last),  # beside it, not upon it
    ):
        points = [
            HeldOut(step, getattr(evaluation, attribute), getattr(evaluation, interval))
            for step, evaluation in ((-aside, base), (last + aside, trained))
            if evaluation is not None
        ]
        _held_out(axes, points, marker, label)
    if base is not None and base.forced_accuracy is not None:
        label = "base made to think (held out, greedy)"
        axes.axhline(base.forced_accuracy, color=GREEN, linewidth=1.2, linestyle="--", label=label)
    axes.set_ylabel("share right; reward (0 to 1)")
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    return finish(figure, axes)


def plot_length(rows: Sequence[Row], base: Evaluation | None, trained: Evaluation | None) -> bytes | None:
    """Mean length of a completion over the steps of RL. None without data."""
    length = series(rows, "zero", "rollout/mean_length")
    if not length.steps:
        return None
    figure, axes = _figure("Response length during RL", "RL step")
    _line(axes, length, BLUE, "training problems")
    points = [
        HeldOut(step, evaluation.mean_length)
        for step, evaluation in ((0.0, base), (length.steps[-1], trained))
        if evaluation is not None
    ]
    _held_out(axes, points, "o", "held out, sampled")
    axes.set_ylabel("mean length (tokens per completion)")
    axes.set_ylim(bottom=0.0, top=1.1 * max([*length.values, *(point.value for point in points)]))
    return finish(figure, axes)


def plot_reflection(rows: Sequence[Row], base: Evaluation | None, trained: Evaluation | None) -> bytes | None:
    """Share of completions that check themselves, retract and retry, over the steps of RL. None without data."""
    kinds = (
        ("checking", "checks a result", BLUE, "-"),
        ("retracting", "takes a result back", ORANGE, "-"),
        ("retrying", "tries again", GREEN, "--"),  # often lies on the line before
    )
    lines = {kind: series(rows, "zero", f"rollout/{kind}_share") for kind, *_ in kinds}
    if not any(line.steps for line in lines.values()):
        return None
    figure, axes = _figure("Completions that check themselves during RL", "RL step")
    last = max(step for line in lines.values() for step in line.steps)
    for kind, label, colour, style in kinds:
        _line(axes, lines[kind], colour, label, style=style)
        points = [
            HeldOut(step, getattr(evaluation, f"{kind}_share"))
            for step, evaluation in ((0.0, base), (last, trained))
            if evaluation is not None
        ]
        _held_out(axes, points, "o", None, colour)
    if base is not None or trained is not None:
        axes.plot([], [], color=INK, marker="o", markerfacecolor="white", linestyle="", label="held out, sampled")
    axes.set_ylabel("share of completions")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(-0.03, 1.03)
    return finish(figure, axes)


def plot_pretraining(rows: Sequence[Row]) -> bytes | None:
    """Next-token loss and accuracy when made to think over the steps of pretraining. None without data."""
    loss, skill = series(rows, "pretrain", "loss/next_token"), series(rows, "pretrain", "skill/forced_accuracy")
    if not loss.steps:
        return None
    figure, axes = _figure("Pretraining of the base", "pretraining step")
    _line(axes, loss, ORANGE, "next-token loss (left)", width=1.2)
    axes.set_ylabel("loss (nat per token)")
    axes.set_ylim(-0.03 * max(loss.values), 1.03 * max(loss.values))
    if skill.steps:
        right = axes.twinx()
        right.spines[["top", "left"]].set_visible(False)
        right.plot(skill.steps, skill.values, "o-", color=BLUE, linewidth=1.8, markersize=4)
        label = "accuracy when made to think (right)"
        axes.plot([], [], "o-", color=BLUE, linewidth=1.8, markersize=4, label=label)  # for the legend
        right.set_ylabel("accuracy, training problems", color=INK)
        right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        right.set_ylim(-0.03, 1.03)
        right.tick_params(colors=INK, length=3)
    return finish(figure, axes)


def _figure(title: str, steps: str) -> tuple[Figure, Axes]:
    figure, (axes,) = new_figure(title, [steps])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes


def _line(axes: Axes, line: Series, colour: str, label: str, width: float = 1.8, style: str = "-") -> None:
    """A line, with a dot where there is only one value, which a line would not show."""
    if line.steps:
        marker = "." if len(line.steps) == 1 else ""
        axes.plot(line.steps, line.values, color=colour, linewidth=width, linestyle=style, marker=marker, label=label)


def _held_out(axes: Axes, points: Sequence[HeldOut], marker: str, label: str | None, colour: str = INK) -> None:
    """Points with their intervals, drawn over the lines and never cut off at the frame."""
    for point in points:
        if point.bounds is not None:
            ends = [point.step, point.step]
            axes.plot(ends, point.bounds, "_-", color=colour, linewidth=1.6, markersize=7, zorder=4, clip_on=False)
    axes.plot(
        [point.step for point in points],
        [point.value for point in points],
        marker,
        color=colour,
        markerfacecolor="white",
        markeredgewidth=1.6,
        markersize=6,
        zorder=5,
        clip_on=False,
        label=label if points else None,
    )


def plot_stages(stages: Mapping[str, tuple[Interval | None, Interval | None]]) -> bytes | None:
    """Macro accuracy after each stage, greedy and sampled, with intervals. None where nothing was measured."""
    if not any(greedy or sampled for greedy, sampled in stages.values()):
        return None
    figure, (axes,) = new_figure("Accuracy after each stage", [""])
    for place, (label, colour) in enumerate((("greedy", BLUE), ("sampled", ORANGE))):
        found = [(x, pair[place]) for x, pair in enumerate(stages.values())]
        shown = [(x + 0.36 * (place - 0.5), interval) for x, interval in found if interval is not None]
        axes.bar([x for x, _ in shown], [i.mean for _, i in shown], width=0.34, color=colour, label=label)
        errors = [[i.mean - i.low for _, i in shown], [i.high - i.mean for _, i in shown]]
        axes.errorbar([x for x, _ in shown], [i.mean for _, i in shown], errors, fmt="none", color=INK, capsize=3)
    axes.set_xticks(range(len(stages)), [name.replace("-", "-\n") for name in stages])  # side by side
    axes.set_ylabel("mean accuracy over the tasks")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(0.0, 1.03)
    return finish(figure, axes)


def plot_losses(rows: Sequence[Row]) -> bytes | None:
    """Next-token loss over the steps of every fine-tuning stage. None without data."""
    stages = dict.fromkeys(str(row.get("stage")) for row in rows if "loss/next_token" in row)
    if not stages:
        return None
    figure, axes = _figure("Fine-tuning", "step")
    for colour, stage in zip(itertools.cycle((BLUE, ORANGE, GREEN, INK, GREY)), stages, strict=False):
        _line(axes, series(rows, stage, "loss/next_token"), colour, stage, width=1.2)
    axes.set_ylabel("loss (nat per token)")
    axes.set_ylim(bottom=0.0)
    return finish(figure, axes)
