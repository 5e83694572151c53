"""Teachers behind an address, and the file that their answers go to."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from live_server import live_server
from ponder.core.errors import ConfigError, DataError, GenerationError, RunError
from ponder.core.types import Problem, Sampling
from ponder.data.traces import Origin, Trace, TraceLog, read_traces, require_task, split_thought
from ponder.recipes.endpoint import Endpoint, answer_of
from ponder.recipes.endpoint_config import EndpointConfig
from ponder.recipes.teachers import Wanted
from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, Conversation
from ponder.serve.scripted import Script
from ponder.serve.service import Service
from wire_server import Recorder, wire_app

URL = "http://teacher.test/v1"
CONFIG = EndpointConfig(url=URL, model="r1", attempts=3, pause_seconds=0.001, concurrency=2)
SAMPLING = Sampling(max_tokens=64, temperature=0.6, top_p=0.95)
ORIGIN = Origin(task="chain", fingerprint="f", teacher="r1 at http://teacher.test/v1/")
Handler = Callable[[httpx.Request], httpx.Response]


def wanted(count: int) -> list[Wanted]:
    return [Wanted(Problem(id=f"p{i}", prompt=f"{i}+1=?", answer=str(i + 1)), 0) for i in range(count)]


def reply(message: dict[str, Any], finish: str = "stop", **further: Any) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"index": 0, "message": message, "finish_reason": finish}], **further})


def ask(handler: Handler, jobs: list[Wanted], config: EndpointConfig = CONFIG, **settings: Any) -> list[Trace]:
    """The teacher's answers, in the order of the problems."""
    kept: list[Trace] = []
    with Endpoint(config, SAMPLING, 0, transport=httpx.MockTransport(handler), **settings) as teacher:
        teacher.ask(jobs, kept.append)
    return sorted(kept, key=lambda trace: trace.problem.id)


def says(**message: Any) -> Handler:
    return lambda request: reply({"role": "assistant", **message})


@pytest.mark.parametrize(
    "message",
    [
        {"content": "8", "reasoning_content": "7 and 1"},  # DeepSeek, Ponder, vLLM's parser
        {"content": "8", "reasoning": "7 and 1"},  # OpenRouter, newer vLLM
        {"content": "<think>7 and 1</think>\n\n8"},  # no parser
        {"content": "7 and 1\n</think>\n\n8"},  # the prompt opened the thought
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "7 and 1"}]},
                     {"type": "text", "text": "8"}]},  # parts
    ],
)  # fmt: skip
def test_the_thought_is_found_wherever_a_server_puts_it(message: dict[str, Any]) -> None:
    (trace,) = ask(says(**message), wanted(1))
    assert (trace.thought, trace.answer, trace.flaw) == ("7 and 1", "8", None)


@pytest.mark.parametrize(
    ("message", "finish", "flaw"),
    [
        ({"content": "8"}, "stop", "no thought"),
        ({"content": None, "reasoning_content": "hm"}, "stop", "no answer"),
        ({"content": "<think>7 and"}, "length", "truncated"),
        ({"content": "<think>7 and"}, "stop", "truncated"),  # never closed, whatever the server says of it
        ({"content": "8", "reasoning_content": "hm"}, "content_filter", "refused"),
    ],
)
def test_answers_that_cannot_be_learned_from_are_named(message: dict[str, Any], finish: str, flaw: str) -> None:
    (trace,) = ask(lambda request: reply(message, finish), wanted(1))
    assert trace.flaw == flaw


def test_answers_without_a_thought_can_be_accepted() -> None:
    (trace,) = ask(says(content="8"), wanted(1), thought_wanted=False)
    assert (trace.thought, trace.answer, trace.flaw) == ("", "8", None)


