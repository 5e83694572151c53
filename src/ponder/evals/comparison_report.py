"""The report of a comparison of distillation and RL: a pure function of the files in its run's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import PercentFormatter

from ponder.algo.crossed import crossed_interval
from ponder.algo.pass_at_k import Interval
from ponder.core.files import atomic_write_bytes, atomic_write_text
from ponder.core.runs import RunFolder
from ponder.evals.distill_report import accuracy_by_problem, read_summary
from ponder.evals.figure import BLUE, INK, ORANGE, as_png, new_figure
from ponder.evals.findings import interval_text, points
from ponder.evals.graded import read_graded
from ponder.evals.markdown import bullets, table

ARMS = {  # in the order of the report
    "base": "base",
    "rl-at-c1": "RL alone, at C1",
    "distilled": "distilled (C1)",
    "rl": "RL alone, at C2",
    "distilled-rl": "distilled, then RL (C2)",
}
PAIRS = (  # what is asked, the arm in question, and what it is held against
    ("Does distilling help?", "distilled", "base"),
    ("Does RL alone help?", "rl", "base"),
    ("At equal compute C1, is distilling better than RL alone?", "distilled", "rl-at-c1"),
    ("At equal compute C2, is distilling and then RL better than RL alone?", "distilled-rl", "rl"),
    ("Does RL add to distilling?", "distilled-rl", "distilled"),
)
PLOT = "comparison.png"

Accuracies = dict[str, list[list[float]]]  # by arm: of each seed, of each problem


def write_comparison_report(run: RunFolder) -> Path:
    """Write `report.md` and its plot, and return the report's path. An unfinished run is reported as far as it got."""
    summary, seeds, found = read_summary(run), _seeds(run), _accuracies(run)
    if found:
        atomic_write_bytes(run.path / PLOT, comparison_plot(found, _teacher(run)))
    atomic_write_text(run.report, comparison_markdown(run, summary, seeds, found))
    return run.report


def comparison_json(run: RunFolder) -> dict[str, Any]:
    """The figures of a comparison: accuracy of every arm, the differences, what each cost, and what follows."""
    summary, seeds, found = read_summary(run), _seeds(run), _accuracies(run)
    teacher = _teacher(run)
    return {
        "task": summary.get("task"),
        "seeds": seeds,
        "teacher": None if teacher is None else teacher._asdict(),
        "arms": {
            arm: {**crossed_interval(values, share=True)._asdict(), **_mean_costs(summary, seeds, arm)}
            for arm, values in found.items()
        },
        "differences": {
            f"{ours} - {theirs}": difference(found, ours, theirs)._asdict()
            for _, ours, theirs in PAIRS
            if ours in found and theirs in found
        },
        "conclusion": conclusion(found),
        "finished": set(found) == set(ARMS) and seeds == summary.get("seeds"),
        **{name: summary.get(name) for name in ("seconds", "core_seconds")},
    }


def difference(found: Accuracies, ours: str, theirs: str) -> Interval:
    """How much more accurate one arm is than another: paired by seed (one base) and by problem."""
    pairs = zip(found[ours], found[theirs], strict=True)
    return crossed_interval([[a - b for a, b in zip(mine, other, strict=True)] for mine, other in pairs])


def conclusion(found: Accuracies) -> list[str]:
    """What the intervals allow to be said, one sentence for each question."""
    said = []
    for question, ours, theirs in PAIRS:
        if ours not in found or theirs not in found:
            continue
        change = difference(found, ours, theirs)
        if change.low > 0:
            verdict = f"yes: {ARMS[ours]} is better than {ARMS[theirs]}"
        elif change.high < 0:
            verdict = f"no: {ARMS[ours]} is **worse** than {ARMS[theirs]}"
        else:
            verdict = f"not decided: no difference of {ARMS[ours]} from {ARMS[theirs]} could be shown"
        said.append(f"{question} {verdict[0].upper()}{verdict[1:]}, {points(change)}.")
    return said


def comparison_markdown(run: RunFolder, summary: dict[str, Any], seeds: Sequence[int], found: Accuracies) -> str:
    """The text of the report."""
    if not found:
        return f"# {run.name}\n\n**This run is not finished**: no seed has all its students yet.\n"
    problems = len(next(iter(found.values()))[0])
    parts = [f"# {run.name}", _opening(summary, seeds, problems)]
    if list(seeds) != summary.get("seeds"):
        parts.append(
            f"**This run is not finished**: of the seeds {summary['seeds']}, {', '.join(map(str, seeds))} are."
        )
    parts += ["## Conclusion", bullets(conclusion(found))]
    parts += ["## Figures", _figures(run, summary, seeds, found), f"![Accuracy of every student]({PLOT})"]
    parts += ["## Read with care", _cautions(summary, seeds), "## Cost", _costs(summary)]
    parts += [
        "## How it was made",
        f"`ponder distill --compare {run.config}` does it again. Versions: "
        + ", ".join(f"{name} {value}" for name, value in summary.get("versions", {}).items())
        + ".",
    ]
    return "\n\n".join(parts) + "\n"


