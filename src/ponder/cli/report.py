"""`ponder report`: write a run's report again and show its figures."""

import argparse

from ponder.cli.arguments import add_json, add_runs
from ponder.cli.figures import print_report
from ponder.cli.folders import find_run
from ponder.cli.output import out, print_json, shown_path
from ponder.evals.report import report_json, write_report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="the name or folder of a run")
    add_runs(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    folder = find_run(arguments.run_name, arguments.runs)
    report = report_json(folder)
    write_report(folder)
    if arguments.json:
        print_json({**report, "run": str(folder.path), "report": str(folder.report)})
        return 0
    console = out()
    print_report(console, report)
    console.print(f"report: {shown_path(folder.report)}", soft_wrap=True)
    return 0
