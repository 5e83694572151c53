"""Evaluate a model on problem sets into a folder, where a killed evaluation goes on."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from ponder.core.errors import DataError
from ponder.core.generator import Generator
from ponder.core.progress import Reporter
from ponder.core.types import Problem
from ponder.evals.by_task import EvaluatedTasks, TaskSet, evaluate_sets
from ponder.evals.drawing import DrawingConfig
from ponder.evals.graded import Grade
from ponder.evals.suites.folder import EvaluationFolder, problems_digest
from ponder.evals.voting import Ballot
from ponder.text.prompt import Prompter
from ponder.verify.checkers import AnswerChecker, finding_of

TRIED = 3  # problems on which a checker is tried first
# Answers that it is tried on. They hold letters: for a number alone, no library is asked whether it is another number.
PROBES = ("x + 1", "X + 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteSet:
    """Problems with their checker, and how often each is asked."""

    name: str
    problems: Sequence[Problem]
    checker: AnswerChecker
    samples: int  # k
    ballot: Ballot | None = None


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
        _require_working(tasks)
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


def _require_working(tasks: SuiteSet) -> None:
    """Hours of completions that nobody can judge are worth nothing: each checker is tried before they are drawn."""
    reason = ""
    try:
        for problem in tasks.problems[:TRIED]:
            finding = finding_of(tasks.checker(problem, PROBES[0]))
            if finding.score is not None:
                break
            reason = finding.reason
        else:
            raise DataError(reason)
        for problem in _of_each_rule(tasks.problems):
            for probe in PROBES:
                tasks.checker(problem, probe)
    except DataError as error:
        raise DataError(f"answers to {tasks.name} cannot be judged here: {error}") from error


def _of_each_rule(problems: Sequence[Problem]) -> list[Problem]:
    """A problem with each rule of IFEval that these hold: a rule may need a library that the others do not."""
    found: dict[str, Problem] = {}
    for problem in problems:
        rules = problem.facts.get("instructions")
        for rule in rules if isinstance(rules, list | tuple) else ():
            found.setdefault(str(rule), problem)
    return list({id(problem): problem for problem in found.values()}.values())


def suite_settings(
    sets: Sequence[SuiteSet], *, model: dict[str, Any], suite: str, config: DrawingConfig, seed: int
) -> dict[str, Any]:
    """All that a result depends on."""
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
            }
            for tasks in sets
        },
    }