def test_a_request_says_what_is_wanted(tmp_path: Path) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return reply({"content": "1", "reasoning_content": "x"}, usage={"completion_tokens": 12})

    key = tmp_path / "key"
    key.write_text("sk-secret\n", encoding="utf-8")
    config = replace(
        CONFIG, key_file=str(key), instruction="Only the number.", limit_name="max_completion_tokens",
        extra={"reasoning_effort": "high"},
    )  # fmt: skip
    (trace,) = ask(handler, wanted(1), config)
    body = json.loads(seen[0].content)
    assert seen[0].url == "http://teacher.test/v1/chat/completions"
    assert seen[0].headers["authorization"] == "Bearer sk-secret"
    assert body["messages"] == [{"role": "user", "content": "0+1=?\n\nOnly the number."}]
    assert (body["model"], body["temperature"], body["top_p"]) == ("r1", 0.6, 0.95)
    assert (body["max_completion_tokens"], body["reasoning_effort"]) == (64, "high")
    assert "max_tokens" not in body
    assert trace.tokens == 12
    assert trace.problem.prompt == "0+1=?"  # the instruction is the teacher's alone


def failing(*responses: httpx.Response | Exception) -> tuple[Handler, list[int]]:
    """Fails so, one time after the other, and then answers."""
    calls: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(len(calls))
        if len(calls) <= len(responses):
            found = responses[len(calls) - 1]
            if isinstance(found, Exception):
                raise found
            return found
        return reply({"content": "1", "reasoning_content": "x"})

    return handler, calls


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(429, headers={"retry-after": "0"}, json={"error": {"message": "slow down"}}),
        httpx.Response(503, text="overloaded"),
        httpx.Response(200, text="<html>a gateway's page</html>", headers={"content-type": "text/html"}),
        httpx.Response(200, content=b"{broken", headers={"content-type": "application/json"}),
        httpx.Response(200, json={"error": {"message": "out of memory"}}),
        httpx.Response(200, json={"choices": [{"message": {"content": 8}}]}),
        httpx.ReadTimeout("timed out"),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("cut off"),
    ],
    ids=["429", "503", "html", "no json", "no choices", "no text", "timeout", "no connection", "cut off"],
)
def test_what_may_pass_is_tried_again(response: httpx.Response | Exception) -> None:
    handler, calls = failing(response, response)
    (trace,) = ask(handler, wanted(1))
    assert trace.answer == "1"
    assert len(calls) == 3


def test_pauses_double_and_follow_what_the_server_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(threading.Event, "wait", lambda self, seconds=None: pauses.append(seconds) or True)
    slow = httpx.Response(503)
    handler, _ = failing(slow, slow, httpx.Response(429, headers={"retry-after": "7"}))
    ask(handler, wanted(1), replace(CONFIG, attempts=4, pause_seconds=1.0))
    asked = [pause for pause in pauses if pause is not None]
    assert 0.5 <= asked[0] <= 1.0 <= asked[1] <= 2.0
    assert asked[2] == 7.0


def test_a_teacher_that_fails_half_way_loses_nothing(tmp_path: Path) -> None:
    """Half the problems fail for good: what the others brought is in the file, and going on asks for the rest alone."""
    path, jobs, config = tmp_path / "traces.jsonl", wanted(8), replace(CONFIG, concurrency=1)
    broken = {"on": True}
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        prompt = json.loads(request.content)["messages"][0]["content"]
        asked.append(prompt)
        if broken["on"] and int(prompt[0]) >= 4:
            return httpx.Response(500, text="down")
        return reply({"content": "1", "reasoning_content": "x"})

    def go_on() -> None:
        with TraceLog(path, ORIGIN) as log, Endpoint(config, SAMPLING, 0, transport=transport) as teacher:
            there = {trace.key for trace in log.traces}
            teacher.ask([job for job in jobs if job.key not in there], log.append)

    transport = httpx.MockTransport(handler)
    with pytest.raises(
        GenerationError, match=r"failed 3 times on problem 'p4': it answered 500: down, and so 3 more.*--resume"
    ):
        go_on()
    first = {trace.problem.id for trace in read_traces(path)[1]}
    assert first == {"p0", "p1", "p2", "p3"}
    broken["on"] = False
    asked.clear()
    go_on()
    assert sorted(asked) == ["4+1=?", "5+1=?", "6+1=?", "7+1=?"]
    assert len(read_traces(path)[1]) == 8


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (httpx.Response(401, json={"error": {"message": "bad key"}}), "answered 401: bad key; give a key"),
        (httpx.Response(404, text="no such model"), "answered 404: no such model; check the address"),
        (httpx.Response(302, headers={"location": "http://evil.test/"}), "302.*wants to lead elsewhere"),
    ],
)
def test_what_does_not_pass_ends_it_at_once(response: httpx.Response, message: str) -> None:
    calls = 0

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        assert request.url.host == "teacher.test"  # no redirect is followed
        return response

    with pytest.raises(GenerationError, match=message):
        ask(handler, wanted(1))
    assert calls == 1


