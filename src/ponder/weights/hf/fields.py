"""A JSON object that is read by name and kind, with errors that name the place."""

from collections.abc import Mapping
from typing import Any, TypeVar

from ponder.core.errors import CheckpointError

T = TypeVar("T", int, float, bool, str)


class Fields:
    """The fields of an object; `null` counts as absent."""

    def __init__(self, fields: Mapping[str, Any], where: str) -> None:
        """`where` names the file, and the object in it, in errors."""
        self.fields, self.where = fields, where

    def has(self, name: str) -> bool:
        return self.fields.get(name) is not None

    def get(self, name: str, kind: type[T], default: T | None = None) -> T:
        """The field's value. Raises `CheckpointError` where it is of another kind, or absent without a default."""
        value = self.fields.get(name)
        if value is None:
            if default is None:
                raise CheckpointError(f"{self.where}: {name!r} is missing")
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise CheckpointError(f"{self.where}: {name!r} is {value!r}; expected {kind.__name__}")
        return value

    def inner(self, name: str) -> "Fields":
        """The object in a field, empty where it is absent."""
        value = self.fields.get(name) or {}
        if not isinstance(value, Mapping):
            raise CheckpointError(f"{self.where}: {name!r} is {value!r}; expected an object")
        return Fields(value, f"{self.where}: {name}")
