"""Recipes as files: those that come with Ponder, and a person's own."""

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from ponder.core.config import read_toml
from ponder.core.errors import ConfigError

KIND = "kind"  # the setting of a file that says what it is a recipe of
DEFAULT_KIND = "zero"
BEGINS_FROM = "recipe"  # the setting of a file that names the recipe whose settings it changes
ALIASES = {"r1": "r1-smollm2"}  # shorter names


def built_in_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("ponder.recipes")
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def recipe_path(source: str | Path) -> Path:
    """The file of a built-in recipe by its name, or the path itself. Raises `ConfigError` for a name that is none."""
    names, path = built_in_recipes(), Path(source)
    name = ALIASES.get(str(source), str(source))
    if name in names:
        return Path(str(resources.files("ponder.recipes") / f"{name}.toml"))
    if not path.exists() and not path.suffix:
        close = difflib.get_close_matches(name, [*names, *ALIASES], n=1)
        maybe = f"did you mean {close[0]!r}?" if close else f"expected {', '.join(names)}, or the path of a TOML file"
        raise ConfigError(f"there is no recipe {name!r}; {maybe}")
    return path


def whole_path(file: str) -> str:
    """A file that a recipe names, by a path that holds in any folder; "" for none."""
    return str(Path(file).resolve()) if file else ""


def merged_tables(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of two trees of tables; those of `above` win. How long a stage learns is one thing, counted in one
    way: where `above` says `steps` and no `epochs`, the `epochs` of `below` are none.
    """
    merged = dict(below)
    if "epochs" in below and "steps" in above:
        merged["epochs"] = 0.0
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        merged[key] = merged_tables(under, value) if both else value  # type: ignore[arg-type]  # both are tables
    return merged


def recipe_layers(source: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a recipe, by its name or file: those of the one that all begins from, and those that files which
    begin from another (`recipe = "r1"`) put above them. Raises `ConfigError` where they do not belong together.
    """
    return _layers(source, ())


def _layers(source: str | Path, above: tuple[Path, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    path = recipe_path(source)
    if path in above:
        raise ConfigError(f"{path} begins from itself; expected a {BEGINS_FROM} that does not lead back to this file")
    settings = read_toml(path)
    if BEGINS_FROM not in settings:
        return settings, {}
    name = settings.pop(BEGINS_FROM)
    if not isinstance(name, str):
        raise ConfigError(f"{path}: {BEGINS_FROM} = {name!r}; expected the name of a recipe, or the path of one")
    below, between = _layers(name, (*above, path))
    kind = _kind(name, merged_tables(below, between))
    if settings.get(KIND, kind) != kind:
        raise ConfigError(
            f"{path} is a recipe of kind {settings[KIND]!r}, and {name}, from which it begins, is one of {kind!r}; "
            f"leave {KIND} out, or name another {BEGINS_FROM}"
        )
    return below, merged_tables(between, settings)


def read_recipe(source: str | Path) -> dict[str, Any]:
    """All settings of a recipe, by its name or file."""
    return merged_tables(*recipe_layers(source))


def recipe_kind(source: str | Path) -> str:
    """What a recipe's file, or the built-in one of that name, is a recipe of. Raises `ConfigError` for no text."""
    return _kind(source, read_recipe(source))


def _kind(source: str | Path, settings: Mapping[str, Any]) -> str:
    kind = settings.get(KIND, DEFAULT_KIND)
    if not isinstance(kind, str):
        raise ConfigError(f"{source}: kind = {kind!r}; expected a text")
    return kind
