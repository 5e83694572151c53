"""The dialect's routes, and how they are described."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ponder.serve.seams import Authenticator
from ponder.serve.service import Service
from ponder.serve.wire import reply_records as shapes
from ponder.serve.wire.balance import Balances, NoBalances, balance_handler
from ponder.serve.wire.chat import chat_handler
from ponder.serve.wire.chat_request import ChatRequest
from ponder.serve.wire.completion_request import CompletionRequest
from ponder.serve.wire.completions import completion_handler
from ponder.serve.wire.control import answer_now_handler, cancel_handler
from ponder.serve.wire.exchange import Endpoint, Handler
from ponder.serve.wire.models import list_handler, model_handler
from ponder.serve.wire.openapi import Operation
from ponder.serve.wire.settings import WireSettings
from ponder.serve.wire.tokens import DetokenizeRequest, TokenizeRequest, detokenize_handler, tokenize_handler

_CHUNKS = "Server-sent events: chunks with the object {}, then [DONE]; comments while nothing comes"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Described:
    """Paths that answer alike. The first is the one that documentation names."""

    method: str
    paths: Sequence[str]
    summary: str
    response: type[BaseModel]
    request: type[BaseModel] | None = None
    stream: str | None = None
    tag: str = "OpenAI and DeepSeek"


CHAT = _Described(
    method="POST",
    paths=("/v1/chat/completions", "/chat/completions"),
    summary="Answer a conversation",
    request=ChatRequest,
    response=shapes.ChatCompletion,
    stream=_CHUNKS.format("chat.completion.chunk"),
)
BETA_CHAT = _Described(
    method="POST",
    paths=("/beta/chat/completions", "/beta/v1/chat/completions"),
    summary="Answer a conversation, or go on with its last message",
    request=ChatRequest,
    response=shapes.ChatCompletion,
    stream=_CHUNKS.format("chat.completion.chunk"),
)
COMPLETIONS = _Described(
    method="POST",
    paths=("/v1/completions", "/completions"),
    summary="Go on with a text, or fill a gap in it",
    request=CompletionRequest,
    response=shapes.Completion,
    stream=_CHUNKS.format("text_completion"),
)
BETA_COMPLETIONS = _Described(
    method="POST",
    paths=("/beta/completions", "/beta/v1/completions"),
    summary="The same; its default length is DeepSeek's",
    request=CompletionRequest,
    response=shapes.Completion,
    stream=_CHUNKS.format("text_completion"),
)
MODELS = _Described(method="GET", paths=("/v1/models", "/models"), summary="All models", response=shapes.ModelList)
MODEL = _Described(
    method="GET", paths=("/v1/models/{model:path}", "/models/{model:path}"), summary="One", response=shapes.ModelShape
)
TOKENIZE = _Described(
    method="POST",
    paths=("/v1/tokenize", "/tokenize"),
    summary="The token ids of a text",
    request=TokenizeRequest,
    response=shapes.Tokens,
)
DETOKENIZE = _Described(
    method="POST",
    paths=("/v1/detokenize", "/detokenize"),
    summary="The text of token ids",
    request=DetokenizeRequest,
    response=shapes.Text,
)
BALANCE = _Described(
    method="GET",
    paths=("/user/balance", "/v1/user/balance"),
    summary="What money there is",
    response=shapes.BalanceList,
)
ANSWER_NOW = _Described(
    method="POST",
    paths=("/v1/chat/completions/{id}/answer_now", "/chat/completions/{id}/answer_now"),
    summary="Close the thought of a request under way and go on to its answer",
    response=shapes.Control,
)
CANCEL = _Described(
    method="POST",
    paths=("/v1/chat/completions/{id}/cancel", "/chat/completions/{id}/cancel"),
    summary="Stop a request under way",
    response=shapes.Control,
)


def wire_routes(
    service: Service,
    authenticator: Authenticator,
    settings: WireSettings | None = None,
    *,
    balances: Balances | None = None,
) -> list[BaseRoute]:
    """All routes of OpenAI's and DeepSeek's dialect."""
    settings = settings or WireSettings()
    handlers: list[tuple[_Described, Handler]] = [
        (CHAT, chat_handler(service, settings, beta=False)),
        (BETA_CHAT, chat_handler(service, settings, beta=True)),
        (COMPLETIONS, completion_handler(service, settings, beta=False)),
        (BETA_COMPLETIONS, completion_handler(service, settings, beta=True)),
        (MODELS, list_handler(service, settings)),
        (MODEL, model_handler(service, settings)),
        (TOKENIZE, tokenize_handler(service, settings)),
        (DETOKENIZE, detokenize_handler(service, settings)),
        (BALANCE, balance_handler(balances or NoBalances())),
        (ANSWER_NOW, answer_now_handler(service)),
        (CANCEL, cancel_handler(service)),
    ]
    return [
        Route(path, Endpoint(handler, authenticator, settings), methods=[described.method])
        for described, handler in handlers
        for path in described.paths
    ]


def wire_operations() -> list[Operation]:
    """The same, for the API's description."""
    described = (
        CHAT, BETA_CHAT, COMPLETIONS, BETA_COMPLETIONS, MODELS, MODEL,
        TOKENIZE, DETOKENIZE, BALANCE, ANSWER_NOW, CANCEL,
    )  # fmt: skip
    return [
        Operation(
            method="post" if part.method == "POST" else "get",
            path=path,
            summary=part.summary,
            tag=part.tag,
            request=part.request,
            response=part.response,
            stream=part.stream,
        )
        for part in described
        for path in part.paths
    ]


def document_route(document: Callable[[], bytes]) -> Route:
    """`GET /openapi.json`. The document is made when it is first asked for."""
    made: list[bytes] = []

    async def answer(request: Request) -> Response:
        if not made:
            made.append(document())
        return Response(made[0], media_type="application/json")

    return Route("/openapi.json", answer, methods=["GET"])
