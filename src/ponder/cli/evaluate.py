"""`ponder eval`: measure a model on held-out problems of a task, or on suites of problem sets."""

import argparse
import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from rich.box import SIMPLE

from ponder.algo.pass_at_k import Interval
from ponder.cli.arguments import MODEL_HELP, add_json, add_runs, count
from ponder.cli.figures import evaluation_table
from ponder.cli.live import progress_display
from ponder.cli.models import open_shown, recipe_of
from ponder.cli.output import err, out, percent, print_json, shown_path
from ponder.cli.suites import (
    add_drawing,
    add_suite,
    default_name,
    grader,
    identity,
    longest_completion,
    open_suite,
)
from ponder.cli.tables import FigureTable
from ponder.core.errors import ConfigError, DataError
from ponder.core.seeds import python_rng
from ponder.core.workers import ComputeConfig, Workers
from ponder.data.library.generated import GYM
from ponder.data.library.rows import SUFFIXES
from ponder.data.problems import held_out_problems
from ponder.evals.by_task import TaskEvaluation, TaskFigures
from ponder.evals.codeforces import RATINGS, load_ratings, rate, rated_contests
from ponder.evals.drawing import DrawingConfig
from ponder.evals.evaluator import Evaluated, EvaluationConfig, evaluate
from ponder.evals.findings import interval_text
from ponder.evals.suites.folder import EVALUATIONS, EvaluationFolder
from ponder.evals.suites.registry import TEMPERATURE, TOP_P
from ponder.evals.suites.run import evaluate_suite
from ponder.recipes.open_task import OpenedTask, open_task
from ponder.recipes.opening import find_model
from ponder.recipes.practised_sets import is_set
from ponder.recipes.tasks import BUILT_IN, TaskConfig
from ponder.recipes.zero_recipe import ZeroRecipe
from ponder.verify.grader import Grader
from ponder.verify.rewards import RewardConfig

