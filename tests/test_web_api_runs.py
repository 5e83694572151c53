"""Runs: they go on without a reader, are read from anywhere, stop, and end in the database."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from moderation_rules import RULES, rules
from ponder.serve.errors import ApiError
from ponder.serve.moderation.rules import parse_rules
from ponder.serve.records import Caller
from ponder.serve.scripted import Script, ScriptedBackend
from ponder.serve.web_api.event_log import EventLog, TextBatch
from ponder.serve.web_api.records import StoredMessage
from ponder.serve.web_api.runs import RunsConfig
from web_app import Page, WebApp, parse_events, text_of, until, web_app

LONG = Script(thought="So." + " So." * 29, answer="Then." + " Then." * 29)


def run(work: Callable[[WebApp, Page], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with web_app(**options) as app:
            await work(app, await app.page())
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(main())


def slow(script: Script = LONG, speed: float = 200) -> ScriptedBackend:
    return ScriptedBackend(lambda _: script, tokens_per_second=speed)


def test_events_are_numbered_and_tell_everything() -> None:
    async def work(app: WebApp, page: Page) -> None:
        asked = await page.ask(await page.conversation(), "Hi")
        events = await page.events(asked["run_id"])
        assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
        names = [name for _, name, _ in events]
        assert list(dict.fromkeys(names)) == ["start", "reasoning", "thought_end", "content", "finish"]
        assert text_of(events, "reasoning") == LONG.thought
        assert text_of(events, "content") == LONG.answer
        ended = next(data for _, name, data in events if name == "thought_end")
        assert ended["tokens"] == 30
        assert 0.1 < ended["seconds"] < 20
        live = [data["tokens"] for _, name, data in events if name == "reasoning"]
        assert live == sorted(live)
        assert live[-1] == 30
        assert len(live) < 20
        message = events[-1][2]["message"]
        assert (message["content"], message["thinking_seconds"]) == (LONG.answer, ended["seconds"])
        assert message == (await page.get(f"conversations/{events[0][2]['conversation_id']}"))["messages"][1]

    run(work, backend=slow())


def test_a_reader_goes_on_from_any_event() -> None:
    async def work(app: WebApp, page: Page) -> None:
        asked = await page.ask(await page.conversation(), "Hi")
        followers = [asyncio.create_task(page.events(asked["run_id"], after)) for after in (0, 0, 2)]
        whole, twin, later = await asyncio.gather(*followers)
        assert whole == twin
        assert later == whole[2:]
        for after in range(len(whole) + 3):
            assert await page.events(asked["run_id"], after) == whole[after:]
        response = await page.client.get(f"/app/api/runs/{asked['run_id']}/events", headers={"last-event-id": "3"})
        assert parse_events(response.text) == whole[3:]

    run(work, backend=slow())


def test_a_run_goes_on_when_its_reader_is_gone() -> None:
    async def work(app: WebApp, page: Page) -> None:
        asked = await page.ask(await page.conversation(), "Hi")
        reader = asyncio.create_task(page.events(asked["run_id"]))
        await until(lambda: app.runs.under_way()[0].log.last_id > 3)
        reader.cancel()
        await asyncio.wait([reader])
        await until(lambda: app.runs.under_way() == [])
        events = await page.events(asked["run_id"])
        assert text_of(events, "content") == LONG.answer

    run(work, backend=slow())


def test_a_connection_that_is_lost_leaves_no_reader() -> None:
    async def work(app: WebApp, page: Page) -> None:
        asked = await page.ask(await page.conversation(), "Hi")
        (run,) = app.runs.under_way()
        lost, sent = asyncio.Event(), []

        async def receive() -> dict[str, object]:
            await lost.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/app/api/runs/{asked['run_id']}/events",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
        }
        reading = asyncio.create_task(app.app(scope, receive, send))
        await until(lambda: run.log.last_id > 3)
        assert (run.readers, sent[0]["status"], len(sent) > 2) == (1, 200, True)
        lost.set()
        await reading
        assert (run.readers, run.ended) == (0, False)

    run(work, backend=slow())


def test_stop_keeps_what_has_come() -> None:
    backend = slow()

    async def work(app: WebApp, page: Page) -> None:
        asked = await page.ask(await page.conversation(), "Hi")
        await until(lambda: app.runs.under_way()[0].state == "answering")
        await page.post(f"runs/{asked['run_id']}/stop", status=204)
        message = (await page.events(asked["run_id"]))[-1][2]["message"]
        assert message["finish_reason"] == "cancelled"
        assert message["content"] != ""
        assert LONG.answer.startswith(message["content"])
        assert message["reasoning"] == LONG.thought
        assert message["usage"]["completion_tokens"] == backend.drawn_tokens
        assert (await page.send("POST", f"runs/{asked['run_id']}/stop", {})).status_code == 409

    run(work, backend=backend)


def test_answer_now_ends_the_thought() -> None:
    async def work(app: WebApp, page: Page) -> None:
        asked = await page.ask(await page.conversation(), "Hi")
        await until(lambda: app.runs.under_way()[0].state == "thinking")
        await page.post(f"runs/{asked['run_id']}/answer_now", status=204)
        message = (await page.events(asked["run_id"]))[-1][2]["message"]
        assert message["content"] == LONG.answer
        assert len(message["reasoning"]) < len(LONG.thought) / 2

    run(work, backend=slow(speed=100))


def test_a_run_that_waits_can_be_stopped() -> None:
    """It waits for a seat of the backend, without an end in sight."""
    backend = ScriptedBackend(lambda _: LONG, tokens_per_second=20, capacity=1)

    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        first = await page.ask(conversation, "Hi")
        await until(lambda: app.runs.under_way()[0].state == "thinking")
        second = await page.ask(conversation, "Hi", thinking=False)
        await asyncio.sleep(0.01)
        await page.post(f"runs/{second['run_id']}/stop", status=204)
        message = (await page.events(second["run_id"]))[-1][2]["message"]
        assert (message["finish_reason"], message["content"]) == ("cancelled", "")
        await page.post(f"runs/{first['run_id']}/stop", status=204)
        await page.events(first["run_id"])
        assert backend.running == 0

    run(work, backend=backend)


def test_a_run_that_has_not_begun_can_be_stopped() -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        app.runs.start, start = (lambda *given: start(*given).stop()), app.runs.start  # type: ignore[method-assign]
        message = await page.answer(conversation, "Hi")
        assert (message["finish_reason"], message["reasoning"]) == ("cancelled", None)

    run(work)


@pytest.mark.parametrize("stopped_by", ["stop", "close"])
@pytest.mark.parametrize("reason", ["stop", "error", "content_filter"])
def test_an_end_that_is_being_stored_is_stored_whoever_stops_the_run(
    reason: str, stopped_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended before any text: with an empty answer, without a backend, or refused by a rule."""

    async def work(app: WebApp, page: Page) -> None:
        conversation, saving, go_on = await page.conversation(), asyncio.Event(), asyncio.Event()
        app.backend.is_ready = reason != "error"
        save = app.store.save

        async def slow_save(message: StoredMessage) -> None:
            saving.set()
            await go_on.wait()
            await save(message)

        monkeypatch.setattr(app.store, "save", slow_save)
        asked = await page.ask(conversation, "a pipe bomb" if reason == "content_filter" else "Hi", thinking=False)
        await asyncio.wait_for(saving.wait(), 5)
        if stopped_by == "stop":
            await page.post(f"runs/{asked['run_id']}/stop", status=204)
        closing = asyncio.create_task(app.runs.close() if stopped_by == "close" else asyncio.sleep(0))
        await asyncio.sleep(0.01)
        go_on.set()
        await closing
        _, name, data = (await page.events(asked["run_id"]))[-1]
        assert (name, data["message"]["finish_reason"], data.get("stored")) == ("finish", reason, None)
        assert (await app.store.find_message("local", run_id=asked["run_id"])).finish_reason == reason
        assert (await page.get(f"conversations/{conversation}"))["messages"][1]["finish_reason"] == reason

    run(work, backend=ScriptedBackend(lambda _: Script(answer="")), rules=rules())


