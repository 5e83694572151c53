"""Databases to test on: SQLite always, and a PostgreSQL of the test's own where its programs are found."""

import atexit
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, inspect, text

from ponder.serve.storage.config import StorageConfig
from ponder.serve.storage.database import Database

START_SECONDS = 60.0


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/data/ponder.db"
        return
    name = f"test_{os.urandom(6).hex()}"
    _execute(f"CREATE DATABASE {name}")
    yield f"postgresql://postgres@/{name}?host={_postgresql()}"
    _execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with its tables, which are empty."""
    if request.param == "sqlite":
        shutil.copy(_sqlite_template(), tmp_path / "ponder.db")
        database = Database.open(StorageConfig(url=f"sqlite:///{tmp_path}/ponder.db"))
    else:
        database = Database.open(StorageConfig(url=_shared_url()))
        database.write_now(_empty)
    yield database
    database.close()


@cache
def _sqlite_template() -> Path:
    """A file with all tables, to copy: making them takes longer than most tests."""
    folder = Path(tempfile.mkdtemp(prefix="ponder-sqlite-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Database.open(StorageConfig(url=f"sqlite:///{folder}/template.db")).close()
    return folder / "template.db"


@cache
def _shared_url() -> str:
    """One for all tests: making a database takes a second, emptying one does not."""
    _execute("CREATE DATABASE shared")
    return f"postgresql://postgres@/shared?host={_postgresql()}"


def lose_server_lock(other: Database) -> None:
    """End the session of whoever is the server of this PostgreSQL database, as its restart does."""
    end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = :base AND granted"
    base = "SELECT oid FROM pg_database WHERE datname = current_database()"
    other.write_now(
        lambda connection: connection.execute(text(end), {"base": connection.execute(text(base)).scalar_one()}).all()
    )


def _empty(connection: Connection) -> None:
    tables = set(inspect(connection).get_table_names()) - {"alembic_version"}
    connection.execute(text(f"TRUNCATE {', '.join(sorted(tables))} RESTART IDENTITY CASCADE"))


def _execute(statement: str) -> None:
    with psycopg.connect(f"postgresql://postgres@/postgres?host={_postgresql()}", autocommit=True) as connection:
        connection.execute(statement.encode())


def _postgresql() -> Path:
    """The socket's folder of a running server; skips the test, with the reason, where there is none."""
    folder, reason = _start_postgresql()
    if folder is None:
        pytest.skip(reason)
    return folder


@cache
def _start_postgresql() -> tuple[Path | None, str]:
    programs = [Path(path).parent for path in [shutil.which("postgres")] if path]
    programs += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = next((path for path in programs if (path / "initdb").exists() and (path / "postgres").exists()), None)
    if found is None:
        return None, "PostgreSQL is not installed: no postgres in PATH or /usr/lib/postgresql/*/bin"
    folder = Path(tempfile.mkdtemp(prefix="ponder-pg-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            shutil.chown(folder, "postgres")
        except LookupError:
            return None, "PostgreSQL does not run as root, and there is no user postgres"
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    made = subprocess.run(
        [found / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"],
        capture_output=True, text=True, cwd=folder, check=False, **as_user,
    )  # fmt: skip
    if made.returncode:
        return None, f"PostgreSQL's initdb failed: {made.stderr[-300:]}"
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            [
                found / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off",
                "-c", "shared_buffers=16MB",
            ],
            stdout=log, stderr=log, cwd=folder, **as_user,
        )  # fmt: skip
    atexit.register(_stop, server)
    return _await(server, folder)


def _await(server: "subprocess.Popen[bytes]", folder: Path) -> tuple[Path | None, str]:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            psycopg.connect(f"postgresql://postgres@/postgres?host={folder}").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return folder, ""
    return None, f"PostgreSQL did not start: {(folder / 'log').read_text(errors='replace')[-300:]}"


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.send_signal(2)  # SIGINT: at once, in order
    server.wait(timeout=START_SECONDS)
