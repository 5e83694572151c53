"""What becomes of a run when requests to an address fail: what is counted, what stops it, and when."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from ponder.core.errors import GenerationError
from ponder.core.progress import SilentReporter
from ponder.core.seeds import python_rng
from ponder.core.types import Problem, Sampling
from ponder.data.chain import ChainSource
from ponder.data.traces import Trace, read_traces
from ponder.recipes.endpoint import Endpoint
from ponder.recipes.endpoint_config import EndpointConfig
from ponder.recipes.open_task import open_task
from ponder.recipes.tasks import Task, TaskConfig
from ponder.recipes.teachers import Wanted
from ponder.recipes.tracing import distinct_problems, gather_traces

CONFIG = EndpointConfig(
    url="http://teacher.test/v1", model="r1", attempts=3, pause_seconds=0.001, concurrency=1, timeout_seconds=20
)
SAMPLING = Sampling(max_tokens=64, temperature=0.6, top_p=0.95)
DOWN = httpx.Response(500, text="down")
PATIENCE = 10.0  # seconds, that a test waits for another thread
Answer = Callable[[str], httpx.Response]  # to what was asked


def wanted(count: int) -> list[Wanted]:
    return [Wanted(Problem(id=f"p{i}", prompt=f"p{i}", answer="1"), 0) for i in range(count)]


def said(finish: str = "stop", **message: Any) -> httpx.Response:
    message = {"content": "1", "reasoning_content": "x", **message}
    return httpx.Response(200, json={"choices": [{"index": 0, "message": message, "finish_reason": finish}]})


def endpoint(answer: Answer, config: EndpointConfig = CONFIG) -> Endpoint:
    def handler(request: httpx.Request) -> httpx.Response:
        return answer(json.loads(request.content)["messages"][0]["content"])

    return Endpoint(config, SAMPLING, 0, transport=httpx.MockTransport(handler))


def ask(answer: Answer, count: int, config: EndpointConfig = CONFIG) -> dict[str, str | None]:
    """What became of each problem."""
    kept: list[Trace] = []
    with endpoint(answer, config) as teacher:
        teacher.ask(wanted(count), kept.append)
    return {trace.problem.id: trace.flaw for trace in kept}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@contextmanager
def chain_task(count: int) -> Iterator[tuple[Task, list[Problem]]]:
    with open_task(TaskConfig(chain=ChainSource(terms=2))) as (task, _):
        yield task, distinct_problems(task, "train", count, python_rng(0, "a"))


# --- a problem that always fails


@pytest.mark.parametrize("bad", [0, 2, 3])
def test_a_problem_that_always_fails_is_counted_and_the_others_go_on(bad: int) -> None:
    asked: Counter[str] = Counter()

    def answer(prompt: str) -> httpx.Response:
        asked[prompt] += 1
        return DOWN if prompt == f"p{bad}" else said()

    assert ask(answer, 4) == {f"p{i}": "failed" if i == bad else None for i in range(4)}
    assert asked == {f"p{i}": 3 if i == bad else 1 for i in range(4)}


def test_several_failures_on_end_are_the_teachers_and_are_not_counted() -> None:
    def answer(prompt: str) -> httpx.Response:
        return DOWN if prompt >= "p2" else said()

    kept: list[Trace] = []
    with (
        endpoint(answer) as teacher,
        pytest.raises(GenerationError, match=r"problem 'p2': it answered 500: down, and so 3 more on end.*failures=32"),
    ):
        teacher.ask(wanted(8), kept.append)
    assert [trace.problem.id for trace in kept] == ["p0", "p1"]
    found = ask(answer, 8, replace(CONFIG, failures=32))
    assert [found[f"p{i}"] for i in range(8)] == [None] * 2 + ["failed"] * 6


def test_a_problem_that_fails_while_others_are_answered_is_no_sign_of_a_teacher_that_is_down() -> None:
    tries = 0
    kept: list[Trace] = []

    def answer(prompt: str) -> httpx.Response:
        nonlocal tries
        if prompt == "p1":
            wait_until(lambda: tries == 3)
            return said()
        tries += 1
        if tries == 3:  # after it failed for the second time, and before the third, another is answered
            wait_until(lambda: len(kept) == 1)
        return DOWN

    with endpoint(answer, replace(CONFIG, concurrency=2, failures=1)) as teacher:
        teacher.ask(wanted(2), kept.append)
    assert [(trace.problem.id, trace.flaw) for trace in kept] == [("p1", None), ("p0", "failed")]
    assert kept[1].note == "it answered 500: down"


def test_problems_that_fail_are_not_asked_again_when_a_run_goes_on(tmp_path: Path) -> None:
    """What the run's file holds shows that the teacher can answer, although it answers none of what is left."""
    path, asked = tmp_path / "traces.jsonl", []
    bad: set[str] = set()

    def answer(prompt: str) -> httpx.Response:
        asked.append(prompt)
        return DOWN if prompt in bad else said()

    def gather(problems: list[Problem], file: Path = path) -> object:
        return gather_traces(file, task, problems, 1, lambda: endpoint(answer), SilentReporter())

    with chain_task(6) as (task, problems):
        gather(problems[:4])
        bad = {problem.prompt for problem in problems[4:]}
        asked.clear()
        gather(problems)
        assert sorted(asked) == sorted([*bad] * 3)
        assert Counter(trace.flaw for trace in read_traces(path)[1]) == {None: 4, "failed": 2}
        asked.clear()
        assert gather(problems) is None
        assert asked == []
        other = tmp_path / "other.jsonl"
        with pytest.raises(GenerationError, match=r"failed 3 times on problem .*, and so 1 more on end"):
            gather(problems[4:], other)  # none has ever been answered here
        assert read_traces(other)[1] == []


