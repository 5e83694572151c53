"""`ponder quickstart`: from nothing to a model that thinks, its report, and a chat with it or a server of it."""

import argparse
import sys
from collections.abc import Mapping

from rich.console import Console

from ponder.cli.arguments import add_json, add_runs, minutes, whole_number
from ponder.cli.chat import ChatSettings, chat, task_of
from ponder.cli.figures import print_report
from ponder.cli.folders import DEFAULT_ROOT, in_series
from ponder.cli.models import open_shown
from ponder.cli.output import out, print_json, program, shown_path
from ponder.cli.training import train_shown
from ponder.core.runs import RunFolder
from ponder.evals.report import report_json
from ponder.recipes.zero_recipe import load_recipe

RECIPES = {"chain": "zero-chain", "countdown": "zero-countdown"}
INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--task",
        choices=RECIPES,
        default="chain",
        help="chain (default): about a minute and a half on two cores; countdown: about 5, and checking itself grows",
    )
    parser.add_argument("--minutes", type=minutes, metavar="M", help="the most that the whole job may take")
    parser.add_argument("--seed", type=whole_number, metavar="S", help="another seed makes another model")
    parser.add_argument("--again", action="store_true", help="train anew, beside the run that is there")
    parser.add_argument("--no-chat", action="store_true", help="end after the report")
    parser.add_argument("--serve", action="store_true", help="then serve the model: an API, and an app in the browser")
    add_runs(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    newest, free = in_series(arguments.runs, run_name(arguments))
    begun = newest is not None and not arguments.again
    folder = newest if newest is not None and begun else RunFolder.create(free)
    was_finished = begun and is_finished(folder)
    if not was_finished:
        # a run goes on with the settings that it began with, whatever the recipe says by now
        recipe = load_recipe(folder.config) if begun else load_recipe(RECIPES[arguments.task], overrides(arguments))
        if not train_shown(recipe, folder, resume=begun, again=same_command(arguments)):
            return INTERRUPTED
    report = report_json(folder)
    if arguments.json:
        print_json({**report, "run": str(folder.path), "report": str(folder.report)})
        return 0
    console = out()
    print_report(console, report)
    print_outlook(console, arguments, folder, was_finished=was_finished)
    if arguments.serve:
        from ponder.cli.serving import serve_quickly  # the server's libraries: a quickstart without it needs none

        return serve_quickly(folder.path)
    if not arguments.no_chat and sys.stdin.isatty() and sys.stdout.isatty():
        return chat(open_shown(folder.path), ChatSettings(task=task_of(folder.path)), console)
    return 0


def run_name(arguments: argparse.Namespace) -> str:
    """The same arguments find the same run again."""
    name = f"quickstart-{arguments.task}"
    if arguments.seed is not None:
        name += f"-seed{arguments.seed}"
    if arguments.minutes is not None:
        name += f"-{arguments.minutes:g}min"
    return name


def overrides(arguments: argparse.Namespace) -> Mapping[str, object]:
    """The recipe's settings that were given as arguments."""
    given = {"seed": arguments.seed, "minutes": arguments.minutes}
    return {name: value for name, value in given.items() if value is not None}


def same_command(arguments: argparse.Namespace) -> list[str]:
    """The arguments that go on with a stopped run. `--again` is not part of it: it would begin one more."""
    command = ["quickstart"]
    if arguments.task != "chain":
        command += ["--task", arguments.task]
    for name, value in overrides(arguments).items():
        command += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    if arguments.runs != DEFAULT_ROOT:
        command += ["--runs", str(arguments.runs)]
    return command


def is_finished(folder: RunFolder) -> bool:
    """The report comes last, but may also be asked for before the end."""
    return folder.evaluation("trained").is_file() and folder.report.is_file()


def print_outlook(console: Console, arguments: argparse.Namespace, folder: RunFolder, *, was_finished: bool) -> None:
    """Where the report is, and what could be done next."""
    console.print(f"report: {shown_path(folder.report)}", soft_wrap=True)
    if was_finished:
        console.print("This run was finished before; --again trains anew.")
    if arguments.task == "chain":
        command = f"{program()} quickstart --task countdown"
        console.print(f"Next: {command} (about 5 minutes), where checking itself grows.", soft_wrap=True)
