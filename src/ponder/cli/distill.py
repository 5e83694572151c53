"""`ponder distill`: teach a small model what a larger one has worked out, or compare that with RL."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ponder.cli.arguments import (
    MODEL_HELP,
    TOLD,
    add_json,
    add_problems,
    add_runs,
    single_name,
    told_of_problems,
)
from ponder.cli.figures import print_conclusion, print_distillation
from ponder.cli.folders import DEFAULT_ROOT, in_series
from ponder.cli.output import out, print_json, shown_path
from ponder.cli.quickstart import INTERRUPTED
from ponder.cli.training import run_shown
from ponder.core.config import parse_overrides, read_toml
from ponder.core.errors import ConfigError, RunError
from ponder.core.progress import Reporter
from ponder.core.runs import RunFolder
from ponder.core.types import Sampling
from ponder.core.workers import Device
from ponder.evals.comparison_report import comparison_json
from ponder.evals.distill_report import distill_json
from ponder.recipes.comparison_recipe import DEFAULT_COMPARISON, load_comparison_recipe
from ponder.recipes.distill import run_distill
from ponder.recipes.distill_comparison import run_comparison
from ponder.recipes.distill_recipe import DEFAULT_RECIPE, DistillRecipe, load_distill_recipe
from ponder.recipes.endpoint_config import is_url
from ponder.recipes.files import merged_tables
from ponder.recipes.open_teacher import open_address
from ponder.recipes.practised_sets import fixed_problems, fixed_test
from ponder.recipes.teachers import Teacher
from ponder.train.parallel import joined

TAKES_SETTINGS = True  # arguments that argparse does not know are settings of the recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "ponder distill TEACHER STUDENT [--section.key=value ...] [--task FILE | --problems NAME] [--resume] …\n"
        "       ponder distill --compare [RECIPE] [--section.key=value ...] [--resume] …"
    )
    parser.add_argument(
        "teacher",
        metavar="TEACHER",
        nargs="?",
        help=f"{MODEL_HELP}; the address of an OpenAI-compatible API; or a traces.jsonl of an earlier run",
    )
    parser.add_argument(
        "student", metavar="STUDENT", nargs="?", help=f"{MODEL_HELP}; or a preset, which begins with random weights"
    )
    parser.add_argument("--recipe", metavar="RECIPE", help=f"a TOML file or a recipe's name ({DEFAULT_RECIPE})")
    add_problems(parser, "a built-in task, a set of `ponder problems`, hub:OWNER/NAME, gym/TASK, or a file")
    parser.add_argument("--key-file", metavar="FILE", help="the API key of an address, alone in a file")
    parser.add_argument("--teacher-model", metavar="NAME", help="the model at an address (the first that it lists)")
    parser.add_argument(
        "--compare",
        nargs="?",
        const=DEFAULT_COMPARISON,
        metavar="RECIPE",
        help=f"instead: a student distilled, by RL at equal compute, and both, with intervals ({DEFAULT_COMPARISON})",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run where it was stopped or killed")
    parser.add_argument("--run", metavar="NAME", help="the run's name (default: the recipe's, counted up)")
    parser.epilog = "Every other --section.key=value changes a setting of the recipe, for example --traces.samples=4"
    add_runs(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = parse_overrides(arguments.settings)
    if arguments.compare is not None:
        return _compare(arguments, settings)
    if not arguments.resume and not (arguments.teacher and arguments.student):
        raise ConfigError("a teacher and a student are needed: ponder distill TEACHER STUDENT")
    path = _choose_path(arguments, Path(arguments.recipe or DEFAULT_RECIPE).stem)
    source: str | Path = arguments.recipe or (RunFolder(path).config if arguments.resume else DEFAULT_RECIPE)
    recipe = load_distill_recipe(source, merged_tables(settings, _named(arguments)), arguments.runs)
    folder = RunFolder(path) if arguments.resume else RunFolder.create(path)

    def work(reporter: Reporter) -> object:
        return run_distill(recipe, folder, reporter, endpoint=lambda: open_endpoint(recipe), resume=arguments.resume)

    with _in_one_process(recipe.compute.device):
        if not run_shown(folder, work, resume=arguments.resume, again=_again(arguments, folder)):
            return INTERRUPTED
    figures = distill_json(folder)
    if arguments.json:
        print_json({**figures, "run": str(folder.path), "report": str(folder.report)})
        return 0
    console = out()
    print_distillation(console, figures)
    console.print(f"report: {shown_path(folder.report)}", soft_wrap=True)
    return 0


@contextmanager
def open_endpoint(recipe: DistillRecipe) -> Iterator[Teacher]:
    """The teacher behind the recipe's address."""
    traces = recipe.traces
    sampling = Sampling(max_tokens=traces.max_tokens, temperature=traces.temperature, top_p=traces.top_p)
    with open_address(recipe.endpoint, sampling, recipe.seed, thought_wanted=traces.require_thought) as teacher:
        yield teacher


