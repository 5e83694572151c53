"""The routes of the Responses API."""

import secrets
import time
from collections.abc import Callable

from starlette.routing import Route

from ponder.serve.errors import ApiError
from ponder.serve.records import Event, Usage
from ponder.serve.responses.conversation import ask_of
from ponder.serve.responses.reply import Reply
from ponder.serve.responses.request import ResponsesBody
from ponder.serve.responses.shapes import Response
from ponder.serve.seams import Authenticator, Run
from ponder.serve.service import Service
from ponder.serve.wire.chat import find_model
from ponder.serve.wire.delivery import deliver_body, deliver_stream
from ponder.serve.wire.exchange import Endpoint, Exchange
from ponder.serve.wire.fields import read_fields
from ponder.serve.wire.json_text import compact
from ponder.serve.wire.named_events import named_event, named_events
from ponder.serve.wire.openapi import Operation
from ponder.serve.wire.settings import WireSettings

PATHS = ("/v1/responses", "/responses")
Clock = Callable[[], float]


def routes(
    service: Service, authenticator: Authenticator, settings: WireSettings, *, now: Clock = time.time
) -> list[Route]:
    """`now` gives seconds since 1970."""

    async def create(exchange: Exchange) -> None:
        body = read_fields(ResponsesBody, await exchange.read_object())
        model, alias = find_model(service, settings, body.model)
        ask = ask_of(body, model, alias, settings, f"resp_{secrets.token_hex(16)}")
        reply = Reply(ask.id, body, int(now()))
        async with exchange.until_disconnect(), await service.open(ask, exchange.caller) as run:
            if body.stream:
                await deliver_stream(exchange, run, ResponseStream(reply, run, now))
            else:
                await deliver_body(exchange, run, WholeResponse(reply, now))

    endpoint = Endpoint(create, authenticator, settings)
    return [Route(path, endpoint, methods=["POST"]) for path in PATHS]


def operations() -> list[Operation]:
    """The same, for the API's description."""
    return [
        Operation(
            method="post",
            path=path,
            summary="Answer a conversation; nothing is stored",
            tag="Responses",
            request=ResponsesBody,
            response=Response,
            stream="Server-sent events with names and a `sequence_number`, from response.created to "
            "response.completed, response.incomplete or response.failed",
        )
        for path in PATHS
    ]


class ResponseStream:
    """See `ponder.serve.wire.delivery.StreamWriter`."""

    def __init__(self, reply: Reply, run: Run, now: Clock) -> None:
        self._reply, self._run, self._now = reply, run, now
        self._started = False

    def event(self, event: Event) -> bytes:
        return self._start() + named_events(self._reply.push(event))

    def error(self, error: ApiError) -> bytes:
        return self._start() + named_events(self._reply.fail(error, self._run.usage))

    def end(self, usage: Usage) -> bytes:
        return self._start() + named_event(self._reply.end(usage, int(self._now())))

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return named_events(self._reply.start())


class WholeResponse:
    """See `ponder.serve.wire.delivery.BodyWriter`."""

    def __init__(self, reply: Reply, now: Clock) -> None:
        self._reply, self._now = reply, now

    def add(self, event: Event) -> None:
        for _ in self._reply.push(event):
            pass

    def body(self, usage: Usage) -> bytes:
        return compact(self._reply.finished(usage, int(self._now()))).encode(errors="replace")
