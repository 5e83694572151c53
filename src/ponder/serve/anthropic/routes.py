"""The routes of the Messages API."""

import secrets
from collections.abc import Mapping

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ponder.serve.anthropic.conversation import ask_of
from ponder.serve.anthropic.errors import error_body, error_object
from ponder.serve.anthropic.reply import Reply
from ponder.serve.anthropic.request import CountTokensBody, MessagesBody
from ponder.serve.anthropic.shapes import ErrorShape, MessageShape, TokenCount
from ponder.serve.errors import ApiError
from ponder.serve.records import Caller, Event, Usage
from ponder.serve.seams import Authenticator, Run
from ponder.serve.service import Service
from ponder.serve.wire.chat import find_model
from ponder.serve.wire.delivery import deliver_body, deliver_stream
from ponder.serve.wire.errors import send_error
from ponder.serve.wire.exchange import Endpoint, Exchange, Handler
from ponder.serve.wire.fields import read_fields
from ponder.serve.wire.json_text import compact
from ponder.serve.wire.named_events import named_event, named_events
from ponder.serve.wire.openapi import Operation
from ponder.serve.wire.settings import WireSettings

PREFIXES = ("/v1", "/anthropic/v1")
MESSAGES, COUNT_TOKENS = "/messages", "/messages/count_tokens"
PATHS = tuple(prefix + name for prefix in PREFIXES for name in (MESSAGES, COUNT_TOKENS))
_PING = named_event({"type": "ping"})


def routes(service: Service, authenticator: Authenticator, settings: WireSettings) -> list[Route]:
    """Bad fields are 400 here: this API knows no 422."""

    async def create(exchange: Exchange) -> None:
        body = read_fields(MessagesBody, await exchange.read_object(), status=400)
        model, alias = find_model(service, settings, body.model)
        ask = ask_of(body, model, alias, settings, f"msg_{secrets.token_hex(12)}")
        reply = Reply(
            ask.id,
            body.model,
            show_thought=getattr(body.thinking, "display", None) != "omitted",
            is_shutting_down=lambda: service.draining,
        )
        async with exchange.until_disconnect(), await service.open(ask, exchange.caller) as run:
            if body.stream:
                await deliver_stream(exchange, run, MessageStream(reply, run), keep_alive=_PING)
            else:
                await deliver_body(exchange, run, WholeMessage(reply))

    async def count_tokens(exchange: Exchange) -> None:
        body = read_fields(CountTokensBody, await exchange.read_object(), status=400)
        model, alias = find_model(service, settings, body.model)
        ask = ask_of(body, model, alias, settings, f"count_{secrets.token_hex(12)}")
        prepared = await service.backend(model.id).prepare(ask, exchange.caller)
        await exchange.send_json(compact({"input_tokens": prepared.prompt_tokens}).encode())

    known = KeyHeader(authenticator)

    def post(path: str, handler: Handler) -> Route:
        return Route(path, PostOnly(Endpoint(handler, known, settings, error_body)))

    handlers = {MESSAGES: create, COUNT_TOKENS: count_tokens}
    return [post(prefix + name, handler) for prefix in PREFIXES for name, handler in handlers.items()]


def operations() -> list[Operation]:
    """The same, for the API's description."""
    found = []
    for prefix in PREFIXES:
        found += [
            Operation(
                method="post",
                path=prefix + MESSAGES,
                summary="Answer a conversation",
                tag="Anthropic",
                request=MessagesBody,
                response=MessageShape,
                error=ErrorShape,
                stream="Server-sent events with names, from message_start to message_stop or error",
            ),
            Operation(
                method="post",
                path=prefix + COUNT_TOKENS,
                summary="How many tokens a conversation has",
                tag="Anthropic",
                request=CountTokensBody,
                response=TokenCount,
                error=ErrorShape,
            ),
        ]
    return found


class PostOnly:
    """An endpoint that answers other methods in this API's form; the framework would do it in its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            await self._app(scope, receive, send)
            return
        error = ApiError(405, f"{scope['path'][:100]} takes POST, not {scope['method']}")
        await send_error(error, send, [(b"allow", b"POST")], body=error_body(error))


class KeyHeader:
    """An authenticator that also knows the header `x-api-key`, where there is no `Authorization`."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Caller:
        key = headers.get("x-api-key")
        if key and "authorization" not in headers:
            headers = {**headers, "authorization": f"Bearer {key}"}
        return await self._authenticator.authenticate(headers, address)


class MessageStream:
    """See `ponder.serve.wire.delivery.StreamWriter`."""

    def __init__(self, reply: Reply, run: Run) -> None:
        self._reply, self._run = reply, run
        self._started = False

    def event(self, event: Event) -> bytes:
        return self._start() + named_events(self._reply.push(event))

    def error(self, error: ApiError) -> bytes:
        return named_event(error_object(error))

    def end(self, usage: Usage) -> bytes:
        return self._start() + named_events(self._reply.end(usage))

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return named_event(self._reply.start(self._run.usage))


class WholeMessage:
    """See `ponder.serve.wire.delivery.BodyWriter`."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def add(self, event: Event) -> None:
        for _ in self._reply.push(event):
            pass

    def body(self, usage: Usage) -> bytes:
        return compact(self._reply.message(usage)).encode(errors="replace")
