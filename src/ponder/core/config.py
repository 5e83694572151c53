"""Settings: from TOML files and command-line arguments into frozen dataclasses, and back.

A setting's full name is its dotted path (`grpo.clip_high`). The text `none` stands for None, which TOML lacks,
wherever a setting may be None. Everything wrong raises `ConfigError`.
"""

import dataclasses
import difflib
import math
import re
import tomllib
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tomli_w

from ponder.core.errors import ConfigError

T = TypeVar("T")

_PART = re.compile(r"\"([^\"]+)\"|[\w-]+")  # of a setting's name
_NAMED = re.compile(rf"--(?P<name>(?:{_PART.pattern})(?:\.(?:{_PART.pattern}))*)(?:=(?P<value>.*))?\Z", re.DOTALL)

NONE = "none"  # how None is written in TOML and on the command line
_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path (a text)"}


def apply_settings(config: T, settings: Mapping[str, object], *, where: str = "") -> T:
    """A copy of the dataclass instance `config` with `settings`, a tree of tables as in TOML, applied.

    `where` is the dotted path of `config` itself, for messages. Types are exact: a bool is no number, a text is
    never read as a number; a whole number is accepted for a float. Where a field may hold several dataclasses, a
    table changes the present one, unless it holds a key that only another knows: then it must describe that one
    in full. A table for a section that is None switches it on. A table of names that the user chose keeps its present
    entries.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"expected an instance of a dataclass, got {config!r}")
    known = sorted(_paths(config, where))
    result: T = _apply(config, settings, where, known)
    return result


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}{_similar_file(path)}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; expected a TOML file") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not a TOML file: byte {error.start} is not UTF-8 text; expected lines such as `seed = 1`"
        ) from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError and names line and column
        raise ConfigError(f"{path} is not valid TOML: {error}; expected lines such as `seed = 1`") from None


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """`["--grpo.clip_high=0.3", "--seed", "1"]` → `{"grpo": {"clip_high": 0.3}, "seed": 1}`.

    A value is read as TOML; what is not TOML is a text (`--task=chain`). Names that a person chose may stand in
    quotes, as in TOML (`--problems."my.file".kind=math`). Where a setting is given twice, the last one counts.
    """
    tree: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--"):
            raise ConfigError(f"unexpected argument {argument!r}; expected a setting such as --seed=1")
        match = _NAMED.match(argument)
        if match is None:
            raise ConfigError(
                f"{argument!r} names no setting; expected a form such as --grpo.clip_high=0.3, and a name with other "
                "characters than letters, digits, _ and - in quotes, such as '--problems.\"my file\".kind=math'"
            )
        name, text = match["name"], match["value"]
        if text is None:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"setting --{name} has no value; write --{name}=VALUE (true or false for a switch)")
            text = rest.pop(0)
        parts = [part[1] or part[0] for part in _PART.finditer(name)]
        _put(tree, parts, _parse_value(text), name)
    return tree


def to_toml(config: object) -> str:
    """Every setting of a dataclass instance as TOML. `apply_settings` on it gives an equal config back."""
    return tomli_w.dumps(_plain(config))


def _apply(config: Any, settings: Mapping[str, object], where: str, known: Sequence[str]) -> Any:
    """`known` holds the paths of the whole tree, so that a setting under the wrong section is found too."""
    hints = _settable(type(config))
    changes = {}
    for key, value in settings.items():
        path = _join(where, key)
        if key not in hints:
            raise _unknown(path, known, [_join(where, name) for name in hints])
        changes[key] = _convert(value, hints[key], getattr(config, key), path, known)
    with _errors_by_path(hints, where):
        return dataclasses.replace(config, **changes)


def _build(kind: Any, settings: Mapping[str, object], where: str, known: Sequence[str]) -> Any:
    """An instance of a dataclass from a table that describes it in full; fields with a default may be left out."""
    hints = _settable(kind)
    values = {}
    for key, value in settings.items():
        path = _join(where, key)
        if key not in hints:
            names = [_join(where, name) for name in hints]
            raise _unknown(path, [*known, *names], names)
        values[key] = _convert(value, hints[key], None, path, known)
    missing = [name for name in hints if name not in values and _is_required(kind, name)]
    if missing:
        raise ConfigError(f"section '{where}' lacks {', '.join(missing)}; a new {kind.__name__} must be given in full")
    with _errors_by_path(hints, where):
        return kind(**values)


@contextmanager
def _errors_by_path(names: Iterable[str], where: str) -> Iterator[None]:
    """A section's own checks call its settings by its usual name (`sft.steps`); here they get the path that a person
    writes (`cold_start.steps`).
    """
    try:
        yield
    except ConfigError as error:
        if not where:
            raise
        usual = rf"(?<![\w.])[a-z]\w*\.(?=(?:{'|'.join(names)})\b)"
        raise ConfigError(re.sub(usual, lambda _: f"{where}.", str(error))) from error


def _convert(value: object, hint: Any, present: object, path: str, known: Sequence[str]) -> Any:
    """`value` as the type that `hint` asks for."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(hint), present, path, known)
    if dataclasses.is_dataclass(hint):
        kind: Any = hint
        if dataclasses.is_dataclass(value) and isinstance(value, kind):
            return value
        if not isinstance(value, Mapping):
            names = ", ".join(f"{path}.{name}" for name in _settable(kind))
            raise ConfigError(f"'{path}' is a section with settings of its own, got {_show(value)}; set one of {names}")
        return _build(kind, value, path, known) if present is None else _apply(present, value, path, known)
    if origin is Literal:
        choices = get_args(hint)
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            close = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
            maybe = f"; did you mean {close[0]}?" if close else ""
            raise _wrong(path, value, f"one of {', '.join(map(_show, choices))}{maybe}")
        return value
    if origin is tuple:
        return _convert_tuple(value, get_args(hint), path, known)
    if origin is Mapping:
        return _convert_mapping(value, get_args(hint)[1], present, path, known)
    if hint is Any or hint is object:
        return value
    return _convert_scalar(value, hint, path)