# --- too many requests


def test_the_waits_for_429_outlast_a_window_of_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(
        threading.Event, "wait", lambda self, seconds=None: seconds is None or pauses.append(seconds) or True
    )
    replies = [httpx.Response(429) for _ in range(5)]
    config = EndpointConfig(url=CONFIG.url, model="r1", concurrency=1)
    assert ask(lambda prompt: replies.pop() if replies else said(), 1, config) == {"p0": None}
    assert len(pauses) == 5
    assert 120 <= sum(pauses) <= 300
    assert max(pauses) <= 60


def test_too_many_requests_are_no_failure_while_others_are_answered() -> None:
    tries = 0
    kept: list[Trace] = []

    def answer(prompt: str) -> httpx.Response:
        nonlocal tries
        if prompt != "p0":
            wait_until(lambda: tries > int(prompt[1]))
            return said()
        tries += 1
        wait_until(lambda: len(kept) >= tries - 1)  # another was answered since the last try
        return said() if tries == 6 else httpx.Response(429)

    with endpoint(answer, replace(CONFIG, attempts=2, concurrency=2)) as teacher:
        teacher.ask(wanted(6), kept.append)
    assert [trace.flaw for trace in kept] == [None] * 6
    assert tries == 6


# --- answers of no use


@pytest.mark.parametrize(
    ("useless", "told"),
    [
        (said(reasoning_content=None), r"16 no thought.*another run with a reasoning model.*require_thought=false"),
        (said("length"), r"16 truncated.*begin another run with a larger --traces\.max_tokens"),
        (said(content=None), r"16 no answer.*begin another run with a larger --traces\.max_tokens"),
    ],
    ids=["no thought", "truncated", "no answer"],
)
def test_no_more_is_asked_for_when_the_first_answers_are_of_no_use(
    tmp_path: Path, useless: httpx.Response, told: str
) -> None:
    path, asked = tmp_path / "traces.jsonl", []

    def answer(prompt: str) -> httpx.Response:
        asked.append(prompt)
        return useless

    def gather() -> object:
        teacher = endpoint(answer, replace(CONFIG, concurrency=2))
        return gather_traces(path, task, problems, 1, lambda: teacher, SilentReporter())

    with chain_task(60) as (task, problems):
        with pytest.raises(GenerationError, match=f"none of the first 16 answers can be learned from .({told})"):
            gather()
        assert 16 <= len(asked) <= 20
        assert len(read_traces(path)[1]) == len(asked)  # what was under way too
        before = len(asked)
        with pytest.raises(GenerationError, match="none of the first"):
            gather()  # a teacher that was not mended
        assert 16 <= len(asked) - before <= 20
        useless = said()
        gather()
        assert len(read_traces(path)[1]) == len(asked) == 60


def test_answers_of_which_some_are_of_use_are_all_asked_for(tmp_path: Path) -> None:
    count = 0

    def answer(prompt: str) -> httpx.Response:
        nonlocal count
        count += 1
        return said() if count == 16 else said("length")

    with chain_task(30) as (task, problems):
        gather_traces(tmp_path / "t.jsonl", task, problems, 1, lambda: endpoint(answer), SilentReporter())
    assert count == 30


# --- the end


def test_a_request_that_waits_is_not_sent_again_when_the_teacher_has_failed() -> None:
    asked: Counter[str] = Counter()

    def answer(prompt: str) -> httpx.Response:
        asked[prompt] += 1
        if prompt == "p0":
            wait_until(lambda: asked["p1"] == asked["p2"] == 1)
            return httpx.Response(401, text="expired")
        return httpx.Response(503, headers={"retry-after": "60"})

    begun = time.monotonic()
    with endpoint(answer, replace(CONFIG, concurrency=3)) as teacher, pytest.raises(GenerationError, match="expired"):
        teacher.ask(wanted(3), lambda trace: None)
    assert asked == {"p0": 1, "p1": 1, "p2": 1}
    assert time.monotonic() - begun < PATIENCE
