"""`ponder runs`: what there is, the newest first."""

import argparse
import json
import math
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.box import SIMPLE

from ponder.cli.arguments import add_json, add_runs
from ponder.cli.output import duration, out, percent, print_json, shown_path
from ponder.cli.tables import FigureTable
from ponder.core.config import read_toml
from ponder.core.errors import PonderError
from ponder.core.metrics import read_metrics
from ponder.core.runs import RunFolder, list_runs
from ponder.evals.run_order import ORDER, first_and_last
from ponder.recipes.files import DEFAULT_KIND, KIND


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runs(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    rows = [describe(folder) for folder in list_runs(arguments.runs)]
    if arguments.json:
        print_json({"runs": rows})
        return 0
    console = out()
    if not rows:
        console.print(f"no runs in {shown_path(arguments.runs)}; make one with: ponder quickstart", soft_wrap=True)
        return 0
    table = FigureTable("run", "task", "state", box=SIMPLE)
    for heading in ("base, greedy", "trained, greedy", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"], row["task"] or "?", row["state"], _share(row["base"]), _share(row["trained"]),
            "" if row["seconds"] is None else duration(row["seconds"]),
        )  # fmt: skip
    console.print(table)
    return 0


def describe(folder: RunFolder) -> dict[str, Any]:
    """One run: how far it is and what it reached, the base and the newest model that was measured (of R1's and of
    distillation: in the mean over tasks). What is missing or damaged is None: a list must not fail on it.
    """
    summary = read_json(folder.summary)
    measured = {path.stem: figures for path in folder.evaluations.glob("*.json") if (figures := read_json(path))}
    base, last = ({} if name is None else measured[name] for name in first_and_last(measured))
    return {
        "name": folder.name,
        "path": str(folder.path),
        "task": summary.get("task"),
        "state": "finished" if _is_finished(_settings(folder), summary, measured) else _stage(folder),
        "base": _greedy(base),
        "trained": _greedy(last),
        "seconds": summary.get("seconds"),
    }


def _is_finished(settings: Mapping[str, Any], summary: Mapping[str, Any], measured: Collection[str]) -> bool:
    """Whether everything was done and measured that is the last of its kind of recipe."""
    kind = settings.get(KIND, DEFAULT_KIND)
    with suppress(AttributeError, KeyError, TypeError):  # of a damaged file
        if kind == "r1":
            stages = settings["stages"]
            done = {part["name"] for part in summary["stages"]}
            return done.issuperset(stages) and {"base", *stages}.intersection(ORDER) <= set(measured)
        if kind == "distill-comparison":
            return all(f"rl-seed-{seed}" in measured for seed in settings["seeds"])
    return ("after" if kind == "distill" else "trained") in measured


def _greedy(figures: Mapping[str, Any]) -> float | None:
    """The greedy accuracy; of an evaluation by tasks, the mean over those that count."""
    try:
        if "tasks" not in figures:
            return figures.get("greedy_accuracy")
        counted = [task["greedy"] for name, task in figures["tasks"].items() if name not in figures.get("apart", ())]
        return math.fsum(each["mean"] for each in counted) / len(counted)
    except (AttributeError, KeyError, TypeError, ZeroDivisionError):  # damaged, or not measured
        return None


def _settings(folder: RunFolder) -> dict[str, Any]:
    try:
        return read_toml(folder.config)
    except PonderError:
        return {}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _stage(folder: RunFolder) -> str:
    try:
        rows = read_metrics(folder.metrics)
    except PonderError:  # nothing logged yet, or nothing that can be read
        rows = []
    if not rows:
        return "begun"
    return f"{rows[-1].get('stage')}, step {int(rows[-1].get('step', 0)) + 1}"


def _share(value: float | None) -> str:
    return "" if value is None else percent(value)