_OF_SUITES = (
    *("data", "kind", "fields", "split", "drop_unanswered", "allow_missing", "top_p", "into"),
    *("batch_tokens", "max_thought_tokens", "greedy", "contests"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN|MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--problems",
        metavar="N|TASK|FILE",
        help=f"so many problems of the model's own task; or {' or '.join(BUILT_IN)}; or a Python file with a task",
    )
    add_suite(parser, required=False)
    add_drawing(parser)
    parser.add_argument(
        "--max-thought-tokens", type=count, metavar="N", help="close thoughts there, and let the answer follow (suites)"
    )
    parser.add_argument("--greedy", action="store_true", help="also measure one greedy completion of each (suites)")
    parser.add_argument(
        "--contests", type=Path, metavar="DIR", help="saved contests: also tell a Codeforces rating (suites)"
    )
    parser.epilog = (
        "Without --suite: held-out problems of the model's own task, which training never met, with the settings of "
        "its recipe. With --suite: the protocol of R1's paper, samples at temperature 0.6 and top-p 0.95, into a "
        "folder where a stopped evaluation goes on when it is started again."
    )
    add_runs(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.suite is not None:
        return run_suite(arguments)
    if given := [name for name in _OF_SUITES if getattr(arguments, name)]:
        raise ConfigError(f"--{given[0].replace('_', '-')} belongs to --suite; name a suite, or leave it out")
    folder = find_model(arguments.model, arguments.runs)
    recipe = recipe_of(folder)
    task_config, config = choose(arguments, recipe)
    with open_task(task_config, None if recipe is None else recipe.sandbox) as opened:
        measured = _measure(arguments, folder, recipe, opened, config)
        task = opened.task
    figures = measured.evaluation.to_json()
    if arguments.json:
        print_json({"model": arguments.model, "task": task.name, **figures})
        return 0
    out().print(evaluation_table({arguments.model: figures}))
    return 0


def _measure(
    arguments: argparse.Namespace,
    folder: Path,
    recipe: ZeroRecipe | None,
    opened: OpenedTask,
    config: EvaluationConfig,
) -> Evaluated:
    """What the model is worth on the task's held-out problems."""
    task = opened.task
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
        return evaluate(
            problems,
            generator=model.generator,
            grade=Grader(model.tokenizer, task.check, rewards, opened.check_seconds),
            prompter=model.prompter,
            config=config,
            seed=seed,
            reporter=reporter,
        )


def run_suite(arguments: argparse.Namespace) -> int:
    """`--suite`: into a folder, where a stopped evaluation goes on."""
    if arguments.problems is not None:
        raise ConfigError("--problems and --suite name two different things to measure on; give one of them")
    if arguments.temperature == 0.0:
        raise ConfigError("--temperature 0 is greedy, and samples of a suite are drawn; add --greedy to measure it too")
    path = find_model(arguments.model, arguments.runs)
    folder = EvaluationFolder(arguments.into or EVALUATIONS / default_name(arguments.model, arguments.suite))
    with ExitStack() as stack:
        sets = stack.enter_context(open_suite(arguments, samples=arguments.samples))
        if arguments.contests is not None:  # what cannot be rated shows before anything is drawn
            rated_contests((problem.id for tasks in sets for problem in tasks.problems), arguments.contests)
            load_ratings(arguments.contests / RATINGS)
        workers = stack.enter_context(Workers(ComputeConfig()))
        model = open_shown(path, workers)
        config = DrawingConfig(
            greedy=arguments.greedy,
            temperature=TEMPERATURE if arguments.temperature is None else arguments.temperature,
            top_p=arguments.top_p or TOP_P,
            max_tokens=longest_completion(model, sets, arguments.max_tokens),
            max_thought_tokens=arguments.max_thought_tokens,
            tokens_per_batch=arguments.batch_tokens or DrawingConfig.tokens_per_batch,
        )
        reporter = stack.enter_context(progress_display(err(), f"eval on {arguments.suite}"))
        evaluated = evaluate_suite(
            sets,
            folder,
            model=identity(arguments.model, path),
            suite=arguments.suite,
            generator=model.generator,
            grader=grader(model.tokenizer),
            prompter=model.prompter,
            config=config,
            seed=arguments.seed or 0,
            reporter=reporter,
        )
    rating = None if arguments.contests is None else rate(evaluated.samples, arguments.contests)
    if arguments.json:
        result = {"folder": str(folder.path), **folder.read_settings(), **evaluated.evaluation.to_json()}
        print_json(result if rating is None else {**result, "codeforces": asdict(rating)})
        return 0
    console = out()
    console.print(suite_table(evaluated.evaluation, arguments.model))
    if rating is not None:
        console.print(
            f"Codeforces rating {rating.rating:,.0f}, above {rating.percentile} % of all users; "
            f"{len(rating.contests)} contests, {rating.left_out} left out"
        )
    console.print(f"look at the samples: ponder samples {shown_path(folder.path)}", soft_wrap=True)
    return 0


def suite_table(evaluation: TaskEvaluation, title: str) -> FigureTable:
    """One row per set, and the mean over sets."""
    table = FigureTable(
        title=f"{title}: temperature {evaluation.temperature:g}, top-p {evaluation.top_p:g}, at most "
        f"{evaluation.max_tokens:,} tokens, seed {evaluation.seed}; 95 % intervals",
        box=SIMPLE,
    )
    table.add_column("")
    greedy = evaluation.macro_greedy is not None
    voted = evaluation.macro_consensus is not None
    for name in ("problems", "k", "pass@1", *(["cons@k"] if voted else []), *(["greedy"] if greedy else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("tokens", "cut off", "ungraded"):
        table.add_column(name, justify="right", no_wrap=True)

    def cells(pass_at_1: Interval | None, consensus: Interval | None, best: Interval | None) -> list[str]:
        shown = [pass_at_1, *([consensus] if voted else []), *([best] if greedy else [])]
        return [interval_text(interval) for interval in shown]

    for name, task in evaluation.tasks.items():
        table.add_row(
            name,
            f"{task.n:,}",
            str(task.samples),
            *cells(task.pass_at_1, task.consensus, task.greedy),
            f"{task.mean_length:,.0f}",
            percent(task.truncated_share),
            percent(task.ungraded_share),
        )
    if len(evaluation.tasks) > 1:
        macros = cells(evaluation.macro_pass_at_1, evaluation.macro_consensus, evaluation.macro_greedy)
        figures: Mapping[str, TaskFigures] = evaluation.tasks
        table.add_section()
        table.add_row(
            "mean of sets",
            f"{evaluation.n:,}",
            "",
            *macros,
            "",
            percent(sum(task.truncated_share for task in figures.values()) / len(figures)),
            percent(sum(task.ungraded_share for task in figures.values()) / len(figures)),
        )
    return table


def choose(arguments: argparse.Namespace, recipe: ZeroRecipe | None) -> tuple[TaskConfig, EvaluationConfig]:
    """The task and the settings that the arguments mean, the run's own where they are silent."""
    config = EvaluationConfig() if recipe is None else recipe.evaluation
    given = {"samples": arguments.samples, "temperature": arguments.temperature, "max_tokens": arguments.max_tokens}
    given["problems"] = arguments.count
    wanted: str | None = arguments.problems
    if wanted is None or wanted.isdecimal():
        if recipe is None:
            raise ConfigError(
                f"{arguments.model} is not a run of R1-Zero, which would know its task; name one "
                f"(--problems {BUILT_IN[0]}), or sets of problems (--suite)"
            )
        task = recipe.task
        if wanted is not None:
            given["problems"] = int(wanted)
    elif wanted in BUILT_IN:
        task = TaskConfig(name=wanted) if recipe is None else replace(recipe.task, name=wanted, file="")
    elif Path(wanted).suffix == ".py" or (Path(wanted).exists() and not {*Path(wanted).suffixes} & {*SUFFIXES}):
        task = TaskConfig(file=wanted)
    else:
        of_suite = shlex.quote(wanted) if is_set(wanted) or wanted.startswith(GYM) else "NAME"
        raise ConfigError(
            f"--problems {wanted!r}; expected a number, {', '.join(BUILT_IN)}, or a Python file with a task. A "
            "table of questions and answers, or a set of `ponder problems`, is measured with: ponder eval "
            f"{shlex.quote(arguments.model)} --suite {of_suite}"
        )
    return task, replace(config, **{name: value for name, value in given.items() if value is not None})
