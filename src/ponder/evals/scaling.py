"""Test-time scaling: accuracy against how long a model may think, and against how many samples vote.

A thought that reaches its budget is closed, and the answer follows from what was thought so far (budget forcing,
Muennighoff et al. 2025, arXiv 2501.19393). A vote of k is the majority of k samples, averaged over subsets of all those
that were drawn.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from ponder.algo.pass_at_k import Interval, clustered_interval, macro_interval
from ponder.core.errors import ConfigError, RunError
from ponder.evals.by_task import TaskEvaluation, by_problem
from ponder.evals.figure import BLUE, GREEN, INK, ORANGE, finish, new_figure
from ponder.evals.graded import GradedSample
from ponder.evals.voting import Ballot, collect_votes

COLOURS = (ORANGE, GREEN, "#8250df", "#bf3989", "#6e7781", "#9a6700")


@dataclass(frozen=True, kw_only=True)
class ScalingConfig:
    """Where accuracy is measured."""

    budgets: tuple[int, ...] = (32, 64, 128, 256)  # tokens of thought
    votes: tuple[int, ...] = (1, 2, 4, 8, 16)
    answer_tokens: int = 64  # kept for the answer, whatever the thought took

    def __post_init__(self) -> None:
        for name in ("budgets", "votes"):
            numbers: tuple[int, ...] = getattr(self, name)
            least = 0 if name == "budgets" else 1
            if not numbers or list(numbers) != sorted(set(numbers)) or numbers[0] < least:
                raise ConfigError(
                    f"scaling.{name} = {', '.join(map(str, numbers)) or 'none'}; expected rising numbers from {least}"
                )
        if self.answer_tokens < 1:
            raise ConfigError(f"scaling.answer_tokens = {self.answer_tokens}; expected 1 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetPoint:
    """What a thinking budget gives. Accuracies are pass@1."""

    budget: int
    macro: Interval
    tasks: Mapping[str, Interval]
    mean_thought_length: float  # tokens, mean over tasks
    closed_share: float  # thoughts that the budget closed; with a budget of 0 all that there could have been


@dataclass(frozen=True, kw_only=True, slots=True)
class VotePoint:
    """What a vote of so many samples gives, over the tasks whose answers can vote."""

    votes: int
    macro: Interval
    tasks: Mapping[str, Interval]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """Both curves."""

    budgets: list[BudgetPoint] = field(default_factory=list)
    votes: list[VotePoint] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; intervals are [mean, low, high]."""
        return {
            "budgets": [asdict(point) for point in self.budgets],
            "votes": [asdict(point) for point in self.votes],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = "scaling") -> "Scaling":
        """What `to_json` gave. Raises `RunError`, which names `where`, for anything else."""
        try:
            return cls(
                budgets=[
                    BudgetPoint(
                        budget=int(p["budget"]),
                        macro=_interval(p["macro"]),
                        tasks={str(name): _interval(task) for name, task in p["tasks"].items()},
                        mean_thought_length=float(p["mean_thought_length"]),
                        closed_share=float(p["closed_share"]),
                    )
                    for p in data["budgets"]
                ],
                votes=[
                    VotePoint(
                        votes=int(p["votes"]),
                        macro=_interval(p["macro"]),
                        tasks={str(name): _interval(task) for name, task in p["tasks"].items()},
                    )
                    for p in data["votes"]
                ],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{where}: no scaling curves ({type(error).__name__}: {error})") from error


def budget_point(budget: int, evaluation: TaskEvaluation, samples: Sequence[GradedSample]) -> BudgetPoint:
    """The point of an evaluation whose thoughts were bounded by `budget` tokens."""
    tasks = {name: task.pass_at_1 for name, task in evaluation.tasks.items() if task.pass_at_1 is not None}
    thoughts = [task.mean_thought_length for task in evaluation.tasks.values()]
    sampled = [s for s in samples if s.drawn == "sampled"]
    return BudgetPoint(
        budget=budget,
        macro=macro_interval(list(tasks.values())),
        tasks=tasks,
        mean_thought_length=math.fsum(thoughts) / len(thoughts),
        closed_share=sum(s.thought_tokens >= budget for s in sampled) / max(1, len(sampled)),
    )


def vote_points(
    samples: Sequence[GradedSample], ballots: Mapping[str, Ballot], votes: Sequence[int], seed: int = 0
) -> list[VotePoint]:
    """The curve of votes over the tasks that have a ballot; none where no task has one.

    An ungraded sample does not vote; a problem with fewer graded ones than votes is left out at that number.
    """
    problems = {
        task: [
            collect_votes([s.answer for s in graded], [s.correct for s in graded], ballot)
            for group in by_problem([s for s in samples if s.task == task], "sampled").values()
            if (graded := [s for s in group if s.correct is not None])
        ]
        for task, ballot in ballots.items()
    }
    points = []
    for k in votes:
        shares = {task: [v.at(k, seed) for v in each if len(v.choice) >= k] for task, each in problems.items()}
        tasks = {task: clustered_interval(values) for task, values in shares.items() if values}
        if tasks:
            points.append(VotePoint(votes=k, macro=macro_interval(list(tasks.values())), tasks=tasks))
    return points


def plot_scaling(scaling: Scaling, title: str) -> bytes:
    """Both curves side by side, as PNG: the macro mean with its interval, and each task. The scales are logarithmic."""
    curves = [
        ("thinking budget (tokens)", [(p.budget, p.macro, p.tasks) for p in scaling.budgets], "pass@1"),
        ("samples that vote", [(p.votes, p.macro, p.tasks) for p in scaling.votes], "majority vote"),
    ]
    curves = [curve for curve in curves if curve[1]]
    if not curves:
        raise RunError("there is nothing to plot: neither a budget nor a vote was measured")
    figure, panels = new_figure(title, [label for label, _, _ in curves])
    names = list(dict.fromkeys(name for _, points, _ in curves for _, _, tasks in points for name in tasks))
    for axes, (_, points, what) in zip(panels, curves, strict=True):
        at = [x for x, _, _ in points]
        several = len(names) > 1
        for name, colour, label in _lines(names) if several else ():
            there = [(x, tasks[name].mean) for x, (_, _, tasks) in zip(at, points, strict=True) if name in tasks]
            xs, ys = [x for x, _ in there], [y for _, y in there]
            axes.plot(xs, ys, color=colour, linewidth=1.2, alpha=0.85, label=label)
        macro = [interval for _, interval, _ in points]
        axes.fill_between(at, [m.low for m in macro], [m.high for m in macro], color=BLUE, alpha=0.15, linewidth=0)
        label = "mean over tasks, with its 95 % interval" if several else "with its 95 % interval"
        axes.plot(at, [m.mean for m in macro], "o-", color=BLUE, linewidth=2.2, markersize=5, label=label)
        if at[0]:
            axes.set_xscale("log", base=2)
        else:  # a thought of nothing has its place too
            axes.set_xscale("symlog", base=2, linthresh=at[1] if len(at) > 1 else 1, linscale=1.0)
        axes.set_xticks(at)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylabel(f"accuracy, {what}", color=INK)
    return finish(figure, panels[0])


def _lines(names: Sequence[str]) -> list[tuple[str, str, str | None]]:
    """Name, colour and label of each task's line: where there are too many to tell apart, all are alike."""
    if len(names) <= len(COLOURS):
        return [(name, colour, name) for name, colour in zip(names, COLOURS, strict=False)]
    return [(name, "#afb8c1", "each task" if i == 0 else None) for i, name in enumerate(names)]


def _interval(data: Any) -> Interval:
    mean, low, high = data
    return Interval(float(mean), float(low), float(high))
