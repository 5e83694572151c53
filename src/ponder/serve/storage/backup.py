"""Copies of a database, and whether it is whole."""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from ponder.core.files import atomic_file, what_is
from ponder.serve.storage import sqlite
from ponder.serve.storage.database import Database
from ponder.serve.storage.errors import StorageError

PAGES_AT_ONCE = 1000  # between two of these others may write


def back_up(database: Database, path: Path) -> None:
    """Write a copy, of one state, of a SQLite database that may be in use. Raises `StorageError`."""
    if not database.is_sqlite:
        raise StorageError("PostgreSQL has its own tool for backups; run: pg_dump --format=custom --file=FILE URL")
    if what_is(path) is not None:
        raise StorageError(f"{path} is there already; give the backup a name of its own")

    def copy(connection: Connection) -> None:
        source: Any = connection.connection.dbapi_connection
        with atomic_file(path) as temporary:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o600))
            target = sqlite.choose_driver().connect(str(temporary))
            try:
                source.backup(target, pages=PAGES_AT_ONCE)
                target.execute("PRAGMA journal_mode = delete")  # one file, without a log beside it
            finally:
                target.close()

    database.read_now(copy)


def integrity_faults(database: Database) -> list[str]:
    """What SQLite finds wrong with its file; PostgreSQL watches over its own."""
    if not database.is_sqlite:
        return []

    def check(connection: Connection) -> list[str]:
        found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
        lost = [
            f"a row in {row[0]!r} points to nothing" for row in connection.exec_driver_sql("PRAGMA foreign_key_check")
        ]
        return [fault for fault in found if fault != "ok"] + lost

    return database.read_now(check)