def test_a_refused_problem_is_counted_and_the_others_go_on() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if b"2+1" in request.content:
            return httpx.Response(400, json={"error": {"message": "context too long"}})
        return reply({"content": "1", "reasoning_content": "x"})

    traces = ask(handler, wanted(4), replace(CONFIG, concurrency=1))
    assert [trace.flaw for trace in traces] == [None, None, "refused", None]
    assert "context too long" in traces[2].note


def test_a_teacher_that_refuses_everything_is_no_teacher() -> None:
    refused = httpx.Response(400, json={"error": {"message": "unknown field seed"}})
    with pytest.raises(GenerationError, match=r"refused all of the first 8 requests.*unknown field seed"):
        ask(lambda request: refused, wanted(30))


def test_the_model_is_the_first_that_the_server_lists() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "first"}, {"id": "second"}]})
        return reply({"content": "1", "reasoning_content": "x"})

    transport = httpx.MockTransport(handler)
    with Endpoint(replace(CONFIG, model=""), SAMPLING, 0, transport=transport) as teacher:
        assert teacher.name == "first at http://teacher.test/v1/"
    transport = httpx.MockTransport(lambda request: httpx.Response(404, text="nothing here"))
    with pytest.raises(GenerationError, match=r"does not list its models .*404: nothing here"):
        Endpoint(replace(CONFIG, model=""), SAMPLING, 0, transport=transport)


