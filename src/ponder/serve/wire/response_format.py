"""What an answer has to look like, in OpenAI's and vLLM's words."""

from ponder.serve.errors import ApiError
from ponder.serve.records import ResponseFormat
from ponder.serve.wire.chat_request import ChatRequest
from ponder.serve.wire.json_text import compact


def read_response_format(request: ChatRequest) -> ResponseFormat:
    """Raises `ApiError` 422 where two are given."""
    found: dict[str, ResponseFormat] = {}
    wanted = request.response_format
    if wanted is not None and wanted.type == "json_object":
        found["response_format"] = ResponseFormat(kind="json_object")
    elif wanted is not None and wanted.type == "json_schema":
        if wanted.json_schema is None or wanted.json_schema.schema_ is None:
            path = "response_format.json_schema.schema"
            raise ApiError(422, f"{path}: is missing", param=path, code="missing_field")
        found["response_format"] = ResponseFormat(kind="json_schema", text=compact(wanted.json_schema.schema_))
    if request.guided_json is not None:
        schema = request.guided_json
        text = schema if isinstance(schema, str) else compact(schema)
        found["guided_json"] = ResponseFormat(kind="json_schema", text=text)
    if request.guided_regex is not None:
        found["guided_regex"] = ResponseFormat(kind="regex", text=request.guided_regex)
    if request.guided_grammar is not None:
        found["guided_grammar"] = ResponseFormat(kind="lark", text=request.guided_grammar)
    if len(found) > 1:
        first, second = list(found)[:2]
        raise ApiError(422, f"{second}: stands beside {first}; one of them", param=second, code="invalid_value")
    return next(iter(found.values()), ResponseFormat())
