"""The report of an R1 run: what each stage gained and cost. A pure function of the files in its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder.algo.pass_at_k import Interval, macro_interval
from ponder.core.errors import RunError
from ponder.core.files import atomic_write_bytes, atomic_write_text
from ponder.core.metrics import read_metrics
from ponder.core.runs import RunFolder
from ponder.evals.by_task import TaskEvaluation, TaskFigures
from ponder.evals.compare import Comparison, Difference, compare
from ponder.evals.counting import mean
from ponder.evals.findings import interval_text, percent
from ponder.evals.graded import read_graded
from ponder.evals.plots import plot_losses, plot_stages
from ponder.evals.record import read_object
from ponder.evals.run_order import CONTROL, ORDER

PAIRS = (  # what is compared on the same problems: before, after, and what the difference says
    ("cold-start", "reasoning-rl", "what reasoning RL adds to the cold start"),
    ("cold-start", CONTROL, "what as much time of more fine-tuning adds instead"),
    (CONTROL, "reasoning-rl", "RL against that control"),
    ("second-sft", "sharpening", "what sharpening adds to the second fine-tuning"),
    ("sharpening", "final-rl", "what final RL adds to the sharpened model"),
    ("final-rl", "second-sharpening", "what the second sharpening adds to final RL"),
    ("cold-start", "final-rl", "the pipeline after the cold start, up to final RL"),
    ("cold-start", "second-sharpening", "the whole pipeline after the cold start"),
)
SHARES = {"truncated_share": "cut off", "ungraded_share": "ungraded"}
FALL = 0.02  # of a task's accuracy, below which it is not named
EVERYDAY_SHOWN = 20


@dataclass(frozen=True)
class StageRecord:
    """What was measured after a stage."""

    name: str
    evaluation: TaskEvaluation
    apart: tuple[str, ...]  # tasks outside of the macro mean
    ordinary_loss: Mapping[str, Interval]  # nat per token, by kind: text, dialogue, own text
    everyday: Sequence[Mapping[str, str]]

    @property
    def macro_tasks(self) -> list[str]:
        """The tasks that count."""
        return [name for name in self.evaluation.tasks if name not in self.apart]

    def macro(self, kind: str) -> Interval | None:
        """The mean over the tasks that count, "greedy" or "pass_at_1"."""
        found = [getattr(self.evaluation.tasks[name], kind) for name in self.macro_tasks]
        measured = [interval for interval in found if interval is not None]
        return macro_interval(measured) if measured else None

    def share(self, name: str) -> float | None:
        """The mean over the tasks that count, "truncated_share" or "ungraded_share"."""
        found = [getattr(self.evaluation.tasks[task], name) for task in self.macro_tasks]
        return mean(found) if found else None


def write_r1_report(run: RunFolder) -> Path:
    """Write `report.md` and its plots into the run folder and return the report's path.

    An unfinished run is reported as far as it got. Raises `RunError` for a damaged file.
    """
    stages = read_stages(run)
    metrics = read_metrics(run.metrics) if run.metrics.exists() else []
    drawn = {
        "stages.png": plot_stages({s.name: (s.macro("greedy"), s.macro("pass_at_1")) for s in stages}),
        "losses.png": plot_losses(metrics),
    }
    images = {name: png for name, png in drawn.items() if png is not None}
    for name, png in images.items():
        atomic_write_bytes(run.path / name, png)
    sections = [f"# {run.name}", _opening(run), _stages(stages), _pairs(run, stages), _tasks(stages)]
    sections += [f"![{name.removesuffix('.png')}]({name})" for name in images]
    sections += [_costs(run), _everyday(stages)]
    atomic_write_text(run.report, "\n\n".join(section for section in sections if section) + "\n")
    return run.report


def r1_json(run: RunFolder) -> dict[str, Any]:
    """The figures of a run, stage by stage, and the cost."""
    summary = read_object(run.summary) or {}
    return {
        "stages": {
            stage.name: {
                "macro_greedy": _as_json(stage.macro("greedy")),
                "macro_pass_at_1": _as_json(stage.macro("pass_at_1")),
                **{name: stage.share(name) for name in SHARES},
                "ordinary_loss": {kind: loss._asdict() for kind, loss in stage.ordinary_loss.items()},
                "tasks": {name: task.to_json() for name, task in stage.evaluation.tasks.items()},
                "apart": list(stage.apart),
            }
            for stage in read_stages(run)
        },
        "costs": summary.get("stages", []),
        **{name: summary.get(name) for name in ("seconds", "core_seconds", "parameters_total", "seed")},
    }


def read_stages(run: RunFolder) -> list[StageRecord]:
    """What was measured so far, in the order of the stages."""
    found = []
    for name in ORDER:
        path = run.evaluation(name)
        data = read_object(path)
        if data is None:
            continue
        try:
            losses = {kind: Interval(**loss) for kind, loss in data["ordinary_loss"].items()}
            apart, everyday = tuple(data["apart"]), list(data["everyday"])
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path} is damaged ({error}); remove it and resume the run to measure again") from error
        evaluation = TaskEvaluation.from_json(data, str(path))
        found.append(StageRecord(name, evaluation, apart, losses, everyday))
    return found


def _as_json(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else interval._asdict()


def _opening(run: RunFolder) -> str:
    summary = read_object(run.summary) or {}
    if not summary:
        return "Nothing was done yet."
    return (
        f"R1's pipeline on a model of {summary['parameters_total']:,} parameters, seed {summary['seed']}: "
        f"{summary['seconds'] / 3600:.2f} hours, {summary['core_seconds'] / 3600:.2f} core-hours so far."
    )


def _stages(stages: Sequence[StageRecord]) -> str:
    if not stages:
        return ""
    first = stages[0].evaluation
    counted = stages[0].macro_tasks
    each = min((first.tasks[name].n for name in counted), default=0)
    kinds = sorted({kind for stage in stages for kind in stage.ordinary_loss})
    apart = list(dict.fromkeys(name for stage in stages for name in stage.apart if name in stage.evaluation.tasks))
    heads = ["after", "greedy", f"T = {first.temperature:g}", *(f"{name}, greedy" for name in apart)]
    heads += [*SHARES.values(), *(f"loss on {kind}" for kind in kinds)]
    rows = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    what = f"Means over {len(counted)} tasks, {each} or more held-out problems of each, 95 % intervals"
    if len(counted) == 1:
        what = f"{counted[0]}, {each} held-out problems, 95 % intervals"
    if not counted:
        what = "No task that was measured counts towards a mean"
    for stage in stages:
        cells = [stage.name, interval_text(stage.macro("greedy")), interval_text(stage.macro("pass_at_1"))]
        cells += [interval_text(t.greedy) if (t := stage.evaluation.tasks.get(name)) else "–" for name in apart]
        cells += ["–" if (share := stage.share(name)) is None else percent(share) for name in SHARES]
        cells += [f"{loss.mean:.3f}" if (loss := stage.ordinary_loss.get(kind)) else "–" for kind in kinds]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            "## What each stage gained",
            "",
            f"{what}, {first.max_tokens:,} tokens at most, seed {first.seed}; an answer counts only in the required "
            "form. Cut off: samples that did not end in time, which count as wrong. Ungraded: completions that the "
            "checker failed on, which count nowhere. Loss: nat per token of ordinary text, and of replies (dialogue) "
            "and texts (own text) of the base model that no stage learns.",
            "",
            *rows,
        ]
    )


def _pairs(run: RunFolder, stages: Sequence[StageRecord]) -> str:
    """Differences on the same problems."""
    measured = {stage.name: stage for stage in stages}
    rows = []
    for before, after, what in PAIRS:
        if before in measured and after in measured and measured[before].macro_tasks and measured[after].macro_tasks:
            compared = compare_stages(run, measured[before], measured[after])
            for kind, label in ((compared.greedy, "greedy"), (compared.pass_at_1, "sampled")):
                if kind is not None:
                    rows.append(f"| {what} | {label} | {points(kind.macro)} | {_falls(kind.tasks)} |")
    if not rows:
        return ""
    return "\n".join(
        [
            "## Differences on the same problems",
            "",
            "Points of the macro mean, with a 95 % interval of a paired bootstrap and the paired standard error.",
            "",
            "| what | kind | difference | tasks that fell by more than 2 points |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def compare_stages(run: RunFolder, before: StageRecord, after: StageRecord) -> Comparison:
    """The two stages' samples, on the tasks that count."""
    first, second = (
        [s for s in read_graded(run.evaluation_samples(stage.name)) if s.task not in stage.apart]
        for stage in (before, after)
    )
    return compare(first, second, common=True)


