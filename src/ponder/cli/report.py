"""`ponder report`: write a run's report again and show its figures."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ponder.cli.arguments import add_json, add_runs
from ponder.cli.figures import print_report
from ponder.cli.folders import find_run
from ponder.cli.output import out, print_json, shown_path
from ponder.core.runs import RunFolder
from ponder.evals.comparison_report import comparison_json, write_comparison_report
from ponder.evals.distill_report import distill_json, write_distill_report
from ponder.evals.r1_report import r1_json, write_r1_report
from ponder.evals.report import report_json, write_report
from ponder.recipes.files import recipe_kind

Report = tuple[Callable[[RunFolder], Path], Callable[[RunFolder], dict[str, Any]]]  # writes it; gives its figures

OTHER_KINDS: dict[str, Report] = {  # of recipe than R1-Zero's
    "distill": (write_distill_report, distill_json),
    "distill-comparison": (write_comparison_report, comparison_json),
    "r1": (write_r1_report, r1_json),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="the name or folder of a run")
    add_runs(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    folder = find_run(arguments.run_name, arguments.runs)
    if of_kind := OTHER_KINDS.get(recipe_kind(folder.config)):
        write, figures = of_kind
        write(folder)
        if arguments.json:
            print_json({**figures(folder), "run": str(folder.path), "report": str(folder.report)})
        else:
            out().print(f"report: {shown_path(folder.report)}", soft_wrap=True)
        return 0
    report = report_json(folder)
    write_report(folder)
    if arguments.json:
        print_json({**report, "run": str(folder.path), "report": str(folder.report)})
        return 0
    console = out()
    print_report(console, report)
    console.print(f"report: {shown_path(folder.report)}", soft_wrap=True)
    return 0
