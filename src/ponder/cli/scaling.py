"""`ponder scaling`: accuracy against the thinking budget and against the number of votes."""

import argparse
import dataclasses
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.box import SIMPLE

from ponder.cli.arguments import add_json, add_model
from ponder.cli.live import progress_display
from ponder.cli.models import open_shown
from ponder.cli.output import err, out, percent, print_json, shown_path
from ponder.cli.suites import (
    add_drawing,
    add_suite,
    default_name,
    grader,
    identity,
    open_suite,
    room_after_prompts,
)
from ponder.cli.tables import FigureTable
from ponder.core.errors import ConfigError
from ponder.core.files import atomic_write_bytes, atomic_write_text
from ponder.core.progress import Reporter
from ponder.core.workers import ComputeConfig, Workers
from ponder.evals.drawing import DrawingConfig
from ponder.evals.findings import interval_text
from ponder.evals.scaling import Scaling, ScalingConfig, budget_point, plot_scaling, vote_points
from ponder.evals.suites.folder import EVALUATIONS, EvaluationFolder
from ponder.evals.suites.registry import TEMPERATURE, TOP_P
from ponder.evals.suites.run import SuiteSet, evaluate_suite
from ponder.recipes.opening import OpenModel, find_model

_DEFAULT = ScalingConfig()
BUDGET_SAMPLES = 4  # of each problem at each budget


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_suite(parser, required=True)
    add_drawing(parser)
    for name, what in (("budgets", "tokens of thought"), ("votes", "numbers of samples that vote; 0: none")):
        shown = ",".join(map(str, getattr(_DEFAULT, name)))
        parser.add_argument(f"--{name}", type=numbers, metavar="N,N,…", help=f"{what} ({shown})")
    parser.epilog = (
        "Thoughts are closed at each budget in turn and the answer follows, with --max-tokens (64) for it. The votes "
        "are taken among samples at the largest budget. All evaluations are kept in the folder, where a stopped "
        "command goes on."
    )
    add_json(parser)


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected numbers such as 32,64,128") from None


def run(arguments: argparse.Namespace) -> int:
    votes = arguments.votes or _DEFAULT.votes
    config = ScalingConfig(
        budgets=arguments.budgets or _DEFAULT.budgets,
        votes=(1,) if votes == (0,) else votes,
        answer_tokens=arguments.max_tokens or _DEFAULT.answer_tokens,
    )
    if arguments.temperature == 0.0:
        raise ConfigError("--temperature 0 gives the same answer every time; expected a positive number")
    path = find_model(arguments.model, arguments.runs)
    into: Path = arguments.into or EVALUATIONS / f"{default_name(arguments.model, arguments.suite)}-scaling"
    with ExitStack() as stack:
        sets = stack.enter_context(open_suite(arguments, samples=None))
        workers = stack.enter_context(Workers(ComputeConfig()))
        model = open_shown(path, workers)
        if model.prompter.thought is None:
            raise ConfigError(f"{arguments.model} has no place for thoughts, so there is no thinking budget to vary")
        reporter = stack.enter_context(progress_display(err(), f"scaling on {arguments.suite}"))
        scaling = measure(arguments, model, sets, config, into, path, reporter, voting=votes != (0,))
    atomic_write_text(into / "scaling.json", json.dumps(scaling.to_json(), indent=2, allow_nan=False) + "\n")
    atomic_write_bytes(
        into / "scaling.png", plot_scaling(scaling, f"{Path(arguments.model).name} on {arguments.suite}")
    )
    if arguments.json:
        print_json({"model": arguments.model, "folder": str(into), **scaling.to_json()})
        return 0
    for table in tables(scaling):
        out().print(table)
    out().print(f"plot: {shown_path(into / 'scaling.png')}", soft_wrap=True)
    return 0


def measure(
    arguments: argparse.Namespace,
    model: OpenModel,
    sets: list[SuiteSet],
    config: ScalingConfig,
    into: Path,
    path: Path,
    reporter: Reporter,
    *,
    voting: bool,
) -> Scaling:
    """An evaluation for each budget; the largest has as many samples as the largest vote."""
    room = len(model.prompter.closing_ids) + 1 + config.answer_tokens
    samples = arguments.samples or BUDGET_SAMPLES
    if (most := max(config.budgets) + room) > (left := room_after_prompts(model, sets)):
        raise ConfigError(
            f"a thought of {max(config.budgets):,} tokens and an answer of {config.answer_tokens:,} take {most:,} "
            f"positions with what closes the thought, and the longest prompt leaves {left:,} of the model's "
            f"{model.config.max_positions:,}; give smaller --budgets or fewer --max-tokens"
        )
    shared: dict[str, Any] = {
        "model": identity(arguments.model, path),
        "suite": arguments.suite,
        "generator": model.generator,
        "grader": grader(model.tokenizer),
        "prompter": model.prompter,
        "seed": arguments.seed or 0,
        "reporter": reporter,
    }
    scaling = Scaling()
    ballots = {tasks.name: tasks.ballot for tasks in sets if tasks.ballot is not None}
    if voting and not ballots:
        reporter.note(f"answers to {arguments.suite} cannot vote: there is no curve of votes")
    for budget in config.budgets:
        voted = voting and budget == config.budgets[-1] and bool(ballots)
        k = max(samples, max(config.votes)) if voted else samples
        evaluated = evaluate_suite(
            [dataclasses.replace(tasks, samples=k if tasks.name in ballots else samples) for tasks in sets],
            # apart, so that larger budgets and votes can be added
            EvaluationFolder(into / (f"budget-{budget}-votes-{k}" if voted else f"budget-{budget}")),
            config=DrawingConfig(
                greedy=False,
                temperature=arguments.temperature or TEMPERATURE,
                top_p=arguments.top_p or TOP_P,
                max_tokens=budget + room,
                max_thought_tokens=budget,
                tokens_per_batch=arguments.batch_tokens or DrawingConfig.tokens_per_batch,
            ),
            **shared,
        )
        scaling.budgets.append(budget_point(budget, evaluated.evaluation, evaluated.samples))
        if voted:
            scaling.votes.extend(vote_points(evaluated.samples, ballots, config.votes))
    return scaling


def tables(scaling: Scaling) -> list[FigureTable]:
    """Both curves as tables."""
    names = list(scaling.budgets[0].tasks)
    budgets = FigureTable(title="pass@1 against the thinking budget", box=SIMPLE)
    for name in ("budget", "thought", "closed", "mean over sets", *(names if len(names) > 1 else [])):
        budgets.add_column(name, justify="right", no_wrap=True)
    for point in scaling.budgets:
        budgets.add_row(
            f"{point.budget:,}",
            f"{point.mean_thought_length:,.0f}",
            percent(point.closed_share),
            interval_text(point.macro),
            *(percent(point.tasks[name].mean) for name in (names if len(names) > 1 else [])),
        )
    if not scaling.votes:
        return [budgets]
    voters = list(scaling.votes[0].tasks)
    votes = FigureTable(title="majority vote against the number of samples", box=SIMPLE)
    for name in ("votes", "mean over sets", *(voters if len(voters) > 1 else [])):
        votes.add_column(name, justify="right", no_wrap=True)
    for vote in scaling.votes:
        shown = (interval_text(vote.tasks.get(name)) for name in (voters if len(voters) > 1 else []))
        votes.add_row(str(vote.votes), interval_text(vote.macro), *shown)
    return [budgets, votes]
