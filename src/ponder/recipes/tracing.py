"""From a teacher's answers to conversations to learn from: asked for, kept as they come, judged, counted."""

import hashlib
import random
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ponder.core.errors import DataError
from ponder.core.progress import Reporter
from ponder.core.types import Conversation, Grade, Problem, Split
from ponder.data.conversations import read_conversations
from ponder.data.problems import different_problems
from ponder.data.traces import Origin, Trace, TraceLog, judged, read_traces
from ponder.recipes.distill_recipe import TraceConfig, is_traces
from ponder.recipes.students import TracesAsCompletions
from ponder.recipes.tasks import Task
from ponder.recipes.teachers import Teacher, UndecidedError, UselessError, Wanted
from ponder.text.prompt import Prompter
from ponder.train.checkpoint import Progress
from ponder.train.collect import REFUSED, UNGRADED, CollectConfig, collect
from ponder.train.collect import Origin as Collected
from ponder.train.loop import Clock

TRACES, VERIFIED = "traces.jsonl", "verified"  # in a run's folder
FIRST = 16  # answers: where all have the same flaw, no more is asked for
NOTHING_CAME = ("refused", "failed")  # flaws that say nothing of the teacher's answers

OpenTeacher = Callable[[], AbstractContextManager[Teacher]]


class Verified(NamedTuple):
    """The traces to learn from, and what became of all of them."""

    conversations: list[Conversation]
    counts: dict[str, Any]


def distinct_problems(task: Task, split: Split, count: int, rng: random.Random) -> list[Problem]:
    """`count` different problems of a split (fewer where the task runs dry), each with its task's name."""
    found = different_problems(task.problems, split, count, rng)
    return [replace(problem, task=problem.task or task.name) for problem in found]


def task_fingerprint(task: Task) -> str:
    """Changes with a user's file, and with the settings of a built-in task."""
    return task.fingerprint or hashlib.blake2b(repr(task.problems).encode(), digest_size=8).hexdigest()


def gather_traces(
    path: Path, task: Task, problems: Sequence[Problem], samples: int, teacher: OpenTeacher, reporter: Reporter
) -> Progress | None:
    """Ask for the answers that `path` lacks, `samples` to each problem; the teacher is opened only if there are any.

    Every answer is in the file as soon as it comes. Returns what it took; None where nothing was missing. Raises
    `UselessError` where the first of them are all of no use.
    """
    wanted = [Wanted(problem, sample) for problem in problems for sample in range(samples)]
    if path.exists() and path.stat().st_size:
        there = {trace.key for trace in read_traces(path)[1]}
        if there.issuperset(w.key for w in wanted):
            return None
    clock = Clock()
    with teacher() as opened:
        origin = Origin(task=task.name, fingerprint=task_fingerprint(task), teacher=opened.name)
        with TraceLog(path, origin) as log:
            there = {trace.key for trace in log.traces}
            reporter.stage("traces", len(wanted))
            reporter.advance(len(there))
            came = 0

            def keep(trace: Trace) -> None:
                nonlocal came
                log.append(trace)
                reporter.advance(len(log.traces))
                came += trace.flaw not in NOTHING_CAME
                if came == FIRST and trace.flaw not in NOTHING_CAME:
                    _require_use(log.traces, path)

            try:
                opened.ask([w for w in wanted if w.key not in there], keep)
            except UndecidedError as error:
                if all(trace.flaw in NOTHING_CAME for trace in log.traces):
                    raise
                for trace in error.failed:
                    keep(trace)
    return clock.progress()


def _require_use(traces: Sequence[Trace], path: Path) -> None:
    """Raises `UselessError` where all answers have the same flaw."""
    flaws = [trace.flaw for trace in traces if trace.flaw not in NOTHING_CAME]
    flaw, count = flaws[0], len(flaws)
    if flaw is not None and flaws.count(flaw) == count:
        raise UselessError(
            f"none of the first {count} answers can be learned from ({count} {flaw}); they are kept in {path}, and no "
            "more is asked for. Where it can be mended at the teacher's end, do so and go on with --resume. Else: "
            + _advice({flaw: count}, "", path)
        )


