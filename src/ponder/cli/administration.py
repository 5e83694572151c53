"""What the commands share that work on a server's database, beside the running server or without one."""

import argparse
import getpass
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from ponder.cli.values import add_json
from ponder.core.config import apply_settings, read_toml
from ponder.core.errors import ConfigError
from ponder.serve.accounts.secret import Secret, load_secret
from ponder.serve.config import ServeConfig
from ponder.serve.storage import sqlite
from ponder.serve.storage.config import StorageConfig
from ponder.serve.storage.database import Database
from ponder.serve.storage.errors import StorageError


@dataclass(frozen=True, kw_only=True)
class Administration:
    """A server's settings and its database."""

    config: ServeConfig
    database: Database

    def secret(self) -> Secret:
        """The server's; a server that only this machine reaches gets one where it has none yet."""
        return load_secret(self.config.accounts.secret_file, create=self.config.is_local)


def add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings of the server, as for ponder serve")
    parser.add_argument("--database", metavar="URL", help="another database (sqlite:///server/ponder.db)")
    add_json(parser)


@contextmanager
def open_administration(
    arguments: argparse.Namespace, *, migrate: bool = False, create: bool = False
) -> Iterator[Administration]:
    """The database that the arguments name. One of an older form is refused unless `migrate`: a server may use it.
    Raises `StorageError` where there is none, unless `create`.
    """
    config = ServeConfig()
    if arguments.config is not None:
        config = apply_settings(config, read_toml(arguments.config))
    if arguments.database is not None:
        config = replace(config, storage=replace(config.storage, url=arguments.database))
    if not create:
        _require_file(config.storage)
    database = Database.open(config.storage, migrate_now=migrate)
    try:
        yield Administration(config=config, database=database)
    finally:
        database.close()


def _require_file(storage: StorageConfig) -> None:
    """A file of SQLite's that is not there would be made, empty: an answer to a question that was meant for another."""
    try:
        url = make_url(storage.url)
    except ArgumentError:
        return  # opening it says what is wrong
    path = sqlite.database_file(url) if url.get_backend_name() == "sqlite" else None
    if path is not None and not path.exists():
        raise StorageError(
            f"there is no database {path} here; a server, or 'ponder users add', makes it. Go to the server's folder, "
            "or name its settings with --config FILE or its database with --database URL"
        )


def required(value: str | None, command: str, what: str) -> str:
    """An argument that this action cannot do without. Raises `ConfigError`."""
    if value is None:
        raise ConfigError(f"{command}: {what} is missing; write {command} {what}")
    return value


def read_password() -> str:
    """Typed twice at a terminal, else the first line of standard input; never an argument, which others could see."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("New password: ")
    if getpass.getpass("Again: ") != password:
        raise ConfigError("the two passwords differ; nothing was changed")
    return password


def now_ms() -> int:
    return int(1000 * time.time())


def shown_time(milliseconds: int | None) -> str:
    """To the minute, UTC."""
    if milliseconds is None:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M")
