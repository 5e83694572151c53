"""The description of the API, and the API held against it by generated requests."""

import asyncio
import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from pydantic import BaseModel
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.applications import Starlette

from ponder.serve.anthropic import routes as anthropic
from ponder.serve.open_mode import OpenAuthenticator
from ponder.serve.responses import routes as responses
from ponder.serve.scripted import Script, ScriptedBackend
from ponder.serve.service import Service
from ponder.serve.wire.errors import EXCEPTION_HANDLERS, ErrorBoundary
from ponder.serve.wire.openapi import Operation, openapi_document
from ponder.serve.wire.routes import document_route, wire_operations, wire_routes
from ponder.serve.wire.settings import WireSettings
from wire_server import MODEL, exchange

DOCUMENT = openapi_document([wire_operations(), responses.operations(), anthropic.operations()])
CALLERS = [400, 401, 402, 404, 405, 408, 413, 415, 422, 429]
OURS = [500, 502, 503, 504]


def all_routes() -> list[Any]:
    service = Service([ScriptedBackend(lambda ask: Script(thought="Hm.", answer="Hello."))])
    parts = (service, OpenAuthenticator(), WireSettings())
    return [*wire_routes(*parts), *responses.routes(*parts), *anthropic.routes(*parts)]


def described_app() -> Any:
    routes = [*all_routes(), document_route(lambda: DOCUMENT)]
    return ErrorBoundary(Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS))


def test_the_document_is_served_and_names_every_route() -> None:
    answer = asyncio.run(exchange(described_app(), "/openapi.json"))
    assert answer.body == DOCUMENT
    document = answer.json
    assert set(document["paths"]) == {route.path.replace(":path}", "}") for route in all_routes()}
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert list(chat["responses"]) == ["200", *map(str, CALLERS + OURS)]
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert chat["responses"]["422"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/ErrorBody"
    }
    assert chat["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ChatRequest"}
    assert document["components"]["schemas"]["ChatRequest"]["required"] == ["model", "messages"]


class Thing(BaseModel):
    name: str


def test_other_parts_add_their_operations() -> None:
    own = [
        Operation(method="delete", path="/things/{id}", summary="Gone", tag="things", status=204, errors=(409,)),
        Operation(method="get", path="/things", summary="All", tag="things", response=Thing, public=True),
    ]
    document = json.loads(openapi_document([wire_operations(), own]))
    gone = document["paths"]["/things/{id}"]["delete"]
    assert gone["responses"]["204"] == {"description": "Done"}
    assert "409" in gone["responses"]
    assert gone["parameters"] == [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    ]
    assert "security" not in document["paths"]["/things"]["get"]
    assert "Thing" in document["components"]["schemas"]


SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", described_app())
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]
UNLIKE = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/tokenize",
    "/v1/detokenize",
    "/v1/models",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
)


def check(case: Any) -> None:
    name = case.body.get("model") if isinstance(case.body, dict) else None
    if isinstance(name, str) and 1 <= len(name) <= 256:
        case.body["model"] = MODEL  # else hardly any request would get past its name
    case.call_and_validate(checks=CHECKS)


@SCHEMA.include(path=list(UNLIKE)).parametrize()
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_requests(case: Any) -> None:
    check(case)


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
def test_ten_thousand_generated_requests(case: Any) -> None:
    check(case)
