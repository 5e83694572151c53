"""Streams and bodies on the way: silence, queues, refusals early and late, clients that leave or read slowly."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ponder.core.errors import ConfigError
from ponder.serve.errors import ApiError
from ponder.serve.open_mode import NoGate
from ponder.serve.records import Caller, Queued
from ponder.serve.scripted import Script, ScriptedBackend
from ponder.serve.service import Service
from ponder.serve.wire.errors import retry_after
from ponder.serve.wire.settings import WireSettings
from virtual_time import run_in_virtual_time
from wire_server import Answer, chat, exchange, wire_app

SETTINGS = WireSettings(keep_alive_seconds=5, patience_seconds=10)
SLOW = 1 / 12  # tokens a second
KEEP_ALIVE = b": keep-alive\n\n"


class Queue(NoGate):
    """A gate that lets everybody wait for so many seconds, then in or away."""

    def __init__(self, seconds: float, refusal: ApiError | None = None) -> None:
        self._seconds, self._refusal = seconds, refusal
        self.left = 0

    @contextlib.asynccontextmanager
    async def admit(self, caller: Caller, **size: object) -> AsyncIterator["Queue"]:
        try:
            yield self
        finally:
            self.left += 1

    async def wait(self) -> Queued | None:
        if self._seconds <= 0:
            if self._refusal is not None:
                raise self._refusal
            return None
        await asyncio.sleep(min(2.0, self._seconds))
        self._seconds -= 2.0
        return Queued(position=1)


def run(body: dict[str, Any], *, gate: Queue | None = None, speed: float = 0.0, script: Script | None = None) -> Answer:
    async def scenario() -> Answer:
        backend = ScriptedBackend(lambda ask: script or Script(answer="It is 4."), tokens_per_second=speed)
        app = wire_app(Service([backend], gate=gate), SETTINGS)
        return await exchange(app, "/v1/chat/completions", json.dumps(body).encode())

    return run_in_virtual_time(scenario())


def test_a_queued_stream_is_kept_alive() -> None:
    answer = run(chat(stream=True), gate=Queue(18))
    assert answer.status == 200
    assert answer.pieces[:3] == [KEEP_ALIVE] * 3
    assert answer.times[:4] == [5, 10, 15, 18]
    assert answer.pieces[3].startswith(b'data: {"id"')
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_silence_between_tokens_is_filled_and_speech_is_not_interrupted() -> None:
    answer = run(chat(stream=True), speed=SLOW)
    signs = [time for time, piece in zip(answer.times, answer.pieces, strict=True) if piece == KEEP_ALIVE]
    assert signs == pytest.approx([5, 10, 17, 22, 29, 34])
    assert KEEP_ALIVE not in run(chat(stream=True), speed=1 / 4).pieces


def test_a_whole_answer_is_kept_alive_by_empty_lines_after_some_patience() -> None:
    answer = run(chat(), speed=SLOW)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert "content-length" not in answer.headers
    assert answer.pieces[:-1] == [b"\n"] * 6
    assert answer.times == pytest.approx([10, 15, 20, 25, 30, 35, 36])
    assert answer.json["choices"][0]["message"]["content"] == "It is 4."


def test_a_whole_answer_that_comes_in_time_has_its_length() -> None:
    answer = run(chat(), speed=1 / 3)
    assert answer.times == pytest.approx([9])
    assert int(answer.headers["content-length"]) == len(answer.body)


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.0, {1, 2}), (1.0, {1, 2}), (2.0, {2, 3}), (3.2, {4, 5, 6}), (30.0, set(range(30, 46)))]
)
def test_those_who_are_sent_away_together_do_not_come_back_together(seconds: float, told: set[int]) -> None:
    assert {int(retry_after(seconds)) for _ in range(1000)} == told


TOO_LATE = ApiError(503, "waited too long", type="overloaded_error", retry_after=4)


@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_before_the_first_byte_is_a_status(stream: bool) -> None:
    answer = run(chat(stream=stream), gate=Queue(4, TOO_LATE))
    assert (answer.status, answer.error["message"]) == (503, "waited too long")
    assert 4 <= int(answer.headers["retry-after"]) <= 6
    assert answer.headers["content-type"] == "application/json"


def test_a_refusal_after_it_ends_the_stream_or_is_the_body() -> None:
    streamed = run(chat(stream=True), gate=Queue(12, TOO_LATE))
    assert streamed.status == 200
    assert streamed.pieces[:2] == [KEEP_ALIVE] * 2
    assert streamed.chunks == [
        {"error": {"message": "waited too long", "type": "overloaded_error", "param": None, "code": None}}
    ]
    assert b"[DONE]" not in streamed.body
    whole = run(chat(), gate=Queue(12, TOO_LATE))
    assert (whole.status, whole.error["message"]) == (200, "waited too long")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("seconds", [0.0, 3.0, 11.0, 13.0])
def test_a_client_that_leaves_ends_its_request_at_once(stream: bool, seconds: float) -> None:
    """In the queue (to 10 s) or at the engine, with bytes sent or none."""

    async def scenario() -> None:
        backend = ScriptedBackend(lambda ask: Script(answer="word " * 1000), tokens_per_second=1)
        gate = Queue(10)
        service = Service([backend], gate=gate)
        app, gone = wire_app(service, SETTINGS), asyncio.Event()
        request = asyncio.create_task(
            exchange(app, "/v1/chat/completions", json.dumps(chat(stream=stream)).encode(), gone=gone)
        )
        await asyncio.sleep(seconds)
        loop = asyncio.get_running_loop()
        left = loop.time()
        gone.set()
        answer = await request
        assert loop.time() == left
        assert not answer.complete
        assert (service.running, backend.running, gate.left) == (0, 0, 1)
        assert backend.drawn_tokens == max(0, int(seconds - 10))
        assert len(asyncio.all_tasks()) == 1

    run_in_virtual_time(scenario())


def test_a_slow_reader_holds_back_the_reading_of_its_generation() -> None:
    async def scenario() -> None:
        backend = ScriptedBackend(lambda ask: Script(answer="word " * 1000))
        service = Service([backend])
        app = wire_app(service, SETTINGS)
        blocked, gone = asyncio.Event(), asyncio.Event()
        sent = 0

        async def receive() -> dict[str, Any]:
            nonlocal body
            if body:
                message, body = {"type": "http.request", "body": body, "more_body": False}, b""
                return message
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            nonlocal sent
            sent += 1
            if sent > 10:
                await blocked.wait()

        body = json.dumps(chat(stream=True)).encode()
        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
        request = asyncio.create_task(app(scope, receive, send))
        await asyncio.sleep(600)
        assert sent == 11  # no sign of life either: it would only wait behind
        assert backend.drawn_tokens == 10
        gone.set()
        await request
        assert service.running == 0

    run_in_virtual_time(scenario())


def test_cancelling_the_server_side_task_is_not_taken_for_a_client_that_left() -> None:
    async def scenario() -> None:
        service = Service([ScriptedBackend(lambda ask: Script(answer="word " * 9), tokens_per_second=1)])
        app = wire_app(service, SETTINGS)
        request = asyncio.create_task(exchange(app, "/v1/chat/completions", json.dumps(chat(stream=True)).encode()))
        await asyncio.sleep(2)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert service.running == 0

    run_in_virtual_time(scenario())


@pytest.mark.parametrize("name", ["max_body_bytes", "keep_alive_seconds", "patience_seconds"])
def test_bounds_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"api.{name} = 0; expected more than 0"):
        WireSettings(**{name: 0})
