"""Evaluate a model on problem sets into a folder, where a killed evaluation goes on."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from ponder.core.errors import DataError
from ponder.core.generator import Generator
from ponder.core.progress import Reporter
from ponder.core.types import Grade, Problem
from ponder.data.problems import problems_digest
from ponder.evals.by_task import EvaluatedTasks, TaskSet, evaluate_sets
from ponder.evals.drawing import DrawingConfig
from ponder.evals.suites.folder import NOT_PROBLEMS, EvaluationFolder
from ponder.evals.voting import Ballot
from ponder.text.prompt import Prompter
from ponder.verify.checkers import AnswerChecker
from ponder.verify.trial import require_working


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteSet:
    """Problems with their checker, and how often each is asked."""

    name: str
    problems: Sequence[Problem]
    checker: AnswerChecker
    samples: int  # k
    ballot: Ballot | None = None
    duplicates: int = 0  # rows of its files that repeat a question
    left_out: int = 0  # rows of its files that nothing here can judge


def evaluate_suite(
    sets: Sequence[SuiteSet],
    folder: EvaluationFolder,
    *,
    model: dict[str, Any],
    suite: str,
    generator: Generator,
    grader: Callable[[AnswerChecker], Grade],
    prompter: Prompter,
    config: DrawingConfig,
    seed: int,
    reporter: Reporter,
) -> EvaluatedTasks:
    """Evaluate into `folder`, or go on there. `model` says which weights these are: other ones are refused there.

    Raises `DataError` for a set without problems, two of one name, or a checker that does not work here, and what
    `EvaluationFolder.begin` raises.
    """
    names = [tasks.name for tasks in sets]
    for tasks in sets:
        if not tasks.problems:
            raise DataError(f"the problem set {tasks.name} is empty; expected at least one problem")
        if names.count(tasks.name) > 1:
            raise DataError(f"two problem sets are named {tasks.name}; leave one out")
        require_working(tasks.name, tasks.problems, tasks.checker)
    settings = suite_settings(sets, model=model, suite=suite, config=config, seed=seed)
    with folder.begin(settings) as kept:
        evaluated = evaluate_sets(
            [
                TaskSet(
                    name=tasks.name,
                    problems=tasks.problems,
                    grade=grader(tasks.checker),
                    samples=tasks.samples,
                    ballot=tasks.ballot,
                )
                for tasks in sets
            ],
            generator=generator,
            prompter=prompter,
            config=config,
            seed=seed,
            reporter=reporter,
            name=f"evaluation of {suite}",
            kept=kept,
        )
        folder.finish(settings, evaluated.evaluation)
    return evaluated


def suite_settings(
    sets: Sequence[SuiteSet], *, model: dict[str, Any], suite: str, config: DrawingConfig, seed: int
) -> dict[str, Any]:
    """All that a result depends on, and how many rows of a set's files are no problems of it."""
    drawing = dataclasses.asdict(config)
    del drawing["tokens_per_batch"], drawing["samples"]
    return {
        "model": model,
        "suite": suite,
        "seed": seed,
        **drawing,
        "sets": {
            tasks.name: {
                "problems": len(tasks.problems),
                "samples": tasks.samples,
                "digest": problems_digest(tasks.problems),
                **{name: count for name in NOT_PROBLEMS if (count := getattr(tasks, name))},
            }
            for tasks in sets
        },
    }
