"""JSON as RFC 8259 and RFC 7493 (I-JSON) have it, and nothing besides: what two parsers could read differently is
refused.
"""

import json
import math

from pydantic_core import from_json

from ponder.serve.errors import ApiError
from ponder.serve.wire.repeats import first_repeated

MAX_DEPTH = 200  # levels of lists and objects: the parser's own bound
_EXACT = 2**53  # up to here a double tells neighbouring integers apart


def parse_json(body: bytes) -> object:
    """The value of a body. Raises `ApiError` 400 where it is no strict JSON.

    Refused besides bad syntax: bytes that are no UTF-8, a byte order mark, NaN and infinite numbers, lone surrogates,
    equal keys in one object, more than 200 levels, and the character NUL, which no store and no name can hold.
    """
    try:
        value = decode_strictly(body)
    except ValueError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}", code="invalid_json") from None
    if b"\\u0000" in body and _holds_nul(value):
        raise ApiError(400, "the body holds the character NUL (\\u0000) in a string; leave it out", code="invalid_json")
    return value


def decode_strictly(data: bytes) -> object:
    """The value of strict JSON, but for NUL. Raises `ValueError` that says what is wrong and shows little of it."""
    try:
        # the one parser knows UTF-8, surrogates and depth; the other can look at every object's keys
        from_json(data, allow_inf_nan=False)
        value: object = _DECODER.decode(data.decode())
    except ValueError as error:
        raise ValueError(_described(error)) from None
    return value


def parse_object(body: bytes) -> dict[str, object]:
    """The same, where only an object makes sense."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise ApiError(400, f"the body is {json_type(value)}; expected a JSON object", code="invalid_json")
    return value


def json_type(value: object) -> str:
    """What a value is, in JSON's words; never the value itself."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


def _read_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = first_repeated(keys)
        assert twice is not None
        raise ValueError(f"the key {keys[twice][:40]!r} stands twice in one object")
    return found


def _read_float(text: str) -> float | int:
    """Some clients write every number with a point: 100.0 is an integer to JSON Schema, and so to us."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large for a double")
    return int(number) if abs(number) < _EXACT and number.is_integer() else number


_DECODER = json.JSONDecoder(object_pairs_hook=_read_object, parse_float=_read_float)


def _described(error: ValueError) -> str:
    """The message without anything of the body."""
    message = str(error)
    return "nested too deeply (200 levels at most)" if message.startswith("recursion limit") else message


def _holds_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_holds_nul, value))