def _convert_union(value: object, members: tuple[Any, ...], present: object, path: str, known: Sequence[str]) -> Any:
    if types.NoneType in members:
        if value is None or value == NONE:
            return None
        members = tuple(member for member in members if member is not types.NoneType)
    sections = [member for member in members if dataclasses.is_dataclass(member)]
    if sections and (isinstance(value, Mapping) or len(sections) == len(members)):
        kind: Any = type(present) if type(present) in sections else sections[0]
        if isinstance(value, Mapping) and not set(value) <= set(_settable(kind)):
            # A key that the present section lacks: another kind of section, if that one knows every key.
            others = [other for other in sections if set(value) <= set(_settable(other))]
            if others:
                return _build(others[0], value, path, known)
        return _convert(value, kind, present if type(present) is kind else None, path, known)
    if len(members) == 1:
        return _convert(value, members[0], present, path, known)
    for member in sorted(members, key=lambda member: member is not type(value)):  # an exact type first
        try:
            return _convert(value, member, present, path, known)
        except ConfigError:
            continue
    raise _wrong(path, value, " or ".join(_EXPECTED.get(member, str(member)) for member in members))


def _convert_tuple(value: object, items: tuple[Any, ...], path: str, known: Sequence[str]) -> tuple[Any, ...]:
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):  # a shell has taken the quotes away
        value = [_parse_value(item.strip()) for item in value[1:-1].split(",") if item.strip()]
    if not isinstance(value, list | tuple):
        of_texts = items[0] is str or get_origin(items[0]) is Literal
        raise _wrong(path, value, f"a list such as {'[a, b]' if of_texts else '[1, 2]'}")
    if len(items) == 2 and items[1] is Ellipsis:
        items = (items[0],) * len(value)
    if len(items) != len(value):
        raise _wrong(path, value, f"a list of {len(items)}")
    pairs = zip(value, items, strict=True)
    return tuple(_convert(item, hint, None, f"{path}[{i}]", known) for i, (item, hint) in enumerate(pairs))


def _convert_mapping(value: object, hint: Any, present: object, path: str, known: Sequence[str]) -> dict[str, Any]:
    """A table whose keys are names that the user chose. The present entries stay."""
    if not isinstance(value, Mapping):
        raise _wrong(path, value, "a table of names, each with its value")
    entries = dict(present) if isinstance(present, Mapping) else {}
    for name, item in value.items():
        entries[name] = _convert(item, hint, entries.get(name), _join(path, name), known)
    return entries


