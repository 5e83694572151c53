"""The settings in a file's header, read by name and kind, with errors that name the place."""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from ponder.core.errors import CheckpointError

T = TypeVar("T", int, float, bool, str)


class Fields:
    """The fields of an object; `null` counts as absent."""

    def __init__(self, fields: Mapping[str, Any], where: str, prefix: str = "") -> None:
        """`where` names the file, and the object in it, in errors; `prefix` begins every name in the file."""
        self.fields, self.where, self.prefix = fields, where, prefix

    def value(self, name: str) -> Any:
        """As the file has it; None where it is absent."""
        return self.fields.get(self.prefix + name)

    def has(self, name: str) -> bool:
        return self.value(name) is not None

    def get(self, name: str, kind: type[T], default: T | None = None) -> T:
        """The field's value. Raises `CheckpointError` where it is of another kind, no finite number, or absent without
        a default.
        """
        value = self.value(name)
        if value is None:
            if default is None:
                raise CheckpointError(f"{self.where}: {self.prefix + name!r} is missing")
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = _to_float(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise CheckpointError(f"{self.where}: {self.prefix + name!r} is {value}; expected a finite number")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise CheckpointError(f"{self.where}: {self.prefix + name!r} is {value!r:.80}; expected {kind.__name__}")
        return value

    def inner(self, name: str) -> "Fields":
        """The object in a field, empty where it is absent."""
        value = self.value(name)
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            raise CheckpointError(f"{self.where}: {name!r} is {value!r:.80}; expected an object")
        return Fields(value, f"{self.where}: {name}")


def _to_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