def test_an_account_may_have_so_many_runs() -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        body = {"parent_id": None, "content": "x", "model": "scripted", "thinking": True}
        path = f"conversations/{conversation}/messages"
        responses = await asyncio.gather(*[page.send("POST", path, body) for _ in range(6)])
        refused = [response for response in responses if response.status_code != 201]
        assert len(refused) == 4
        assert {(r.status_code, r.json()["error"]["code"]) for r in refused} == {(429, "too_many_runs")}
        assert int(refused[0].headers["retry-after"]) >= 5
        assert len((await page.get(f"conversations/{conversation}"))["messages"]) == 4

    run(work, backend=slow(speed=5), config=RunsConfig(max_runs_per_account=2))


def test_all_accounts_together_may_have_so_many_runs() -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        await page.ask(conversation, "Hi")
        body = {"parent_id": None, "content": "x", "model": "scripted", "thinking": True}
        response = await page.send("POST", f"conversations/{conversation}/messages", body)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")

    run(work, backend=slow(speed=5), config=RunsConfig(max_runs=1))


def test_a_run_may_have_so_many_readers() -> None:
    async def work(app: WebApp, page: Page) -> None:
        asked = await page.ask(await page.conversation(), "Hi")
        path = f"/app/api/runs/{asked['run_id']}/events"
        responses = await asyncio.gather(*[page.client.get(path) for _ in range(3)])
        assert sorted(response.status_code for response in responses) == [200, 200, 429]
        assert app.runs.find("local", asked["run_id"]).readers == 0  # type: ignore[union-attr]

    run(work, backend=slow(), config=RunsConfig(max_readers=2))


