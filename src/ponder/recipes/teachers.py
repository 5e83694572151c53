"""Who can be asked for worked answers. `ponder.recipes.endpoint` has the one behind an address."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

from ponder.core.errors import GenerationError, TokenizerError
from ponder.core.generator import Generator
from ponder.core.seeds import derive_seed
from ponder.core.types import Completion, Problem, Prompt, Sampling
from ponder.data.traces import Trace, flaw_of
from ponder.text.prompt import Prompter
from ponder.text.reasoning import parse_completion


class Wanted(NamedTuple):
    """One answer to ask for."""

    problem: Problem
    sample: int  # which of the answers to this problem

    @property
    def key(self) -> tuple[str, int]:
        """See `Trace.key`."""
        return self.problem.id, self.sample


Keep = Callable[[Trace], None]  # called with each answer, in the caller's thread


class UndecidedError(GenerationError):
    """Nothing answered, and the last requests failed: nobody can tell here whether because of their problems."""

    def __init__(self, message: str, failed: Sequence[Trace]) -> None:
        """`failed`: what is to be kept where the teacher has answered before."""
        super().__init__(message)
        self.failed = tuple(failed)


class UselessError(GenerationError):
    """Told by `keep`: what comes is of no use. No more is asked for; what is under way is kept."""


class Teacher(Protocol):
    """Answers problems, with its thoughts."""

    @property
    def name(self) -> str:
        """For people, and to know it again when a run goes on."""
        ...

    def ask(self, wanted: Sequence[Wanted], keep: Keep) -> None:
        """Ask for all of these and hand each answer to `keep` as it comes, in any order.

        A problem that fails where others are answered is kept as failed. Raises `GenerationError` where the teacher
        fails for good; the answers that had come were kept.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LocalTeacher:
    """A model of this machine. An answer depends on weights, problem, sample and seed."""

    name: str
    generator: Generator
    prompter: Prompter
    sampling: Sampling
    seed: int
    thought_wanted: bool = True
    sequences_per_batch: int = 256  # memory, and how often answers are kept; never changes a result

    def ask(self, wanted: Sequence[Wanted], keep: Keep) -> None:
        """See `Teacher.ask`. A prompt that the model has no place for is kept as refused."""
        by_problem = [list(group) for _, group in groupby(wanted, key=lambda w: w.problem.id)]
        batch: list[list[Wanted]] = []
        for group in by_problem:
            batch.append(group)
            if sum(map(len, batch)) >= self.sequences_per_batch:
                self._ask_batch(batch, keep)
                batch = []
        if batch:
            self._ask_batch(batch, keep)

    def _ask_batch(self, groups: Sequence[Sequence[Wanted]], keep: Keep) -> None:
        try:
            answered = self._generate(groups)
        except (GenerationError, TokenizerError) as error:
            if len(groups) > 1:  # one prompt is enough to refuse all: each on its own
                for group in groups:
                    self._ask_batch([group], keep)
                return
            for wanted in groups[0]:
                keep(_refused(wanted, str(error)))
            return
        for group, completions in zip(groups, answered, strict=True):
            for wanted, completion in zip(group, completions, strict=True):
                keep(self._trace(wanted, completion))

    def _generate(self, groups: Sequence[Sequence[Wanted]]) -> list[list[Completion]]:
        problems = [group[0].problem for group in groups]
        encoded = self.prompter.encode_batch([problem.prompt for problem in problems])
        prompts = [Prompt(problem_id=p.id, ids=ids) for p, ids in zip(problems, encoded, strict=True)]
        seeds = [[derive_seed(self.seed, "teacher", w.problem.id, w.sample) for w in group] for group in groups]
        return self.generator.generate(prompts, self.sampling, seeds)

    def _trace(self, wanted: Wanted, completion: Completion) -> Trace:
        reasoning = parse_completion(completion, self.prompter.tokenizer)
        thought, answer = reasoning.thought.strip(), (reasoning.answer or "").strip()
        flaw = flaw_of(
            thought, answer, truncated=completion.finish_reason == "length", thought_wanted=self.thought_wanted
        )
        if flaw is None and reasoning.flaw is not None:
            flaw = "malformed"
        return Trace(
            problem=wanted.problem,
            sample=wanted.sample,
            thought=thought,
            answer=answer,
            flaw=flaw,
            tokens=len(completion.ids),
            note=reasoning.flaw or "",
        )


def _refused(wanted: Wanted, note: str) -> Trace:
    return Trace(
        problem=wanted.problem, sample=wanted.sample, thought="", answer="", flaw="refused", tokens=0, note=note
    )
