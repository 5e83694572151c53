"""The database behind its facade, on SQLite and PostgreSQL: whole writes, one state to read, errors with a status."""

import asyncio
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, text

from ponder.core.errors import ConfigError
from ponder.serve.accounts.accounts import create_account
from ponder.serve.accounts.tables import accounts, invites
from ponder.serve.errors import ApiError
from ponder.serve.storage import sqlite
from ponder.serve.storage.config import StorageConfig
from ponder.serve.storage.database import Database
from ponder.serve.storage.errors import StorageError


def add(digest: str) -> Callable[[Connection], str]:
    """One row in a table that refers to nothing."""

    def work(connection: Connection) -> str:
        connection.execute(insert(invites).values(digest=digest, created_ms=1, expires_ms=2, uses_left=1))
        return digest

    return work


def digests(connection: Connection) -> list[str]:
    return list(connection.execute(select(invites.c.digest).order_by(invites.c.digest)).scalars())


def then_fail(work: Callable[[Connection], object]) -> Callable[[Connection], None]:
    def failing(connection: Connection) -> None:
        work(connection)
        raise ValueError("after the write")

    return failing


def sqlite_config(tmp_path: Path, **settings: Any) -> StorageConfig:
    return StorageConfig(url=f"sqlite:///{tmp_path}/x.db", **settings)


# --- reading and writing


def test_a_write_is_there_for_every_later_read_and_after_opening_again(database: Database) -> None:
    assert database.write_now(add("a")) == "a"
    assert database.read_now(digests) == ["a"]
    database.close()
    again = Database.open(database.config)
    assert again.read_now(digests) == ["a"]
    again.close()


def test_of_writes_that_wait_together_only_the_failing_ones_are_undone(database: Database) -> None:
    async def write_all() -> list[object]:
        first = asyncio.create_task(
            database.write(lambda connection: time.sleep(0.05))
        )  # the others queue up behind it
        await asyncio.sleep(0.01)
        jobs: list[Callable[[Connection], object]] = [add(f"{i:02}") for i in range(20)]
        jobs[5], jobs[11] = then_fail(add("05")), add("03")  # its own error; a digest that is there already
        results = await asyncio.gather(*map(database.write, jobs), return_exceptions=True)
        await first
        return results

    results = asyncio.run(write_all())
    failed = [i for i, result in enumerate(results) if isinstance(result, Exception)]
    # on PostgreSQL the writes run side by side: either of the two with the same digest may be the second
    assert failed in ([5, 11], [3, 5])
    assert database.read_now(digests) == [f"{i:02}" for i in range(20) if i not in (5, 11)]


def test_a_thousand_writes_at_once_are_all_there(database: Database) -> None:
    async def write_all() -> None:
        await asyncio.gather(*(database.write(add(f"{i:04}")) for i in range(1000)))

    asyncio.run(write_all())
    assert database.read_now(digests) == [f"{i:04}" for i in range(1000)]


def test_a_read_sees_one_state(database: Database) -> None:
    database.write_now(add("a"))
    looked, written = threading.Event(), threading.Event()

    def look_twice(connection: Connection) -> tuple[list[str], list[str]]:
        if not database.is_sqlite:
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        first = digests(connection)
        looked.set()
        assert written.wait(10)
        return first, digests(connection)

    reading = database.submit_read(look_twice)
    assert looked.wait(10)
    database.write_now(add("b"))
    written.set()
    assert reading.result() == (["a"], ["a"])


def test_a_read_cannot_write_on_sqlite(tmp_path: Path) -> None:
    database = Database.open(sqlite_config(tmp_path))
    with pytest.raises(ApiError, match="read-only") as caught:
        database.read_now(add("a"))
    assert caught.value.status == 503
    database.close()


def test_in_memory_there_is_one_connection_for_all() -> None:
    database = Database.open(StorageConfig(url="sqlite://"))
    database.write_now(add("a"))
    assert database.read_now(digests) == ["a"]
    assert asyncio.run(database.answers()) is True
    database.close()


def test_references_are_held(database: Database) -> None:
    row = {"digest": "d", "account_id": "nobody", "created_ms": 1, "seen_ms": 1, "expires_ms": 2}
    columns = ", ".join(row)
    with pytest.raises(Exception, match=r"FOREIGN KEY|foreign key"):
        database.write_now(
            lambda c: c.execute(text(f"INSERT INTO sessions ({columns}) VALUES (:{', :'.join(row)})"), row).rowcount
        )


