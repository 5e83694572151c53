"""The upstream backend against a server that does not behave, and settings that cannot be."""

import asyncio
import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ponder.core.errors import ConfigError
from ponder.core.types import Message
from ponder.serve.errors import ApiError
from ponder.serve.open_mode import NoMeter
from ponder.serve.operations.watch import Outcome, Watch
from ponder.serve.records import Conversation, Finish, Usage
from ponder.serve.seams import Reservation
from ponder.serve.service import Service
from ponder.serve.upstream.backend import UpstreamBackend
from ponder.serve.upstream.settings import UpstreamSettings
from upstream_client import ASK, CALLER, SETTINGS, generate, text, with_backend
from upstream_server import (
    DONE,
    HEAD,
    Answer,
    Upstream,
    chunk,
    event,
    piece,
    refuses,
    says,
    says_then_hangs,
    sends,
)

SECRET = "sk-canary-5f3a"


def finish_of(answer: Answer, settings: UpstreamSettings = SETTINGS) -> tuple[str, Finish, float]:
    """The text that came before the end, the end, and after how many seconds."""
    began = time.monotonic()
    events, _, _ = generate(answer, settings=settings)
    assert isinstance(events[-1], Finish)
    assert sum(isinstance(event, Finish) for event in events) == 1
    return text(events, "content"), events[-1], time.monotonic() - began


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (event({"choices": [{"index": 1, "delta": {"content": "x"}}]}), "a choice that was not asked for"),
        (event({"choices": [{"index": 0, "delta": {"content": 5}}]}), "something else where a text belongs"),
        (event({"choices": 5}), "choices that are no list"),
        (event({"choices": ["x"]}), "a choice that is no object"),
        (event({"choices": [{"delta": {"tool_calls": [{}]}}]}), "a tool call without a function"),
        (event({"choices": [{"delta": {"tool_calls": [{"function": {}}]}}]}), "a tool call without a name"),
        (event([1]), "JSON that is no chunk"),
        (event({"error": {"message": SECRET}}), "an error in the midst of the answer"),
        (b"data: {]\n\n", "what is no JSON"),
        (b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n', "what is no JSON"),
        (b'data: {"choices": [{"delta": {"content": "\\ud800"}}]}\n\n', "what is no JSON"),
        (b"data: " + b"[" * 5000 + b"\n\n", "what is no JSON"),
        (b"data: " + b"x" * 3000 + b"\n\n", "a line without end"),
        (b"x" * 3000, "a line without end"),
        (b"data: x\n" * 400, "a line without end"),
        (chunk({"content": "y" * 900}) * 20, "more than was asked for"),
    ],
)
def test_garbage_ends_the_answer(data: bytes, what: str) -> None:
    settings = replace(SETTINGS, max_line_bytes=2048)
    if data.startswith(b"data: [["):
        settings = replace(settings, max_line_bytes=1 << 20)
    shown, finish, seconds = finish_of(says(chunk({"content": "so far"}), data, DONE), settings)
    assert shown.startswith("so far")
    assert finish.reason == "insufficient_system_resource"
    assert what in finish.error
    assert SECRET not in finish.error
    assert seconds < 2


def test_a_server_that_hangs_after_the_first_words() -> None:
    shown, finish, seconds = finish_of(says_then_hangs(chunk({"content": "so far"})))
    assert (shown, finish.reason) == ("so far", "insufficient_system_resource")
    assert "fell silent" in finish.error
    assert 0.3 <= seconds < 2


def test_comments_keep_a_silent_server_alive_until_its_time_is_up() -> None:
    async def answer(request: object, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while True:
            writer.write(piece(b": keep-alive\n\n"))
            await writer.drain()
            await asyncio.sleep(0.02)

    settings = replace(SETTINGS, silence_seconds=0.2, total_seconds=0.6)
    _, finish, seconds = finish_of(answer, settings)
    assert finish.reason == "insufficient_system_resource"
    assert 0.6 <= seconds < 2


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (says(chunk({"content": "so far"})), "broke off"),
        (says(chunk({"content": "so far"}), DONE), "broke off"),
        (sends(HEAD + piece(chunk({"content": "so far"}))), "connection"),
        (sends(HEAD + piece(chunk({"content": "so far"})) + b"zz\r\n"), "connection"),
        (says(chunk({"content": "so far"}), chunk({}, "abort"), DONE), "broke off"),
    ],
)
def test_a_server_that_ends_early(answer: Answer, what: str) -> None:
    shown, finish, _ = finish_of(answer)
    assert (shown, finish.reason) == ("so far", "insufficient_system_resource")
    assert what in finish.error


def test_an_answer_that_is_whole_needs_no_last_word() -> None:
    assert finish_of(says(chunk({"content": "4"}, "stop")))[:2] == ("4", Finish(index=0, reason="stop"))
    unended = chunk({"content": "4"}, "stop").rstrip(b"\n")
    assert finish_of(says(unended))[:2] == ("4", Finish(index=0, reason="stop"))


def test_a_connection_that_breaks_after_the_last_word_breaks_nothing() -> None:
    said = HEAD + piece(chunk({"content": "4"}, "stop")) + piece(DONE)
    assert finish_of(sends(said))[:2] == ("4", Finish(index=0, reason="stop"))


def error_of(answer: Answer, settings: UpstreamSettings = SETTINGS) -> ApiError:
    with pytest.raises(ApiError) as caught:
        generate(answer, settings=settings)
    return caught.value