def verify_traces(
    traces: Sequence[Trace],
    config: TraceConfig,
    prompter: Prompter,
    positions: int,
    grade: Grade,
    folder: Path,
    origin: Collected,
    reporter: Reporter,
) -> Verified:
    """The traces that are right by the task's checker, readable and unlike each other, in the student's vocabulary.

    `positions` is the student's context. Whether a thought is missing goes by `config`, not by what was wanted when the
    teacher was asked. What is done already in `folder` is not done again. Raises `DataError` where none can be learned
    from.
    """
    if not traces:
        raise DataError("there is no trace to learn from; expected at least one")
    traces = [judged(trace, thought_wanted=config.require_thought) for trace in traces]
    problems = {trace.problem.id: trace.problem for trace in sorted(traces, key=lambda trace: trace.key)}
    answers = TracesAsCompletions(traces, prompter, positions)
    collection = collect(
        list(problems.values()),
        answers,
        prompter,
        grade,
        CollectConfig(
            samples_per_problem=1 + max(trace.sample for trace in traces),
            keep_per_problem=config.keep_per_problem,
            max_tokens=config.max_tokens,
            temperature=config.temperature or 1.0,  # of no effect here: the answers are there
            top_p=config.top_p,
            near_duplicate=config.near_duplicate,
            readable=config.readable,
        ),
        folder,
        origin,
        reporter=reporter,
    )
    counts = trace_counts(traces, answers.beyond, collection.outcomes)
    if not collection.conversations:
        said = ", ".join(f"{count} {reason}" for reason, count in counts["outcomes"].items())
        path = Path(origin.model) if is_traces(origin.model) else folder.parent / TRACES
        advice = _advice(counts["outcomes"], collection.first_ungraded, path)
        raise DataError(f"none of the {len(traces)} traces can be learned from ({said}). {advice}")
    return Verified(read_conversations(collection.path), counts)


def trace_counts(traces: Sequence[Trace], beyond: int, outcomes: dict[str, int]) -> dict[str, Any]:
    """What became of the teacher's answers: each is in one of `outcomes`."""
    flaws: Counter[str] = Counter(trace.flaw for trace in traces if trace.flaw is not None)
    # placeholders are malformed, and a prompt that cannot be written is beyond the vocabulary
    judged = {reason: count for reason, count in outcomes.items() if reason not in ("malformed", REFUSED)}
    told = [trace.tokens for trace in traces if trace.tokens is not None]
    counted = {**flaws, "beyond the student's vocabulary or context": beyond, **judged}
    return {
        "asked": len(traces),
        "tokens": sum(told) if told else None,  # of the teacher's; None where it does not tell
        "outcomes": {reason: count for reason, count in counted.items() if count},
    }


def _advice(outcomes: dict[str, int], first_ungraded: str, path: Path) -> str:
    """What to do where nothing can be learned from, by what most answers came to. `path`: the file that has them."""
    command = f"ponder distill {shlex.quote(str(path))} STUDENT"
    advice = {
        UNGRADED: f"The checker could not judge them: {first_ungraded}. Mend that, and go on with --resume: where it "
        "could judge none, it judges all of them again, and none is asked for again",
        "no thought": "The teacher shows no thoughts. Begin another run with a reasoning model, or with "
        "--traces.require_thought=false, which accepts answers without a thought; those that are there need not be "
        f"asked for again: {command} --traces.require_thought=false",
        "truncated": "The teacher's answers were cut off: begin another run with a larger --traces.max_tokens",
        "no answer": "The teacher thinks and does not answer: begin another run with a larger --traces.max_tokens, or "
        "with another teacher",
        "wrong": "Begin another run in which the teacher is told how its answer is to be written "
        "(--endpoint.instruction=…), or with a better one",
        "refused": f"What the teacher said is in {path}",
        "failed": f"What went wrong is in {path}",
    }
    most = max(outcomes, key=lambda reason: outcomes[reason], default="")
    if UNGRADED in outcomes and "wrong" not in outcomes:  # of those that were right in form, it could judge none
        most = UNGRADED
    return advice.get(most, "Loosen traces.readable, or take another teacher")
