"""Accuracy on several tasks, each with its interval, and their mean in which every task counts the same.

A pipeline calls `evaluate_tasks` after each of its stages; figures and samples of two stages are compared pairwise
(`ponder.evals.compare`).
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ponder.algo.pass_at_k import Interval, clustered_interval, macro_interval, wilson_interval
from ponder.core.errors import DataError, RunError
from ponder.core.generator import Generator
from ponder.core.progress import Reporter, Sample
from ponder.core.types import Grade, Problem
from ponder.evals.counting import mean, pass_at_each_k, require_graded
from ponder.evals.drawing import DrawingConfig, KeptSamples, draw
from ponder.evals.graded import Drawn, GradedSample
from ponder.evals.voting import Ballot, collect_votes
from ponder.text.prompt import Prompter

SHOWN = 3  # completions handed to the reporter after each task


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TaskFigures:
    """What was measured of one task. Accuracies and shares are between 0 and 1; intervals are at 95 %.

    Lengths and shares are over the sampled completions, or over the greedy ones where none was sampled;
    `ungraded_share` is over all. A completion that could not be graded enters no accuracy. None: not measured.
    """

    n: int  # problems
    samples: int  # completions of each at the temperature
    greedy: Interval | None  # Wilson: one outcome per problem
    pass_at_1: Interval | None  # clustered: the problem is the unit, not the sample
    pass_at_k: Mapping[int, float]  # k = 2, 4, … samples; unbiased estimate
    consensus: Interval | None  # share of problems whose majority vote of all samples is right (cons@k)
    mean_length: float  # tokens per completion
    mean_thought_length: float  # tokens per thought
    truncated_share: float  # completions cut off at the longest length
    well_formed_share: float  # completions in the form that is asked for
    ungraded_share: float  # of all completions, those whose checker failed

    def to_json(self) -> dict[str, Any]:
        data = dataclasses.asdict(self)
        data["pass_at_k"] = {str(k): value for k, value in self.pass_at_k.items()}
        for name in _INTERVALS:
            interval: Interval | None = getattr(self, name)
            data[name] = None if interval is None else interval._asdict()
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TaskFigures":
        """Raises `KeyError`, `TypeError` or `ValueError` for what `to_json` never gave."""
        values = {field.name: data[field.name] for field in dataclasses.fields(cls)}
        for name in _INTERVALS:
            values[name] = _interval(values[name])
        values["pass_at_k"] = {int(k): float(value) for k, value in values["pass_at_k"].items()}
        for name in ("n", "samples"):
            values[name] = int(values[name])
        for name in _SHARES:
            values[name] = float(values[name])
        return cls(**values)


_INTERVALS = ("greedy", "pass_at_1", "consensus")
_SHARES = ("mean_length", "mean_thought_length", "truncated_share", "well_formed_share", "ungraded_share")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TaskEvaluation:
    """What was measured of several tasks. The macro means are over tasks, whatever their numbers of problems."""

    tasks: Mapping[str, TaskFigures]
    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    max_thought_tokens: int | None
    macro_greedy: Interval | None
    macro_pass_at_1: Interval | None
    macro_consensus: Interval | None  # over the tasks that vote
    seconds: float  # wall clock, generation and grading; of a resumed evaluation, of its last part

    @property
    def n(self) -> int:
        """Problems of all tasks."""
        return sum(task.n for task in self.tasks.values())

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json` reads them."""
        data: dict[str, Any] = {"n": self.n}
        for name in _MACROS:
            interval: Interval | None = getattr(self, name)
            data[name] = None if interval is None else interval._asdict()
        data |= {name: getattr(self, name) for name in _SETTINGS}
        return {**data, "tasks": {name: task.to_json() for name, task in self.tasks.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = "evaluation") -> "TaskEvaluation":
        """What `to_json` gave. Raises `RunError`, which names `where`, for a missing or unusable field."""
        try:
            most = data["max_thought_tokens"]
            return cls(
                tasks={str(name): TaskFigures.from_json(task) for name, task in data["tasks"].items()},
                seed=int(data["seed"]),
                temperature=float(data["temperature"]),
                top_p=float(data["top_p"]),
                max_tokens=int(data["max_tokens"]),
                max_thought_tokens=None if most is None else int(most),
                macro_greedy=_interval(data["macro_greedy"]),
                macro_pass_at_1=_interval(data["macro_pass_at_1"]),
                macro_consensus=_interval(data["macro_consensus"]),
                seconds=float(data["seconds"]),
            )
        except KeyError as error:
            raise RunError(f"{where}: the field {error.args[0]!r} is missing") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{where}: not an evaluation of tasks ({error})") from error


_MACROS = ("macro_greedy", "macro_pass_at_1", "macro_consensus")
_SETTINGS = ("seed", "temperature", "top_p", "max_tokens", "max_thought_tokens", "seconds")


class EvaluatedTasks(NamedTuple):
    """The figures and the samples that they were counted on."""

    evaluation: TaskEvaluation
    samples: list[GradedSample]  # `sample.row()` is a line of a samples file


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskSet:
    """Problems that are counted together, and how their answers are judged."""

    name: str
    problems: Sequence[Problem]  # of equal ids the first counts
    grade: Grade
    samples: int | None = None  # of each problem; None: as the config says
    ballot: Ballot | None = None  # how answers vote; None: no consensus


def evaluate_tasks(
    problems: Sequence[Problem],
    *,
    generator: Generator,
    grade: Grade,
    prompter: Prompter,
    config: DrawingConfig,
    seed: int,
    reporter: Reporter,
    name: str = "evaluation",
    kept: KeptSamples | None = None,
    ballots: Mapping[str, Ballot] | None = None,
) -> EvaluatedTasks:
    """`evaluate_sets` with one set for each `Problem.task`. `ballots`: how the answers of a task vote."""
    by_name: dict[str, list[Problem]] = {}
    for problem in problems:
        by_name.setdefault(problem.task, []).append(problem)
    return evaluate_sets(
        [
            TaskSet(name=task, problems=group, grade=grade, ballot=(ballots or {}).get(task))
            for task, group in by_name.items()
        ],
        generator=generator,
        prompter=prompter,
        config=config,
        seed=seed,
        reporter=reporter,
        name=name,
        kept=kept,
    )


def evaluate_sets(
    sets: Sequence[TaskSet],
    *,
    generator: Generator,
    prompter: Prompter,
    config: DrawingConfig,
    seed: int,
    reporter: Reporter,
    name: str = "evaluation",
    kept: KeptSamples | None = None,
) -> EvaluatedTasks:
    """Generate and grade completions of sets of problems, and count set by set.

    A problem's samples stand under its set's name. `kept`: where they go as they come; those that are there already
    are not drawn again. Tells `reporter` of a stage `name` with one item per completion. Raises `DataError` where
    there is no problem, or where nothing of a set could be graded.
    """
    if not any(tasks.problems for tasks in sets):
        raise DataError("no problem to evaluate on; expected at least one")
    started = time.perf_counter()
    kept = KeptSamples() if kept is None else kept
    plans = [(s, config if s.samples is None else dataclasses.replace(config, samples=s.samples)) for s in sets]
    reporter.stage(name, sum(len({p.id for p in tasks.problems}) * plan.completions for tasks, plan in plans))
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        reporter.advance(done)

    samples: list[GradedSample] = []
    figures = {}
    for tasks, plan in plans:
        drawn = draw(
            [dataclasses.replace(problem, task=tasks.name) for problem in tasks.problems],
            generator=generator,
            grade=tasks.grade,
            prompter=prompter,
            config=plan,
            seed=seed,
            kept=kept,
            on_done=tell,
        )
        figures[tasks.name] = measure_task(drawn, tasks.ballot)
        samples += drawn
        reporter.samples([_shown(sample) for sample in drawn[:SHOWN]])
    return EvaluatedTasks(combine(figures, config, seed, time.perf_counter() - started), samples)


def _shown(sample: GradedSample) -> Sample:
    return Sample(prompt=sample.prompt, text=sample.text, score=sample.score, correct=sample.correct)


def combine(figures: Mapping[str, TaskFigures], config: DrawingConfig, seed: int, seconds: float) -> TaskEvaluation:
    """The evaluation that figures of tasks make together."""

    def macro(name: str) -> Interval | None:
        measured = [interval for task in figures.values() if (interval := getattr(task, name)) is not None]
        return macro_interval(measured) if measured else None

    return TaskEvaluation(
        tasks=dict(figures),
        seed=seed,
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_tokens,
        max_thought_tokens=config.max_thought_tokens,
        macro_greedy=macro("greedy"),
        macro_pass_at_1=macro("pass_at_1"),
        macro_consensus=macro("consensus"),
        seconds=seconds,
    )


def measure_task(samples: Sequence[GradedSample], ballot: Ballot | None = None) -> TaskFigures:
    """The figures of one task's samples. Pure. Raises `DataError` where those of a kind could not be graded at all."""
    greedy = [s for s in samples if s.drawn == "greedy"]
    sampled = by_problem(samples, "sampled")
    shown = [s for group in sampled.values() for s in group] or greedy
    _require_graded([s for group in sampled.values() for s in group])
    at_k = pass_at_each_k([_outcomes(group) for group in sampled.values()])
    return TaskFigures(
        n=len({s.problem_id for s in samples}),
        samples=max((len(group) for group in sampled.values()), default=0),
        greedy=_greedy(greedy),
        pass_at_1=at_k.pop(1, None),
        pass_at_k={k: interval.mean for k, interval in at_k.items()},
        consensus=_consensus(list(sampled.values()), ballot),
        mean_length=mean([s.length for s in shown]),
        mean_thought_length=mean([s.thought_tokens for s in shown]),
        truncated_share=mean([s.truncated for s in shown]),
        well_formed_share=mean([s.flaw is None for s in shown]),
        ungraded_share=mean([s.correct is None for s in samples]),
    )


def by_problem(samples: Sequence[GradedSample], drawn: Drawn) -> dict[str, list[GradedSample]]:
    """The samples of a kind by their problems."""
    groups: dict[str, list[GradedSample]] = {}
    for sample in samples:
        if sample.drawn == drawn:
            groups.setdefault(sample.problem_id, []).append(sample)
    return groups


def _outcomes(samples: Sequence[GradedSample]) -> list[bool]:
    """Of the graded ones."""
    return [s.correct for s in samples if s.correct is not None]


def _require_graded(samples: Sequence[GradedSample]) -> None:
    what = f"{samples[0].drawn} completions of task {samples[0].task!r}" if samples else ""
    require_graded(len(_outcomes(samples)), [s.reason for s in samples], what)


def _greedy(samples: Sequence[GradedSample]) -> Interval | None:
    _require_graded(samples)
    outcomes = _outcomes(samples)
    return wilson_interval(sum(outcomes), len(outcomes)) if outcomes else None


def _consensus(groups: Sequence[Sequence[GradedSample]], ballot: Ballot | None) -> Interval | None:
    """Over problems with a graded sample; an ungraded one does not vote."""
    if ballot is None:
        return None
    graded = [[s for s in group if s.correct is not None] for group in groups]
    shares = [
        collect_votes([s.answer for s in group], [s.correct for s in group], ballot).share_right()
        for group in graded
        if group
    ]
    return clustered_interval(shares) if shares else None


def _interval(data: Any) -> Interval | None:
    return None if data is None else Interval(float(data["mean"]), float(data["low"]), float(data["high"]))
