"""The side of the tests: names of the tested program that act in another process.

A test calls them as if they were the program's functions and classes. What comes back is plain data, or a `Remote` that
refuses to be compared: the program's own `__eq__` decides nothing.
"""

import builtins
from typing import NoReturn

from ponder.verify.code.guest.values import Channel, Json, WireError, decode, encode

_NOT_REBUILT = (Exception, StopIteration, StopAsyncIteration)  # the last two: `map`, `zip` and `for` would swallow them


class ProgramGone(BaseException):
    """The tested program ended or broke the protocol. Not an Exception, so that no `except Exception` hides it."""


class Unusable(BaseException):
    """A test asks for something that cannot be decided across the border. Its outcome is unknown."""


class ProgramError(Exception):
    """An exception of a class that the tested program defined, or of one that would end a test's loop unseen."""


class Link:
    """The connection to the tested program. `lost` says why it is gone, `asked` how often a test asked it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.lost: str | None = None
        self.unusable: str | None = None
        self.asked = 0
        self.in_place = False  # what a call does to a list, dict or set among its arguments, the test sees

    def ask(self, request: dict[str, Json]) -> dict[str, Json]:
        """The program's reply. Raises what the program raised; `ProgramGone` where there is none, or no such name."""
        self.asked += 1
        try:
            self._channel.send(request)
            reply = self.reply()
        except (OSError, WireError) as error:
            raise self._gone(f"the program broke the protocol: {error}") from None
        if "missing" in reply:  # said to the end, so that no test that expects an exception takes it for one
            raise self._gone(f"the program does not define {reply['missing']}")
        if "raised" in reply:
            raise _exception(reply)
        return reply

    def reply(self) -> dict[str, Json]:
        """The next message. Raises `ProgramGone` where the program is gone."""
        reply = self._channel.receive()
        if reply is None:
            raise self._gone("the program ended before it had answered")
        return reply

    def value(self, reply: dict[str, Json]) -> object:
        """What a reply holds."""
        try:
            return decode(reply.get("value"), self.remote)
        except (WireError, MemoryError) as error:
            raise self._gone(f"the program broke the protocol: {str(error) or 'too large an answer'}") from None

    def remote(self, number: int, kind: str) -> "Remote":
        """Stands for an object that the program keeps."""
        return Remote(self, number, (), kind)

    def hold(self, value: object) -> int:
        """The number of an object of the program; anything else cannot be sent to it."""
        if isinstance(value, Remote):
            number = object.__getattribute__(value, "_number")
            if isinstance(number, int) and not object.__getattribute__(value, "_path"):
                return number
        raise self.refuse(f"a test hands the program a {type(value).__name__}, which is no plain data")

    def refuse(self, reason: str) -> Unusable:
        """Leave the tests undecided; the error to raise."""
        self.unusable = self.unusable or reason
        return Unusable(reason)

    def copy_back(self, arguments: tuple[object, ...], reply: dict[str, Json]) -> None:
        """Give the test's own lists, dicts and sets the contents that the call left in them."""
        if not self.in_place or "args" not in reply:
            return
        try:
            after = decode(reply["args"], self.remote)
            named = decode(reply.get("kwargs"), self.remote)
        except (WireError, MemoryError) as error:
            raise self._gone(f"the program broke the protocol: {str(error) or 'too large an answer'}") from None
        given = [*arguments[0], *arguments[1].values()]  # type: ignore[misc,attr-defined]
        found = [*(after if isinstance(after, list) else []), *(named.values() if isinstance(named, dict) else [])]
        for old, new in zip(given, found, strict=False):
            if type(old) is not type(new):
                continue
            if isinstance(old, list | bytearray):
                old[:] = new
            elif isinstance(old, dict | set):
                old.clear()
                old.update(new)

    def _gone(self, reason: str) -> ProgramGone:
        self.lost = self.lost or reason
        return ProgramGone(reason)


class Remote:
    """A name or an object of the tested program."""

    __slots__ = ("_kind", "_link", "_number", "_path")

    def __init__(self, link: Link, number: int | None, path: tuple[str, ...], kind: str) -> None:
        for name, value in (("_link", link), ("_number", number), ("_path", path), ("_kind", kind)):
            object.__setattr__(self, name, value)

    def __call__(self, *args: object, **kwargs: object) -> object:
        link: Link = object.__getattribute__(self, "_link")
        encoded = {"args": encode(list(args), link.hold), "kwargs": encode(kwargs, link.hold)}
        reply = _ask(self, "call", **encoded)
        link.copy_back((args, kwargs), reply)
        return link.value(reply)

    def __getattr__(self, name: str) -> "Remote | object":
        if name.startswith("__"):
            raise AttributeError(name)
        link: Link = object.__getattribute__(self, "_link")
        attribute = object.__getattribute__(self, "method")(name)
        value = link.value(_ask(attribute, "get"))
        return attribute if isinstance(value, Remote) else value  # a method stays a name, to be called

    def method(self, name: str) -> "Remote":
        """A method of this object, to be called."""
        number, path = object.__getattribute__(self, "_number"), object.__getattribute__(self, "_path")
        return Remote(object.__getattribute__(self, "_link"), number, (*path, name), name)

    def __setattr__(self, name: str, value: object) -> None:
        _ask(self, "set", attribute=name, value=encode(value, object.__getattribute__(self, "_link").hold))

    def __iter__(self) -> object:
        values = _value(self, "iterate")
        return iter(values if isinstance(values, list) else [])

    def __len__(self) -> int:
        length = _value(self, "length")
        return length if isinstance(length, int) else -1

    def __str__(self) -> str:
        return str(_value(self, "text"))

    __repr__ = __str__

    def __getitem__(self, key: object) -> object:
        link: Link = object.__getattribute__(self, "_link")
        return link.value(_ask(self, "item", value=encode(key, link.hold)))

    def _undecided(self, *others: object) -> NoReturn:
        link: Link = object.__getattribute__(self, "_link")
        kind = object.__getattribute__(self, "_kind")
        link.lost = link.lost or f"the program gave a {kind}, which is no plain data, where a test compares"
        raise ProgramGone(link.lost)

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _undecided
    __hash__ = __bool__ = __int__ = __float__ = __index__ = _undecided


def _ask(remote: Remote, do: str, **more: Json) -> dict[str, Json]:
    link: Link = object.__getattribute__(remote, "_link")
    number, path = object.__getattribute__(remote, "_number"), object.__getattribute__(remote, "_path")
    return link.ask({"do": do, "reference": number, "path": list(path), **more})


def _value(remote: Remote, do: str) -> object:
    link: Link = object.__getattribute__(remote, "_link")
    return link.value(_ask(remote, do))


def _exception(reply: dict[str, Json]) -> Exception:
    """The program's exception as one of the same built-in class; never one that ends the interpreter or a loop."""
    message = str(reply.get("message"))
    kinds = reply["raised"]
    for name in kinds if isinstance(kinds, list) else []:
        kind = getattr(builtins, str(name), None)
        if isinstance(kind, type) and issubclass(kind, Exception) and kind not in _NOT_REBUILT:
            try:
                return kind(message)
            except TypeError:  # UnicodeDecodeError wants five arguments
                continue
    return ProgramError(f"{reply.get('kind')}: {message}")
