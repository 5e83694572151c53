"""The Responses API and the Messages API in front of a script."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp

from ponder.serve.anthropic.routes import routes as anthropic_routes
from ponder.serve.open_mode import OpenAuthenticator
from ponder.serve.records import Ask, Conversation, ModelInfo
from ponder.serve.responses.routes import routes as responses_routes
from ponder.serve.scripted import Script, ScriptedCall, scripted_model
from ponder.serve.seams import Authenticator
from ponder.serve.service import Service
from ponder.serve.wire.errors import EXCEPTION_HANDLERS, ErrorBoundary
from ponder.serve.wire.settings import WireSettings
from wire_server import Answer, Recorder, exchange

WEATHER = Script(
    thought="I need the weather.",
    answer="Let me look.",
    calls=(ScriptedCall(name="weather", arguments='{"city": "Oslo"}'),),
)


def act(ask: Ask) -> Script:
    """Calls a tool where there is one that has not answered, answers in JSON where that is asked for, else in words."""
    prompt = ask.prompt
    assert isinstance(prompt, Conversation)
    if prompt.messages[-1].role == "tool":
        return Script(thought="It is cold.", answer=f"It is {prompt.messages[-1].content}.")
    if prompt.tools:
        return WEATHER
    if ask.response_format.kind == "json_schema":
        return Script(thought="Two and two.", answer='{"number": 4, "unit": "none"}')
    return Script(thought="Two and two.", answer="It is 4.")


def dialect_app(
    service: Service, settings: WireSettings | None = None, authenticator: Authenticator | None = None
) -> ASGIApp:
    parts = (authenticator or OpenAuthenticator(), settings or WireSettings())
    routes = [*responses_routes(service, *parts), *anthropic_routes(service, *parts)]
    return ErrorBoundary(Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS))


def ask_dialect(
    path: str,
    body: dict[str, Any],
    script: Script | Callable[[Ask], Script] = act,
    *,
    settings: WireSettings | None = None,
    model: ModelInfo | None = None,
    authenticator: Authenticator | None = None,
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),),
) -> tuple[Answer, list[Ask]]:
    """One request to a server of its own: what it answered and what it asked of the backend."""
    backend = Recorder(script, models=[model or scripted_model()])
    app = dialect_app(Service([backend]), settings, authenticator)
    answer = asyncio.run(exchange(app, path, json.dumps(body).encode(), headers=headers))
    assert answer.complete
    return answer, backend.asks


def events_of(answer: Answer) -> list[dict[str, Any]]:
    """The events of a stream; each one's name is its type."""
    found = []
    for part in answer.body.decode().removesuffix("\n\n").split("\n\n"):
        if part.startswith(":"):
            continue
        name, data = part.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found
