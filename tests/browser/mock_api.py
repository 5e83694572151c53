"""The app's JSON interface without a model behind it: what a run does is a script that the test gives."""

import asyncio
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ponder.serve.page import BUILT, AppPage

Step = tuple[float, str, dict[str, Any]]  # seconds to wait, then the event and its data
Script = Callable[[str, bool], Sequence[Step]]  # of the question and whether to think
USAGE = {"prompt_tokens": 130, "cache_hit_tokens": 64, "cache_miss_tokens": 66}


def answer(thought: str | None, text: str, *, size: int = 8, pause: float = 0.0) -> list[Step]:
    """A thought and an answer in pieces of `size` characters."""
    steps: list[Step] = []
    if thought is not None:
        for at in range(0, len(thought), size):
            tokens = at // size + 1
            data = {"text": thought[at : at + size], "seconds": round(0.7 * tokens, 1), "tokens": tokens}
            steps.append((pause, "reasoning", data))
        steps.append((0.0, "thought_end", {"seconds": 28.0, "tokens": len(steps)}))
    steps += [(pause, "content", {"text": text[at : at + size]}) for at in range(0, len(text), size)]
    return steps


@dataclass
class Run:
    id: str
    message: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    ended: bool = False
    stopped: bool = False
    hurried: bool = False

    async def tell(self, event: str, data: dict[str, Any]) -> None:
        async with self.changed:
            self.events.append((event, data))
            self.ended = event == "finish"
            self.changed.notify_all()