def test_a_key_stands_in_no_message(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-secret", encoding="utf-8")
    echo = httpx.Response(403, json={"error": {"message": "key sk-secret is not known"}})
    with pytest.raises(GenerationError) as raised:
        ask(lambda request: echo, wanted(1), replace(CONFIG, key_file=str(key)))
    assert "sk-secret" not in str(raised.value)
    key.write_text("two words", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no API key"):
        Endpoint(replace(CONFIG, key_file=str(key)), SAMPLING, 0)
    with pytest.raises(RunError, match=r"cannot read .*missing"):
        Endpoint(replace(CONFIG, key_file=str(tmp_path / "missing")), SAMPLING, 0)


def test_answers_under_way_when_the_teacher_fails_are_kept() -> None:
    """One request fails for good while another is still being answered."""
    failed = threading.Event()

    def handler(request: httpx.Request) -> httpx.Response:
        if b"0+1" in request.content:
            failed.set()
            return httpx.Response(401, text="expired")
        failed.wait(5)
        return reply({"content": "2", "reasoning_content": "x"})

    kept: list[Trace] = []
    with (
        Endpoint(CONFIG, SAMPLING, 0, transport=httpx.MockTransport(handler)) as teacher,
        pytest.raises(GenerationError),
    ):
        teacher.ask(wanted(2), kept.append)
    assert [trace.problem.id for trace in kept] == ["p1"]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"endpoint\.concurrency = 0; expected 1 or more"):
        EndpointConfig(concurrency=0)
    with pytest.raises(ConfigError, match=r"endpoint\.failures = 0; expected 1 or more"):
        EndpointConfig(failures=0)
    with pytest.raises(ConfigError, match=r"endpoint\.timeout_seconds = 0"):
        EndpointConfig(timeout_seconds=0)
    with pytest.raises(ConfigError, match=r"endpoint\.extra sets model"):
        EndpointConfig(extra={"model": "x"})


def test_ponders_own_server_is_a_teacher() -> None:
    """Over a real connection: the model is asked for, the thought comes in its field, 503 is tried again."""
    failures = iter([True])

    def play(ask: Ask) -> Script:
        assert isinstance(ask.prompt, Conversation)
        if next(failures, False):
            raise ApiError(503, "too much", type="overloaded_error", retry_after=0)
        question = ask.prompt.messages[-1].content
        return Script(thought=f"It is asked: {question}", answer=str(int(question[0]) + 1))

    backend = Recorder(play, tokens_per_second=5000)
    kept: list[Trace] = []
    with live_server(wire_app(Service([backend]))) as url:
        config = replace(CONFIG, url=url, model="")
        with Endpoint(config, SAMPLING, 0) as teacher:
            teacher.ask(wanted(5), kept.append)
            assert teacher.name == f"scripted at {url}/v1/"
    assert sorted((t.thought, t.answer, t.flaw) for t in kept) == [
        (f"It is asked: {i}+1=?", str(i + 1), None) for i in range(5)
    ]
    assert {ask.max_tokens for ask in backend.asks} == {64}
    assert len({ask.seed for ask in backend.asks}) == 5  # a seed of its own for each problem, the same when tried again


# --- the file of traces


def trace(number: int, answer: str = "1", **facts: object) -> Trace:
    problem = Problem(id=f"p{number}", prompt="0+1=?", answer="1", facts=facts, task="chain")
    return Trace(problem=problem, sample=0, thought="x", answer=answer, flaw=None, tokens=3)


def test_a_file_gives_back_what_was_put_in_and_drops_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    with TraceLog(path, ORIGIN) as log:
        log.append(trace(0, numbers=[1, 2]))
        log.append(replace(trace(1), flaw="truncated", answer="über\nzwei"))
    with path.open("ab") as file:
        file.write(b'{"problem": {"id": "p2"')  # a process was killed here
    with TraceLog(path, ORIGIN) as log:
        assert [t.problem.id for t in log.traces] == ["p0", "p1"]
        log.append(trace(2))
    origin, traces = read_traces(path)
    assert origin == ORIGIN
    assert traces == [trace(0, numbers=[1, 2]), replace(trace(1), flaw="truncated", answer="über\nzwei"), trace(2)]


def test_traces_of_another_task_settings_teacher_or_of_held_out_problems_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    with TraceLog(path, ORIGIN) as log:
        log.append(trace(0))
    with pytest.raises(DataError, match="task 'chain'; expected the task 'countdown'"):
        TraceLog(path, replace(ORIGIN, task="countdown"))
    with pytest.raises(DataError, match="with other settings"):
        TraceLog(path, replace(ORIGIN, fingerprint="g"))
    with pytest.raises(DataError, match="expected those of 'another'"):
        TraceLog(path, replace(ORIGIN, teacher="another"))
    origin, traces = read_traces(path)
    require_task(path, origin, traces, task="chain", fingerprint="f", held_out={"p1"})
    with pytest.raises(DataError, match="1 held-out problems, the first 'p0'"):
        require_task(path, origin, traces, task="chain", fingerprint="f", held_out={"p0"})


def test_a_file_of_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    with pytest.raises(DataError, match="there is no file"):
        read_traces(path)
    path.write_text('{"messages": []}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"holds no traces: its first line is .*messages"):
        read_traces(path)
    path.write_text("garbage\n", encoding="utf-8")
    with pytest.raises(RunError, match="line 1 is damaged"):
        read_traces(path)
    with TraceLog(tmp_path / "traces.jsonl", ORIGIN) as log:
        log.append(trace(0))
    damaged = (tmp_path / "traces.jsonl").read_text(encoding="utf-8").replace('"thought"', '"thoughts"')
    path.write_text(damaged, encoding="utf-8")
    with pytest.raises(DataError, match="is damaged: a line lacks or misuses 'thought'"):
        read_traces(path)


def test_a_thought_in_tags_is_taken_apart() -> None:
    assert split_thought("8") == ("", "8", True)
    assert split_thought("<think>a</think>b</think>c") == ("a", "b</think>c", True)
    assert split_thought("say <think> twice") == ("", "say <think> twice", True)  # no thought begins in the middle
    assert answer_of({"message": {"content": "<think></think>8"}}) == ("", "8", False)
