"""Chat completions: from a request to an ask, and back."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, ModelInfo
from ponder.serve.service import Service
from ponder.serve.wire.chat_reply import ChatBody, ChatStream, ReplyShape
from ponder.serve.wire.chat_request import ChatRequest
from ponder.serve.wire.conversation import read_conversation
from ponder.serve.wire.delivery import deliver_body, deliver_stream
from ponder.serve.wire.exchange import Exchange, Handler
from ponder.serve.wire.fields import read_fields
from ponder.serve.wire.response_format import read_response_format
from ponder.serve.wire.sampling import sampling_options
from ponder.serve.wire.settings import Alias, WireSettings
from ponder.serve.wire.thinking import ThinkingChoice, choose_thinking, parameters_without_effect
from ponder.serve.wire.turns import check_tools


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadChat:
    """A request that was understood."""

    ask: Ask
    shape: ReplyShape
    stream: bool


def chat_handler(
    service: Service, settings: WireSettings, *, beta: bool, wall_clock: Callable[[], float] = time.time
) -> Handler:
    """`POST /chat/completions`; `beta` allows prefix completion."""

    async def handle(exchange: Exchange) -> None:
        request = read_fields(ChatRequest, await exchange.read_object())
        chat = read_chat(request, service, settings, beta=beta, created=int(wall_clock()))
        async with exchange.until_disconnect(), await service.open(chat.ask, exchange.caller) as run:
            if chat.stream:
                await deliver_stream(exchange, run, ChatStream(chat.shape))
            else:
                await deliver_body(exchange, run, ChatBody(chat.shape))

    return handle


def read_chat(request: ChatRequest, service: Service, settings: WireSettings, *, beta: bool, created: int) -> ReadChat:
    """Raises `ApiError` 400, 404 or 422, naming the field."""
    model, alias = find_model(service, settings, request.model)
    choice = choose_thinking(request, model, alias, settings.dialect)
    conversation = read_conversation(request, choice=choice, beta=beta, settings=settings)
    check_tools(conversation.tools, conversation.tool_choice, model, status=422, name_path="function.name")
    logprobs = _read_logprobs(request, choice, settings)
    identity = f"chatcmpl-{secrets.token_hex(16)}"
    ask = Ask(
        id=identity,
        model=model.id,
        prompt=conversation,
        max_tokens=_read_max_tokens(request),
        n=request.n or 1,
        seed=request.seed,
        priority=-(request.priority or 0),
        sampling=sampling_options(
            request,
            model,
            logprobs=logprobs,
            without_effect=parameters_without_effect(choice, settings.dialect),
        ),
        stop=request.stops,
        thinking=choice.thinks if model.thinks else None,
        effort=choice.effort,
        thinking_budget=choice.budget,
        response_format=read_response_format(request),
    )
    shape = ReplyShape(
        id=identity,
        created=created,
        model=request.model,
        fingerprint=settings.fingerprint,
        thinks=choice.thinks,
        logprobs=logprobs is not None,
        include_usage=request.include_usage,
    )
    return ReadChat(ask=ask, shape=shape, stream=bool(request.stream))


def find_model(service: Service, settings: WireSettings, name: str) -> tuple[ModelInfo, Alias | None]:
    """The model of a name, and what the name says besides. Raises `ApiError` 404."""
    alias = settings.names.get(name)
    if alias is not None:
        name = alias.model or next((model.id for model in service.models), name)
    return service.find_model(name)[1], alias


def _read_max_tokens(request: ChatRequest) -> int | None:
    both = (request.max_tokens, request.max_completion_tokens)
    if None not in both and both[0] != both[1]:
        raise ApiError(
            422,
            "max_completion_tokens: differs from max_tokens, which means the same; send one of them",
            param="max_completion_tokens",
            code="invalid_value",
        )
    return both[0] if both[0] is not None else both[1]


def _read_logprobs(request: ChatRequest, choice: ThinkingChoice, settings: WireSettings) -> int | None:
    """How many alternatives to tell beside each token; None: no log-probabilities."""
    for name in ("logprobs", "top_logprobs"):
        if settings.dialect == "r1" and choice.thinks and getattr(request, name) not in (None, False):
            raise ApiError(400, f"{name}: not supported by a model that thinks", param=name, code="unsupported")
    if request.top_logprobs is not None and not request.logprobs:
        raise ApiError(422, "top_logprobs: needs logprobs to be true", param="top_logprobs", code="invalid_value")
    return (request.top_logprobs or 0) if request.logprobs else None
