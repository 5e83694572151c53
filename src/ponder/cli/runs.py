"""`ponder runs`: what there is, the newest first."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from ponder.cli.arguments import add_json, add_runs
from ponder.cli.output import duration, out, percent, print_json, shown_path
from ponder.core.errors import PonderError
from ponder.core.metrics import read_metrics
from ponder.core.runs import RunFolder, list_runs


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
    table = Table("run", "task", "state", box=SIMPLE)
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
    """One run: how far it is and what it reached. What is missing or damaged is None: a list must not fail on it."""
    summary, trained = read_json(folder.summary), read_json(folder.evaluation("trained"))
    return {
        "name": folder.name,
        "path": str(folder.path),
        "task": summary.get("task"),
        "state": "finished" if trained else _stage(folder),
        "base": read_json(folder.evaluation("base")).get("greedy_accuracy"),
        "trained": trained.get("greedy_accuracy"),
        "seconds": summary.get("seconds"),
    }


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