def told(message: str) -> bytes:
    return json.dumps({"error": {"message": message}}).encode()


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (refuses("400 Bad Request", told("too long")), 400, "does not take this request: too long"),
        (refuses("422 Unprocessable", b"<html>"), 422, "it gives no reason"),
        (refuses("400 Bad Request", told("x" * 100_000)), 400, "it gives no reason"),
        (refuses("401 Unauthorized", told("bad key")), 502, "does not accept this site's credentials"),
        (refuses("403 Forbidden"), 502, "does not accept this site's credentials"),
        (refuses("404 Not Found"), 502, "answers with status 404"),
        (refuses("500 Oops", told("at /srv/secret.py")), 502, "answers with status 500"),
        (refuses("302 Found", b"", "location: http://127.0.0.1:9/"), 502, "redirect"),
        (refuses("504 Timeout"), 504, "does not answer"),
        (refuses("200 OK", b"{}"), 502, "does not stream"),
        (sends(b"garbage\r\n\r\n"), 502, "broke the connection"),
        (sends(b""), 502, "broke the connection"),
        (sends(b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n"), 502, "broke the connection"),
    ],
)
def test_refusals(answer: Answer, status: int, words: str) -> None:
    error = error_of(answer)
    assert (error.status, words in error.message) == (status, True)
    assert "secret.py" not in error.message
    assert len(error.message) < 700


class Bills(NoMeter):
    """Keeps what is charged."""

    def __init__(self) -> None:
        self.charged: list[Usage] = []

    async def settle(self, reservation: Reservation, usage: Usage, finish_reason: str) -> None:
        self.charged.append(usage)


LONG = replace(ASK, prompt=Conversation(messages=(Message("user", "word " * 600),)))


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (refuses("503 Busy"), 503),
        (refuses("401 Unauthorized", told("bad key")), 502),
        (sends(b""), 502),
        (lambda *_: asyncio.sleep(60), 504),
    ],
)
def test_what_the_server_refuses_is_charged_nothing(answer: Answer, status: int) -> None:
    bills = Bills()
    outcomes: list[Outcome] = []

    async def use(backend: UpstreamBackend, server: Upstream) -> None:
        service = Service([backend], meter=bills, observer=Watch([outcomes.append], clock=time.monotonic))
        async with await service.open(LONG, CALLER) as run:
            with pytest.raises(ApiError) as caught:
                await anext(aiter(run))
        assert caught.value.status == status

    with_backend(answer, use)
    assert bills.charged == [Usage()]
    assert [(outcome.status, outcome.rejected) for outcome in outcomes] == [(status, True)]


def test_a_request_that_is_stopped_before_the_server_answers_is_charged_nothing() -> None:
    bills = Bills()

    async def use(backend: UpstreamBackend, server: Upstream) -> None:
        async with await Service([backend], meter=bills).open(LONG, CALLER) as run:
            asyncio.get_running_loop().call_later(0.1, run.cancel)
            assert [event async for event in run] == [Finish(index=0, reason="cancelled")]

    with_backend(lambda *_: asyncio.sleep(60), use)
    assert bills.charged == [Usage()]


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("999999", 3600), ("-1", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)]
)
def test_a_busy_server_says_when_to_come_again(header: str, seconds: float | None) -> None:
    for status in (429, 503):
        error = error_of(refuses(f"{status} Busy", b"", f"retry-after: {header}"))
        assert (error.status, error.retry_after) == (status, seconds)


def test_a_server_that_never_answers() -> None:
    began = time.monotonic()
    error = error_of(lambda *_: asyncio.sleep(60))
    assert (error.status, error.code) == (504, "upstream_timeout")
    assert 0.5 <= time.monotonic() - began < 2


def test_a_server_that_is_not_there() -> None:
    async def run() -> None:
        backend = await UpstreamBackend.open(replace(SETTINGS, models={"big": "big"}))  # named: it may come later
        assert await backend.ready() is False
        generation = await backend.start(await backend.prepare(ASK, CALLER))
        with pytest.raises(ApiError, match="cannot be reached") as caught:
            await anext(aiter(generation))
        assert (caught.value.status, caught.value.retry_after) == (503, 5)
        await backend.close()
        with pytest.raises(ConfigError, match="cannot be listed"):
            await UpstreamBackend.open(SETTINGS)

    asyncio.run(run())


def test_the_key_is_sent_and_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", f"{SECRET}\n")
    (tmp_path / "key").write_text(SECRET)
    caplog.set_level(logging.DEBUG)
    for settings in (
        replace(SETTINGS, key_variable="UPSTREAM_KEY"),
        replace(SETTINGS, key_file=tmp_path / "key"),
    ):

        async def use(backend: UpstreamBackend, server: Upstream, settings: UpstreamSettings = settings) -> None:
            generation = await backend.start(await backend.prepare(ASK, CALLER))
            with pytest.raises(ApiError) as caught:
                await anext(aiter(generation))
            assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {SECRET}"}
            shown = f"{caught.value.message}{caught.value!r}{settings!r}{vars(backend)!r}{backend._client.headers!r}"
            assert SECRET not in shown

        with_backend(refuses("400 Bad Request", told(f"the key {SECRET} is odd")), use, settings)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "ftp://x/v1"}, "expected http"),
        ({"url": "http://"}, "expected http"),
        ({"url": f"http://u:{SECRET}@x/v1"}, "leave them out"),
        ({"url": f"http://x/v1?key={SECRET}"}, "leave them out"),
        ({"key_variable": "A", "key_file": Path("b")}, "one of them"),
        ({"silence_seconds": 0}, "more than 0"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        replace(SETTINGS, **change)  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["", "two words", "one\ntwo", "schlüssel"])
def test_a_key_that_is_none(text: str) -> None:
    settings = replace(SETTINGS, key_variable="UPSTREAM_KEY")
    with pytest.raises(ConfigError, match="UPSTREAM_KEY") as caught:
        settings.read_key({"UPSTREAM_KEY": text})
    assert not text or text not in str(caught.value)


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        replace(SETTINGS, key_file=tmp_path / "none").read_key()
