"""The report of a distillation: a pure function of the files in its run's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ponder.algo.crossed import crossed_interval
from ponder.algo.pass_at_k import Interval
from ponder.core.errors import RunError
from ponder.core.files import atomic_write_text
from ponder.core.runs import RunFolder
from ponder.evals.by_task import TaskEvaluation, TaskFigures
from ponder.evals.findings import interval_text, percent, points
from ponder.evals.graded import GradedSample, read_graded
from ponder.evals.markdown import fenced, mark, table
from ponder.evals.record import read_object

SHOWN = 3  # traces and completions that are shown


def write_distill_report(run: RunFolder) -> Path:
    """Write `report.md` and return its path. An unfinished run is reported as far as it got."""
    atomic_write_text(run.report, distill_markdown(run))
    return run.report


def distill_json(run: RunFolder) -> dict[str, Any]:
    """The figures of a distillation; what an unfinished run does not have yet is None."""
    summary = read_summary(run)
    figures = {name: read_evaluation(run, name) for name in ("before", "after")}
    change = sampled_change(run) if all(figures.values()) else None
    return {
        **{name: summary.get(name) for name in ("task", "teacher", "student", "kind", "seed", "traces")},
        **{name: None if e is None else e.to_json() for name, e in figures.items()},
        "change": None if change is None else change._asdict(),
        **{name: summary.get(name) for name in ("seconds", "core_seconds", "parameters_total")},
    }


def distill_markdown(run: RunFolder) -> str:
    """The text of the report."""
    summary = read_summary(run)
    before, after = read_evaluation(run, "before"), read_evaluation(run, "after")
    parts = [f"# {run.name}", _opening(summary), _verdict(run, before, after)]
    if before or after:
        parts += ["## Before and after", _figures_table(before, after)]
    if summary.get("traces"):
        parts += ["## The teacher's answers", _traces(summary["traces"])]
    parts += ["## Cost", _costs(summary), _examples(run), _how_made(run, summary)]
    return "\n\n".join(part for part in parts if part) + "\n"


def sampled_change(run: RunFolder) -> Interval | None:
    """How much more often a sample is right after than before, paired by problem; None where none was drawn."""
    before, after = (accuracy_by_problem(read_graded(run.evaluation_samples(n))) for n in ("before", "after"))
    both = [problem for problem in before if problem in after]
    if len(both) < 2:
        return None
    return crossed_interval([[after[p] - before[p] for p in both]])


def accuracy_by_problem(samples: Sequence[GradedSample]) -> dict[str, float]:
    """The share of a problem's graded samples that are right; of its greedy completion where none was sampled."""
    outcomes: dict[str, list[bool]] = {}
    for drawn in ("sampled", "greedy"):
        for sample in samples:
            if sample.drawn == drawn and sample.correct is not None:
                outcomes.setdefault(sample.problem_id, []).append(sample.correct)
        if outcomes:
            break
    return {problem: sum(values) / len(values) for problem, values in outcomes.items()}


def read_summary(run: RunFolder) -> dict[str, Any]:
    """The run's summary. Raises `RunError` where it is missing or damaged."""
    summary = read_object(run.summary)
    if summary is None:
        raise RunError(f"{run.path} has no {run.summary.name}; let the run go on first")
    return summary


def read_evaluation(run: RunFolder, name: str) -> TaskEvaluation | None:
    """An evaluation of the run; None where it is not there yet. Raises `RunError` where it is damaged."""
    path = run.evaluation(name)
    data = read_object(path)
    return None if data is None else TaskEvaluation.from_json(data, where=str(path))


def _opening(summary: dict[str, Any]) -> str:
    what = "the teacher's verified texts" if summary.get("kind") == "traces" else "the teacher's distributions"
    return (
        f"The student `{summary.get('student')}` ({summary['parameters_total']:,} parameters) learned the task "
        f"`{summary.get('task')}` from {what}; the teacher is `{summary.get('teacher')}`. It took "
        f"{summary['seconds']:.0f} s, {summary['core_seconds']:.0f} core-seconds."
    )


def _verdict(run: RunFolder, before: TaskEvaluation | None, after: TaskEvaluation | None) -> str:
    if before is None or after is None:
        return "**This run is not finished.** What follows is what there is so far."
    change = sampled_change(run)
    if change is None:
        return ""
    if change.low > 0:
        said = "The student gained"
    elif change.high < 0:
        said = "The student **lost**"
    else:
        said = "No change of the student could be shown"
    return f"{said}: {points(change)}, paired over {after.n:,} held-out problems (95 % interval)."


def _figures_table(before: TaskEvaluation | None, after: TaskEvaluation | None) -> str:
    columns = [(name, e) for name, e in (("before", before), ("after", after)) if e is not None]

    def row(label: str, cell: Any) -> list[str]:
        return [label, *(cell(e) for _, e in columns)]

    def of_tasks(e: TaskEvaluation, name: str) -> float:
        tasks: list[TaskFigures] = list(e.tasks.values())
        return sum(float(getattr(task, name)) for task in tasks) / len(tasks)

    rows = [
        row("accuracy, greedy", lambda e: interval_text(e.macro_greedy, "not measured")),
        row(
            f"accuracy, sampled at {columns[0][1].temperature:g} (pass@1)",
            lambda e: interval_text(e.macro_pass_at_1, "not measured"),
        ),
        row("mean length (tokens)", lambda e: f"{of_tasks(e, 'mean_length'):.1f}"),
        row("mean length of a thought (tokens)", lambda e: f"{of_tasks(e, 'mean_thought_length'):.1f}"),
        row("truncated", lambda e: percent(of_tasks(e, "truncated_share"))),
        row("ungraded", lambda e: percent(of_tasks(e, "ungraded_share"))),
        row("well-formed", lambda e: percent(of_tasks(e, "well_formed_share"))),
        row("problems", lambda e: f"{e.n:,}"),
        row("longest completion (tokens)", lambda e: f"{e.max_tokens}"),
        row("seed", lambda e: f"{e.seed}"),
    ]
    return table(["held out", *(name for name, _ in columns)], rows)


def _traces(traces: dict[str, Any]) -> str:
    asked, tokens = traces["asked"], traces["tokens"]
    rows = [[reason, f"{count:,}", percent(count / asked)] for reason, count in traces["outcomes"].items()]
    spoken = "" if tokens is None else f", {tokens:,} tokens of the teacher's"
    return f"{asked:,} answers{spoken}. What became of them:\n\n{table(['outcome', 'answers', 'share'], rows)}"


def _costs(summary: dict[str, Any]) -> str:
    rows = []
    for part in summary["stages"]:
        times = [f"{part[name]:.1f}" for name in ("seconds", "core_seconds")]
        rows.append([part["name"], f"{part['steps']:,}" if part["steps"] else "", *times])
    return table(["part", "steps", "seconds", "core-seconds"], rows)


def _examples(run: RunFolder) -> str:
    shown = []
    for name in ("before", "after"):
        path = run.evaluation_samples(name)
        if path.exists():
            greedy = [s for s in read_graded(path) if s.drawn == "greedy"][:SHOWN]
            shown += [f"{name}, {mark(s.correct)}: {s.prompt} {s.text}" for s in greedy]
    if not shown:
        return ""
    return f"## Completions\n\nThe first {SHOWN} problems, greedy.\n\n{fenced(chr(10).join(shown))}"


def _how_made(run: RunFolder, summary: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in summary.get("versions", {}).items())
    return f"## How it was made\n\nRecipe: `{run.config.name}` beside this file. Versions: {versions}."