@pytest.mark.parametrize("name", ["a\udc80b"])
def test_text_that_cannot_be_stored_is_the_callers_fault(database: Database, name: str) -> None:
    with pytest.raises(ApiError, match="character that cannot be stored") as caught:
        database.write_now(add(name))
    assert caught.value.status == 422


def test_closing_finishes_what_waits(database: Database) -> None:
    futures = [database.submit_write(add(f"{i:03}")) for i in range(100)]
    database.close()
    assert [future.result() for future in futures] == [f"{i:03}" for i in range(100)]
    again = Database.open(database.config)
    assert len(again.read_now(digests)) == 100
    again.close()


# --- what can go wrong


def test_a_locked_database_is_503_and_works_again_after(tmp_path: Path) -> None:
    database = Database.open(sqlite_config(tmp_path, lock_seconds=0.1))
    other = sqlite.choose_driver().connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for writes in (1, 3):  # alone, and together
        futures = [database.submit_write(add(f"{i}")) for i in range(writes)]
        for future in futures:
            with pytest.raises(ApiError, match="another process holds it") as caught:
                future.result()
            assert (caught.value.status, caught.value.code) == (503, "database_unavailable")
    assert database.read_now(digests) == []  # readers are not held up
    other.execute("ROLLBACK")
    database.write_now(add("a"))
    assert database.read_now(digests) == ["a"]
    other.close()
    database.close()


def test_a_full_disk_is_503_and_loses_nothing(tmp_path: Path) -> None:
    database = Database.open(sqlite_config(tmp_path))
    database.write_now(add("before"))

    def limit(pages: int) -> None:
        with database.engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    with database.engine.connect() as connection:
        used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    limit(used)
    long = "x" * 5000
    futures = [database.submit_write(add(f"{i}{long}")) for i in range(8)]
    for future in futures:
        with pytest.raises(ApiError, match="its disk is full") as caught:
            future.result()
        assert caught.value.status == 503
        assert "xxx" not in str(caught.value)
    assert database.read_now(digests) == ["before"]
    limit(1_000_000)
    database.write_now(add("then"))
    assert database.read_now(digests) == ["before", "then"]
    database.close()


def test_on_a_full_disk_small_writes_do_not_fail_with_a_large_one(tmp_path: Path) -> None:
    database = Database.open(sqlite_config(tmp_path))
    with database.engine.connect() as connection:
        used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {used + 2}")
    hold = database.submit_write(lambda connection: time.sleep(0.05))
    small, large = database.submit_write(add("small")), database.submit_write(add("x" * 50_000))
    hold.result()
    assert small.result() == "small"
    with pytest.raises(ApiError, match="its disk is full"):
        large.result()
    database.close()


def test_a_damaged_file_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match="check that it is a SQLite file"):
        Database.open(sqlite_config(tmp_path))


def test_a_server_that_is_not_there_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        Database.open(StorageConfig(url=f"postgresql://me:canary-password@/db?host={tmp_path}"))
    assert "canary-password" not in str(caught.value)
    assert "***" in str(caught.value)


def test_a_connection_that_was_lost_is_replaced(database: Database) -> None:
    """As after a restart of PostgreSQL; SQLite has nothing to lose."""
    if database.is_sqlite:
        pytest.skip("SQLite has no server that could go away")
    database.write_now(add("a"))
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = :name"
    other = Database.open(database.config)
    other.write_now(lambda connection: connection.execute(text(kill), {"name": database.url.database}).all())
    database.write_now(add("b"))
    assert other.read_now(digests) == ["a", "b"]
    other.close()


def test_a_database_that_is_slow_is_503_in_time(tmp_path: Path) -> None:
    database = Database.open(sqlite_config(tmp_path, patience_seconds=0.05))
    with pytest.raises(ApiError, match="takes too long") as caught:
        asyncio.run(database.write(lambda connection: time.sleep(0.2)))
    assert caught.value.status == 503
    database.close()


def test_the_queue_is_bounded(tmp_path: Path) -> None:
    database = Database.open(sqlite_config(tmp_path, max_waiting=3))
    go = threading.Event()
    busy = database.submit_write(lambda connection: go.wait(10))
    while not busy.running():
        time.sleep(0.001)
    waiting = [database.submit_write(add(f"{i}")) for i in range(3)]
    with pytest.raises(ApiError, match="too many writes wait"):
        database.submit_write(add("x"))
    go.set()
    assert [future.result() for future in waiting] == ["0", "1", "2"]
    database.close()


