"""Draw and grade completions of problems. Each is kept as it comes, so a killed evaluation goes on where it was."""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from ponder.core.errors import ConfigError, RunError, TokenizerError
from ponder.core.files import atomic_file, what_is
from ponder.core.generator import Generator
from ponder.core.metrics import JsonLines
from ponder.core.seeds import derive_seed
from ponder.core.types import Grade, Problem, Prompt, Sampling
from ponder.evals.graded import Drawn, GradedSample, SampleKey, read_graded
from ponder.text.prompt import Prompter


@dataclass(frozen=True, kw_only=True)
class DrawingConfig:
    """Which completions of a problem are drawn."""

    greedy: bool = True  # one at temperature 0
    samples: int = 4  # at `temperature`; 0 for none
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256  # longest completion; one that is cut off counts as wrong and in truncated_share
    max_thought_tokens: int | None = None  # a thought is closed there and the answer follows; None: no bound
    tokens_per_batch: int = 65_536  # memory, and how much a kill may lose; never changes the result

    def __post_init__(self) -> None:
        for name in ("max_tokens", "tokens_per_batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"evaluation.{name} = {getattr(self, name)}; expected 1 or more")
        if self.samples < 0 or not (self.samples or self.greedy):
            raise ConfigError(
                f"evaluation.samples = {self.samples}, greedy = {self.greedy}; expected at least one completion"
            )
        if not 0.0 < self.temperature < math.inf:
            raise ConfigError(
                f"evaluation.temperature = {self.temperature}; expected a positive number (greedy = true measures 0)"
            )
        if not 0.0 < self.top_p <= 1.0:
            raise ConfigError(f"evaluation.top_p = {self.top_p}; expected above 0, and 1 at most")

    @property
    def completions(self) -> int:
        """Of one problem."""
        return self.samples + int(self.greedy)

    def sampling(self, drawn: Drawn, closing_ids: tuple[int, ...]) -> Sampling:
        """What a generator is asked for."""
        sampled = drawn == "sampled"
        return Sampling(
            max_tokens=self.max_tokens,
            temperature=self.temperature if sampled else 0.0,
            top_p=self.top_p if sampled else 1.0,
            max_thought_tokens=self.max_thought_tokens,
            closing_ids=closing_ids if self.max_thought_tokens is not None else (),
        )


class KeptSamples:
    """The samples of an evaluation that are there already, and a file that takes those to come. Without a path they
    are kept in memory alone. One process at a time.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Reads what is there; a last line that was cut off is dropped. Raises `RunError` for a damaged file."""
        there = [] if path is None or what_is(path) is None else read_graded(path)
        self._samples = {sample.key: sample for sample in there}
        self._path, self._lines = path, None if path is None else JsonLines(path)

    def __len__(self) -> int:
        return len(self._samples)

    def get(self, key: SampleKey, problem: Problem, seed: int) -> GradedSample | None:
        """The sample, if it is there. Raises `RunError` where it is one of another evaluation."""
        sample = self._samples.get(key)
        if sample is None or (sample.seed == seed and sample.prompt == problem.prompt):
            return sample
        how = f"with seed {sample.seed}, now it is {seed}" if sample.seed != seed else "for a prompt in other words"
        raise RunError(
            f"{self._path} holds samples of another evaluation: {key.problem_id!r} was drawn {how}; evaluate into "
            "another folder"
        )

    def add(self, samples: Iterable[GradedSample]) -> None:
        """Keep them. Raises `RunError` where they cannot be written."""
        for sample in samples:
            if self._lines is not None:
                self._lines.append(sample.row())
            self._samples[sample.key] = sample

    def replace(self, samples: Iterable[GradedSample]) -> None:
        """Put samples in the place of those with their keys. Raises `RunError` where they cannot be written; then the
        file is as it was.
        """
        self._samples |= {sample.key: sample for sample in samples}
        if self._path is None or self._lines is None:
            return
        self._lines.close()
        try:
            with atomic_file(self._path) as unfinished, JsonLines(unfinished) as lines:
                for sample in self._samples.values():
                    lines.append(sample.row())
        finally:
            self._lines = JsonLines(self._path)

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Job(NamedTuple):
    """One completion to be drawn."""

    place: int  # of its problem
    drawn: Drawn
    sample: int
    seed: int
    key: SampleKey


def draw(
    problems: Sequence[Problem],
    *,
    generator: Generator,
    grade: Grade,
    prompter: Prompter,
    config: DrawingConfig,
    seed: int,
    kept: KeptSamples,
    on_done: Callable[[int], None] = lambda count: None,
) -> list[GradedSample]:
    """The graded completions of the problems: the greedy ones, then the sampled, each in the problems' order.

    Sample s of a problem is drawn with `derive_seed(seed, "evaluation", problem.id, s)`, so two models meet the same
    random numbers. What is in `kept` is not drawn again; what comes is added. A kept one that its checker failed on is
    graded again. `on_done` hears how many came or were there. Of problems with equal ids in one task the first counts.
    """
    different = list({(p.task, p.id): p for p in reversed(problems)}.values())[::-1]
    jobs = list(_jobs(different, config, seed))
    _grade_again(jobs, different, grade, prompter, kept)
    missing = [job for job in jobs if kept.get(job.key, different[job.place], job.seed) is None]
    on_done(len(jobs) - len(missing))
    wanted = sorted({job.place for job in missing})
    encoded = dict(zip(wanted, prompter.encode_batch([different[i].prompt for i in wanted]), strict=True))
    prompts = {i: Prompt(problem_id=different[i].id, ids=ids) for i, ids in encoded.items()}
    closing_ids = () if config.max_thought_tokens is None else prompter.closing_ids
    for drawn, of_kind in groupby(missing, key=lambda job: job.drawn):
        sampling = config.sampling(drawn, closing_ids)
        for batch in _batches(list(of_kind), prompts, config):
            groups = [(i, list(group)) for i, group in groupby(batch, key=lambda job: job.place)]
            seeds = [[job.seed for job in group] for _, group in groups]
            completions = generator.generate([prompts[i] for i, _ in groups], sampling, seeds)
            for (i, group), made in zip(groups, completions, strict=True):
                rollouts = [grade(different[i], completion) for completion in made]
                kept.add(
                    GradedSample.of(rollout, prompter.tokenizer, drawn=drawn, sample=job.sample)
                    for job, rollout in zip(group, rollouts, strict=True)
                )
            on_done(len(batch))
    found = (kept.get(job.key, different[job.place], job.seed) for job in jobs)
    return [sample for sample in found if sample is not None]


def _grade_again(
    jobs: Sequence[_Job], problems: Sequence[Problem], grade: Grade, prompter: Prompter, kept: KeptSamples
) -> None:
    """Have kept samples judged that have an answer and no verdict: what the checker failed by may be over."""
    there = ((job, kept.get(job.key, problems[job.place], job.seed)) for job in jobs)
    ungraded = [(job, s) for job, s in there if s is not None and s.correct is None and s.flaw is None]
    found = []
    prompts = prompter.encode_batch([problems[job.place].prompt for job, _ in ungraded]) if ungraded else []
    for (job, sample), prompt_ids in zip(ungraded, prompts, strict=True):
        with suppress(TokenizerError):  # what stood for bytes that are no text
            verdict = grade(problems[job.place], sample.rebuilt(prompt_ids, prompter.tokenizer)).verdict
            if verdict.correct is not None:
                found.append(replace(sample, score=verdict.score, correct=verdict.correct, reason=verdict.reason))
    if found:
        kept.replace(found)


def _jobs(problems: Sequence[Problem], config: DrawingConfig, seed: int) -> Iterable[_Job]:
    kinds: tuple[tuple[Drawn, int], ...] = (("greedy", int(config.greedy)), ("sampled", config.samples))
    for drawn, count in kinds:
        for place, problem in enumerate(problems):
            for s in range(count):
                key = SampleKey(problem.task, problem.id, drawn, s)
                yield _Job(place, drawn, s, derive_seed(seed, "evaluation", problem.id, s), key)


def _batches(jobs: Sequence[_Job], prompts: dict[int, Prompt], config: DrawingConfig) -> Iterable[list[_Job]]:
    """Runs of jobs that hold at most `tokens_per_batch` tokens together if all are as long as they may be."""
    batch: list[_Job] = []
    tokens = 0
    for job in jobs:
        size = len(prompts[job.place].ids) + config.max_tokens
        if batch and tokens + size > config.tokens_per_batch:
            yield batch
            batch, tokens = [], 0
        batch.append(job)
        tokens += size
    if batch:
        yield batch
