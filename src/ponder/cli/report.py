"""`ponder report`: write a run's report again and show its figures."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from ponder.cli.arguments import add_json, add_runs
from ponder.cli.figures import print_conclusion, print_distillation, print_r1, print_report
from ponder.cli.folders import find_run
from ponder.cli.output import out, print_json, shown_path
from ponder.core.runs import RunFolder
from ponder.evals.comparison_report import comparison_json, write_comparison_report
from ponder.evals.distill_report import distill_json, write_distill_report
from ponder.evals.r1_report import r1_json, write_r1_report
from ponder.evals.report import report_json, write_report
from ponder.recipes.files import DEFAULT_KIND, recipe_kind


class Report(NamedTuple):
    """How a kind of recipe's runs are reported."""

    write: Callable[[RunFolder], Path]
    figures: Callable[[RunFolder], dict[str, Any]]
    show: Callable[[Console, Mapping[str, Any]], None]


REPORTS = {
    DEFAULT_KIND: Report(write_report, report_json, print_report),
    "distill": Report(write_distill_report, distill_json, print_distillation),
    "distill-comparison": Report(write_comparison_report, comparison_json, print_conclusion),
    "r1": Report(write_r1_report, r1_json, print_r1),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="the name or folder of a run")
    add_runs(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    folder = find_run(arguments.run_name, arguments.runs)
    report = REPORTS.get(recipe_kind(folder.config), REPORTS[DEFAULT_KIND])
    figures = report.figures(folder)
    report.write(folder)
    if arguments.json:
        print_json({**figures, "run": str(folder.path), "report": str(folder.report)})
        return 0
    console = out()
    report.show(console, figures)
    console.print(f"report: {shown_path(folder.report)}", soft_wrap=True)
    return 0
