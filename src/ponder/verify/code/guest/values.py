"""Values on the wire between a tested program and whoever judges it: JSON, and never pickle.

What a tested program sends is decoded to plain data of exact built-in types, so no `__eq__`, `__bool__` or `__hash__`
that it defined takes part in a comparison. What is no plain data stays where it is and travels as a reference.
"""

import builtins
import json
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import cast

LONGEST_MESSAGE = 16 * 2**20  # bytes
DEEPEST_VALUE = 100  # containers inside one another
LARGEST_PLAIN_INTEGER = 2**53

Json = object  # None, bool, int, float, str, list or dict with string keys
Hold = Callable[[object], int]  # keeps an object and gives its number
Fetch = Callable[[int, str], object]  # an object by its number and the name of its type


class WireError(Exception):
    """A message or value that cannot be sent or read."""


def encode(value: object, hold: Hold, depth: int = 0) -> Json:
    """`value` as JSON. An object that is no plain data is given to `hold`. Raises `WireError` beyond the depth."""
    if depth > DEEPEST_VALUE:
        raise WireError(f"a value with more than {DEEPEST_VALUE} containers inside one another")

    def items(values: object) -> list[Json]:
        return [encode(item, hold, depth + 1) for item in cast("list[object]", values)]

    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        number = int(value)
        return number if abs(number) < LARGEST_PLAIN_INTEGER else {"int": hex(number)}
    if isinstance(value, float):
        return {"float": float(value).hex()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list):
        return items(value)
    if isinstance(value, tuple):
        return {"tuple": items(value)}
    if isinstance(value, set | frozenset | deque):
        name = "deque" if isinstance(value, deque) else "set" if isinstance(value, set) else "frozenset"
        return {name: items(value)}
    if isinstance(value, dict):
        return {"dict": items([key for pair in value.items() for key in pair])}
    return _encode_rare(value, hold)


def _encode_rare(value: object, hold: Hold) -> Json:
    if isinstance(value, bytes | bytearray):
        return {type(value).__name__: value.hex()} if type(value) in (bytes, bytearray) else {"bytes": value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real.hex(), value.imag.hex()]}
    if isinstance(value, range):
        return {"range": [hex(value.start), hex(value.stop), hex(value.step)]}
    if isinstance(value, Fraction):
        return {"Fraction": [hex(value.numerator), hex(value.denominator)]}
    if isinstance(value, Decimal):
        return {"Decimal": str(value)}
    name = type(value).__name__ if not isinstance(value, type) else value.__name__
    if isinstance(value, type) and getattr(builtins, name, None) is value:
        return {"type": name}
    return {"reference": [hold(value), name]}


def decode(data: Json, fetch: Fetch) -> object:
    """The value that `encode` wrote; an object held elsewhere comes from `fetch`. Raises `WireError` otherwise."""
    try:
        return _decode(data, fetch, 0)
    except WireError:
        raise
    except (TypeError, ValueError, KeyError, ArithmeticError, RecursionError) as error:
        raise WireError(f"a value that cannot be read: {type(error).__name__}") from error


def _decode(data: Json, fetch: Fetch, depth: int) -> object:
    if depth > DEEPEST_VALUE + 1:
        raise WireError(f"a value with more than {DEEPEST_VALUE} containers inside one another")
    if data is None or isinstance(data, bool | int | float | str):
        return data
    if isinstance(data, list):
        return [_decode(item, fetch, depth + 1) for item in data]
    if not isinstance(data, dict) or len(data) != 1:
        raise WireError("a value of no known kind")
    ((kind, body),) = data.items()
    if kind == "reference":
        number, name = body
        return fetch(int(number), str(name)[:80])
    if kind in ("tuple", "set", "frozenset", "deque", "dict"):
        items = [_decode(item, fetch, depth + 1) for item in body]
        if kind == "dict":
            return dict(zip(items[::2], items[1::2], strict=True))
        return {"tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}[kind](items)
    return _PLAIN[kind](body)


def _integer(text: object) -> int:
    return int(str(text), 16)


def _builtin_type(name: object) -> type:
    found = vars(builtins).get(str(name))
    if not isinstance(found, type) or (found.__module__, found.__name__) != ("builtins", name):
        raise WireError("a type of no known name")
    return found


_PLAIN: Mapping[str, Callable[..., object]] = {
    "int": _integer,
    "float": lambda text: float.fromhex(text),
    "bytes": lambda text: bytes.fromhex(text),
    "bytearray": lambda text: bytearray.fromhex(text),
    "complex": lambda parts: complex(float.fromhex(parts[0]), float.fromhex(parts[1])),
    "range": lambda parts: range(*map(_integer, parts)),
    "Fraction": lambda parts: Fraction(*map(_integer, parts)),
    "Decimal": lambda text: Decimal(text),
    "type": _builtin_type,
}


class Channel:
    """Messages over a stream socket: a length of four bytes, then JSON."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def send(self, message: Mapping[str, Json]) -> None:
        """Raises `WireError` for a message that is too long, `OSError` where nobody reads."""
        data = json.dumps(message).encode()
        if len(data) > LONGEST_MESSAGE:
            raise WireError(f"a value of {len(data)} bytes; at most {LONGEST_MESSAGE} are passed on")
        self._stream.sendall(struct.pack("!I", len(data)) + data)

    def receive(self) -> dict[str, Json] | None:
        """The next message; None where the other side is gone. Raises `WireError` for what is no message."""
        head = self._exactly(4)
        if head is None:
            return None
        (length,) = struct.unpack("!I", head)
        if length > LONGEST_MESSAGE:
            raise WireError(f"a message of {length} bytes; at most {LONGEST_MESSAGE} are read")
        data = self._exactly(length)
        if data is None:
            return None
        try:
            message = json.loads(data)
        except (ValueError, RecursionError, MemoryError) as error:
            raise WireError(f"a message that is no JSON: {type(error).__name__}") from error
        if not isinstance(message, dict):
            raise WireError("a message that is no JSON object")
        return message

    def _exactly(self, count: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < count:
            try:
                part = self._stream.recv(min(count - len(parts), 2**20))
            except ConnectionError:
                return None
            if not part:
                return None
            parts += part
        return bytes(parts)
