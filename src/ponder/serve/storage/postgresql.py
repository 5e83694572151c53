"""PostgreSQL through psycopg 3: how a connection is set up, and which errors are worth another attempt."""

import importlib.util
import time
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from ponder.serve.storage.errors import StorageError

SERVER_LOCK = 0x706F6E646572  # "ponder": the advisory lock of the one server of a database
MIGRATION_LOCK = SERVER_LOCK + 1
POLL_SECONDS = 0.05
_UNDER_WAY = """
    SELECT pid::text || ' ' || xact_start::text FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
      AND application_name = 'ponder'
"""
_CONFLICTS = ("40001", "40P01")  # serialization failure, deadlock: nothing was done, and it may be tried again


def open_engine(url: URL, *, connections: int, lock_seconds: float, patience_seconds: float) -> Engine:
    """Raises `StorageError` where the driver is missing."""
    if importlib.util.find_spec("psycopg") is None:
        raise StorageError("PostgreSQL needs the package psycopg; install it with: pip install 'ponder[postgresql]'")
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=patience_seconds,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 5,
            "application_name": "ponder",
            # a host that is gone without a word is noticed
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
    )

    def set_up(connection: Any, _record: object) -> None:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = {round(1000 * patience_seconds)}")
            cursor.execute(f"SET lock_timeout = {round(1000 * lock_seconds)}")
            cursor.execute(f"SET idle_in_transaction_session_timeout = {round(2000 * patience_seconds)}")
            cursor.execute("SHOW synchronous_commit")
            if cursor.fetchone() == ("off",):  # what was acknowledged must be on the disk
                cursor.execute("SET synchronous_commit = on")
        connection.autocommit = False

    event.listen(engine, "connect", set_up)
    return engine


def take_server_lock(connection: Connection, seconds: float) -> bool:
    """Whether the lock of the one server is now this connection's; it is given back with the connection.

    What a server that was killed has begun, PostgreSQL may still finish: that is waited for, so that what is read
    afterwards is final.
    """
    end = time.monotonic() + seconds
    while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": SERVER_LOCK}).scalar_one():
        connection.commit()
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    connection.commit()
    left = set(connection.execute(text(_UNDER_WAY)).scalars())
    connection.commit()
    while left and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        left &= set(connection.execute(text(_UNDER_WAY)).scalars())
        connection.commit()
    return True


def may_be_repeated(error: DBAPIError) -> bool:
    """Whether a transaction that failed before its commit may be tried again at once."""
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _CONFLICTS
