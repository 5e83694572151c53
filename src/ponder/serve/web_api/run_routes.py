"""Runs: follow from anywhere, stop, answer now."""

from contextlib import aclosing

from starlette.routing import Route

from ponder.serve.errors import ApiError
from ponder.serve.web_api.conversations import ConversationStore
from ponder.serve.web_api.endpoint import NO_STORE, Door, WebExchange
from ponder.serve.web_api.event_log import encode_event
from ponder.serve.web_api.fields import Nothing
from ponder.serve.web_api.runs import Runs
from ponder.serve.wire.fields import read_fields

STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    NO_STORE,
    (b"x-accel-buffering", b"no"),  # a reverse proxy must not collect the stream
)


class RunRoutes:
    """`/runs`."""

    def __init__(self, door: Door, store: ConversationStore, runs: Runs) -> None:
        self._door, self._store, self._runs = door, store, runs

    def routes(self) -> list[Route]:
        route, base = self._door.route, "/app/api/runs/{id}"
        return [
            route("GET", base, self._read),
            route("GET", f"{base}/events", self._events),
            route("POST", f"{base}/stop", self._stop),
            route("POST", f"{base}/answer_now", self._answer_now),
        ]

    async def _read(self, exchange: WebExchange) -> None:
        run_id = exchange.path_parameters["id"]
        run = self._runs.find(exchange.account, run_id)
        message = run.message if run else await self._store.find_message(exchange.account, run_id=run_id)
        await exchange.reply(
            {
                "id": run_id,
                "message_id": message.id,
                "conversation_id": message.conversation_id,
                "state": run.state if run else "ended",
                "last_event": run.log.last_id if run else 0,
            }
        )

    async def _events(self, exchange: WebExchange) -> None:
        run_id, after = exchange.path_parameters["id"], _after(exchange)
        run = self._runs.find(exchange.account, run_id)
        if run is None:  # only its result is left
            message = self._runs.latest(await self._store.find_message(exchange.account, run_id=run_id))
            await exchange.start(200, STREAM_HEADERS)
            event = encode_event("message", {"message": message.to_json()}, after + 1)
            await exchange.write(event, more=False)
            return
        async with aclosing(self._runs.follow(run, after)) as pieces:
            await exchange.start(200, STREAM_HEADERS)
            async with exchange.until_disconnect():
                async for piece in pieces:
                    await exchange.write(piece)
                await exchange.write(b"", more=False)

    async def _stop(self, exchange: WebExchange) -> None:
        read_fields(Nothing, await exchange.read_object())
        self._runs.require(exchange.account, exchange.path_parameters["id"]).stop()
        await exchange.reply_nothing()

    async def _answer_now(self, exchange: WebExchange) -> None:
        read_fields(Nothing, await exchange.read_object())
        self._runs.require(exchange.account, exchange.path_parameters["id"]).answer_now()
        await exchange.reply_nothing()


def _after(exchange: WebExchange) -> int:
    text = exchange.query.get("after") or exchange.headers.get("last-event-id") or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ApiError(422, "after: expected the number of the last event that was seen", param="after")
    return int(text)
