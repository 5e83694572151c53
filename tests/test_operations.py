"""What an operator sees: readiness, metrics, log lines without secrets, incidents and the status page."""

import asyncio
import io
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from ponder.core.errors import ConfigError, RunError
from ponder.core.streaming import Speculated
from ponder.serve.errors import ApiError
from ponder.serve.limits.brake import RegistrationBrake
from ponder.serve.limits.settings import BrakeSettings
from ponder.serve.operations.drain import Drain
from ponder.serve.operations.logs import REMOVED, configure_logs
from ponder.serve.operations.metrics import BoundedLabel
from ponder.serve.operations.operations import Operations
from ponder.serve.operations.pulse import Pulse
from ponder.serve.operations.recent import Incidents, RecentMinutes, quantile
from ponder.serve.operations.settings import OperationsSettings
from ponder.serve.operations.status import preferred_language
from ponder.serve.operations.watch import Outcome, Watch
from ponder.serve.records import Ask, Caller, PlainText, Usage
from ponder.serve.wire.errors import EXCEPTION_HANDLERS

ALICE = Caller(account="acc_alice", key="key_1")
BUSY = ApiError(503, "busy", type="overloaded_error", code="queue_full")


class Clock:
    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def ask(number: int = 1, model: str = "m") -> Ask:
    return Ask(id=f"cmpl-{number}", model=model, prompt=PlainText(text="CANARY"))


@pytest.fixture
def log() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The lines logged meanwhile."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logs(OperationsSettings(log_level="debug"), stream)
    try:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        structlog.reset_defaults()
        root.handlers, root.level = handlers, level
        for name in ("uvicorn.error", "httpx", "httpcore", "asyncio"):
            logging.getLogger(name).setLevel(logging.NOTSET)


def watch(clock: Clock) -> tuple[Watch, list[Outcome]]:
    outcomes: list[Outcome] = []
    return Watch([outcomes.append], clock=clock), outcomes


def test_a_request_is_followed_to_its_end_and_told_once() -> None:
    watcher, outcomes = watch(Clock())
    watcher.started(ask(), ALICE)
    assert (watcher.running, watcher.waiting) == (0, 0)  # it is being read, and is not let in yet
    watcher.queued(ask(), 3)
    watcher.queued(ask(), 2)
    assert (watcher.running, watcher.waiting) == (0, 1)
    watcher.admitted(ask(), 1.5)
    watcher.admitted(ask(), 9.0)
    assert (watcher.running, watcher.waiting) == (1, 0)
    watcher.first_token(ask(), 2.0)
    watcher.first_token(ask(), 9.0)
    usage = Usage(prompt_tokens=100, cache_hit_tokens=64, completion_tokens=11, reasoning_tokens=4)
    watcher.finished(ask(), ALICE, usage, "stop", 3.0)
    watcher.rejected(ask(), ALICE, BUSY)
    watcher.finished(ask(), ALICE, usage, "stop", 3.0)
    assert (watcher.running, watcher.waiting) == (0, 0)
    [outcome] = outcomes
    assert (outcome.account, outcome.key, outcome.reason, outcome.status) == ("acc_alice", "key_1", "stop", 200)
    assert (outcome.queue_seconds, outcome.first_token_seconds, outcome.seconds) == (1.5, 2.0, 3.0)
    assert outcome.seconds_per_token == pytest.approx(0.1)
    assert "CANARY" not in repr(outcome)


def test_a_request_sent_away_from_the_queue_waits_no_longer() -> None:
    clock = Clock()
    watcher, outcomes = watch(clock)
    watcher.started(ask(), ALICE)
    watcher.queued(ask(), 0)
    clock.now = 600.0
    watcher.rejected(ask(), ALICE, BUSY)
    watcher.finished(ask(), ALICE, Usage(), "cancelled", 600.0)
    assert (watcher.running, watcher.waiting) == (0, 0)
    assert [(o.rejected, o.reason, o.status, o.seconds, o.queue_seconds) for o in outcomes] == [
        (True, "queue_full", 503, 600.0, None)
    ]


