"""What an answer has to look like, in OpenAI's and vLLM's words."""

from ponder.serve.errors import ApiError
from ponder.serve.records import ResponseFormat
from ponder.serve.wire.chat_request import ChatRequest, JsonSchema
from ponder.serve.wire.json_text import compact
from ponder.serve.wire.strict_json import decode_strictly, json_type


def read_response_format(request: ChatRequest) -> ResponseFormat:
    """Raises `ApiError` 422 where two are given, and for a schema that is none."""
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
        found["guided_json"] = ResponseFormat(kind="json_schema", text=compact(_schema(request.guided_json)))
    if request.guided_regex is not None:
        found["guided_regex"] = ResponseFormat(kind="regex", text=request.guided_regex)
    if request.guided_grammar is not None:
        found["guided_grammar"] = ResponseFormat(kind="lark", text=request.guided_grammar)
    if len(found) > 1:
        first, second = list(found)[:2]
        raise ApiError(422, f"{second}: stands beside {first}; one of them", param=second, code="invalid_value")
    return next(iter(found.values()), ResponseFormat())


def _schema(given: str | JsonSchema) -> JsonSchema:
    """The schema of `guided_json`, which vLLM takes as an object or as its text."""
    if not isinstance(given, str):
        return given
    try:
        schema = decode_strictly(given.encode())
    except ValueError as error:
        what = f"is a text that is not valid JSON: {error}"
    else:
        if schema is True:  # any JSON
            return {}
        if isinstance(schema, dict):
            return schema
        what = f"is the text of {json_type(schema)}"
    raise ApiError(
        422,
        f"guided_json: {what}; expected a JSON schema, which is an object",
        param="guided_json",
        code="invalid_value",
    )
