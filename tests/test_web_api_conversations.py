"""Conversations: branches, search, pages, titles, exports; and nobody sees another's."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from moderation_rules import rules
from ponder.serve.records import Ask, Conversation
from ponder.serve.scripted import Script, ScriptedBackend, scripted_model
from ponder.serve.web_api import history
from ponder.serve.web_api.conversations import title_of
from ponder.serve.web_api.runs import RunsConfig
from web_app import Page, WebApp, web_app

QUESTION = {"parent_id": None, "content": "x", "model": "scripted", "thinking": True}


def run(work: Callable[[WebApp, Page], Awaitable[None]], **options: object) -> None:
    async def main() -> None:
        async with web_app(**options) as app:  # type: ignore[arg-type]
            await work(app, await app.page())

    asyncio.run(main())


class Recorder:
    """A script that keeps what it was asked."""

    def __init__(self, answer: str = "Yes.") -> None:
        self.answer = answer
        self.asked: list[list[tuple[str, str, str | None]]] = []

    def __call__(self, ask: Ask) -> Script:
        assert isinstance(ask.prompt, Conversation)
        self.asked.append([(m.role, m.content, m.reasoning) for m in ask.prompt.messages])
        return Script(answer=self.answer, thought="Let me think.")


def test_a_conversation_grows_by_questions_and_answers() -> None:
    recorder = Recorder()

    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        first = await page.answer(conversation, "Is it?\nReally?")
        second = await page.answer(conversation, "Why?", parent=first["id"])
        read = await page.get(f"conversations/{conversation}")
        assert read["title"] == "Is it?"
        assert read["leaf_id"] == second["id"]
        assert read["model"] == "scripted"
        assert [(m["role"], m["content"], m["parent_id"]) for m in read["messages"]] == [
            ("user", "Is it?\nReally?", None),
            ("assistant", "Yes.", read["messages"][0]["id"]),
            ("user", "Why?", first["id"]),
            ("assistant", "Yes.", read["messages"][2]["id"]),
        ]
        assert read["messages"][1] == first
        assert (first["reasoning"], first["thought_tokens"], first["finish_reason"]) == ("Let me think.", 3, "stop")
        assert first["usage"]["total_tokens"] == first["usage"]["prompt_tokens"] + 4

    run(work, backend=ScriptedBackend(recorder))
    # thoughts are kept for people and never sent to the model again
    assert recorder.asked[1] == [
        ("user", "Is it?\nReally?", None),
        ("assistant", "Yes.", None),
        ("user", "Why?", None),
    ]


def test_a_question_is_answered_again_edited_and_compared() -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        asked = await page.ask(conversation, "One?")
        await page.events(asked["run_id"])
        question = asked["user_message"]["id"]
        again = await page.answer(conversation, None, parent=question, thinking=False)
        assert (again["parent_id"], again["reasoning"], again["thinking"]) == (question, None, False)
        edited = await page.ask(conversation, "Two?")  # at the place of the first question
        await page.events(edited["run_id"])
        read = await page.get(f"conversations/{conversation}")
        assert [m["parent_id"] for m in read["messages"]] == [None, question, question, None, read["messages"][3]["id"]]
        assert read["leaf_id"] == edited["assistant_message"]["id"]
        back = await page.send("PATCH", f"conversations/{conversation}", {"leaf_id": again["id"], "title": " New "})
        assert (back.json()["leaf_id"], back.json()["title"]) == (again["id"], "New")

    run(work)


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"parent_id": None, "content": None}, 422, "invalid_request", "parent_id"),
        ({"parent_id": "msg_x"}, 422, "invalid_request", "parent_id"),
        ({"parent_id": "QUESTION"}, 422, "invalid_request", "parent_id"),
        ({"parent_id": "ANSWER", "content": None}, 422, "invalid_request", "parent_id"),
        ({"content": ""}, 422, "invalid_value", "content"),
        ({"content": "a\0b"}, 400, "invalid_json", None),
        ({"content": "x" * 262_145}, 422, "invalid_value", "content"),
        ({"model": "other"}, 404, "model_not_found", "model"),
        ({"thinking": "yes"}, 422, "invalid_value", "thinking"),
        ({"effort": "most"}, 422, "invalid_value", "effort"),
        ({"request_id": "a b"}, 422, "invalid_value", "request_id"),
        ({"temperature": 1}, 422, "invalid_value", "temperature"),
    ],
)
def test_questions_that_do_not_fit(fields: dict[str, object], status: int, code: str, param: str | None) -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        asked = await page.ask(conversation, "Hi")
        await page.events(asked["run_id"])
        ids = {"QUESTION": asked["user_message"]["id"], "ANSWER": asked["assistant_message"]["id"]}
        body = {"parent_id": None, "content": "x", "model": "scripted", "thinking": True, **fields}
        body["parent_id"] = ids.get(str(body["parent_id"]), body["parent_id"])
        response = await page.send("POST", f"conversations/{conversation}/messages", body)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (status, code, param)
        assert len((await page.get(f"conversations/{conversation}"))["messages"]) == 2

    run(work)


def test_a_question_that_is_sent_twice_is_asked_once() -> None:
    backend = ScriptedBackend()

    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        first = await page.ask(conversation, "Hi", request_id="r-1")
        await page.events(first["run_id"])
        async with asyncio.timeout(5):
            while app.runs.under_way():
                await asyncio.sleep(0.001)
        with app.runs.hold_place("local"):  # there is no other place
            second = await page.ask(conversation, "Hi", request_id="r-1")
        assert (second["run_id"], second["user_message"]) == (first["run_id"], first["user_message"])
        assert second["assistant_message"]["finish_reason"] == "stop"
        assert len((await page.get(f"conversations/{conversation}"))["messages"]) == 2
        assert backend.started == 1

    run(work, backend=backend, config=RunsConfig(max_runs_per_account=1))


def test_a_question_waits_for_the_answer_before_it() -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        first = await page.ask(conversation, "Hi")
        body = {"parent_id": first["assistant_message"]["id"], "content": "?", "model": "scripted", "thinking": True}
        response = await page.send("POST", f"conversations/{conversation}/messages", body)
        assert (response.status_code, response.json()["error"]["code"]) == (409, "running")

    run(work, backend=ScriptedBackend(tokens_per_second=5))


def test_the_list_comes_in_pages_the_newest_first() -> None:
    async def work(app: WebApp, page: Page) -> None:
        made = [await page.conversation() for _ in range(5)]
        seen: list[str] = []
        cursor = ""
        while True:
            part = await page.get(f"conversations?limit=2{cursor}")
            assert len(part["data"]) <= 2
            seen += [summary["id"] for summary in part["data"]]
            if part["next_cursor"] is None:
                break
            cursor = f"&cursor={part['next_cursor']}"
        assert sorted(seen) == sorted(made)
        updated = [(await page.get(f"conversations/{one}"))["updated"] for one in seen]
        assert updated == sorted(updated, reverse=True)
        for query, param in (("limit=0", "limit"), ("limit=x", "limit"), ("cursor=abc", "cursor")):
            response = await page.client.get(f"/app/api/conversations?{query}")
            assert (response.status_code, response.json()["error"]["param"]) == (422, param)

    run(work)


def test_search_finds_titles_and_texts_and_no_thoughts() -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        await page.answer(conversation, f"{'a ' * 100} 100% Sure_thing 深度思考 {'b ' * 100}")
        other = (await page.post("conversations", {"title": "Über Sure things"}))["id"]

        async def found(query: str) -> set[str]:
            response = await page.client.get("/app/api/conversations", params={"q": query})
            return {summary["id"] for summary in response.json()["data"]}

        assert await found("sure") == {conversation, other}
        assert await found("SURE_") == {conversation}
        assert await found("0%") == {conversation}
        assert await found("%") == {conversation}
        assert await found("度思") == {conversation}
        assert await found("greets") == set()  # it is in the thought
        assert await found("how can i help") == {conversation}  # in the answer
        listed = (await page.client.get("/app/api/conversations", params={"q": "sure_thing"})).json()["data"][0]
        assert listed["snippet"].startswith("…")
        assert listed["snippet"].endswith("…")
        assert "100% Sure_thing 深度思考" in listed["snippet"]
        assert len(listed["snippet"]) < 140

    run(work)


def test_exports() -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = (await page.post("conversations", {"title": '深度 "思考"\n'}))["id"]
        await page.answer(conversation, "Hi")
        markdown = await page.client.get(f"/app/api/conversations/{conversation}/export?format=markdown")
        assert markdown.text == (
            '# 深度 "思考"\n\n## User\n\nHi\n\n## Assistant (scripted)\n\n> The user greets me. I greet back.\n\n'
            "Hello! How can I help you today?\n"
        )
        assert markdown.headers["content-disposition"] == (
            "attachment; filename=\"__ ____.md\"; filename*=UTF-8''%E6%B7%B1%E5%BA%A6%20_%E6%80%9D%E8%80%83_.md"
        )
        whole = json.loads((await page.client.get("/app/api/export")).content)
        single = json.loads((await page.client.get(f"/app/api/conversations/{conversation}/export")).content)
        assert whole == {"conversations": [single]}
        assert [message["content"] for message in single["messages"]] == ["Hi", "Hello! How can I help you today?"]
        bad = await page.client.get(f"/app/api/conversations/{conversation}/export?format=pdf")
        assert bad.status_code == 422

    run(work)


def test_an_empty_export_is_json() -> None:
    async def work(app: WebApp, page: Page) -> None:
        assert (await page.client.get("/app/api/export")).json() == {"conversations": []}

    run(work)


def test_a_deleted_conversation_is_gone_and_its_run_ends() -> None:
    backend = ScriptedBackend(tokens_per_second=5)

    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        asked = await page.ask(conversation, "Hi")
        await asyncio.sleep(0.05)
        assert (await page.send("DELETE", f"conversations/{conversation}")).status_code == 204
        assert backend.running == 0
        assert app.runs.under_way() == []
        for path in (f"conversations/{conversation}", f"runs/{asked['run_id']}", f"runs/{asked['run_id']}/events"):
            assert (await page.client.get(f"/app/api/{path}")).status_code == 404
        assert (await page.send("DELETE", f"conversations/{conversation}")).status_code == 404

    run(work, backend=backend)


def test_nothing_of_another_account_can_be_reached() -> None:
    async def work(app: WebApp, anna: Page) -> None:
        ben = await app.page()
        for page, name in ((anna, "anna"), (ben, "ben")):
            await page.post("register", {"name": name, "password": "four words of it"})
        conversation = await anna.conversation()
        asked = await anna.ask(conversation, "secret")
        run_id, message = asked["run_id"], asked["assistant_message"]["id"]
        question = {"parent_id": None, "content": "x", "model": "scripted", "thinking": True}
        attempts = [
            ("GET", f"conversations/{conversation}", None),
            ("GET", f"conversations/{conversation}/export", None),
            ("PATCH", f"conversations/{conversation}", {"title": "mine"}),
            ("POST", f"conversations/{conversation}/messages", question),
            ("GET", f"runs/{run_id}", None),
            ("GET", f"runs/{run_id}/events", None),
            ("POST", f"runs/{run_id}/stop", {}),
            ("POST", f"runs/{run_id}/answer_now", {}),
            ("POST", "appeals", {"message_id": message, "text": "x"}),
            ("DELETE", f"conversations/{conversation}", None),
        ]
        for method, path, body in attempts:
            response = await ben.send(method, path, body)
            assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found"), path
        await anna.events(run_id)
        for method, path, body in attempts:
            assert (await ben.send(method, path, body)).status_code == 404, path
        assert (await ben.get("conversations?q=secret"))["data"] == []
        assert (await ben.client.get("/app/api/export")).json() == {"conversations": []}
        assert (await anna.get(f"conversations/{conversation}"))["messages"][1]["finish_reason"] == "stop"
        own = await ben.conversation()
        response = await ben.send("PATCH", f"conversations/{own}", {"leaf_id": message})
        assert response.json()["error"]["param"] == "leaf_id"

    run(work, accounts=True, backend=ScriptedBackend(tokens_per_second=60))


def test_the_oldest_turns_are_left_out_where_the_context_is_full() -> None:
    recorder = Recorder(answer="word " * 20)
    backend = ScriptedBackend(recorder, models=[scripted_model(context=1000)])

    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        parent, left_out = None, []
        for number in range(6):
            answer = await page.answer(conversation, f"question {number}", parent=parent)
            parent = answer["id"]
            left_out.append(answer["left_out"])
        assert left_out == [0, 0, 0, 0, 1, 2]

    run(work, backend=backend)
    assert [asked[0][1] for asked in recorder.asked] == [f"question {number}" for number in (0, 0, 0, 0, 1, 2)]
    assert [len(asked) for asked in recorder.asked] == [1, 3, 5, 7, 7, 7]


def test_a_question_that_is_too_long_by_itself_is_told_so() -> None:
    async def work(app: WebApp, page: Page) -> None:
        answer = await page.answer(await page.conversation(), "word " * 300)
        assert answer["finish_reason"] == "error"
        assert answer["error"] == "this model's context is 200 tokens and the prompt has 302; shorten the prompt"

    run(work, backend=ScriptedBackend(models=[scripted_model(context=200)]))


def test_fewer_turns_are_tried_where_the_estimate_was_too_low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_ROOM", -5000)  # it thinks that there is more room than there is
    recorder = Recorder(answer="word " * 20)

    async def work(app: WebApp, page: Page) -> None:
        conversation, parent, left_out = await page.conversation(), None, []
        for number in range(10):
            answer = await page.answer(conversation, f"question {number}", parent=parent)
            assert answer["finish_reason"] in ("stop", "length")
            parent = answer["id"]
            left_out.append(answer["left_out"])
        assert left_out == [*[0] * 9, 5]

    run(work, backend=ScriptedBackend(recorder, models=[scripted_model(context=200)]))


def test_both_databases_hold_conversations(database_url: str) -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        texts = "Größe 100% 深度 🧠"
        answer = await page.answer(conversation, texts, request_id="r-1")
        await page.answer(conversation, "More", parent=answer["id"], request_id="r-2")
        assert (await page.ask(conversation, texts, request_id="r-1"))["assistant_message"] == answer
        found = (await page.client.get("/app/api/conversations", params={"q": "größe 100%"})).json()["data"]
        assert [summary["snippet"] for summary in found] == [texts]
        assert (await page.get("conversations?limit=1"))["next_cursor"] is None
        refused = await page.answer(conversation, "a pipe bomb")
        appeal = await page.post("appeals", {"message_id": refused["id"], "text": "Warum? 为什么"})
        assert (await page.get("appeals"))["data"] == [appeal]
        at_once = [page.send("POST", f"conversations/{conversation}/messages", {**QUESTION}) for _ in range(3)]
        responses = await asyncio.gather(*at_once)
        assert [response.status_code for response in responses] == [201, 201, 201]
        read = await page.get(f"conversations/{conversation}")
        assert len({message["id"] for message in read["messages"]}) == len(read["messages"]) == 12
        assert (await page.send("DELETE", f"conversations/{conversation}")).status_code == 204
        assert (await page.get("conversations"))["data"] == []

    run(work, url=database_url, rules=rules())


def test_a_model_may_write_what_a_database_cannot_hold(database_url: str) -> None:
    async def work(app: WebApp, page: Page) -> None:
        conversation = await page.conversation()
        await page.answer(conversation, "Hi")
        read = await page.get(f"conversations/{conversation}")
        assert read["messages"][1]["content"] == "a\ufffdb?c"

    run(work, url=database_url, backend=ScriptedBackend(lambda _: Script(answer="a\0b\ud800c")))


@pytest.mark.parametrize(
    ("content", "title"),
    [("\n  Hello \nthere", "Hello"), ("x" * 61, "x" * 59 + "…"), ("x" * 60, "x" * 60), (" \n ", "")],
)
def test_titles(content: str, title: str) -> None:
    assert title_of(content) == title