def operations(clock: Clock, **fields: Any) -> Operations:
    fields = {"drain": Drain()} | fields
    return Operations(clock=clock, wall=clock, **fields)


def serve_some(watched: Operations) -> None:
    """Two requests served and one sent away."""
    for number in (1, 2):
        watched.observer.started(ask(number), ALICE)
        watched.observer.admitted(ask(number), 0.02)
        watched.observer.first_token(ask(number), 0.2 * number)
        usage = Usage(prompt_tokens=100, cache_hit_tokens=64, completion_tokens=11, reasoning_tokens=4)
        watched.observer.finished(ask(number), ALICE, usage, "stop", 1.2)
    watched.observer.started(ask(3), ALICE)
    watched.observer.rejected(ask(3), ALICE, BUSY)


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(f"|{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_what_came_of_requests_and_name_nobody() -> None:
    watched = operations(Clock())
    serve_some(watched)
    watched.observer.started(ask(4), ALICE)
    watched.observer.admitted(ask(4), 0.0)
    watched.connection_dropped("slow_reader")
    text = watched.metrics.text().decode()
    found = samples(text)
    assert {name: found[f"ponder_{name}"] for name in ("num_requests_running", "num_requests_waiting")} == {
        "num_requests_running": 1,
        "num_requests_waiting": 0,
    }
    expected = {
        "prompt_tokens_total|m": 200,
        "generation_tokens_total|m": 22,
        "reasoning_tokens_total|m": 8,
        "prefix_cache_queries_total|m": 200,
        "prefix_cache_hits_total|m": 128,
        "request_success_total|stop|m": 2,
        "requests_rejected_total|queue_full": 1,
        "connections_dropped_total|slow_reader": 1,
        "time_to_first_token_seconds_count|m": 2,
        "time_to_first_token_seconds_bucket|0.25|m": 1,
        "e2e_request_latency_seconds_sum|m": 2.4,
        "time_per_output_token_seconds_count|m": 2,
        "request_queue_time_seconds_bucket|0.025|m": 2,
    }
    assert {name: found[f"ponder_{name}"] for name in expected} == pytest.approx(expected)
    assert "alice" not in text
    assert "CANARY" not in text
    assert "cmpl-" not in text


class GuessingBackend:
    """A backend of which nothing is asked but how its engines' guesses did."""

    def __init__(self) -> None:
        self.accepted = 30

    def speculated(self) -> dict[str, Speculated]:
        counts = {"drafts": 25, "draft_tokens": 40, "accepted_tokens": self.accepted}
        return {"m": Speculated(drafter="mtp", **counts)}


def test_metrics_tell_guesses_that_engines_count() -> None:
    backend = GuessingBackend()
    watched = operations(Clock(), backends=[backend])
    names = [f"ponder_spec_decode_num_{name}_total|mtp|m" for name in ("drafts", "draft_tokens", "accepted_tokens")]
    found = samples(watched.metrics.text().decode())
    assert [found[name] for name in names] == [25, 40, 30]
    backend.accepted = 35  # read anew each time
    found = samples(watched.metrics.text().decode())
    assert [found[name] for name in names] == [25, 40, 35]


def test_labels_are_bounded_whatever_comes() -> None:
    label = BoundedLabel(most=3)
    assert [label(value) for value in "abcdab"] == ["a", "b", "c", "other", "a", "b"]


def get(
    watched: Operations, path: str, *, client: str = "127.0.0.1", method: str = "GET", **fields: Any
) -> httpx.Response:
    app = Starlette(routes=watched.routes, exception_handlers=EXCEPTION_HANDLERS)

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.request(method, path, **fields)

    return asyncio.run(main())


async def good() -> bool:
    return True


async def bad() -> bool:
    raise OSError("the database is at postgres://ponder:hunter2@db")


async def slow() -> bool:
    await asyncio.sleep(60)
    return True


def test_health_is_told_whatever_readiness_says() -> None:
    assert get(operations(Clock(), checks={"database": bad}), "/health").json() == {"status": "ok"}


def test_ready_names_what_failed_and_not_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.serve.operations.readiness._CHECK_SECONDS", 0.05)
    ready = get(operations(Clock(), checks={"backend": good}), "/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "failed": [], "unready_models": []})
    unready = get(operations(Clock(), checks={"backend": slow, "database": bad, "disk": good}), "/ready")
    assert (unready.status_code, unready.json()["status"]) == (503, "not ready")
    assert unready.json()["failed"] == ["backend", "database"]
    assert int(unready.headers["retry-after"]) in (2, 3)


def test_ready_is_503_at_once_when_draining_and_asks_the_checks_at_most_once_a_second() -> None:
    clock, drain, asked = Clock(), Drain(), list[float]()

    async def counted() -> bool:
        asked.append(clock.now)
        return True

    watched = operations(clock, drain=drain, checks={"backend": counted})
    for _ in range(20):
        assert get(watched, "/ready").status_code == 200
        clock.now += 0.125
    assert asked == [0.0, 1.0, 2.0]
    drain.begin()
    answer = get(watched, "/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "draining")
    assert [incident.kind for incident in watched.incidents] == ["draining"]


TOKEN = "an operator's token"


@pytest.mark.parametrize(
    ("client", "headers", "seen"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {}, True),
        ("192.0.2.1", {}, False),
        ("192.0.2.1", {"authorization": f"Bearer {TOKEN}"}, True),
        ("192.0.2.1", {"authorization": f"Bearer {TOKEN}x"}, False),
        ("192.0.2.1", {"authorization": f"Bearer {TOKEN[:-1]}"}, False),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.1"}, False),  # a proxy that nobody configured
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.1", "authorization": f"Bearer {TOKEN}"}, True),
    ],
)
def test_figures_are_for_this_machine_or_who_has_the_token(client: str, headers: dict[str, str], seen: bool) -> None:
    watched = operations(Clock(), settings=OperationsSettings(token=TOKEN))
    serve_some(watched)
    assert get(watched, "/metrics", client=client, headers=headers).status_code == (200 if seen else 401)
    status = get(watched, "/status.json", client=client, headers=headers).json()
    assert ("minutes" in status, "running" in status) == (seen, seen)
    assert status["state"] == "not ready"  # nothing has looked yet


def test_a_token_that_could_be_guessed_is_refused_and_none_is_shown() -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        OperationsSettings(token="short")
    assert TOKEN not in repr(OperationsSettings(token=TOKEN))


def test_the_status_page_tells_state_figures_and_incidents_in_both_languages() -> None:
    clock = Clock(1_737_936_000.0)  # 27 January 2025, 00:00 UTC
    brake = RegistrationBrake(BrakeSettings(), clock)
    watched = operations(clock, checks={"backend": good}, brake=brake)
    brake._changed = watched.brake_changed
    brake.set("on")
    serve_some(watched)
    get(watched, "/ready")
    english = get(watched, "/status", headers={"accept-language": "de, en;q=0.8, zh;q=0.5"})
    assert english.headers["content-type"] == "text/html; charset=utf-8"
    assert "All is well." in english.text
    assert "Registration may be busy, please wait and try again." in english.text
    assert 'Up since <time datetime="2025-01-27T00:00Z">' in english.text
    assert "0.20 s" in english.text
    assert "0.40 s" in english.text
    assert "by hand" in english.text
    chinese = get(watched, "/status?lang=zh", client="192.0.2.1")
    assert chinese.headers["content-language"] == "zh"
    assert "注册可能繁忙，请稍等重试。已注册用户可以正常登录" in chinese.text
    assert "0.20 s" not in chinese.text
    assert "by hand" not in chinese.text
    for page in (english, chinese):
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "src=" not in page.text
        assert "http://" not in page.text
        assert "https://" not in page.text


@pytest.mark.parametrize(
    ("header", "asked", "language"),
    [
        ("", None, "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", None, "zh"),
        ("en-GB", "zh", "zh"),
        ("zh", "xx", "zh"),
        ("fr", None, "en"),
    ],
)
def test_languages(header: str, asked: str | None, language: str) -> None:
    assert preferred_language(header, asked) == language


def test_the_last_hour_is_kept_by_minutes() -> None:
    clock = Clock(6000.0)
    recent = RecentMinutes(clock)
    for first in (0.1, 0.2, 0.3, 4.0):
        recent.record(
            Outcome(
                id="x",
                account="a",
                key=None,
                model="m",
                status=200,
                reason="stop",
                first_token_seconds=first,
                usage=Usage(completion_tokens=5),
            )
        )
    recent.record(Outcome(id="x", account="a", key=None, model="m", status=503, reason="queue_full", rejected=True))
    recent.record(Outcome(id="x", account="a", key=None, model="m", status=200, reason="insufficient_system_resource"))
    [minute] = recent.minutes()
    assert (minute.number, minute.served, minute.failed, minute.rejected, minute.tokens) == (100, 4, 1, 1, 20)
    assert quantile(minute.first_token_seconds, 0.5) == 0.2
    assert quantile(minute.first_token_seconds, 0.95) == 4.0
    clock.now += 3599.0
    assert [minute.number for minute in recent.minutes()] == [100, 159]
    clock.now += 1.0
    assert [minute.number for minute in recent.minutes()] == [159, 160]
    assert quantile([], 0.5) is None


def test_what_lasts_or_comes_again_soon_is_one_incident() -> None:
    clock, told = Clock(1000.0), list[str]()
    incidents = Incidents(clock, lambda incident: told.append(incident.kind))
    for _ in range(1000):
        incidents.happened("ledger", "disk full")
        clock.now += 0.01
    incidents.began("not_ready", "database")
    clock.now += 60
    incidents.ended("not_ready")
    clock.now += 700
    incidents.happened("ledger")
    assert told == ["ledger", "not_ready", "ledger"]
    assert [(i.kind, i.times, i.ended is None) for i in incidents] == [
        ("ledger", 1, False),
        ("not_ready", 1, False),
        ("ledger", 1000, False),
    ]
    for number in range(200):
        incidents.happened(f"kind {number}")
    assert len(list(incidents)) == Incidents.KEPT


def test_an_unready_backend_and_a_ledger_that_fails_are_incidents(log: Callable[[], list[dict[str, Any]]]) -> None:
    async def main() -> None:
        watched = operations(Clock(), checks={"database": bad})
        async with watched.running():
            watched.observer.settlement_failed(ask(), ApiError(503, "the disk is full", code="ledger_unavailable"))
        assert [(i.kind, i.detail) for i in watched.incidents] == [
            ("ledger", "the cost of cmpl-1 could not be charged: ledger_unavailable"),
            ("not_ready", "database"),
        ]
        assert samples(watched.metrics.text().decode())["ponder_troubles_total|ledger"] == 1

    asyncio.run(main())
    assert [(line["event"], line["kind"], line["level"]) for line in log()] == [
        ("incident", "not_ready", "warning"),
        ("incident", "ledger", "warning"),
    ]


def test_the_pulse_measures_how_late_the_loop_is() -> None:
    lags: list[float] = []

    async def beat(lag: float) -> None:
        lags.append(lag)

    async def main() -> None:
        pulse = Pulse(beat, seconds=0.01)
        async with pulse.running():
            await asyncio.sleep(0.03)
            time.sleep(0.2)
            await asyncio.sleep(0.03)

    asyncio.run(main())
    assert max(lags) > 0.15
    assert min(lags) < 0.05


def test_a_request_is_one_line_of_json(log: Callable[[], list[dict[str, Any]]]) -> None:
    serve_some(operations(Clock()))
    lines = log()
    timestamps = [line.pop("timestamp") for line in lines]
    assert all(stamp.endswith("Z") for stamp in timestamps)
    assert [line["id"] for line in lines] == ["cmpl-1", "cmpl-2", "cmpl-3"]
    assert lines[0] == {
        "event": "request",
        "level": "info",
        "id": "cmpl-1",
        "account": "acc_alice",
        "model": "m",
        "status": 200,
        "reason": "stop",
        "prompt_tokens": 100,
        "cache_hit_tokens": 64,
        "completion_tokens": 11,
        "reasoning_tokens": 4,
        "seconds": 1.2,
        "queue_seconds": 0.02,
        "first_token_seconds": 0.2,
    }
    assert (lines[2]["status"], lines[2]["reason"]) == (503, "queue_full")


SECRETS = (
    "sk-ponder-0123456789abcdef",
    "hunter2hunter2",
    "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g",
    "the canary prompt",
)


def test_no_secret_reaches_the_log_by_whatever_way(log: Callable[[], list[dict[str, Any]]]) -> None:
    key, password, hashed, prompt = SECRETS
    logger = structlog.get_logger()
    logger.info(
        "tried", authorization=f"Bearer {key}", password=password, prompt=prompt, messages=[{"content": prompt}]
    )
    logger.info("nested", request={"headers": {"cookie": password}, "note": [f"key {key}", {"api_key": password}]})
    logger.info(f"in the text: Bearer {password} and {key} and {hashed}", url=f"postgresql://ponder:{password}@db/x")
    logging.getLogger("some.library").warning("connecting with %s", {"key": key})
    try:
        raise ValueError(f"cannot read {prompt} with {key}")
    except ValueError:
        logger.exception("failed")
        logging.getLogger("some.library").exception("failed too")
    lines = log()
    text = json.dumps(lines)
    assert [secret for secret in SECRETS if secret in text] == []
    assert lines[0]["password"] == REMOVED
    assert lines[2]["url"] == f"postgresql://{REMOVED}@db/x"
    assert [(line["exception"], line["event"]) for line in lines[-2:]] == [
        ("ValueError", "failed"),
        ("ValueError", "failed too"),
    ]
    assert "test_operations.py" in lines[-1]["places"][-1]


def test_our_own_errors_are_told_with_their_words(log: Callable[[], list[dict[str, Any]]]) -> None:
    try:
        raise RunError("port 8000 is in use")
    except RunError:
        structlog.get_logger().exception("cannot start")
    assert log()[0]["reason"] == "port 8000 is in use"


def test_counts_are_not_taken_for_secrets(log: Callable[[], list[dict[str, Any]]]) -> None:
    structlog.get_logger().info("counts", prompt_tokens=3, tokens_per_second=1.5, seconds=math.pi, key_id="key_1")
    line = log()[0]
    assert (line["prompt_tokens"], line["tokens_per_second"], line["seconds"], line["key_id"]) == (
        3,
        1.5,
        math.pi,
        "key_1",
    )


def test_an_operator_sets_the_registration_brake_by_hand() -> None:
    clock = Clock()
    brake = RegistrationBrake(BrakeSettings(), clock)
    watched = operations(clock, brake=brake, settings=OperationsSettings(token=TOKEN))

    def put(setting: object, **fields: Any) -> httpx.Response:
        path = "/operations/registration-brake"
        return get(watched, path, method="PUT", json={"setting": setting}, **fields)

    assert put("on").json() == {"setting": "on", "on": True}
    assert brake.on
    assert put("auto", client="192.0.2.1").status_code == 401
    assert [put(wrong).status_code for wrong in ("maybe", 1, None)] == [422] * 3
    assert brake.on
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert put("auto", client="192.0.2.1", headers=headers).json() == {"setting": "auto", "on": False}
    assert get(watched, "/operations/registration-brake").status_code == 405