@pytest.mark.parametrize(
    ("limit", "said"),
    [({"max_seconds": 0.4}, "after 0 seconds"), ({"max_bytes": 2000}, "because of its size")],
)
def test_a_run_is_bounded(limit: dict[str, float], said: str) -> None:
    async def work(app: WebApp, page: Page) -> None:
        message = await page.answer(await page.conversation(), "Hi")
        assert message["finish_reason"] == "length"
        assert said in message["error"]
        assert 0 < len(message["reasoning"]) < len(LONG.thought)

    run(work, backend=slow(speed=30), config=RunsConfig(batch_seconds=0.0, **limit))  # type: ignore[arg-type]


def test_an_ended_run_is_forgotten_and_its_message_is_not() -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        asked = await page.ask(conversation, "Hi")
        final = (await page.events(asked["run_id"]))[-1]
        await page.answer(conversation, "Hi")
        assert app.runs.find("local", asked["run_id"]) is None
        assert await page.events(asked["run_id"], after=5) == [(6, "message", final[2])]
        state = await page.get(f"runs/{asked['run_id']}")
        assert (state["state"], state["message_id"]) == ("ended", final[2]["message"]["id"])

    run(work, config=RunsConfig(keep_seconds=0.0))


def test_ended_runs_take_only_so_much_memory() -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        ids = []
        for _ in range(4):
            asked = await page.ask(conversation, "Hi")
            await page.events(asked["run_id"])
            ids.append(asked["run_id"])
        size = app.runs.find("local", ids[-1]).log.size  # type: ignore[union-attr]
        assert 833 < size < 1250
        assert [app.runs.find("local", run_id) is not None for run_id in ids] == [False, True, True, True]

    run(work, config=RunsConfig(max_kept_bytes=2500))


def test_an_answer_is_saved_while_it_is_made() -> None:
    async def work(app: WebApp, page: Page) -> None:
        asked = await page.ask(await page.conversation(), "Hi")
        message_id = asked["assistant_message"]["id"]

        async def stored() -> StoredMessage:
            return await app.store.find_message("local", message_id=message_id)

        async with asyncio.timeout(5):
            while not (await stored()).content:
                await asyncio.sleep(0.01)
        saved = await stored()
        assert saved.finish_reason is None
        assert saved.reasoning == LONG.thought

    run(work, backend=slow(), config=RunsConfig(save_seconds=0.0))