class MockApi:
    """State of the server; tests read and set its fields between requests."""

    host = "127.0.0.1"

    def __init__(self, *, mode: str = "open", script: Script | None = None) -> None:
        self.mode = mode
        self.script: Script = script or (lambda question, thinking: answer("Hm." if thinking else None, "Yes."))
        self.account: dict[str, Any] | None = self._account("local") if mode == "open" else None
        self.passwords: dict[str, str] = {}
        self.conversations: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, Run] = {}
        self.keys: list[dict[str, Any]] = []
        self.appeals: list[dict[str, Any]] = []
        self.usage: dict[str, Any] = {"days": [], "currency": None, "balance": None}
        self.policy: dict[str, Any] = {"enabled": False, "title": "", "markdown": "", "rules": []}
        self.session: dict[str, Any] = {}  # fields that replace those of GET session
        self.asked: list[dict[str, Any]] = []  # bodies of POST messages
        self.refused_questions = 0  # so many of them are answered with 429
        self.cut_after: list[int] = []  # each connection of events is cut after so many of them
        self.connections: list[int] = []  # the `after` of each
        # method and path of a request: the status, error and headers that it gets, once
        self.failures: dict[tuple[str, str], tuple[int, dict[str, Any], dict[str, str]]] = {}
        self.loading = threading.Event()  # GET of a conversation waits while this is cleared
        self.loading.set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.count = itertools.count(1)

    def _account(self, name: str) -> dict[str, Any]:
        return {"id": name, "name": name, "admin": False, "created": 1.7e9}

    def id(self, kind: str) -> str:
        return f"{kind}{next(self.count)}"

    # ---- records ----

    def message(
        self, conversation: dict[str, Any], parent: str | None, role: str, content: str, **more: Any
    ) -> dict[str, Any]:
        message: dict[str, Any] = {"id": self.id("m"), "parent_id": parent, "role": role, "content": content}
        message["created"] = time.time() + next(self.count) / 1e3
        if role == "assistant":
            empty = ("reasoning", "model", "thinking", "effort", "thinking_seconds", "thought_tokens", "usage", "cost")
            message |= dict.fromkeys((*empty, "finish_reason", "error", "notice", "run_id"))
            message |= {"retracted": False, "left_out": 0, **more}
        conversation["messages"].append(message)
        return message

    def conversation(self, title: str = "", age: float = 0.0) -> dict[str, Any]:
        now = time.time() - age
        conversation: dict[str, Any] = {
            "id": self.id("c"),
            "title": title,
            "model": None,
            "created": now,
            "updated": now,
        }
        conversation |= {"leaf_id": None, "snippet": None, "messages": []}
        self.conversations[conversation["id"]] = conversation
        return conversation

    # ---- runs ----

    async def play(self, run: Run, conversation: dict[str, Any], steps: Sequence[Step]) -> None:
        thought = text = ""
        seconds, tokens, reason = None, None, "stop"
        await run.tell("start", {"left_out": 0})
        for wait, event, data in steps:
            if run.hurried and event == "reasoning":
                continue
            if wait:
                await asyncio.sleep(wait)
            if run.stopped:
                reason = "cancelled"
                break
            if event == "final":
                run.message |= data
                reason = data.get("finish_reason", reason)
                continue
            if event == "reasoning":
                thought += data["text"]
            if event == "content":
                text += data["text"]
            if event in ("reasoning", "thought_end"):
                seconds, tokens = data["seconds"], data["tokens"]
            if event == "retract":
                thought, text, reason = "", "", "content_filter"
                run.message |= {"retracted": True, "notice": data["notice"]}
            await run.tell(event, data)
        count = len(text) // 4 + (tokens or 0)
        usage = USAGE | {"completion_tokens": count, "reasoning_tokens": tokens or 0, "total_tokens": count + 130}
        run.message |= {"content": text, "reasoning": thought if run.message["thinking"] else None, "run_id": None}
        run.message |= {"thinking_seconds": seconds, "thought_tokens": tokens, "finish_reason": reason, "usage": usage}
        conversation["updated"] = time.time()
        await run.tell("finish", {"message": dict(run.message)})

    async def post_message(self, request: Request) -> Response:
        conversation = self.conversations[request.path_params["id"]]
        body = await request.json()
        if self.refused_questions:
            self.refused_questions -= 1
            return error(429, "too_many_runs", "Too many.")
        self.asked.append(body)
        question = None
        parent = body["parent_id"]
        if body["content"] is not None:
            question = self.message(conversation, parent, "user", body["content"])
            conversation["title"] = conversation["title"] or body["content"][:60]
            parent = question["id"]
        text = next(m["content"] for m in conversation["messages"] if m["id"] == parent)
        run_id = self.id("r")
        reply = self.message(
            conversation, parent, "assistant", "", model=body["model"], thinking=body["thinking"], run_id=run_id
        )
        conversation["leaf_id"] = reply["id"]
        run = self.runs[run_id] = Run(run_id, reply)
        task = asyncio.create_task(self.play(run, conversation, self.script(text, body["thinking"])))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return JSONResponse({"user_message": question, "assistant_message": dict(reply), "run_id": run_id}, 201)

    async def events(self, request: Request) -> Response:
        run = self.runs[request.path_params["id"]]
        after = int(request.query_params.get("after", "0"))
        self.connections.append(after)
        most = self.cut_after.pop(0) if self.cut_after else None
        return StreamingResponse(self._frames(run, after, most), media_type="text/event-stream")

    async def _frames(self, run: Run, after: int, most: int | None) -> AsyncIterator[str]:
        sent = after
        while most is None or sent - after < most:
            async with run.changed:
                while len(run.events) <= sent and not run.ended:
                    await run.changed.wait()
                fresh = run.events[sent : None if most is None else after + most]
            if not fresh:
                return
            sent += len(fresh)
            first = sent - len(fresh) + 1
            yield "".join(
                f"id: {first + n}\nevent: {event}\ndata: {json.dumps(data)}\n\n"
                for n, (event, data) in enumerate(fresh)
            )

    async def control(self, request: Request) -> Response:
        run = self.runs[request.path_params["id"]]
        if request.path_params["action"] == "stop":
            run.stopped = True
        else:
            run.hurried = True
        return Response(status_code=204)

    # ---- the rest ----

    def session_body(self) -> dict[str, Any]:
        models = [
            {"id": "ponder-r1", "context": 8192, "thinks": True, "recommended": True, "tools": True, "examples": []},
            {
                "id": "small-chat",
                "context": 2048,
                "thinks": False,
                "recommended": False,
                "tools": False,
                "examples": [],
            },
        ]
        body: dict[str, Any] = {
            "mode": self.mode,
            "account": self.account,
            "csrf": "token",
            "registration": "open",
            "notices": [],
        }
        body |= {
            "models": models,
            "efforts": ["low", "high", "max"],
            "prices": None,
            "moderation": self.policy["enabled"],
        }
        limits = {"max_content_characters": 262144, "max_runs": 4, "max_title_characters": 200}
        body |= {"limits": limits | {"min_password_characters": None if self.mode == "open" else 12}}
        return body | self.session

    async def enter(self, request: Request) -> Response:
        body = await request.json()
        kind = request.path_params["kind"]
        if kind == "logout":
            self.account = None
        elif kind == "register":
            if body["name"] in self.passwords:
                return error(409, "name_taken", "The name is taken.", "name")
            self.passwords[body["name"]] = body["password"]
        elif self.passwords.get(body["name"]) != body["password"]:
            return error(401, "wrong_credentials", "Wrong.")
        if kind != "logout":
            self.account = self._account(body["name"])
        return JSONResponse(self.session_body())

    async def list(self, request: Request) -> Response:
        q = request.query_params.get("q", "").lower()
        found = []
        for conversation in self.conversations.values():
            texts = [conversation["title"], *(m["content"] for m in conversation["messages"])]
            hits = [text for text in texts if q in text.lower()]
            if hits and (q or conversation["messages"] or conversation["title"]):
                found.append(self.summary(conversation) | {"snippet": hits[-1][:80] if q else None})
        return JSONResponse({"data": sorted(found, key=lambda one: -one["updated"]), "next_cursor": None})

    def summary(self, conversation: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in conversation.items() if name != "messages"}

    async def one(self, request: Request) -> Response:
        conversation = self.conversations.get(request.path_params["id"])
        if conversation is None:
            return error(404, "not_found", "There is no such conversation.")
        if request.method == "DELETE":
            del self.conversations[conversation["id"]]
            return Response(status_code=204)
        if request.method == "PATCH":
            conversation |= await request.json()
            return JSONResponse(self.summary(conversation))
        while not self.loading.is_set():
            await asyncio.sleep(0.01)
        return JSONResponse(conversation)

    async def export(self, request: Request) -> Response:
        conversation = self.conversations[request.path_params["id"]]
        kind = request.query_params["format"]
        name = f'attachment; filename="chat.{"md" if kind == "markdown" else "json"}"'
        return Response(json.dumps(conversation), headers={"content-disposition": name})

    async def all_keys(self, request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"data": self.keys})
        body = await request.json()
        key = {"id": self.id("k"), "name": body["name"], "last4": "9f3a", "created": time.time(), "last_used": None}
        self.keys.append(key)
        return JSONResponse(key | {"key": "sk-0123456789abcdef0123456789ab9f3a"}, 201)

    async def one_key(self, request: Request) -> Response:
        self.keys = [key for key in self.keys if key["id"] != request.path_params["id"]]
        return Response(status_code=204)

    async def all_appeals(self, request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"data": self.appeals})
        appeal = {"id": self.id("a"), "conversation_id": None, "created": time.time(), "state": "open", "answer": None}
        self.appeals.append(appeal | await request.json())
        return JSONResponse(self.appeals[-1], 201)

    def guarded(self, handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """The real server's rules: a token with each change, a login before all, and the failures that were set."""

        async def handle(request: Request) -> Any:
            path = request.url.path.removeprefix("/app/api")
            if (request.method, path) in self.failures:
                status, problem, headers = self.failures.pop((request.method, path))
                return JSONResponse({"error": problem}, status, headers)
            if request.method != "GET" and request.headers.get("x-ponder-csrf") != "token":
                return error(403, "csrf", "The token is missing.")
            if self.account is None and path not in ("/session", "/login", "/register", "/logout"):
                return error(401, "login_required", "Log in first.")
            return await handler(request)

        return handle

    def app(self) -> Starlette:
        async def session(request: Request) -> Response:
            return JSONResponse(self.session_body())

        async def new(request: Request) -> Response:
            return JSONResponse(self.summary(self.conversation()), 201)

        async def usage(request: Request) -> Response:
            return JSONResponse(self.usage)

        async def policy(request: Request) -> Response:
            return JSONResponse(self.policy)

        async def password(request: Request) -> Response:
            return Response(status_code=204)

        handlers: list[tuple[str, str, Callable[[Request], Any]]] = [
            ("GET", "/session", session),
            ("POST", "/{kind:str}", self.enter),
            ("GET", "/conversations", self.list),
            ("POST", "/conversations", new),
            ("GET PATCH DELETE", "/conversations/{id}", self.one),
            ("GET", "/conversations/{id}/export", self.export),
            ("POST", "/conversations/{id}/messages", self.post_message),
            ("GET", "/runs/{id}/events", self.events),
            ("POST", "/runs/{id}/{action}", self.control),
            ("GET POST", "/keys", self.all_keys),
            ("DELETE", "/keys/{id}", self.one_key),
            ("GET", "/usage", usage),
            ("GET", "/policy", policy),
            ("POST", "/password", password),
            ("GET POST", "/appeals", self.all_appeals),
        ]
        # the route with a name in it would take the others'
        handlers.sort(key=lambda handler: "{kind" in handler[1])
        routes: list[BaseRoute] = [
            Route("/app/api" + path, self.guarded(handler), methods=methods.split())
            for methods, path, handler in handlers
        ]
        return Starlette(routes=[*routes, *AppPage(BUILT).routes])


def error(status: int, code: str, message: str, param: str | None = None) -> JSONResponse:
    return JSONResponse(
        {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}, status
    )
