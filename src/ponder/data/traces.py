"""A teacher's worked answers, in a file to which each is added as it comes.

`traces.jsonl` begins with a line that says whose problems they are; every other line is one answer. A teacher that
fails half-way, or a process that is killed, loses no answer that had come.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from ponder.core.errors import DataError
from ponder.core.metrics import JsonLines, read_json_lines
from ponder.core.types import Problem

KIND = "ponder traces 1"  # the first line's `kind`

# why an answer cannot be an example; of a `refused` and a `failed` one nothing came
Flaw = Literal["truncated", "no thought", "no answer", "malformed", "refused", "failed"]
_OPENED = re.compile(r"\s*<think>")


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Whose answers a file holds, and to which problems."""

    task: str
    fingerprint: str  # of the task: its settings, or a user's file
    teacher: str  # a name for people


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """One answer of a teacher to one problem. Text: the student may have another vocabulary."""

    problem: Problem
    sample: int  # which of the answers to this problem
    thought: str
    answer: str
    flaw: Flaw | None  # None: whole, and of the form thought and answer
    tokens: int | None  # of the teacher's, thought and answer; None where it does not tell
    note: str = ""  # where it was refused, failed or is malformed: the reason

    @property
    def key(self) -> tuple[str, int]:
        """Equal for the same answer to the same problem."""
        return self.problem.id, self.sample


class TraceLog:
    """A file of traces to append to. Opened again, it goes on; a line that was never finished is dropped."""

    def __init__(self, path: Path, origin: Origin) -> None:
        """Raises `DataError` where the file holds the traces of another task or teacher."""
        begun = path.exists() and path.stat().st_size > 0
        self.traces: list[Trace] = []
        self._lines = JsonLines(path)  # which drops the line of a killed process
        try:
            if begun and self._lines.offset() > 0:
                found, self.traces = read_traces(path)
                _require_same(path, found, origin)
            else:
                self._lines.append({"kind": KIND, **asdict(origin)})
        except BaseException:
            self._lines.close()
            raise

    def append(self, trace: Trace) -> None:
        """Write one trace. What has been written is in the file whatever happens next."""
        self._lines.append(_row(trace))
        self.traces.append(trace)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lines.close()


def read_traces(path: Path) -> tuple[Origin, list[Trace]]:
    """The traces of a file, each once. Raises `DataError` for a file of anything else."""
    if not path.is_file():
        raise DataError(f"there is no file {path}; expected traces that an earlier distillation asked for")
    rows = read_json_lines(path)
    if not rows or rows[0].get("kind") != KIND:
        raise DataError(
            f"{path} holds no traces: its first line is {json.dumps(rows[0])[:60] if rows else 'missing'}; expected "
            f'one with "kind": {KIND!r}, as `ponder distill` writes it'
        )
    try:
        origin = Origin(**{name: str(rows[0][name]) for name in Origin.__dataclass_fields__})
        traces = [_trace(row) for row in rows[1:]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged: a line lacks or misuses {error}; remove the line") from None
    return origin, list({trace.key: trace for trace in traces}.values())


def require_task(
    path: Path, found: Origin, traces: Iterable[Trace], *, task: str, fingerprint: str, held_out: Collection[str]
) -> None:
    """Raises `DataError` where traces are of another task, of the same with other settings, or of problems whose ids
    are among those held out.
    """
    _require_same(path, found, Origin(task=task, fingerprint=fingerprint, teacher=found.teacher))
    leaked = sorted({trace.problem.id for trace in traces} & set(held_out))
    if leaked:
        raise DataError(
            f"{path} has answers to {len(leaked)} held-out problems, the first {leaked[0]!r}: a student that learned "
            "them could not be measured; expected training problems only"
        )


def flaw_of(thought: str, answer: str, *, truncated: bool, thought_wanted: bool) -> Flaw | None:
    """What keeps an answer from being an example."""
    if truncated:
        return "truncated"
    if not answer.strip():
        return "no answer"
    return "no thought" if thought_wanted and not thought.strip() else None


def judged(trace: Trace, *, thought_wanted: bool) -> Trace:
    """The trace as this setting sees it, whether or not a thought was wanted when it was asked for."""
    if trace.flaw not in (None, "no thought"):
        return trace
    if thought_wanted and not trace.thought.strip():
        return replace(trace, flaw="no thought")
    return replace(trace, flaw="malformed" if trace.note else None)


def split_thought(content: str) -> tuple[str, str, bool]:
    """Thought, answer, and whether the thought ended, of a reply that holds its thought in `<think>` tags.

    The opening tag may be missing: some servers put it into the prompt.

    >>> split_thought("<think>one and one</think>2")
    ('one and one', '2', True)
    """
    opened = _OPENED.match(content)
    inside = content[opened.end() :] if opened else content
    thought, closed, answer = inside.partition("</think>")
    if closed:
        return thought.strip(), answer.strip(), True
    return (inside.strip(), "", False) if opened else ("", content.strip(), True)


def _require_same(path: Path, found: Origin, wanted: Origin) -> None:
    if found.task != wanted.task:
        raise DataError(
            f"{path} holds answers to problems of the task {found.task!r}; expected the task {wanted.task!r}: give "
            "traces of this task, or ask a teacher for them"
        )
    if found.fingerprint != wanted.fingerprint:
        raise DataError(
            f"{path} holds answers to the task {found.task!r} with other settings, or as its file was before; expected "
            "the same problems as this run's"
        )
    if found.teacher != wanted.teacher:
        raise DataError(f"{path} holds answers of {found.teacher!r}; expected those of {wanted.teacher!r}")


def _row(trace: Trace) -> dict[str, Any]:
    problem = trace.problem
    return {
        "problem": {
            "id": problem.id,
            "prompt": problem.prompt,
            "answer": problem.answer,
            "facts": dict(problem.facts),
            "task": problem.task,
        },
        "sample": trace.sample,
        "thought": trace.thought,
        "answer": trace.answer,
        "flaw": trace.flaw,
        "tokens": trace.tokens,
        "note": trace.note,
    }


def _trace(row: Mapping[str, Any]) -> Trace:
    problem = row["problem"]
    facts = problem["facts"]
    for value in (problem["id"], problem["prompt"], row["thought"], row["answer"]):
        if not isinstance(value, str):
            raise TypeError(f"{value!r:.40} where text is expected")
    return Trace(
        problem=Problem(
            id=problem["id"], prompt=problem["prompt"], answer=problem["answer"], facts=facts, task=problem["task"]
        ),
        sample=int(row["sample"]),
        thought=row["thought"],
        answer=row["answer"],
        flaw=row["flaw"],
        tokens=row["tokens"],
        note=row.get("note", ""),
    )