def test_a_write_whose_caller_is_gone_before_its_turn_is_not_done(tmp_path: Path) -> None:
    database = Database.open(sqlite_config(tmp_path))

    async def give_up() -> None:
        go = threading.Event()
        busy = database.submit_write(lambda connection: go.wait(10))
        while not busy.running():
            await asyncio.sleep(0.001)
        task = asyncio.create_task(database.write(add("never")))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        await asyncio.wrap_future(busy)

    asyncio.run(give_up())
    assert database.read_now(digests) == []
    database.close()


# --- how it is opened


def test_one_server_at_a_time(database: Database) -> None:
    database.become_the_server()
    other = Database.open(replace(database.config, lock_seconds=0.2))
    with pytest.raises(StorageError, match="another server works on the database"):
        other.become_the_server()
    other.write_now(add("the command line may"))
    database.close()
    other.become_the_server()
    other.close()


def test_the_file_is_its_owners_only(tmp_path: Path) -> None:
    database = Database.open(StorageConfig(url=f"sqlite:///{tmp_path}/a/b/x.db"))
    database.write_now(add("a"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a" / "b").iterdir()}
    assert modes == {"x.db": 0o600, "x.db-wal": 0o600, "x.db-shm": 0o600}
    database.close()


def test_sqlite_is_set_up_for_money(tmp_path: Path) -> None:
    database = Database.open(sqlite_config(tmp_path))
    pragmas = ("foreign_keys", "synchronous", "trusted_schema", "secure_delete")

    def read(connection: Connection) -> tuple[object, ...]:
        return tuple(connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas)

    assert database.write_now(read) == (1, 2, 0, 1)  # 2: FULL
    assert database.journal == "wal"
    database.close()


@pytest.mark.parametrize(
    ("version", "safe"),
    [((3, 6, 23), True), ((3, 7, 0), False), ((3, 40, 1), False), ((3, 51, 2), False), ((3, 51, 3), True)],
)
def test_which_versions_may_write_ahead(version: tuple[int, ...], safe: bool) -> None:
    assert sqlite.write_ahead_is_safe(version) is safe


def test_the_driver_is_the_newer_one() -> None:
    assert sqlite.choose_driver().sqlite_version_info >= max(sqlite3.sqlite_version_info, (3, 51, 3))


class OldDriver:
    """SQLite, as if it were a version with the WAL-reset bug."""

    sqlite_version_info = (3, 40, 1)
    sqlite_version = "3.40.1"
    Error = sqlite3.Error

    @staticmethod
    def connect(path: str, timeout: float) -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=timeout)


def test_an_affected_version_leaves_write_ahead_mode(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    assert sqlite.choose_journal(sqlite.choose_driver(), path, 0.1) == "wal"
    assert sqlite.choose_journal(OldDriver, path, 0.1) == "delete"
    assert path.read_bytes()[18:20] == b"\x01\x01"  # the file format's write and read version: rollback journal
    holder = sqlite3.connect(path)
    holder.execute("PRAGMA journal_mode = wal")
    holder.execute("CREATE TABLE t (x)")
    with pytest.raises(StorageError, match=r"SQLite 3\.40\.1 may damage|no other program holds it"):
        sqlite.choose_journal(OldDriver, path, 0.1)
    holder.close()


def test_a_database_with_a_rollback_journal_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "choose_journal", lambda *_: "delete")
    database = Database.open(sqlite_config(tmp_path))
    database.write_now(add("a"))
    assert database.read_now(digests) == ["a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.db"]
    database.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "mysql://x"}, "begins with 'mysql'"),
        ({"url": "server/ponder.db"}, "expected sqlite:///FOLDER/FILE"),
        ({"connections": 0}, "'connections' of the storage is 0"),
        ({"lock_seconds": float("nan")}, "'lock_seconds' of the storage is nan"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StorageConfig(**settings)


def test_the_password_is_not_shown() -> None:
    assert "canary" not in repr(StorageConfig(url="postgresql://me:canary@host/db"))


def test_accounts_are_unicode_safe_on_both(database: Database) -> None:
    database.write_now(lambda connection: create_account(connection, "深度求索🐳", None, now_ms=1))
    assert database.read_now(lambda c: c.execute(select(accounts.c.name)).scalar_one()) == "深度求索🐳"
