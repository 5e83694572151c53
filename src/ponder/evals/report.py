"""The report of a run: a pure function of the files in its folder, made again at any time by `ponder report`."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ponder.core.files import atomic_write_bytes, atomic_write_text
from ponder.core.metrics import GLOSSARY
from ponder.core.runs import RunFolder
from ponder.evals import findings, plots
from ponder.evals.evaluator import Bounds, Evaluation
from ponder.evals.markdown import bullets, fenced, mark, table
from ponder.evals.record import Row, RunRecord, read_record

MISMATCH_LIMIT = 1e-5  # nat; above it the sampler and the trainer do not agree (fp32)
SHOWN_PROBLEMS = 3  # the first problems of the evaluation, before and after

HEALTH = (  # metrics of RL that tell whether training went well
    "engine/logprob_mismatch",
    "groups/no_spread_share",
    "groups/resampled",
    "rollout/truncated_share",
    "rollout/ungraded_share",
    "policy/entropy",
    "policy/clipped_share",
    "policy/kl_sampler",
    "optimizer/gradient_norm",
)


def write_report(run: RunFolder) -> Path:
    """Write `report.md` and its plots into the run folder and return the report's path.

    An unfinished run is reported as far as it got. Raises `RunError` where the folder holds no run, nothing to
    report, or a damaged file.
    """
    record = read_record(run)
    drawn = {
        "reward.png": plots.plot_reward(record.metrics, record.base, record.trained),
        "length.png": plots.plot_length(record.metrics, record.base, record.trained),
        "reflection.png": plots.plot_reflection(record.metrics, record.base, record.trained),
        "pretraining.png": plots.plot_pretraining(record.metrics),
    }
    images = {name: png for name, png in drawn.items() if png is not None}
    for name, png in images.items():
        atomic_write_bytes(run.path / name, png)
    atomic_write_text(run.report, report_markdown(record, list(images)))
    return run.report


def report_json(run: RunFolder) -> dict[str, Any]:
    """The figures of a run: `base` and `trained` as `Evaluation.to_json`, and the cost.

    What an unfinished run does not have yet is None.
    """
    record = read_record(run)
    summary = record.summary or {}
    return {
        "base": None if record.base is None else record.base.to_json(),
        "trained": None if record.trained is None else record.trained.to_json(),
        "finished": record.finished,
        **{
            name: summary.get(name)
            for name in ("task", "seed", "seconds", "core_seconds", "parameters_total", "parameters_active")
        },
    }


def report_markdown(record: RunRecord, images: Iterable[str]) -> str:
    """The text of the report."""
    sections = [
        f"# {record.run.name}",
        _summary(record),
        _comparison(record),
        _findings(record),
        _plots(images),
        _cost(record),
        _health(record),
        _completions(record),
        _during_rl(record),
        _how_made(record),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _summary(record: RunRecord) -> str:
    summary, base, trained = record.summary, record.base, record.trained
    sentences = []
    if not record.finished:
        sentences.append(f"**This run is not finished.** What follows is what there is so far: {_progress(record)}.")
    if summary is not None:
        total, active = _count(summary["parameters_total"]), _count(summary["parameters_active"])
        model = f"a model of {total} parameters ({active} active per token)"
        pretrained = any(stage["name"] == "pretrain" for stage in summary["stages"])
        does = f"pretrains {model} and then trains it" if pretrained else f"trains {model}"
        sentences.append(
            f"This run {does} to reason on the task `{summary['task']}` by R1-Zero's method: reinforcement learning "
            "(GRPO) whose only signal is a rule that "
            f"checks the answer and the form. {'The whole job took' if record.finished else 'It has taken'} "
            f"{_duration(summary['seconds'])}, {summary['core_seconds'] / 3600:.3f} core-hours."
        )
    if base is not None and trained is not None:
        if not findings.differing_settings(base, trained):
            sentences.append(findings.verdict(base, trained))
        greedy = f"{findings.percent(base.greedy_accuracy)} to {findings.percent(trained.greedy_accuracy)}"
        sampled = f"{findings.percent(base.pass_at_1)} to {findings.percent(trained.pass_at_1)}"
        sentences.append(
            f"On {trained.n:,} held-out problems, greedy accuracy went from {greedy}, and accuracy sampled at "
            f"temperature {trained.temperature:g} (pass@1) from {sampled}."
        )
        if base.forced_accuracy is not None:
            sentences.append(f"Made to think, the base answers {findings.percent(base.forced_accuracy)} right, greedy.")
    elif base is not None:
        sentences.append(
            f"The base answers {findings.percent(base.greedy_accuracy)} of {base.n:,} held-out problems right, greedy. "
            "The trained model has not been evaluated."
        )
    return " ".join(sentences)


def _progress(record: RunRecord) -> str:
    last = {row.get("stage"): row.get("step") for row in record.metrics}
    return ", ".join(f"stage {stage} up to step {step}" for stage, step in last.items()) or "evaluations only"


def comparison_table(record: RunRecord) -> str:
    """The evaluations of a run side by side, as a Markdown table; empty where there is none."""
    evaluations = [(name, e) for name, e in (("base", record.base), ("R1-Zero", record.trained)) if e is not None]
    if not evaluations:
        return ""
    ks = sorted({k for _, e in evaluations for k in e.pass_at_k if k > 1})
    rows: list[tuple[str, Callable[[Evaluation], str]]] = [
        ("greedy accuracy", lambda e: _with_bounds(e.greedy_accuracy, e.greedy_interval)),
        ("sampled accuracy (pass@1)", lambda e: _with_bounds(e.pass_at_1, e.pass_at_1_interval)),
        *((f"pass@{k}", lambda e, k=k: _with_bounds(e.pass_at_k.get(k), e.pass_at_k_interval.get(k))) for k in ks),
        ("greedy accuracy when made to think", lambda e: _with_bounds(e.forced_accuracy, e.forced_interval)),
        ("mean length (tokens per sample)", lambda e: f"{e.mean_length:.1f}"),
        ("self-corrections (retries per sample)", lambda e: f"{e.self_corrections:.2f}"),
        ("samples that think", lambda e: findings.percent(e.thinking_share)),
        ("samples that check a result", lambda e: findings.percent(e.checking_share)),
        ("samples that take a result back", lambda e: findings.percent(e.retracting_share)),
        ("samples that try again", lambda e: findings.percent(e.retrying_share)),
        ("well-formed samples", lambda e: findings.percent(e.well_formed_share)),
        ("truncated samples", lambda e: findings.percent(e.truncated_share)),
        ("ungraded completions", lambda e: findings.percent(e.ungraded_share)),
        ("temperature of samples", lambda e: f"{e.temperature:g}"),
        ("problems (n) × samples", lambda e: f"{e.n:,} × {e.samples}"),
        ("longest completion (tokens)", lambda e: f"{e.max_tokens}"),
        ("seed", lambda e: f"{e.seed}"),
    ]
    return table(
        ["held out", *(name for name, _ in evaluations)],
        [[label, *(cell(evaluation) for _, evaluation in evaluations)] for label, cell in rows],
    )


def _comparison(record: RunRecord) -> str:
    compared = comparison_table(record)
    if not compared:
        return ""
    return (
        f"## Base against R1-Zero\n\n{compared}\n\n"
        "In brackets: 95 % intervals (greedy: Wilson; sampled: clustered by problem, a problem's samples not being "
        "independent). pass@k is the unbiased estimate of the chance that one of k samples is right."
    )


def _with_bounds(share: float | None, bounds: Bounds | None) -> str:
    if share is None or bounds is None:
        return "not measured"
    return f"{findings.percent(share)} {findings.bounds_text(bounds)}"


def _findings(record: RunRecord) -> str:
    base, trained = record.base, record.trained
    if base is None or trained is None:
        return ""
    remarks = [stage.get("remark", "") for stage in record.summary["stages"]] if record.summary else []
    cautions = [*findings.cautions(base, trained), *(remark for remark in remarks if remark)]
    parts = []
    if not findings.differing_settings(base, trained):
        change = (
            f"{findings.verdict(base, trained)} Greedy: {findings.points(findings.greedy_change(base, trained))}; "
            f"sampled: {findings.points(findings.sampled_change(base, trained))}."
        )
        parts += ["## What RL added", change, bullets(findings.added_by_rl(base, trained))]
        parts += ["## What the base could already do", bullets(findings.base_could_already(base, trained))]
    if cautions:
        parts += ["## Read with care", bullets(cautions)]
    return "\n\n".join(parts)


def _plots(images: Iterable[str]) -> str:
    captions = {
        "reward.png": "Reward and accuracy during RL",
        "length.png": "Response length during RL",
        "reflection.png": "Completions that check themselves, retract and retry during RL",
        "pretraining.png": "Loss and accuracy when made to think during pretraining",
    }
    shown = [f"![{captions[name]}]({name})" for name in images]
    return "\n\n".join(["## Plots", *shown]) if shown else ""


def _cost(record: RunRecord) -> str:
    summary = record.summary
    if summary is None:
        return ""
    rows = [
        [stage["name"], f"{stage['steps']:,}" if stage["steps"] else "", f"{stage['seconds']:.1f}"]
        for stage in summary["stages"]
    ]
    rows.append(["in all", "", f"{summary['seconds']:.1f}"])
    speeds = [
        f"{what} {_mean(found.values):,.0f} tokens/s"
        for what, stage, name in (
            ("pretraining", "pretrain", "speed/tokens_per_second"),
            ("rollouts", "zero", "speed/rollout_tokens_per_second"),
            ("updates", "zero", "speed/train_tokens_per_second"),
        )
        if (found := plots.series(record.metrics, stage, name)).values
    ]
    lines = [
        f"Parameters: {summary['parameters_total']:,} in all, {summary['parameters_active']:,} active per token. "
        f"CPU time: {summary['core_seconds']:,.0f} core-seconds = {summary['core_seconds'] / 3600:.3f} core-hours "
        f"with {_workers(summary)}.",
        f"Mean speed: {', '.join(speeds)}." if speeds else "",
    ]
    return "\n\n".join(["## Cost", table(["stage", "steps", "seconds"], rows), " ".join(lines).strip()])


def _health(record: RunRecord) -> str:
    rows = []
    for name in HEALTH:
        found = plots.series(record.metrics, "zero", name)
        if found.values:
            largest = max(range(len(found.values)), key=lambda i: found.values[i])
            rows.append(
                [
                    _meaning(name),
                    *(f"{value:.3g}" for value in (found.values[0], found.values[-1], _mean(found.values))),
                    f"{found.values[largest]:.3g} (step {found.steps[largest]:g})",
                ]
            )
    if not rows:
        return ""
    parts = ["## Training health", table(["RL, per step", "first", "last", "mean", "largest"], rows)]
    mismatch = plots.series(record.metrics, "zero", "engine/logprob_mismatch").values
    if mismatch:
        agreement = "agree" if max(mismatch) <= MISMATCH_LIMIT else "do **not** agree"
        parts.append(
            f"The sampler and the trainer {agreement}: the largest mean difference of their log-probabilities in a "
            f"step is {max(mismatch):.1e} nat (limit {MISMATCH_LIMIT:.0e})."
        )
    return "\n\n".join(parts)


def _meaning(name: str) -> str:
    metric = GLOSSARY[name]
    return metric.meaning if metric.unit == "none" else f"{metric.meaning} ({metric.unit})"


def _workers(summary: Row) -> str:
    return f"{summary['workers']} worker{'' if summary['workers'] == 1 else 's'}"


def _completions(record: RunRecord) -> str:
    """Completions of the same problems before and after, by a rule that looks at nothing but order and verdict."""
    sides = [("base", record.base_samples), ("R1-Zero", record.trained_samples)]
    sides = [(name, rows) for name, rows in sides if rows]
    if not sides:
        return ""
    greedy = [[row for row in rows if row["greedy"] and not row["forced"]] for _, rows in sides]
    order = list(dict.fromkeys(row["problem_id"] for row in greedy[0]))
    parts = [
        "## Completions before and after",
        f"Chosen by rule: the first {SHOWN_PROBLEMS} problems of the evaluation, each with its greedy completion and "
        "its first sample; then the first problem that RL turned from wrong to right (greedy), and the first it "
        "turned from right to wrong.",
    ]
    parts += [_before_and_after(problem_id, sides) for problem_id in order[:SHOWN_PROBLEMS]]
    if len(sides) == 2:
        before, after = ({row["problem_id"]: row["correct"] for row in rows} for rows in greedy)
        for was, title in ((False, "First turned from wrong to right"), (True, "First turned from right to wrong")):
            turned = [p for p in order if before.get(p) is was and after.get(p) is (not was)]
            parts.append(f"**{title}** ({len(turned):,} of {len(order):,} problems){':' if turned else '.'}")
            parts += [_before_and_after(problem_id, sides) for problem_id in turned[:1]]
    return "\n\n".join(parts)


def _before_and_after(problem_id: str, sides: list[tuple[str, list[Row]]]) -> str:
    lines: list[str] = []
    for name, rows in sides:
        own = [row for row in rows if row["problem_id"] == problem_id and not row["forced"]]
        if own and not lines:
            lines.append(f"{'problem':<26}{own[0]['prompt']}")
        for how, is_greedy in (("greedy", True), ("sample", False)):
            first = next((row for row in own if bool(row["greedy"]) is is_greedy), None)
            if first is not None:
                lines.append(f"{f'{name}, {how}':<17}{mark(first['correct']):<9}{first['text']}")
    return fenced("\n".join(lines))


def _during_rl(record: RunRecord) -> str:
    rows = [row for row in record.samples if row["stage"] == "zero"]
    steps = sorted({row["step"] for row in rows})
    if not steps:
        return ""
    chosen = sorted({steps[0], steps[len(steps) // 2], steps[-1]})
    first = [next(row for row in rows if row["step"] == step) for step in chosen]
    lines = [f"step {row['step']:<6}{mark(row['correct']):<9}{row['prompt']} {row['text']}" for row in first]
    return (
        "## While it learned\n\nThe first completion on record at the first, the middle and the last recorded RL step "
        f"(training problems).\n\n{fenced(chr(10).join(lines))}"
    )


def _how_made(record: RunRecord) -> str:
    summary, parts = record.summary, ["## How it was made"]
    command = f"ponder train {record.run.config}"
    if summary is not None:
        versions = ", ".join(f"{name} {version}" for name, version in sorted(summary["versions"].items()))
        parts.append(
            f"Recipe `{summary['recipe']}`, task `{summary['task']}`, seed {summary['seed']}, "
            f"{_workers(summary)}; {versions}."
        )
    parts += [
        f"To make it again:\n\n{fenced(command)}",
        "Every number above is computed from `metrics.jsonl`, `evaluations/` and `summary.json` in this folder; "
        "`ponder report` makes this page anew.",
    ]
    if record.config.strip():
        settings = fenced(record.config.strip(), "toml")
        parts.append(f"<details>\n<summary>All settings (config.toml)</summary>\n\n{settings}\n\n</details>")
    return "\n\n".join(parts)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _count(number: int) -> str:
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
