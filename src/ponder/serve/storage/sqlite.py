"""SQLite: which build of it is used, how a connection is set up, and which journal it keeps.

Versions 3.7.0 to 3.51.2 can damage a database in write-ahead mode where two connections write and reset the log at
the same moment (sqlite.org, "WAL-reset bug"). `pysqlite3` brings a later version than many systems have. Where there is
only an affected one, the database is kept with a rollback journal: slower, and safe.
"""

import importlib
import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from ponder.core.files import explain_os_errors
from ponder.serve.storage.errors import StorageError, unavailable

FIRST_SAFE = (3, 51, 3)
AFFECTED_FROM = (3, 7, 0)
JournalMode = Literal["wal", "delete", "memory"]


def choose_driver() -> Any:
    """The DB-API module with the newer SQLite."""
    try:
        bundled = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return sqlite3
    return bundled if bundled.sqlite_version_info >= sqlite3.sqlite_version_info else sqlite3


def write_ahead_is_safe(version: tuple[int, ...]) -> bool:
    return not AFFECTED_FROM <= version < FIRST_SAFE


def database_file(url: URL) -> Path | None:
    """The file of a SQLite URL; None for a database in memory."""
    return None if url.database in (None, "", ":memory:") else Path(str(url.database))


def prepare_file(path: Path) -> None:
    """Make the folder and an empty file that only its owner may read. Its journals take its permissions over."""
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


class OpenedFile:
    """The file that a path meant when the database was opened. A process goes on writing to a file that was moved or
    deleted, and nobody would ever read that.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with explain_os_errors(path):
            status = path.stat()
        self._identity = (status.st_dev, status.st_ino)

    def require(self) -> None:
        """Raises `ApiError` 503 where the path means another file now, or none."""
        try:
            status = os.stat(self._path)
        except OSError:
            raise unavailable("its file was moved or deleted") from None
        if (status.st_dev, status.st_ino) != self._identity:
            raise unavailable("its file was replaced by another one")


def choose_journal(driver: Any, path: Path, lock_seconds: float) -> JournalMode:
    """Set the journal that is safe with `driver`; it is kept in the file. Raises `StorageError` where that cannot be
    changed because another process has the file open in the unsafe mode.
    """
    wanted: JournalMode = "wal" if write_ahead_is_safe(driver.sqlite_version_info) else "delete"
    try:
        mode = _set_journal(driver, path, wanted, lock_seconds)
    except driver.Error as error:
        raise StorageError(
            f"cannot open the database {path}: {error}; check that it is a SQLite file which this user may write, and "
            "that no other program holds it"
        ) from None
    if mode != wanted and wanted == "delete":
        raise StorageError(
            f"the database {path} is in write-ahead mode, which SQLite {driver.sqlite_version} may damage; stop the "
            "other processes that use it, or install pysqlite3"
        )
    return "wal" if mode == "wal" else "delete"


def _set_journal(driver: Any, path: Path, wanted: JournalMode, lock_seconds: float) -> str:
    """SQLite does not wait for another process that sets the mode at the same moment, so it is tried again."""
    end = time.monotonic() + lock_seconds
    while True:
        connection = driver.connect(str(path), timeout=lock_seconds)
        try:
            return str(connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0])
        except driver.Error as error:
            if "locked" not in str(error) or time.monotonic() >= end:
                raise
            time.sleep(0.05)
        finally:
            connection.close()


def open_engine(driver: Any, url: URL, *, connections: int, lock_seconds: float, writes: bool) -> Engine:
    """Connections for one kind of work. A transaction of a writer takes the lock when it begins, so that it never finds
    out half-way that another was faster.
    """
    engine = create_engine(
        url,
        module=driver,
        poolclass=StaticPool if database_file(url) is None else QueuePool,
        connect_args={"timeout": lock_seconds, "check_same_thread": False},
        **({} if database_file(url) is None else {"pool_size": connections, "max_overflow": 0}),
    )

    def set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where `begin` below says, not where the driver guesses
        for name, value in _pragmas(writes).items():
            connection.execute(f"PRAGMA {name} = {value}")

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
    return engine


def _pragmas(writes: bool) -> Mapping[str, str]:
    return {
        "foreign_keys": "ON",
        "synchronous": "FULL",  # what was acknowledged is on the disk, also after a power cut
        "trusted_schema": "OFF",
        "secure_delete": "ON",  # deleted text does not stay in free pages
        **({} if writes else {"query_only": "ON"}),
    }
