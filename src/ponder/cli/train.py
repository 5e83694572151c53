"""`ponder train`: run a recipe, with settings changed on the command line."""

import argparse
from pathlib import Path

from ponder.cli.arguments import TOLD, add_json, add_problems, add_runs, single_name, told_of_problems
from ponder.cli.figures import print_r1, print_report
from ponder.cli.folders import DEFAULT_ROOT, in_series
from ponder.cli.output import out, print_json, shown_path
from ponder.cli.quickstart import INTERRUPTED
from ponder.cli.training import run_shown, train_shown
from ponder.core.config import parse_overrides
from ponder.core.errors import ConfigError, RunError
from ponder.core.runs import RunFolder
from ponder.evals.r1_report import r1_json
from ponder.evals.report import report_json
from ponder.recipes.files import DEFAULT_KIND, recipe_kind
from ponder.recipes.opening import check_headers, weights_path
from ponder.recipes.practised_sets import SetConfig, described
from ponder.recipes.r1 import run_r1
from ponder.recipes.r1_recipe import R1Recipe, load_r1_recipe
from ponder.recipes.zero_recipe import ZeroRecipe, load_recipe
from ponder.train.divided import folder_of_process
from ponder.train.parallel import current, joined

TAKES_SETTINGS = True  # arguments that argparse does not know are settings of the recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "ponder train RECIPE [--section.key=value ...] [--resume] [--task FILE | --problems NAME] [--run NAME] "
        "[--runs DIR] [--json]"
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a TOML file, or the name of a recipe that comes with Ponder")
    parser.add_argument("--resume", action="store_true", help="go on with the run where it was stopped or killed")
    add_problems(parser, "a set of `ponder problems`, hub:OWNER/NAME, gym/TASK, or a file: alone")
    parser.add_argument("--run", metavar="NAME", help="the run's name (default: the recipe's and the task's)")
    parser.epilog = "Every other --section.key=value changes a setting of the recipe, for example --grpo.clip_high=0.3"
    add_runs(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = parse_overrides(arguments.settings)
    kind, problems = recipe_kind(arguments.recipe), named_problems(arguments)
    if kind == "r1":
        pipeline = load_r1_recipe(arguments.recipe, settings, arguments.task, problems)
        check_headers(weights_path(pipeline.start_from))  # before a folder is made for the run
        with joined(pipeline.compute.device):  # with the processes that torchrun started beside this one, if it did
            return train_r1(arguments, pipeline)
    if kind != DEFAULT_KIND:
        raise ConfigError(f"{arguments.recipe} is a recipe of kind {kind!r}; it belongs to: ponder distill")
    recipe = load_recipe(arguments.recipe, settings, arguments.task, problems)
    if recipe.start_from:
        check_headers(Path(recipe.start_from))
    with joined(recipe.compute.device):
        return train_zero(arguments, recipe)


def named_problems(arguments: argparse.Namespace) -> tuple[str, SetConfig] | None:
    """The set that `--problems` names, and what is told of it; None where it names none."""
    told = told_of_problems(arguments)
    return None if arguments.problems is None else described(arguments.problems, **told)


def train_zero(arguments: argparse.Namespace, recipe: ZeroRecipe) -> int:
    """R1-Zero, in each of the processes that train together."""
    with folder_of_process(lambda: choose_folder(arguments)) as folder:
        if not train_shown(recipe, folder, resume=arguments.resume, again=resume_command(arguments, folder)):
            return INTERRUPTED
        if not current().first:
            return 0
    report = report_json(folder)
    if arguments.json:
        print_json({**report, "run": str(folder.path), "report": str(folder.report)})
        return 0
    console = out()
    print_report(console, report)
    console.print(f"report: {shown_path(folder.report)}", soft_wrap=True)
    return 0


def train_r1(arguments: argparse.Namespace, recipe: R1Recipe) -> int:
    """R1's pipeline, on the tasks that its recipe names, or on one's own; in each of the processes."""
    resume = arguments.resume
    with folder_of_process(lambda: choose_folder(arguments)) as folder:
        again = resume_command(arguments, folder)
        if not run_shown(
            folder, lambda reporter: run_r1(recipe, folder, reporter, resume=resume), resume=resume, again=again
        ):
            return INTERRUPTED
        if not current().first:
            return 0
    figures = r1_json(folder)
    if arguments.json:
        print_json({**figures, "run": str(folder.path), "report": str(folder.report)})
        return 0
    console = out()
    print_r1(console, figures)
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
    name, of = Path(arguments.recipe).stem, arguments.task
    if arguments.problems is not None:
        of = Path("".join(c if c.isalnum() or c in "-_./" else "-" for c in arguments.problems))
    return name if of is None else f"{name}-{of.stem}"


def resume_command(arguments: argparse.Namespace, folder: RunFolder) -> list[str]:
    """The arguments that go on with this run."""
    command = ["train", arguments.recipe, "--resume", "--run", folder.name]
    if arguments.task is not None:
        command += ["--task", str(arguments.task)]
    for name in ("problems", *TOLD):
        if (value := getattr(arguments, name)) is not None:
            command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [value])
    if arguments.runs != DEFAULT_ROOT:
        command += ["--runs", str(arguments.runs)]
    return [*command, *arguments.settings]