def _compare(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> int:
    given = ("teacher", "student", "recipe", "task", "problems", *TOLD, "key_file", "teacher_model")
    if unused := [name for name in given if getattr(arguments, name) is not None]:
        raise ConfigError(
            f"--compare trains its own teacher and students by its recipe; leave out {unused[0].replace('_', '-')}"
        )
    path = _choose_path(arguments, Path(arguments.compare).stem)
    recipe = load_comparison_recipe(RunFolder(path).config if arguments.resume else arguments.compare, settings)
    folder = RunFolder(path) if arguments.resume else RunFolder.create(path)

    def work(reporter: Reporter) -> object:
        return run_comparison(recipe, folder, reporter, resume=arguments.resume)

    with _in_one_process(recipe.compute.device):
        if not run_shown(folder, work, resume=arguments.resume, again=_again(arguments, folder)):
            return INTERRUPTED
    figures = comparison_json(folder)
    if arguments.json:
        print_json({**figures, "run": str(folder.path), "report": str(folder.report)})
        return 0
    console = out()
    print_conclusion(console, figures)
    console.print(f"report: {shown_path(folder.report)}", soft_wrap=True)
    return 0


@contextmanager
def _in_one_process(device: Device) -> Iterator[None]:
    """Train on this device, alone. Raises `ConfigError` where torchrun has started others."""
    with joined(device) as parallel:
        if not parallel.alone:
            raise ConfigError(
                f"ponder distill trains in one process, and torchrun started {parallel.world_size}; start it without"
            )
        yield


def _named(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that have an argument of their own."""
    told = told_of_problems(arguments)
    settings: dict[str, Any] = {name: getattr(arguments, name) for name in ("teacher", "student")}
    settings = {name: value for name, value in settings.items() if value is not None}
    if arguments.task is not None:
        settings["task"] = {"file": str(arguments.task.resolve())}
    elif arguments.problems is not None:
        if arguments.problems.isdecimal():
            raise ConfigError(
                f"--problems {arguments.problems}: expected the name of a set, task or file. How many problems the "
                f"teacher is asked is --traces.problems={arguments.problems}; how many the student is measured with, "
                "`problems` in a recipe of your own (--recipe FILE)"
            )
        if "test" in told:
            told["test"] = fixed_test(told["test"])
        settings["task"] = {"name": fixed_problems(arguments.problems), "file": "", **told}
    endpoint = {"key_file": arguments.key_file, "model": arguments.teacher_model}
    endpoint = {name: value for name, value in endpoint.items() if value is not None}
    if endpoint and arguments.teacher is not None and not is_url(arguments.teacher):
        raise ConfigError(f"--key-file and --teacher-model are for an address; the teacher is {arguments.teacher}")
    return {**settings, "endpoint": endpoint} if endpoint else settings


def _choose_path(arguments: argparse.Namespace, name: str) -> Path:
    """Of the run to go on with, or of a new one. A name of one's own is taken as it is; the default is counted up."""
    if arguments.run is None:
        newest, path = in_series(arguments.runs, name)
        if arguments.resume and newest is not None:
            path = newest.path
    else:
        path = arguments.runs / single_name("--run", arguments.run)
    if not arguments.resume:
        return path
    folder = RunFolder(path)
    if not folder.config.is_file():
        raise RunError(f"there is no run {shown_path(path)} to go on with; leave out --resume to begin it")
    kind = read_toml(folder.config).get("kind", "zero")
    wanted = "distill" if arguments.compare is None else "distill-comparison"
    if kind != wanted:
        raise RunError(f"{shown_path(path)} is a run of the kind {kind}; expected one of the kind {wanted}")
    return path


def _again(arguments: argparse.Namespace, folder: RunFolder) -> Sequence[str]:
    """The arguments that go on with this run."""
    command = ["distill"]
    if arguments.compare is not None:
        command += ["--compare", arguments.compare]
    elif arguments.key_file is not None:
        command += ["--key-file", arguments.key_file]
    command += ["--resume", "--run", folder.name]
    if arguments.runs != DEFAULT_ROOT:
        command += ["--runs", str(arguments.runs)]
    return command
