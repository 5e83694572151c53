"""What models there are, in OpenAI's form."""

from ponder.serve.records import ModelInfo
from ponder.serve.service import Service
from ponder.serve.wire.chat import find_model
from ponder.serve.wire.exchange import Exchange, Handler
from ponder.serve.wire.json_text import compact
from ponder.serve.wire.settings import WireSettings


def list_handler(service: Service, settings: WireSettings) -> Handler:
    """`GET /models`: the models, then their further names."""

    async def handle(exchange: Exchange) -> None:
        entries = [_entry(model.id, model) for model in service.models]
        known = {model.id for model in service.models}
        for name in settings.names:
            if name not in known:
                entries.append(_entry(name, find_model(service, settings, name)[0]))
        await exchange.send_json(compact({"object": "list", "data": entries}).encode())

    return handle


def model_handler(service: Service, settings: WireSettings) -> Handler:
    """`GET /models/{model}`; a model's name may hold slashes."""

    async def handle(exchange: Exchange) -> None:
        name = exchange.path_parameters["model"]
        await exchange.send_json(compact(_entry(name, find_model(service, settings, name)[0])).encode())

    return handle


def _entry(name: str, model: ModelInfo) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "max_model_len": model.context,  # vLLM's field, which clients read the context's length from
    }
