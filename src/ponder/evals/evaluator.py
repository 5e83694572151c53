"""Measure a model on held-out problems: greedy, made to think, and sampled.

Every figure comes with its count and, where it is an accuracy, with a 95 % interval.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ponder.algo.pass_at_k import Interval, wilson_interval
from ponder.core.errors import ConfigError, DataError, RunError
from ponder.core.generator import Generator
from ponder.core.progress import Reporter, Sample
from ponder.core.seeds import derive_seed
from ponder.core.types import Grade, Problem, Prompt, Rollout, Sampling
from ponder.evals.counting import mean, pass_at_each_k, require_graded
from ponder.text.prompt import Prompter
from ponder.text.reasoning import parse_completion
from ponder.text.reflection import count_reflections
from ponder.text.tokenizer import Tokenizer

Kind = Literal["greedy", "forced", "sampled"]
Bounds = tuple[float, float]  # low and high end of a 95 % interval

SHOWN = 3  # completions handed to the reporter after an evaluation


def _bounds(value: Any) -> Bounds:
    low, high = value
    return float(low), float(high)


# how a field of each type is read back from JSON
_READERS: dict[Any, Callable[[Any], Any]] = {
    int: int,
    float: float,
    float | None: lambda value: None if value is None else float(value),
    Bounds: _bounds,
    Bounds | None: lambda value: None if value is None else _bounds(value),
    Mapping[int, float]: lambda value: {int(k): float(v) for k, v in value.items()},
    Mapping[int, Bounds]: lambda value: {int(k): _bounds(v) for k, v in value.items()},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What an evaluation measures. Greedy accuracy is always measured."""

    problems: int = 1000  # held-out problems; the interval shrinks with the square root
    samples: int = 8  # per problem, at `temperature`; pass@k is measured up to this k
    temperature: float = 1.0  # of the samples
    forced: bool = True  # also measure greedy accuracy when the thought may not be left empty
    max_tokens: int = 128  # longest completion; one that is cut off counts as wrong and in truncated_share
    sequences_per_batch: int = 1024  # memory and how often progress is told; never changes the result

    def __post_init__(self) -> None:
        for name in ("problems", "samples", "max_tokens", "sequences_per_batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"evaluation.{name} = {getattr(self, name)}; expected 1 or more")
        if not 0.0 < self.temperature < math.inf:
            raise ConfigError(
                f"evaluation.temperature = {self.temperature}; expected a positive number "
                "(greedy accuracy is measured besides)"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What was measured. Shares and accuracies are between 0 and 1; intervals are (low, high) at 95 %.

    Lengths, corrections and shares are over the sampled completions, but `ungraded_share`, which is over all.
    A completion that could not be graded enters no accuracy.
    """

    n: int  # problems
    samples: int  # completions of each at `temperature`
    seed: int
    temperature: float
    max_tokens: int
    greedy_accuracy: float
    greedy_interval: Bounds  # Wilson: one outcome per problem
    pass_at_1: float
    pass_at_1_interval: Bounds  # clustered: the problem is the unit, not the sample
    pass_at_k: Mapping[int, float]  # k = 1, 2, 4, … samples; unbiased estimate
    pass_at_k_interval: Mapping[int, Bounds]
    forced_accuracy: float | None  # greedy, when made to think; None where it was not measured
    forced_interval: Bounds | None
    mean_length: float  # tokens per completion, its end of sequence included
    self_corrections: float  # retries per completion
    thinking_share: float  # completions whose thought is not empty
    checking_share: float  # completions whose thought checks a result
    retracting_share: float  # completions whose thought takes a result back
    retrying_share: float  # completions whose thought starts over
    truncated_share: float  # completions cut off at `max_tokens`
    ungraded_share: float  # of all completions, those whose checker failed
    well_formed_share: float  # completions of the shape <think>…</think><answer>…</answer>
    seconds: float  # wall clock, generation and grading

    def to_json(self) -> dict[str, Any]:
        """As JSON values; the keys of `pass_at_k` become text."""
        data = dataclasses.asdict(self)
        data["pass_at_k"] = {str(k): value for k, value in self.pass_at_k.items()}
        data["pass_at_k_interval"] = {str(k): list(bounds) for k, bounds in self.pass_at_k_interval.items()}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = "evaluation") -> "Evaluation":
        """What `to_json` gave. Raises `RunError`, which names `where`, for a missing or unusable field."""
        try:
            fields = {field.name: _READERS[field.type](data[field.name]) for field in dataclasses.fields(cls)}
        except KeyError as error:
            raise RunError(f"{where}: the field {error.args[0]!r} is missing") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{where}: not an evaluation ({error})") from error
        return cls(**fields)


class Evaluated(NamedTuple):
    """The figures and the completions that they were counted on, in the order of the problems."""

    evaluation: Evaluation
    rollouts: dict[Kind, list[Rollout]]


def evaluate(
    problems: Sequence[Problem],
    *,
    generator: Generator,
    grade: Grade,
    prompter: Prompter,
    config: EvaluationConfig,
    seed: int,
    reporter: Reporter,
    name: str = "evaluation",
) -> Evaluated:
    """Generate and grade completions of the first `config.problems` problems, and count.

    Sample s of a problem is drawn with `derive_seed(seed, "evaluation", problem.id, s)`, so two models meet the
    same random numbers. Tells `reporter` of a stage `name` with one item per completion. Raises `DataError`
    where there is no problem, or where no completion of a kind could be graded.
    """
    problems = problems[: config.problems]
    if not problems:
        raise DataError("no problem to evaluate on; expected a held-out split with at least one problem")
    started = time.perf_counter()
    plan: list[tuple[Kind, Sampling, int]] = [("greedy", Sampling(max_tokens=config.max_tokens, temperature=0.0), 1)]
    if config.forced and prompter.tokenizer.control.end_think is not None:
        thinking = Sampling(max_tokens=config.max_tokens, temperature=0.0, min_thought_tokens=1)
        plan.append(("forced", thinking, 1))
    sampling = Sampling(max_tokens=config.max_tokens, temperature=config.temperature)
    plan.append(("sampled", sampling, config.samples))

    encoded = prompter.encode_batch([problem.prompt for problem in problems])
    prompts = [Prompt(problem_id=p.id, ids=ids) for p, ids in zip(problems, encoded, strict=True)]
    reporter.stage(name, len(problems) * sum(count for _, _, count in plan))
    rollouts: dict[Kind, list[Rollout]] = {}
    done = 0
    for kind, settings, count in plan:
        rollouts[kind] = []
        for first, last in _chunks(len(problems), config.sequences_per_batch // count):
            seeds = [[derive_seed(seed, "evaluation", p.id, s) for s in range(count)] for p in problems[first:last]]
            completions = generator.generate(prompts[first:last], settings, seeds)
            for problem, group in zip(problems[first:last], completions, strict=True):
                rollouts[kind].extend(grade(problem, completion) for completion in group)
            done += (last - first) * count
            reporter.advance(done)
    reporter.samples([Sample.of(rollout) for rollout in rollouts["greedy"][:SHOWN]])
    seconds = time.perf_counter() - started
    return Evaluated(measure(rollouts, prompter.tokenizer, config, seed, seconds), rollouts)


def measure(
    rollouts: Mapping[Kind, Sequence[Rollout]],
    tokenizer: Tokenizer,
    config: EvaluationConfig,
    seed: int,
    seconds: float,
) -> Evaluation:
    """The figures of graded rollouts; those of one problem stand together. Pure."""
    greedy = _accuracy(rollouts["greedy"], "greedy")
    forced = _accuracy(rollouts["forced"], "forced") if "forced" in rollouts else None
    sampled = rollouts["sampled"]
    groups = [sampled[i : i + config.samples] for i in range(0, len(sampled), config.samples)]
    _require_graded(sampled, "sampled")
    at_k = pass_at_each_k([_outcomes(group) for group in groups])
    thoughts = [parse_completion(r.completion, tokenizer) for r in sampled]
    reflections = [count_reflections(reasoning.thought) for reasoning in thoughts]
    everything = [r for kind in rollouts.values() for r in kind]
    return Evaluation(
        n=len(groups),
        samples=config.samples,
        seed=seed,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        greedy_accuracy=greedy.mean,
        greedy_interval=(greedy.low, greedy.high),
        pass_at_1=at_k[1].mean,
        pass_at_1_interval=(at_k[1].low, at_k[1].high),
        pass_at_k={k: interval.mean for k, interval in at_k.items()},
        pass_at_k_interval={k: (interval.low, interval.high) for k, interval in at_k.items()},
        forced_accuracy=None if forced is None else forced.mean,
        forced_interval=None if forced is None else (forced.low, forced.high),
        mean_length=mean([len(r.completion.ids) for r in sampled]),
        self_corrections=mean([r.retries for r in reflections]),
        thinking_share=mean([bool(reasoning.thought) for reasoning in thoughts]),
        checking_share=mean([r.checks > 0 for r in reflections]),
        retracting_share=mean([r.retractions > 0 for r in reflections]),
        retrying_share=mean([r.retries > 0 for r in reflections]),
        truncated_share=mean([r.completion.finish_reason == "length" for r in sampled]),
        ungraded_share=mean([r.verdict.correct is None for r in everything]),
        well_formed_share=mean([reasoning.flaw is None for reasoning in thoughts]),
        seconds=seconds,
    )


def sample_rows(rollouts: Mapping[Kind, Sequence[Rollout]], *, stage: str, step: int) -> Iterator[dict[str, Any]]:
    """The rows of `evaluations/<name>-samples.jsonl`: kind after kind, each in the order of the problems."""
    for kind, graded in rollouts.items():
        for rollout in graded:
            yield {**rollout.row(stage, step), "greedy": kind != "sampled", "forced": kind == "forced"}


def _chunks(count: int, size: int) -> list[tuple[int, int]]:
    size = max(1, size)
    return [(first, min(first + size, count)) for first in range(0, count, size)]


def _accuracy(rollouts: Sequence[Rollout], kind: Kind) -> Interval:
    _require_graded(rollouts, kind)
    outcomes = _outcomes(rollouts)
    return wilson_interval(sum(outcomes), len(outcomes))


def _outcomes(rollouts: Sequence[Rollout]) -> list[bool]:
    """Of the graded ones."""
    return [r.verdict.correct for r in rollouts if r.verdict.correct is not None]


def _require_graded(rollouts: Sequence[Rollout], kind: Kind) -> None:
    require_graded(len(_outcomes(rollouts)), [r.verdict.reason for r in rollouts], f"{kind} completions")
