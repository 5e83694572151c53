"""From a parsed body to a record: what is wrong is told by its path, what was found and what was expected."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ponder.serve.errors import ApiError
from ponder.serve.wire.strict_json import json_type

Record = TypeVar("Record", bound=BaseModel)


class Fields(BaseModel):
    """Base of what clients send. Types are taken at their word ("5" is no number); fields that nobody knows are
    ignored, since every client sends some of its own.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, hide_input_in_errors=True)


def read_fields(kind: type[Record], body: object, *, status: int = 422) -> Record:
    """The body as a record. Raises `ApiError` of this status, which names the first field that is wrong."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise field_error(error, body, status) from None


def field_error(error: ValidationError, body: object, status: int = 422) -> ApiError:
    """The first of a validation's errors. It tells the kind of value that was found; a text is shown only where a
    fixed set of words was expected.
    """
    errors = error.errors(include_url=False)
    first = errors[0]
    steps = [step for step in first["loc"] if not (isinstance(step, str) and step[:1] == "<")]
    path = ".".join(map(str, steps))
    missing = first["type"] == "missing"
    message = "is missing" if missing else f"{_expected(first)}, got {_got(first, _at(body, steps))}"
    others = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return ApiError(
        status,
        f"{path or 'the body'}: {message}{others}",
        param=path or None,
        code="missing_field" if missing else "invalid_value",
    )


def _expected(error: Any) -> str:
    message: str = error["msg"].removeprefix("Value error, ").partition(" after validation")[0]
    _, found, rest = message.partition(" should ")  # "Input should be", "List should have", "String should match"
    return f"expected {rest.removeprefix('be ').removeprefix('have ')}" if found else message


def _got(error: Any, value: object) -> str:
    if isinstance(value, bool) or (isinstance(value, int | float) and len(repr(value)) < 40):
        return str(value).lower() if isinstance(value, bool) else repr(value)
    if error["type"] in ("literal_error", "enum") and isinstance(value, str) and len(value) <= 40:
        return repr(value)
    if error["type"].endswith(("too_long", "too_short")) and isinstance(value, Sequence):
        return str(len(value))
    return json_type(value)


def _at(body: object, steps: Sequence[object]) -> object:
    for step in steps:
        if isinstance(body, Mapping):
            body = body.get(step)
        elif isinstance(body, list) and isinstance(step, int) and step < len(body):
            body = body[step]
    return body
