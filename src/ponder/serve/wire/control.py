"""Requests about a request under way: go on to the answer, or stop."""

from ponder.serve.errors import ApiError
from ponder.serve.service import Service
from ponder.serve.wire.exchange import Exchange, Handler
from ponder.serve.wire.json_text import compact


def answer_now_handler(service: Service) -> Handler:
    """`POST …/{id}/answer_now`: the thought is closed and the answer follows."""

    async def handle(exchange: Exchange) -> None:
        identity = exchange.path_parameters["id"]
        run = service.find(identity, exchange.caller)
        if run is None:
            raise _gone()
        run.answer_now()
        await exchange.send_json(compact({"id": identity, "object": "control", "action": "answer_now"}).encode())

    return handle


def cancel_handler(service: Service) -> Handler:
    """`POST …/{id}/cancel`: the generation stops; its own request ends with what has come so far."""

    async def handle(exchange: Exchange) -> None:
        identity = exchange.path_parameters["id"]
        run = service.find(identity, exchange.caller)
        if run is None:
            raise _gone()
        run.cancel()
        await exchange.send_json(compact({"id": identity, "object": "control", "action": "cancel"}).encode())

    return handle


def _gone() -> ApiError:
    return ApiError(
        404, "no request of yours with this id is under way; it may have ended", type="not_found_error", param="id"
    )
