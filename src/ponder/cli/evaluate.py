"""`ponder eval`: measure a model on held-out problems."""

import argparse
from dataclasses import replace
from pathlib import Path

from ponder.cli.arguments import MODEL_HELP, add_json, add_runs, count, temperature, whole_number
from ponder.cli.figures import evaluation_table
from ponder.cli.live import progress_display
from ponder.cli.models import open_shown, recipe_of
from ponder.cli.output import err, out, print_json
from ponder.core.errors import ConfigError, DataError
from ponder.core.seeds import python_rng
from ponder.core.workers import ComputeConfig, Workers
from ponder.data.problems import held_out_problems
from ponder.evals.evaluator import EvaluationConfig, evaluate
from ponder.recipes.opening import find_model
from ponder.recipes.tasks import BUILT_IN, TaskConfig, build_task
from ponder.recipes.zero_recipe import ZeroRecipe
from ponder.verify.grader import Grader
from ponder.verify.rewards import RewardConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="RUN|MODEL",
        help=MODEL_HELP,
    )
    parser.add_argument(
        "--problems",
        metavar="N|TASK|FILE",
        help=f"so many problems of the model's own task; or {' or '.join(BUILT_IN)}; or a Python file with a task",
    )
    parser.add_argument("--count", type=count, metavar="N", help="how many problems of a named task or file")
    parser.add_argument("--samples", type=count, metavar="K", help="completions of each problem")
    parser.add_argument("--temperature", type=temperature, metavar="T", help="of the samples")
    parser.add_argument("--max-tokens", type=count, metavar="N", help="longest completion")
    parser.add_argument("--seed", type=whole_number, metavar="S", help="of the samples")
    parser.epilog = "What is not given is as in the run's recipe. Problems are held-out ones: training never met them."
    add_runs(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    folder = find_model(arguments.model, arguments.runs)
    recipe = recipe_of(folder)
    task_config, config = choose(arguments, recipe)
    task = build_task(task_config)
    problems = held_out_problems(task.problems, config.problems, python_rng(0, "held-out", task.name))
    seed = arguments.seed if arguments.seed is not None else 0 if recipe is None else recipe.seed
    if not problems:
        raise DataError(f"task {task.name} has no held-out problem; expected a held-out split with at least one")
    rewards = RewardConfig() if recipe is None else recipe.rewards
    with (
        Workers(ComputeConfig() if recipe is None else recipe.compute) as workers,
        progress_display(err(), f"eval on {task.name}") as reporter,
    ):
        model = open_shown(folder, workers)
        measured = evaluate(
            problems,
            generator=model.generator,
            grade=Grader(model.tokenizer, task.check, rewards),
            prompter=model.prompter,
            config=config,
            seed=seed,
            reporter=reporter,
        )
    figures = measured.evaluation.to_json()
    if arguments.json:
        print_json({"model": arguments.model, "task": task.name, **figures})
        return 0
    out().print(evaluation_table({arguments.model: figures}))
    return 0


def choose(arguments: argparse.Namespace, recipe: ZeroRecipe | None) -> tuple[TaskConfig, EvaluationConfig]:
    """The task and the settings that the arguments mean, the run's own where they are silent."""
    config = EvaluationConfig() if recipe is None else recipe.evaluation
    given = {"samples": arguments.samples, "temperature": arguments.temperature, "max_tokens": arguments.max_tokens}
    given["problems"] = arguments.count
    wanted: str | None = arguments.problems
    if wanted is None or wanted.isdecimal():
        if recipe is None:
            raise ConfigError(
                f"{arguments.model} is no run, so its task is not known; name one: --problems {BUILT_IN[0]}"
            )
        task = recipe.task
        if wanted is not None:
            given["problems"] = int(wanted)
    elif wanted in BUILT_IN:
        task = TaskConfig(name=wanted) if recipe is None else replace(recipe.task, name=wanted, file="")
    elif Path(wanted).suffix == ".py" or Path(wanted).exists():
        task = TaskConfig(file=wanted)
    else:
        raise ConfigError(
            f"--problems {wanted!r}; expected a number, {', '.join(BUILT_IN)}, or a Python file with a task"
        )
    return task, replace(config, **{name: value for name, value in given.items() if value is not None})