def _convert_scalar(value: object, hint: Any, path: str) -> Any:
    if hint not in _EXPECTED:
        raise TypeError(f"setting {path}: settings of type {hint} are not supported")
    expected = _EXPECTED[hint]
    if hint is float and type(value) in (int, float):
        try:
            number = float(value)  # type: ignore[arg-type]
        except OverflowError:
            raise _wrong(path, value, "a number that fits a double") from None
        if math.isnan(number):  # it would slip through every check of a range
            raise _wrong(path, value, expected)
        return number
    if type(value) is hint and hint is not float:
        return value
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint in (int, float) and isinstance(value, str):
        raise _wrong(path, value, expected + _as_number(value, hint))
    if hint is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        raise _wrong(path, value, f"{expected}; write {value.lower()}, small and without quotes")
    if hint in (str, Path) and not isinstance(value, Mapping | list):
        raise _wrong(path, value, f'{expected}; put it in quotes: "{value}" (in a shell: \'"{value}"\')')
    raise _wrong(path, value, expected)


def _as_number(text: str, kind: type) -> str:
    """A hint for a text that a person may have meant as a number: `.5`, `"3"`."""
    try:
        number = kind(text)
    except ValueError:
        return ""
    return f"; write {number!r} without quotes" if math.isfinite(number) else ""


def _wrong(path: str, value: object, expected: str) -> ConfigError:
    return ConfigError(f"setting '{path}': got {_show(value)}; expected {expected}")


def _unknown(path: str, known: Sequence[str], siblings: Sequence[str]) -> ConfigError:
    """Look for the same name in other sections, then for a slip in this section, then for a slip in others."""
    last = _last(path)
    close = (
        [name for name in known if _last(name) == last] or _similar(last, siblings, 0.6) or _similar(last, known, 0.8)
    )
    if close:
        return ConfigError(f"unknown setting '{path}'; did you mean {' or '.join(map(repr, close[:3]))}?")
    return ConfigError(f"unknown setting '{path}'; settings here: {', '.join(siblings) or 'none'}")


def _similar(last: str, paths: Sequence[str], cutoff: float) -> list[str]:
    """The paths whose last part is the nearest to `last`."""
    best = difflib.get_close_matches(last, {_last(path) for path in paths}, n=1, cutoff=cutoff)
    return [path for path in paths if _last(path) in best]


def _show(value: object) -> str:
    """A value as TOML shows it, cut to a readable length."""
    if isinstance(value, Mapping):
        return f"a table with {', '.join(map(str, value)) or 'nothing in it'}"
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str | Path) else str(value) if value is not None else NONE
    return text if len(text) <= 80 else text[:77] + "..."


def _paths(config: Any, where: str) -> Iterator[str]:
    """The dotted path of every setting and section."""
    for name in _settable(type(config)):
        path, value = _join(where, name), getattr(config, name)
        yield path
        if dataclasses.is_dataclass(value):
            yield from _paths(value, path)


def _settable(kind: Any) -> dict[str, Any]:
    """Name and type of every field that the constructor takes."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def _is_required(kind: type, name: str) -> bool:
    field = kind.__dataclass_fields__[name]  # type: ignore[attr-defined]
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _put(tree: dict[str, Any], parts: Sequence[str], value: Any, name: str) -> None:
    """Set one leaf of a tree of tables."""
    for part in parts[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--{name} makes '{part}' a section, but it was also given a value of its own")
    last = parts[-1]
    if isinstance(tree.get(last), dict) and not isinstance(value, dict):
        raise ConfigError(f"--{name} gives '{last}' a value, but settings inside it were given as well")
    if isinstance(value, dict):
        for key, inner in value.items():
            _put(tree, [*parts[-1:], key], inner, f"{name}.{key}")
        value = tree.get(last, {})
    tree[last] = value


def _parse_value(text: str) -> Any:
    """A TOML value, else the text itself. In an inline table nothing can follow a value unseen, not even a comment."""
    try:
        table = tomllib.loads(f"x = {{ value = {text} }}")["x"]
    except (ValueError, RecursionError):
        return text
    value = table["value"]
    return value if len(table) == 1 and isinstance(value, bool | int | float | str | list | dict) else text


def _plain(value: Any) -> Any:
    """A config as TOML knows it: tables, lists and scalars."""
    if dataclasses.is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in _settable(type(value))}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return NONE if value is None else value


def _similar_file(path: Path) -> str:
    """A hint for a mistyped file name."""
    try:
        names = [file.name for file in path.parent.iterdir()]
    except OSError:
        return f", nor a folder {path.parent} that can be read; check the path"
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else "; check the path"