def test_a_process_that_died_leaves_an_interrupted_answer(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/ponder.db"

    async def main() -> None:
        async with web_app(slow(speed=100), url=url, config=RunsConfig(save_seconds=0.0)) as app:
            page = await app.page()
            conversation = await page.conversation()
            asked = await page.ask(conversation, "Hi")
            async with asyncio.timeout(10):
                while not (await app.store.find_message("local", run_id=asked["run_id"])).content:
                    await asyncio.sleep(0.01)
            async with web_app(ScriptedBackend(), url=url) as other:  # knows only what is stored
                message = (await (await other.page()).get(f"conversations/{conversation}"))["messages"][1]
                assert message["finish_reason"] == "interrupted"
                assert message["run_id"] is None
                assert LONG.answer.startswith(message["content"])
                assert message["content"]
                events = await (await other.page()).events(asked["run_id"])
                assert [name for _, name, _ in events] == ["message"]
                later = await (await other.page()).answer(conversation, "Go on", parent=message["id"])
                assert later["finish_reason"] == "stop"

    asyncio.run(main())


def test_closing_stores_what_was_under_way() -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        await page.ask(conversation, "Hi")
        await until(lambda: app.runs.under_way()[0].state == "answering")
        await app.runs.close()
        message = (await page.get(f"conversations/{conversation}"))["messages"][1]
        assert message["finish_reason"] == "interrupted"
        assert message["content"]
        body = {"parent_id": None, "content": "x", "model": "scripted", "thinking": True}
        assert (await page.send("POST", f"conversations/{conversation}/messages", body)).status_code == 503

    run(work, backend=slow())


def test_runs_whose_ends_cannot_be_stored_are_closed_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(app: WebApp, page: Page) -> None:
        for _ in range(4):
            await page.ask(await page.conversation(), "Hi")
        await until(lambda: all(run.state == "answering" for run in app.runs.under_way()))

        async def hanging(message: StoredMessage) -> None:
            await asyncio.sleep(60)

        monkeypatch.setattr(app.store, "save", hanging)
        began = time.monotonic()
        await app.runs.close(0.5)
        assert 0.4 < time.monotonic() - began < 1.2  # one after the other: 2 s

    run(work, backend=slow())


def test_a_database_that_fails_meanwhile_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.serve.web_api.active_run.SAVE_PAUSE", 0.001)

    async def work(app: WebApp, page: Page) -> None:
        conversation, failures = await page.conversation(), 0
        save = app.store.save

        async def failing(message: StoredMessage) -> None:
            nonlocal failures
            failures += 1
            if failures < 5:
                raise ApiError(503, "the database is away")
            await save(message)

        monkeypatch.setattr(app.store, "save", failing)
        await page.answer(conversation, "Hi")
        assert failures == 5
        assert (await page.get(f"conversations/{conversation}"))["messages"][1]["finish_reason"] == "stop"
        failures = -100
        asked = await page.ask(conversation, "Hi")
        data = (await page.events(asked["run_id"]))[-1][2]
        assert data["stored"] is False
        assert data["message"]["finish_reason"] == "stop"

    run(work)


def test_an_engine_that_fails_ends_the_run_with_its_message() -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        app.backend.is_ready = False
        answer = await page.answer(conversation, "Hi")
        assert answer["finish_reason"] == "error"
        assert answer["error"]
        app.backend.is_ready = True
        monkeypatched = app.service.open

        async def broken(ask: object, caller: Caller) -> None:
            raise RuntimeError("secret words")

        app.service.open = broken  # type: ignore[assignment,method-assign]
        answer = await page.answer(conversation, "Hi")
        assert answer["error"] == "the server failed; this is its fault, not yours"
        app.service.open = monkeypatched  # type: ignore[method-assign]

    run(work)


def test_a_withdrawn_answer_is_nowhere_any_more() -> None:
    script = Script(thought="Weapons. " * 20, answer="word " * 40 + "take a pipe bomb and more")

    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        asked = await page.ask(conversation, "Hi", language="zh")
        live = await page.events(asked["run_id"])
        assert [name for _, name, _ in live][-2:] == ["retract", "finish"]
        assert text_of(live, "content") != ""
        message = live[-1][2]["message"]
        assert (message["content"], message["reasoning"], message["retracted"]) == ("", "", True)
        assert message["notice"] == "本回答已根据本站规则第 1 条撤回：武器"
        assert message["finish_reason"] == "content_filter"
        again = await page.events(asked["run_id"])
        assert [number for number, _, _ in again] == [number for number, _, _ in live]
        assert text_of(again, "content") == text_of(again, "reasoning") == ""
        stored = await page.client.get(f"/app/api/conversations/{conversation}/export")
        assert "Weapons." not in stored.text
        assert "word" not in stored.text

    run(work, backend=slow(script, speed=400), rules=rules())


def test_an_answer_that_a_rule_ends_keeps_its_beginning() -> None:
    async def work(app: WebApp, page: Page) -> None:
        asked = await page.ask(await page.conversation(), "Hi")
        events = await page.events(asked["run_id"])
        assert [name for _, name, _ in events][-2:] == ["notice", "finish"]
        message = events[-1][2]["message"]
        assert (message["content"], message["retracted"]) == ("It is ", False)
        assert message["notice"] == "This answer was ended here by this site's rule 2: Private data"

    run(work, backend=ScriptedBackend(lambda _: Script(answer="It is 11010519491231002X.")), rules=rules())


def test_a_rule_for_questions_does_not_meet_the_sites_own_answers() -> None:
    backend = ScriptedBackend(lambda _: Script(answer="Win the lottery."))
    only_questions = parse_rules(RULES.replace('action = "flag"', 'action = "refuse"\non = ["input"]'))

    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        assert (await page.answer(conversation, "Hi"))["content"] == "Win the lottery."
        assert (await page.answer(conversation, "Go on"))["content"] == "Win the lottery."

    run(work, backend=backend, rules=only_questions)


def test_a_refused_question_and_what_follows() -> None:
    backend = ScriptedBackend(lambda _: Script(answer="Fine."))

    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        refused = await page.answer(conversation, "how to make a pipe bomb")
        assert refused["notice"] == "This question is not answered, by this site's rule 1: Weapons"
        assert (refused["finish_reason"], refused["retracted"], refused["reasoning"]) == ("content_filter", True, None)
        answer = await page.answer(conversation, "And a cake?", parent=refused["id"])
        assert answer["content"] == "Fine."  # the refused question is not sent again

        appeal = await page.post("appeals", {"message_id": refused["id"], "text": "It was for a novel."})
        assert (appeal["state"], appeal["answer"]) == ("open", None)
        assert (await page.get("appeals"))["data"] == [appeal]
        twice = await page.send("POST", "appeals", {"message_id": refused["id"], "text": "Again."})
        assert (twice.status_code, twice.json()["error"]["code"]) == (409, "appealed")
        no_rule = await page.send("POST", "appeals", {"message_id": answer["id"], "text": "Why?"})
        assert (no_rule.status_code, no_rule.json()["error"]["param"]) == (422, "message_id")

    run(work, backend=backend, rules=rules())


def test_a_silent_log_sends_comments() -> None:
    async def work() -> None:
        log = EventLog()
        log.append("start", {})
        pieces = log.follow(0, 0.01)
        assert await anext(pieces) == b"id: 1\nevent: start\ndata: {}\n\n"
        assert await anext(pieces) == b": keep-alive\n\n"
        log.append("content", {"text": "a\n\u2028é"})
        assert await anext(pieces) == 'id: 2\nevent: content\ndata: {"text":"a\\n\u2028é"}\n\n'.encode()
        log.end()
        assert [piece async for piece in pieces] == []

    asyncio.run(work())


def test_text_is_passed_on_in_batches_in_order() -> None:
    async def work() -> None:
        told: list[tuple[str, str]] = []
        batch = TextBatch(lambda kind, text: told.append((kind, text)), 0.02)
        for kind, text in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4"), ("b", "5")]:
            batch.add(kind, text)
        assert told == [("a", "1"), ("a", "23"), ("b", "4")]  # the first at once
        await asyncio.sleep(0.05)
        assert told[3:] == [("b", "5")]
        batch.add("b", "6")
        batch.add("b", "7")
        batch.drop()
        assert told[4:] == [("b", "6")]

    asyncio.run(work())
