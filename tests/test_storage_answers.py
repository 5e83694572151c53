"""Whether the database answers: files that were moved, writes that fail, a standby, the lock of the one server."""

import asyncio
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from databases import lose_server_lock
from ponder.serve.errors import ApiError
from ponder.serve.storage import sqlite
from ponder.serve.storage.database import Database
from ponder.serve.storage.errors import StorageError
from test_storage_database import add, digests, sqlite_config, then_fail


def answers(database: Database) -> bool:
    return asyncio.run(database.answers())


def is_unavailable(future: Future[Any], reason: str) -> bool:
    with pytest.raises(ApiError, match=reason) as caught:
        future.result()
    return caught.value.status == 503


@pytest.mark.parametrize("case", ["moved", "deleted", "replaced"])
def test_a_file_that_is_no_longer_there_is_not_written_to(tmp_path: Path, case: str) -> None:
    database = Database.open(sqlite_config(tmp_path))
    database.write_now(add("a"))
    assert answers(database) is True
    path, elsewhere = tmp_path / "x.db", tmp_path / "elsewhere.db"
    if case == "deleted":
        path.unlink()
    else:
        path.rename(elsewhere)
    if case == "replaced":
        path.write_bytes(elsewhere.read_bytes())
    for writes in (1, 3):  # alone, and together
        futures = [database.submit_write(add(f"{i}")) for i in range(writes)]
        assert all(is_unavailable(future, "its file was") for future in futures)
    assert is_unavailable(database.submit_read(digests), "its file was")
    assert answers(database) is False
    if case != "deleted":
        elsewhere.rename(path)
        assert answers(database) is True
        database.write_now(add("b"))
        assert database.read_now(digests) == ["a", "b"]
    database.close()


def test_where_writes_fail_it_does_not_answer_until_they_do_not(tmp_path: Path) -> None:
    database = Database.open(sqlite_config(tmp_path, lock_seconds=0.05))
    other = sqlite.choose_driver().connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert answers(database) is True  # nobody has tried to write
    assert is_unavailable(database.submit_write(add("a")), "another process holds it")
    assert [answers(database), answers(database)] == [False, False]
    other.execute("ROLLBACK")
    assert answers(database) is True  # it has found out itself
    with pytest.raises(ValueError, match="after the write"):
        database.write_now(then_fail(add("a")))
    assert answers(database) is True  # a mistake of the work is none of the database
    assert database.read_now(digests) == []
    other.close()
    database.close()


def test_a_postgresql_that_only_reads_does_not_answer(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has no standby")
    set_read_only = f"ALTER DATABASE {database.url.database} SET default_transaction_read_only = "
    database.write_now(lambda connection: connection.execute(text(set_read_only + "on")))
    try:
        standby = Database.open(database.config)
        assert answers(standby) is False
        standby.close()
    finally:
        database.write_now(lambda connection: connection.execute(text(set_read_only + "off")))
    assert answers(database) is True


def test_a_server_that_lost_its_lock_takes_it_again(database: Database) -> None:
    """As after a restart of PostgreSQL."""
    if database.is_sqlite:
        pytest.skip("the lock of a file is lost with the process only")
    database.become_the_server()
    other = Database.open(replace(database.config, lock_seconds=0.2))
    lose_server_lock(other)
    assert answers(database) is True
    with pytest.raises(StorageError, match="another server works on the database"):
        other.become_the_server()
    database.require_the_server()
    other.close()


def test_a_server_that_lost_its_lock_to_another_one_does_not_answer(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("the lock of a file is lost with the process only")
    database.become_the_server()
    other = Database.open(replace(database.config, lock_seconds=0.5))
    lose_server_lock(other)
    other.become_the_server()
    assert [answers(database), answers(database), answers(other)] == [False, False, True]
    with pytest.raises(ApiError, match="the lock of its one server was lost") as caught:
        database.require_the_server()
    assert (caught.value.status, caught.value.code) == (503, "database_unavailable")
    other.require_the_server()
    other.close()
    assert answers(database) is True
    database.require_the_server()


def test_the_lock_is_given_back_when_everything_is_written(database: Database) -> None:
    """What the next server reads first is final."""
    database.become_the_server()
    other = Database.open(replace(database.config, lock_seconds=0.05))
    begun, refused = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        begun.set()
        assert refused.wait(10)
        add("a")(connection)

    writing = database.submit_write(slow)
    assert begun.wait(10)
    closing = threading.Thread(target=database.close)
    closing.start()
    time.sleep(0.05)
    with pytest.raises(StorageError, match="another server works on the database"):
        other.become_the_server()
    refused.set()
    closing.join()
    writing.result()
    other.become_the_server()
    assert other.read_now(digests) == ["a"]
    other.close()