def comparison_plot(found: Accuracies, teacher: Interval | None) -> bytes:
    """Every arm's accuracy with its interval, and each seed's as a dot, as PNG."""
    figure, (axes,) = new_figure("Distillation and RL of a small model", [""])
    for place, values in enumerate(found.values()):
        interval = crossed_interval(values, share=True)
        axes.plot([place, place], [interval.low, interval.high], "_-", color=INK, linewidth=1.6, markersize=10)
        axes.plot([place], [interval.mean], "o", color=INK, markerfacecolor="white", markersize=8, zorder=4)
        means = [sum(row) / len(row) for row in values]
        axes.plot([place + 0.15] * len(means), means, ".", color=BLUE, markersize=8, label=None if place else "a seed")
    if teacher is not None:
        axes.axhline(teacher.mean, color=ORANGE, linewidth=1.2, linestyle="--", label="teacher")
    axes.set_xticks(range(len(found)), [ARMS[arm].replace(", ", ",\n") for arm in found], fontsize=8)
    axes.set_xlim(-0.5, len(found) - 0.5)
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("held-out problems right, sampled")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    return as_png(figure)


def _seeds(run: RunFolder) -> list[int]:
    """The seeds of which every arm has been measured."""
    return [
        seed
        for seed in read_summary(run).get("seeds", [])
        if all(run.evaluation(f"{arm}-seed-{seed}").exists() for arm in ARMS)
    ]


def _accuracies(run: RunFolder) -> Accuracies:
    """Of each arm: for every finished seed, the share of each problem's samples that are right. A problem that was
    ungraded somewhere is left out everywhere.
    """
    seeds = _seeds(run)
    measured = {
        arm: [accuracy_by_problem(read_graded(run.evaluation_samples(f"{arm}-seed-{seed}"))) for seed in seeds]
        for arm in ARMS
    }
    if not seeds:
        return {}
    common = set.intersection(*(set(by_problem) for rows in measured.values() for by_problem in rows))
    order = [problem for problem in measured["base"][0] if problem in common]
    return {arm: [[row[problem] for problem in order] for row in rows] for arm, rows in measured.items()}


def _teacher(run: RunFolder) -> Interval | None:
    if not run.evaluation("teacher").exists():
        return None
    values = list(accuracy_by_problem(read_graded(run.evaluation_samples("teacher"))).values())
    return crossed_interval([values], share=True)


def _mean_costs(summary: dict[str, Any], seeds: Sequence[int], arm: str) -> dict[str, float]:
    """What an arm cost beyond its base, on average over the seeds."""
    if arm == "base":
        return {"flops": 0.0, "core_seconds": 0.0}
    costs = [summary["arms"][str(seed)][arm] for seed in seeds]
    return {name: sum(cost[name] for cost in costs) / len(costs) for name in ("flops", "core_seconds")}


def _opening(summary: dict[str, Any], seeds: Sequence[int], problems: int) -> str:
    teacher = summary.get("teacher_parameters") or 0
    return (
        f"On the task `{summary['task']}`: a teacher of {teacher:,} parameters, trained by R1-Zero, and students of "
        f"{summary['parameters_total']:,}, for {len(seeds)} seed{'s' if len(seeds) != 1 else ''}. C1 is what sampling "
        "the teacher's traces and fine-tuning on them costs, C2 that and the RL after it; RL alone is measured where "
        "it has cost as much, in floating-point operations counted from the models' shapes. "
        f"{problems:,} held-out problems, the same for all; intervals are at 95 %, over seeds and problems."
    )


def _figures(run: RunFolder, summary: dict[str, Any], seeds: Sequence[int], found: Accuracies) -> str:
    rows = []
    teacher = _teacher(run)
    if teacher is not None:
        rows.append(["teacher", interval_text(teacher, "not measured"), "", "", ""])
    for arm, values in found.items():
        cost = _mean_costs(summary, seeds, arm)
        each = ", ".join(f"{100 * sum(row) / len(row):.1f}" for row in values)
        spent = (f"{cost['flops']:.2e}", f"{cost['core_seconds']:.0f}")
        rows.append([ARMS[arm], interval_text(crossed_interval(values, share=True)), each, *spent])
    return table(["model", "right, sampled", "each seed (%)", "FLOPs", "core-seconds"], rows)


def _cautions(summary: dict[str, Any], seeds: Sequence[int]) -> str:
    notes = [
        "There is one teacher: what another one's traces would teach is not in the intervals.",
        "The teacher's own training is not in C1 and C2, nor the pretraining of the bases, which all arms share. "
        "Whoever has no teacher pays for one first.",
        "RL alone is measured after the first step that reaches C1 or C2: it has had up to a step more.",
        "FLOPs count a sampled token like a read one, and leave out what a machine makes of them; core-seconds depend "
        "on what else ran.",
        "These are models of under a million parameters on one narrow task: it shows the method and the measurement, "
        "and says little of models of billions.",
    ]
    if len(seeds) < 3:
        notes.append(f"{len(seeds)} seeds tell little of how much seeds differ.")
    traces = summary.get("traces")
    if traces:
        kept = traces["outcomes"].get("kept", 0)
        notes.append(f"Of {traces['asked']:,} answers of the teacher {kept:,} were kept; all were paid for in C1.")
    return bullets(notes)


def _costs(summary: dict[str, Any]) -> str:
    rows = [[p["name"], f"{p['seconds']:.1f}", f"{p['core_seconds']:.1f}"] for p in summary["stages"]]
    rows.append(["in all", f"{summary['seconds']:.1f}", f"{summary['core_seconds']:.1f}"])
    return table(["part", "seconds", "core-seconds"], rows)
