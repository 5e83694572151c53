"""`ponder train`: run a recipe, with settings changed on the command line."""

import argparse
from pathlib import Path

from ponder.cli.arguments import add_json, add_runs, single_name
from ponder.cli.figures import print_report
from ponder.cli.folders import DEFAULT_ROOT, in_series
from ponder.cli.output import out, print_json, shown_path
from ponder.cli.quickstart import INTERRUPTED
from ponder.cli.training import train_shown
from ponder.core.config import parse_overrides
from ponder.core.errors import RunError
from ponder.core.runs import RunFolder
from ponder.evals.report import report_json
from ponder.recipes.opening import check_headers
from ponder.recipes.zero_recipe import load_recipe

TAKES_SETTINGS = True  # arguments that argparse does not know are settings of the recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "ponder train RECIPE [--section.key=value ...] [--resume] [--task FILE] [--run NAME] [--runs DIR] [--json]"
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a TOML file, or the name of a recipe that comes with Ponder")
    parser.add_argument("--resume", action="store_true", help="go on with the run where it was stopped or killed")
    parser.add_argument("--task", type=Path, metavar="FILE", help="a Python file that defines a task of your own")
    parser.add_argument("--run", metavar="NAME", help="the run's name (default: the recipe's and the task's)")
    parser.epilog = "Every other --section.key=value changes a setting of the recipe, for example --grpo.clip_high=0.3"
    add_runs(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = parse_overrides(arguments.settings)
    recipe = load_recipe(arguments.recipe, settings, arguments.task)
    if recipe.start_from:
        check_headers(Path(recipe.start_from))  # before a folder is made for the run
    folder = choose_folder(arguments)
    if not train_shown(recipe, folder, resume=arguments.resume, again=resume_command(arguments, folder)):
        return INTERRUPTED
    report = report_json(folder)
    if arguments.json:
        print_json({**report, "run": str(folder.path), "report": str(folder.report)})
        return 0
    console = out()
    print_report(console, report)
    console.print(f"report: {shown_path(folder.report)}", soft_wrap=True)
    return 0


def choose_folder(arguments: argparse.Namespace) -> RunFolder:
    """The run to go on with, or a new one. A name of one's own is taken as it is; the default one is counted up."""
    if arguments.run is None:
        newest, path = in_series(arguments.runs, default_name(arguments))
        if arguments.resume and newest is not None:
            path = newest.path
    else:
        path = arguments.runs / single_name("--run", arguments.run)
    if not arguments.resume:
        return RunFolder.create(path)
    if not RunFolder(path).config.is_file():
        raise RunError(f"there is no run {shown_path(path)} to go on with; leave out --resume to begin it")
    return RunFolder(path)


def default_name(arguments: argparse.Namespace) -> str:
    name = Path(arguments.recipe).stem
    return name if arguments.task is None else f"{name}-{arguments.task.stem}"


def resume_command(arguments: argparse.Namespace, folder: RunFolder) -> list[str]:
    """The arguments that go on with this run."""
    command = ["train", arguments.recipe, "--resume", "--run", folder.name]
    if arguments.task is not None:
        command += ["--task", str(arguments.task)]
    if arguments.runs != DEFAULT_ROOT:
        command += ["--runs", str(arguments.runs)]
    return [*command, *arguments.settings]
