"""The OpenAI and DeepSeek dialect in front of a script, and a client that sees every byte and when it came."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message

from ponder.serve.open_mode import OpenAuthenticator
from ponder.serve.records import Ask, ModelInfo
from ponder.serve.scripted import Script, ScriptedBackend, scripted_model
from ponder.serve.seams import Authenticator
from ponder.serve.service import Service
from ponder.serve.wire.balance import Balances
from ponder.serve.wire.errors import EXCEPTION_HANDLERS, ErrorBoundary
from ponder.serve.wire.routes import wire_routes
from ponder.serve.wire.settings import WireSettings

MODEL = "scripted"
QUESTION = [{"role": "user", "content": "What is 2 + 2?"}]


class Recorder(ScriptedBackend):
    """Keeps the asks that it gets."""

    def __init__(self, script: Script | Callable[[Ask], Script], **options: Any) -> None:
        super().__init__(script if callable(script) else lambda ask: script, **options)
        self.asks: list[Ask] = []

    async def prepare(self, ask: Ask, caller: Any) -> Any:
        self.asks.append(ask)
        return await super().prepare(ask, caller)


def wire_app(
    service: Service,
    settings: WireSettings | None = None,
    *,
    authenticator: Authenticator | None = None,
    balances: Balances | None = None,
) -> ASGIApp:
    routes = wire_routes(service, authenticator or OpenAuthenticator(), settings, balances=balances)
    return ErrorBoundary(Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS))


@dataclass
class Answer:
    """What came back, and the moments at which its pieces came."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found = self.json
        assert set(found) == {"error"}
        assert set(found["error"]) == {"message", "type", "param", "code"}
        return found["error"]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """Of a stream, all but `[DONE]`."""
        lines = [line for line in self.body.decode().split("\n\n") if line.startswith("data: ")]
        return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]


async def exchange(
    app: ASGIApp,
    path: str,
    body: bytes | None = None,
    *,
    method: str | None = None,
    headers: Sequence[tuple[str, str]] = (("content-type", "application/json"),),
    gone: asyncio.Event | None = None,
    pieces: Sequence[bytes] = (),
) -> Answer:
    """One request. `gone` is set where the client leaves; `pieces`: the body as it comes, instead of in one."""
    answer, loop = Answer(), asyncio.get_running_loop()
    waiting = list(pieces) or [body or b""]
    gone = gone or asyncio.Event()

    async def receive() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            assert not answer.status, "two answers"
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            assert not answer.complete, "something after the end"
            answer.pieces.append(message.get("body", b""))
            answer.times.append(loop.time())
            answer.complete = not message.get("more_body", False)

    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method or ("GET" if body is None and not pieces else "POST"),
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }
    await app(scope, receive, send)
    return answer


def ask(
    body: dict[str, Any],
    script: Script | Callable[[Ask], Script] | None = None,
    *,
    path: str = "/v1/chat/completions",
    settings: WireSettings | None = None,
    model: ModelInfo | None = None,
) -> tuple[Answer, list[Ask]]:
    """One request to a server of its own: what it answered and what it asked of the backend."""
    backend = Recorder(script or Script(thought="Two and two.", answer="It is 4."), models=[model or scripted_model()])
    app = wire_app(Service([backend]), settings)
    answer = asyncio.run(exchange(app, path, json.dumps(body).encode()))
    assert answer.complete
    return answer, backend.asks


def chat(**fields: Any) -> dict[str, Any]:
    """The body of a chat."""
    return {"model": MODEL, "messages": QUESTION, **fields}
