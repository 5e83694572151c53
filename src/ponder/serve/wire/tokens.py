"""Texts to token ids and back, in vLLM's form; llama.cpp's `content` is understood too."""

from typing import Annotated

from pydantic import ConfigDict, Field

from ponder.serve.errors import ApiError
from ponder.serve.records import ModelInfo
from ponder.serve.service import Service
from ponder.serve.wire.chat import find_model
from ponder.serve.wire.exchange import Exchange, Handler
from ponder.serve.wire.fields import Fields, read_fields
from ponder.serve.wire.json_text import compact
from ponder.serve.wire.settings import WireSettings


class TokenizeRequest(Fields):
    """A text. It is plain text: what looks like a control token is not one."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in ("prompt", "content")]
        }
    )

    model: str | None = None  # None: the first model
    prompt: str | None = None
    content: str | None = None  # the same


class DetokenizeRequest(Fields):
    """Token ids."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0, lt=2**31)]]


def tokenize_handler(service: Service, settings: WireSettings) -> Handler:
    """`POST /tokenize`."""

    async def handle(exchange: Exchange) -> None:
        request = read_fields(TokenizeRequest, await exchange.read_object())
        model = _find(service, settings, request.model)
        text = request.prompt if request.prompt is not None else request.content
        if text is None:
            raise ApiError(422, "prompt: is missing; expected a string", param="prompt", code="missing_field")
        ids = await service.backend(model.id).tokenize(model.id, text)
        body = {"count": len(ids), "max_model_len": model.context, "tokens": list(ids)}
        await exchange.send_json(compact(body).encode())

    return handle


def detokenize_handler(service: Service, settings: WireSettings) -> Handler:
    """`POST /detokenize`."""

    async def handle(exchange: Exchange) -> None:
        request = read_fields(DetokenizeRequest, await exchange.read_object())
        model = _find(service, settings, request.model)
        text = await service.backend(model.id).detokenize(model.id, request.tokens)
        await exchange.send_json(compact({"prompt": text, "content": text}).encode(errors="replace"))

    return handle


def _find(service: Service, settings: WireSettings, name: str | None) -> ModelInfo:
    if name is None and service.models:
        model = service.models[0]
    else:
        model, _ = find_model(service, settings, name or "")
    if not model.tokenizes:
        raise ApiError(400, f"model: {model.id!r} does not tell its tokens", param="model", code="unsupported")
    return model