def points(difference: Difference) -> str:
    """A difference in points, with its interval and standard error."""
    low, high = 100 * difference.low, 100 * difference.high
    error = "" if difference.standard_error is None else f", s.e. {100 * difference.standard_error:.1f}"
    return f"{100 * difference.difference:+.1f} [{low:+.1f}, {high:+.1f}]{error}"


def _falls(tasks: Mapping[str, Difference]) -> str:
    fallen = [f"{name} {100 * d.difference:+.1f}" for name, d in tasks.items() if d.difference < -FALL]
    return ", ".join(fallen) or "none"


def _tasks(stages: Sequence[StageRecord]) -> str:
    if not stages:
        return ""
    names = list(dict.fromkeys(name for stage in stages for name in stage.evaluation.tasks))
    heads = ["task", *(stage.name for stage in stages)]
    rows = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name in names:
        cells = [_both(stage.evaluation.tasks.get(name)) for stage in stages]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    shares = []
    for name in names:
        cells = [_shares(stage.evaluation.tasks.get(name)) for stage in stages]
        shares.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(
        [
            "## Task by task",
            "",
            "Greedy / sampled accuracy in percent.",
            "",
            *rows,
            "",
            "Samples that were cut off / completions that could not be graded, in percent.",
            "",
            *rows[:2],
            *shares,
        ]
    )


