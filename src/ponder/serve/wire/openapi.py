"""An OpenAPI 3.1 document, put together from the operations that the dialects and pages describe."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ponder import __version__
from ponder.serve.wire.json_text import compact

_REFERENCE = "#/components/schemas/{model}"
_ERRORS = {
    400: "The request is malformed or cannot be served",
    401: "No key, or one that is not known",
    402: "The balance is too small",
    403: "Not allowed",
    404: "There is no such thing",
    405: "The path does not take this method",
    408: "The body came too slowly",
    409: "It contradicts what is there",
    413: "The body is too large",
    415: "The body is not plain JSON",
    422: "A field has a wrong value",
    429: "Too many requests: come again after `Retry-After` seconds",
    500: "The server failed",
    502: "The server behind the model makes no sense, or does not accept this site",
    503: "The server is overloaded or shutting down: come again after `Retry-After` seconds",
    504: "The server behind the model does not answer",
}
_EVENT: dict[str, object] = {  # one of a stream, taken apart
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
ALWAYS = (401, 404, 405, 429, 500, 503)
WITH_BODY = (400, 402, 408, 413, 415, 422, 502, 504)  # what has a body goes to a model, maybe another server's


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every answer with a status of 400 or more."""

    error: ErrorDetail


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One method of one path, as it is documented."""

    method: Literal["get", "post", "put", "patch", "delete"]
    path: str  # with {names}
    summary: str
    tag: str
    response: type[BaseModel] | None = None  # None: no body
    request: type[BaseModel] | None = None
    stream: str | None = None  # what the events of the other form of the answer are; None: there is no stream
    status: int = 200
    errors: Sequence[int] = ()  # besides those that every operation, or every one with a body, may answer
    error: type[BaseModel] = ErrorBody
    public: bool = False  # needs no key


def openapi_document(parts: Iterable[Sequence[Operation]], *, title: str = "Ponder") -> bytes:
    """The document as JSON."""
    operations = [operation for part in parts for operation in part]
    names = _Names(operations)
    paths: dict[str, dict[str, object]] = {}
    for operation in operations:
        path = operation.path.replace(":path}", "}")
        paths.setdefault(path, {})[operation.method] = _described(operation, path, names)
    document = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__},
        "paths": paths,
        "components": {
            "schemas": names.schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }
    return compact(document).encode()


class _Names:
    """The schemas of all records, and how an operation refers to one."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        wanted: dict[tuple[type[BaseModel], Literal["validation", "serialization"]], None] = {}
        for operation in operations:
            wanted[operation.error, "serialization"] = None
            if operation.request is not None:
                wanted[operation.request, "validation"] = None
            if operation.response is not None:
                wanted[operation.response, "serialization"] = None
        references, schema = models_json_schema(list(wanted), ref_template=_REFERENCE)
        self._references = references
        self.schemas = schema.get("$defs", {})

    def of(self, model: type[BaseModel], mode: Literal["validation", "serialization"]) -> Mapping[str, Any]:
        return self._references[model, mode]


def _described(operation: Operation, path: str, names: _Names) -> dict[str, object]:
    found: dict[str, object] = {
        "operationId": f"{operation.method}{path.replace('/', '_').replace('{', '').replace('}', '')}",
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _responses(operation, names),
    }
    parameters = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for part in path.split("/")
        if part[:1] == "{"
    ]
    if parameters:
        found["parameters"] = parameters
    if operation.request is not None:
        schema = names.of(operation.request, "validation")
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if not operation.public:
        found["security"] = [{"key": []}, {}]  # none where the server is open
    return found


def _responses(operation: Operation, names: _Names) -> dict[str, object]:
    content: dict[str, object] = {}
    if operation.response is not None:
        content["application/json"] = {"schema": names.of(operation.response, "serialization")}
    if operation.stream is not None:
        content["text/event-stream"] = {"schema": _EVENT | {"description": operation.stream}}
    success: dict[str, object] = {"description": "Done"}
    if content:
        success["content"] = content
    statuses = {*ALWAYS, *operation.errors, *(WITH_BODY if operation.request is not None else ())}
    error = {"application/json": {"schema": names.of(operation.error, "serialization")}}
    responses: dict[str, object] = {str(operation.status): success}
    for status in sorted(statuses):
        responses[str(status)] = {"description": _ERRORS[status], "content": error}
    return responses
