"""One graded completion as a line of a samples file: what was asked, what came, and what was said of it."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ponder.core.errors import RunError
from ponder.core.metrics import read_json_lines
from ponder.core.types import Completion, Rollout
from ponder.text.reasoning import ThinkSplitter, completion_ids, inside_thought, parse_completion
from ponder.text.tokenizer import Tokenizer

Drawn = Literal["greedy", "forced", "sampled"]

DRAWN: tuple[Drawn, ...] = ("greedy", "forced", "sampled")
_NEEDED = ("problem_id", "prompt", "text", "correct")


class SampleKey(NamedTuple):
    """Which completion of an evaluation it is."""

    task: str
    problem_id: str
    drawn: Drawn
    sample: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GradedSample:
    """A completion with its verdict, without its tokens."""

    task: str
    problem_id: str
    prompt: str
    reference: str | None = None  # the answer that is expected, where there is one
    drawn: Drawn = "sampled"
    sample: int = 0  # which of the problem's completions of this kind, from 0
    seed: int = 0
    text: str
    thought: str = ""
    answer: str | None = None  # None where none was found
    flaw: str | None = None  # what is wrong with its form
    thought_tokens: int = 0
    length: int = 0  # tokens, its end of sequence included
    finish_reason: str = "stop"
    score: float | None = None
    correct: bool | None = None  # None: ungraded
    reason: str = ""
    stage: str = "evaluation"  # of the run, where it is a sample of training
    step: int = 0

    @property
    def key(self) -> SampleKey:
        return SampleKey(self.task, self.problem_id, self.drawn, self.sample)

    @property
    def truncated(self) -> bool:
        """Whether it was cut off at the longest length."""
        return self.finish_reason == "length"

    def row(self) -> dict[str, Any]:
        """As a line of a samples file; the fields that a run's own samples have are named as there."""
        return {**dataclasses.asdict(self), "greedy": self.drawn != "sampled", "forced": self.drawn == "forced"}

    @classmethod
    def of(cls, rollout: Rollout, tokenizer: Tokenizer, *, drawn: Drawn, sample: int) -> "GradedSample":
        """What is kept of a graded completion."""
        completion, verdict = rollout.completion, rollout.verdict
        reasoning = parse_completion(completion, tokenizer)
        splitter = ThinkSplitter(tokenizer.control, inside_thought(completion.prompt_ids, tokenizer.control))
        return cls(
            task=rollout.problem.task,
            problem_id=rollout.problem.id,
            prompt=rollout.problem.prompt,
            reference=rollout.problem.answer,
            drawn=drawn,
            sample=sample,
            seed=completion.seed,
            text=rollout.text,
            thought=reasoning.thought.strip("\n"),
            answer=None if reasoning.answer is None else reasoning.answer.strip(),
            flaw=reasoning.flaw,
            thought_tokens=sum(splitter.push(token) == "thought" for token in completion.ids),
            length=len(completion.ids),
            finish_reason=completion.finish_reason,
            score=verdict.score,
            correct=verdict.correct,
            reason=verdict.reason,
        )

    def rebuilt(self, prompt_ids: tuple[int, ...], tokenizer: Tokenizer) -> Completion:
        """A well-formed completion with its thought and answer, for a checker to judge: not the ids that were sampled,
        and without their logprobs. Raises `TokenizerError` for text that the vocabulary lacks.
        """
        control, answer = tokenizer.control, tokenizer.encode(self.answer or "")
        if control.think is None:
            ids = [*answer, control.eos]
        else:
            whole = completion_ids(tokenizer.encode(self.thought), answer, control)
            ids = whole[int(inside_thought(prompt_ids, control)) :]
        return Completion(
            prompt_ids=prompt_ids,
            ids=tuple(ids),
            logprobs=(0.0,) * len(ids),
            finish_reason="stop",
            weight_version=0,
            seed=self.seed,
        )


_FIELDS = {field.name for field in dataclasses.fields(GradedSample)}
_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("task", "problem_id", "prompt", "drawn", "text", "thought", "finish_reason", "reason"), (str,)),
    **dict.fromkeys(("sample", "seed", "thought_tokens", "length", "step"), (int,)),
    **dict.fromkeys(("reference", "answer", "flaw"), (str, type(None))),
    "stage": (str,),
    "score": (int, float, type(None)),
    "correct": (bool, type(None)),
}


def read_graded(path: Path) -> list[GradedSample]:
    """The lines of a samples file, of an evaluation or of a run (whose own lines say less).

    Raises `RunError` that names the line which is damaged.
    """
    return graded_rows(read_json_lines(path), str(path))


def graded_rows(rows: Iterable[Mapping[str, Any]], where: str) -> list[GradedSample]:
    """The same of rows that were read already. Of rows without a number, those of one problem are counted."""
    samples: list[GradedSample] = []
    seen: dict[tuple[str, str, Drawn, str, int], int] = {}
    for number, row in enumerate(rows, 1):
        if missing := [name for name in _NEEDED if name not in row]:
            raise RunError(f"{where}, line {number}: no sample, it lacks {', '.join(missing)}; take the line out")
        known = {name: value for name, value in row.items() if name in _FIELDS}
        known.setdefault("task", "")
        known.setdefault("drawn", "forced" if row.get("forced") else "greedy" if row.get("greedy") else "sampled")
        for name, value in known.items():
            if not isinstance(value, _KINDS[name]) or (isinstance(value, bool) and name != "correct"):
                raise RunError(f"{where}, line {number}: {name!r} is {value!r}, which it cannot be; take the line out")
        if known["drawn"] not in DRAWN:
            raise RunError(f"{where}, line {number}: 'drawn' is {known['drawn']!r}; expected {', '.join(DRAWN)}")
        if "thought" not in known:
            known["thought"], known["answer"] = thought_and_answer(row["text"])
        if "sample" not in known:
            place = (known["task"], row["problem_id"], known["drawn"], known.get("stage", ""), known.get("step", 0))
            known["sample"] = seen[place] = seen.get(place, -1) + 1
        samples.append(GradedSample(**known))
    return samples


def thought_and_answer(text: str) -> tuple[str, str | None]:
    """A completion's text taken apart for a reader, where a file holds nothing better: by the tags as they are written.

    >>> thought_and_answer("<think>6*7</think><answer>42</answer><eos>")
    ('6*7', '42')
    >>> thought_and_answer("42")
    ('', '42')
    """
    thought, closed, answer = text.rpartition("</think>")
    if not closed:
        if text.startswith("<think>"):
            return text.removeprefix("<think>"), None
        thought, answer = "", text
    if "<answer>" in answer:
        answer = answer.partition("<answer>")[2].partition("</answer>")[0]
    for end in ("<eos>", "<|im_end|>", "</s>", "<|endoftext|>", "<｜end▁of▁sentence｜>"):
        answer = answer.removesuffix(end)
    return thought.removeprefix("<think>").strip("\n"), answer.strip()