def _shares(task: TaskFigures | None) -> str:
    return "–" if task is None else " / ".join(f"{100 * getattr(task, name):.1f}" for name in SHARES)


def _both(task: TaskFigures | None) -> str:
    if task is None:
        return "–"
    return " / ".join("–" if i is None else f"{100 * i.mean:.1f}" for i in (task.greedy, task.pass_at_1))


def _costs(run: RunFolder) -> str:
    parts = (read_object(run.summary) or {}).get("stages", [])
    if not parts:
        return ""
    rows = [
        f"| {part['name']} | {part['steps'] or ''} | {part['seconds'] / 60:.1f} | {part['core_seconds'] / 60:.1f} |"
        for part in parts
    ]
    remarks = [f"- {part['name']}: {part['remark']}" for part in parts if part["remark"]]
    table = ["| part | steps | minutes | core-minutes |", "|---|---|---|---|", *rows]
    return "\n".join(["## What it cost", "", *table, *(["", *remarks] if remarks else [])])


def _everyday(stages: Sequence[StageRecord]) -> str:
    """What the last model says, but for the control's: no later stage goes on from that one."""
    shown = next((stage for stage in reversed(stages) if stage.name != CONTROL), None)
    if shown is None or not shown.everyday:
        return ""
    lines = []
    for reply in shown.everyday[:EVERYDAY_SHOWN]:
        answer = " ".join(reply["answer"].split())
        lines.append(f"- **{reply['question']}** {answer[:300] or '*(no answer)*'}")
    return "\n".join(["## Everyday questions", "", f"Greedy, after {shown.name}.", "", *lines])
