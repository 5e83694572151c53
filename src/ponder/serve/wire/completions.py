"""Plain completions, with a gap to fill in (FIM) where there is a suffix."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, PlainText
from ponder.serve.service import Service
from ponder.serve.wire.chat import find_model
from ponder.serve.wire.chat_reply import ReplyShape
from ponder.serve.wire.completion_reply import CompletionBody, CompletionStream
from ponder.serve.wire.completion_request import CompletionRequest, read_prompts
from ponder.serve.wire.delivery import deliver_body, deliver_stream
from ponder.serve.wire.exchange import Exchange, Handler
from ponder.serve.wire.fields import read_fields
from ponder.serve.wire.sampling import sampling_options
from ponder.serve.wire.settings import WireSettings

_TOKENS = 16  # OpenAI's default length of a completion
_BETA_TOKENS = 4096  # the most that DeepSeek fills in


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadCompletion:
    """A request that was understood: one ask for each prompt."""

    asks: tuple[Ask, ...]
    shape: ReplyShape
    stream: bool


def completion_handler(
    service: Service, settings: WireSettings, *, beta: bool, wall_clock: Callable[[], float] = time.time
) -> Handler:
    """`POST /completions`; on `beta` paths the default length is DeepSeek's."""

    async def handle(exchange: Exchange) -> None:
        request = read_fields(CompletionRequest, await exchange.read_object())
        read = read_completion(request, service, settings, beta=beta, created=int(wall_clock()))
        async with exchange.until_disconnect(), await service.open_list(read.asks, exchange.caller) as run:
            if read.stream:
                await deliver_stream(exchange, run, CompletionStream(read.shape))
            else:
                await deliver_body(exchange, run, CompletionBody(read.shape))

    return handle


def read_completion(
    request: CompletionRequest, service: Service, settings: WireSettings, *, beta: bool, created: int
) -> ReadCompletion:
    """Raises `ApiError` 400, 404 or 422, naming the field."""
    model, _ = find_model(service, settings, request.model)
    if not model.completions:
        raise _unsupported("model", f"the model {model.id!r} serves chats only")
    suffix = request.suffix or None  # an empty one is none
    if suffix is not None and not model.infill:
        raise _unsupported("suffix", f"the model {model.id!r} cannot fill in a gap; leave the suffix out")
    samples = request.n or 1
    if request.best_of is not None and request.best_of != samples:
        raise ApiError(422, "best_of: differs from n; leave it out", param="best_of", code="unsupported")
    if request.echo and request.logprobs is not None:
        raise ApiError(
            422,
            "logprobs: stands beside echo, and the tokens of a prompt have no log-probabilities here; leave one of the "
            "two out",
            param="logprobs",
            code="unsupported",
        )
    sampling = sampling_options(request, model, logprobs=request.logprobs)
    identity = f"cmpl-{secrets.token_hex(16)}"
    asks = tuple(
        Ask(
            id=identity if not number else f"{identity}-{number}",
            model=model.id,
            prompt=PlainText(text=prompt, suffix=suffix, echo=bool(request.echo)),
            max_tokens=request.max_tokens or (_BETA_TOKENS if beta else _TOKENS),
            n=samples,
            seed=request.seed,
            priority=-(request.priority or 0),
            sampling=sampling,
            stop=request.stops,
        )
        for number, prompt in enumerate(read_prompts(request.prompt))
    )
    shape = ReplyShape(
        id=identity,
        created=created,
        model=request.model,
        fingerprint=settings.fingerprint,
        logprobs=request.logprobs is not None,
        include_usage=request.include_usage,
    )
    return ReadCompletion(asks=asks, shape=shape, stream=bool(request.stream))


def _unsupported(param: str, message: str) -> ApiError:
    return ApiError(400, f"{param}: {message}", param=param, code="unsupported")
