"""docs/operations.md is true: every setting stands there with its default, its examples are taken as they stand, and
the container's files agree with it.
"""

import dataclasses
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.routing import Route

from ponder.cli.main import COMMANDS, build_parser
from ponder.core.config import apply_settings, parse_overrides
from ponder.serve.config import ServeConfig, check_safe
from ponder.serve.moderation.rules import parse_rules
from ponder.serve.operations.drain import Drain
from ponder.serve.operations.operations import Operations
from ponder.serve.upstream.settings import UpstreamSettings

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
TABLE_ROW = re.compile(r"^\| `([\w.]+)` \| ([^|]*) \|", re.MULTILINE)


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", DOCUMENT, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def settings(config: Any, where: str = "") -> Iterator[tuple[str, object]]:
    """Dotted names and defaults."""
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{where}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from settings(value, f"{name}.")
        else:
            yield name, value


def shown(value: object) -> str:
    """As the document writes it."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case tuple():
            return "[]"
        case dict():
            return "{}"
        case _:
            return str(value)


def commands() -> list[list[str]]:
    lines = (shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines())
    return [words[1:] for words in lines if words[:1] == ["ponder"]]


def test_every_setting_stands_there_with_its_default() -> None:
    section = DOCUMENT.split("## Every setting")[1].split("\n## ")[0]
    assert dict(TABLE_ROW.findall(section)) == {name: shown(value) for name, value in settings(ServeConfig())}


def test_so_does_every_address_for_operators() -> None:
    section = DOCUMENT.split("## What is to be seen")[1].split("\n## ")[0]
    told = re.findall(r"`(/[\w./-]+)`", "".join(re.findall(r"^\| (.*?) \|", section, re.MULTILINE)))
    routes = [route for route in Operations(drain=Drain()).routes if isinstance(route, Route)]
    assert sorted(told) == sorted(route.path for route in routes)


def test_so_does_every_setting_of_an_upstream() -> None:
    section = DOCUMENT.split("## Models of other servers")[1].split("\n## ")[0]
    written = dict(TABLE_ROW.findall(section))
    assert written.pop("url") == "(needed)"
    expected = {name: shown(value) for name, value in settings(UpstreamSettings(url="http://host/v1")) if name != "url"}
    assert written == expected


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda text: text.splitlines()[0])
def test_an_example_is_taken_as_it_stands(block: str) -> None:
    if block.startswith("[[rules]]"):
        assert len(parse_rules(block).rules) == 1
    else:
        check_safe(apply_settings(ServeConfig(), tomllib.loads(block)))


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_is_taken_as_it_stands(words: list[str]) -> None:
    arguments, rest = build_parser(words).parse_known_args(words)
    if arguments.takes_settings:
        apply_settings(ServeConfig(), parse_overrides(rest))
    else:
        assert rest == []
    assert words[0] in COMMANDS


def test_the_containers_agree_with_each_other() -> None:
    """Address, secrets and database of the settings are those of the compose file."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    config = apply_settings(ServeConfig(), tomllib.loads((ROOT / "docker" / "ponder.toml").read_text(encoding="utf-8")))
    check_safe(config)
    app, database = compose["services"]["app"], compose["services"]["database"]
    assert [config.storage.url] == [
        "postgresql://{POSTGRES_USER}@database/{POSTGRES_DB}".format(**database["environment"])
    ]
    assert list(config.server.proxies) == [compose["networks"]["outside"]["ipam"]["config"][0]["subnet"]]
    assert app["ports"] == [f"127.0.0.1:{config.server.port}:{config.server.port}"]
    assert int(app["stop_grace_period"].removesuffix("s")) >= config.server.drain_seconds + 5
    assert set(app["secrets"]) | set(database["secrets"]) == set(compose["secrets"])
    entrypoint = (ROOT / "docker" / "entrypoint").read_text(encoding="utf-8")
    assert all(f"/run/secrets/{name}" in entrypoint for name in app["secrets"])
    assert f">{config.accounts.secret_file}\n" in entrypoint


def test_the_entrypoint_escapes_a_password_as_libpq_wants_it(tmp_path: Path) -> None:
    r"""`:` and `\` in a password file are written with a `\` before them (PostgreSQL's documentation, 34.16)."""

    for folder in ("secrets", "ponder", "bin"):
        (tmp_path / folder).mkdir()
    (tmp_path / "secrets" / "database-password").write_text("a:b\\c\n")
    (tmp_path / "secrets" / "ponder-secret").write_text("x" * 64 + "\n")
    command = tmp_path / "bin" / "ponder"
    command.write_text('#!/bin/sh\necho "$@"\n')
    command.chmod(0o755)
    script = (ROOT / "docker" / "entrypoint").read_text(encoding="utf-8").replace("/run/", f"{tmp_path}/")
    done = subprocess.run(
        ["sh", "-c", script, "entrypoint", "serve", "--port", "1"],
        env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "serve --port 1\n"
    assert (tmp_path / "ponder" / "pgpass").read_text() == "*:*:*:*:a\\:b\\\\c\n"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "ponder").iterdir()} == {0o600}
