"""The card of an exported model: what it is, what it was trained on and how, what was measured, and its licence.

It is the README.md of the exported folder, with the front matter that the Hugging Face Hub reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ponder.core.config import read_toml
from ponder.core.runs import RunFolder
from ponder.evals.by_task import TaskEvaluation
from ponder.evals.findings import percent
from ponder.evals.record import read_object, read_record, read_text
from ponder.evals.report import comparison_table
from ponder.evals.run_order import ORDER

# the licences that the Hub knows by a short name; any other goes under "other" with its name
HUB_LICENCES = ("mit", "apache-2.0", "llama3.1", "llama3.3", "bsd-3-clause", "cc-by-4.0", "cc0-1.0")


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What the files say of the model."""

    name: str
    shape: str  # in words
    parameters_total: int
    parameters_active: int
    context: int  # positions
    vocabulary: int
    stored: str  # the precision of the exported weights, in words
    licence: str | None = None  # several are separated by commas
    licence_link: str | None = None  # where its text stands
    base: str | None = None  # the model that it was trained from or converted from
    origin: Mapping[str, str] | None = None  # further lines on where it comes from


@dataclass(frozen=True, kw_only=True)
class Training:
    """What the card says of the run that trained the model."""

    config: str  # its recipe, as TOML
    summary: Mapping[str, Any]
    table: str  # of what was measured; empty before that
    form: str  # of its replies


def read_training(run: RunFolder) -> Training:
    """Of a run of any kind. Raises `RunError` for a damaged file."""
    if read_toml(run.config).get("kind", "zero") == "zero":
        record = read_record(run)
        form = "`<think>thought</think><answer>answer</answer>`"
        return Training(config=record.config, summary=record.summary or {}, table=comparison_table(record), form=form)
    return Training(
        config=read_text(run.config),
        summary=read_object(run.summary) or {},
        table=stages_table(run),
        form="`<think>thought</think>` and the answer",
    )


def stages_table(run: RunFolder) -> str:
    """The evaluations by task that a run holds, in the order of its stages, as a Markdown table."""
    found = {}
    for name in (*ORDER, "before", "after"):
        path = run.evaluation(name)
        if (data := read_object(path)) is not None:
            found[name] = TaskEvaluation.from_json(data, str(path))
    if not found:
        return ""
    lines = ["| after | task | problems | greedy | sampled (pass@1) |", "|---|---|---:|---:|---:|"]
    for stage, evaluation in found.items():
        for task, figures in evaluation.tasks.items():
            shares = [
                "–" if share is None else f"{percent(share.mean)} ({percent(share.low)} – {percent(share.high)})"
                for share in (figures.greedy, figures.pass_at_1)
            ]
            lines.append(f"| {stage} | {task} | {figures.n:,} | {' | '.join(shares)} |")
    return "\n".join(lines)


def model_card(facts: ModelFacts, run: RunFolder | None) -> str:
    """The card as Markdown. `run` is the run that trained the model; None where Ponder only converted it."""
    record = None if run is None else read_training(run)
    sections = [
        _front_matter(facts, record),
        f"# {facts.name}",
        _model(facts),
        _training(facts, record),
        _evaluation(record),
        _use(facts, record),
        _licence(facts),
        _recipe(record),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(facts: ModelFacts, record: Training | None) -> str:
    lines = ["---", "pipeline_tag: text-generation"]
    lines += _licence_lines(facts)
    if facts.base is not None:
        lines.append(f"base_model: {_quoted(facts.base)}")
    lines += ["tags:", "- ponder", *(["- reasoning", "- grpo"] if record is not None else [])]
    return "\n".join([*lines, "---"])


def _licence_lines(facts: ModelFacts) -> list[str]:
    """The Hub's own names of licences, or "other" with the name and link of one that it does not know."""
    if facts.licence is None:
        return []
    names = [name.strip().lower() for name in facts.licence.split(",")]
    if all(name in HUB_LICENCES for name in names):
        return [f"license: {names[0]}"] if len(names) == 1 else ["license:", *(f"- {name}" for name in names)]
    link = [f"license_link: {_quoted(facts.licence_link)}"] if facts.licence_link else []
    return ["license: other", f"license_name: {_quoted(facts.licence)}", *link]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def _model(facts: ModelFacts) -> str:
    rows = [
        ("architecture", facts.shape),
        ("parameters", f"{facts.parameters_total:,} in all, {facts.parameters_active:,} active"),
        ("context", f"{facts.context:,} tokens"),
        ("vocabulary", f"{facts.vocabulary:,} entries"),
        ("weights", facts.stored),
        *(facts.origin or {}).items(),
    ]
    return "\n".join(["## Model", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _training(facts: ModelFacts, record: Training | None) -> str:
    if record is None:
        source = f" from {facts.base}" if facts.base else ""
        return f"## Training\n\nThe weights were converted{source}; Ponder did not train them further."
    summary = record.summary
    versions = summary.get("versions", {})
    pretrained = any(stage["name"] == "pretrain" for stage in summary.get("stages", []))
    began = "pretrained from random weights on generated documents" if pretrained else f"started from {facts.base}"
    rows = [
        ("task", summary.get("task", "unknown")),
        *([("problem sets", _sets(summary["sets"]))] if summary.get("sets") else []),
        ("start", began),
        ("recipe", f"{summary.get('recipe', 'unknown')}, seed {summary.get('seed', 'unknown')} (in full below)"),
        ("code", _code(versions)),
        ("time", f"{summary.get('seconds', 0):.0f} s, {summary.get('core_seconds', 0) / 3600:.3f} core-hours"),
    ]
    stages = [
        f"| stage {stage['name']} | {stage['steps']:,} steps, {stage['seconds']:.0f} s |"
        for stage in summary.get("stages", [])
        if stage["steps"]
    ]
    return "\n".join(
        ["## Training", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), *stages]
    )


def _sets(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """What was trained on, each with its licence."""
    return ", ".join(f"{name} (licence: {told['licence']}; {told['train']:,} problems)" for name, told in sets.items())


def _code(versions: Mapping[str, object]) -> str:
    commit = versions.get("commit")
    at = f" at commit {commit}" if commit else ""
    return f"Ponder {versions.get('ponder', 'unknown')}{at}, PyTorch {versions.get('torch', 'unknown')}"


def _evaluation(record: Training | None) -> str:
    if record is None:
        return ""
    if not record.table:
        return "## Evaluation\n\nThe model was exported before it was evaluated."
    return f"## Evaluation\n\nOn held-out problems of its task. In brackets: 95 % intervals.\n\n{record.table}"


def _use(facts: ModelFacts, record: Training | None) -> str:
    text = f"```sh\nponder generate PATH/TO/{facts.name} --prompt '…'\nponder chat PATH/TO/{facts.name}\n```"
    if record is None:
        return f"## Use\n\n{text}"
    form = f"It answers in the form {record.form}."
    limits = "It knows the task that it was trained on; what it says beyond that was not measured."
    return f"## Use\n\n{text}\n\n{form} {limits}"


def _licence(facts: ModelFacts) -> str:
    link = f" ({facts.licence_link})" if facts.licence_link else ""
    stated = "The files do not state a licence; ask whoever they come from."
    return f"## Licence\n\n{facts.licence + link if facts.licence else stated}"


def _recipe(record: Training | None) -> str:
    return "" if record is None else f"## Recipe\n\n```toml\n{record.config.strip()}\n```"
