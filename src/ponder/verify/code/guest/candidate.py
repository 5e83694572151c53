"""The side of the tested program: it is run, and its functions are called on request.

Nothing here is trusted once the program has begun: it can replace all of this. What it can achieve by that is to send
other values, and a value is all that it is judged by.
"""

import socket
import sys
from collections.abc import Callable
from itertools import islice

from ponder.verify.code.guest.values import Channel, Json, WireError, decode, encode

MOST_ITEMS = 1_000_000  # of an iterator that a test goes through
LONGEST_MESSAGE = 300  # characters of an exception's text


class MissingNameError(Exception):
    """A test uses a name that the program does not define."""


class Held:
    """Objects that stay here, by number."""

    def __init__(self) -> None:
        self._objects: list[object] = []

    def hold(self, value: object) -> int:
        """Keep an object; its number."""
        self._objects.append(value)
        return len(self._objects) - 1

    def fetch(self, number: int, name: str) -> object:
        """The object of that number."""
        return self._objects[number]


def run_program(source: str) -> dict[str, object]:
    """Run a program as the main module; the names that it leaves behind."""
    main = type(sys)("__main__")
    sys.modules["__main__"] = main
    main.__file__ = "program.py"
    exec(compile(source, "program.py", "exec"), main.__dict__)
    return main.__dict__


def run_module(source: str) -> dict[str, object]:
    """Run a program as an imported module, so that `if __name__ == "__main__"` is skipped."""
    module = type(sys)("program")
    sys.modules["program"] = module
    module.__file__ = "program.py"
    exec(compile(source, "program.py", "exec"), module.__dict__)
    return module.__dict__


def serve(source: str, stream: socket.socket) -> None:
    """Run the program, say whether it ran, then answer requests until the other side is gone."""
    channel = Channel(stream)
    try:
        names = run_module(source)
    except BaseException as error:  # noqa: BLE001 - whatever the program does is its own result
        channel.send(_raised(error))
        return
    channel.send({"value": None})
    held = Held()
    while (request := channel.receive()) is not None:
        try:
            reply = _answer(request, names, held)
        except MissingNameError as error:
            reply = {"missing": str(error)}
        except BaseException as error:  # noqa: BLE001 - as above
            reply = _raised(error)
        try:
            channel.send(reply)
        except WireError as error:
            channel.send(_raised(error))


def _answer(request: dict[str, Json], names: dict[str, object], held: Held) -> dict[str, Json]:
    target = _target(request, names, held)
    match request["do"]:
        case "call":
            return _call(target, request, held)
        case "get":
            value = target
        case "set":
            setattr(target, str(request["attribute"]), decode(request["value"], held.fetch))
            value = None
        case "iterate":
            value = list(islice(iter(target), MOST_ITEMS))  # type: ignore[call-overload]
        case "length":
            value = len(target)  # type: ignore[arg-type]
        case "text":
            value = str(target)
        case "item":
            value = target[decode(request["value"], held.fetch)]  # type: ignore[index]
        case other:
            raise WireError(f"no such request: {other}")
    return {"value": encode(value, held.hold)}


def _target(request: dict[str, Json], names: dict[str, object], held: Held) -> object:
    reference = request.get("reference")
    if isinstance(reference, int):
        target = held.fetch(reference, "")
        path = request["path"]
    else:
        names_on_the_way = request["path"]
        assert isinstance(names_on_the_way, list)
        first, path = str(names_on_the_way[0]), names_on_the_way[1:]
        if first not in names:
            raise MissingNameError(first)
        target = names[first]
    for name in path:  # type: ignore[attr-defined]
        target = getattr(target, name)
    return target


def _call(target: object, request: dict[str, Json], held: Held) -> dict[str, Json]:
    """Call; where the call changed a list, dict, set or bytearray among its arguments, the reply says to what."""
    function: Callable[..., object] = target  # type: ignore[assignment]
    positional = decode(request["args"], held.fetch)
    named = decode(request["kwargs"], held.fetch)
    assert isinstance(positional, list)
    assert isinstance(named, dict)
    value = function(*positional, **named)
    reply: dict[str, Json] = {"value": encode(value, held.hold)}
    if any(isinstance(argument, list | dict | set | bytearray) for argument in (*positional, *named.values())):
        after = [encode(argument, held.hold) for argument in positional]
        named_after = encode(named, held.hold)
        if after != request["args"] or named_after != request["kwargs"]:
            reply["args"], reply["kwargs"] = after, named_after
    return reply


def _raised(error: BaseException) -> dict[str, Json]:
    try:
        message = str(error)[:LONGEST_MESSAGE]
    except BaseException:  # noqa: BLE001 - a program's own exception class may fail even here
        message = ""
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    return {"raised": kinds, "kind": type(error).__name__, "message": message}
