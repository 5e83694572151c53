"""The database as the server's parts see it: functions of a connection, run beside the event loop.

    name = await database.read(lambda connection: find_name(connection, id))
    await database.write(lambda connection: rename(connection, id, name))

A read sees one state of the database. A write is done as a whole or not at all, and is on the disk when it returns. The
function may be called more than once, so it changes nothing but the database. A database that is gone, locked, full or
too slow raises `ApiError` 503; nothing of it reaches a caller as a traceback.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from threading import BoundedSemaphore
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from ponder.core.errors import ConfigError
from ponder.core.locks import hold_lock
from ponder.serve.storage import migrate, postgresql, sqlite
from ponder.serve.storage.config import StorageConfig
from ponder.serve.storage.errors import StorageError, explained, is_unavailable, reason_of, unavailable
from ponder.serve.storage.server_lock import ServerLock
from ponder.serve.storage.writer import GroupCommitWriter

T = TypeVar("T")
ATTEMPTS = 3


class Database:
    """Open one with `Database.open`; close it when everything that uses it has ended."""

    def __init__(self, config: StorageConfig, *, migrate_now: bool = True) -> None:
        """Opens the database. An empty one gets its tables, one of an older form is brought to this version's if
        `migrate_now`. Blocks; raises `StorageError` for one that cannot be used.
        """
        self.config = config
        try:
            self.url = make_url(config.url)
        except ArgumentError:
            raise ConfigError(
                "'url' of the storage is no URL; expected one such as sqlite:///server/ponder.db"
            ) from None
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._closing = ExitStack()
        self._writer: GroupCommitWriter | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._room = BoundedSemaphore(config.max_waiting)
        self._file: sqlite.OpenedFile | None = None
        self._server_lock: ServerLock | None = None
        self._writes_fail = False  # as the last one did
        self._open_sqlite() if self.is_sqlite else self._open_postgresql()
        try:
            if migrate_now or migrate.revision_of(self.engine) is None:
                migrate.upgrade(self.engine)
            else:
                migrate.require_current(self.engine)
            self._start()
        except SQLAlchemyError as error:
            self._closing.close()
            raise StorageError(
                f"cannot use the database {self.name}: {reason_of(error)}; check that it runs and that the URL is right"
            ) from error
        except BaseException:
            self._closing.close()
            raise

    @classmethod
    def open(cls, config: StorageConfig, *, migrate_now: bool = True) -> Self:
        return cls(config, migrate_now=migrate_now)

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`, which may not write."""
        return await self.wait(self.submit_read(work))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`, after its commit.

        Cancelling the wait, or 503 because it took too long, does not tell whether the write has happened: where that
        matters, give it an id of its own, so that it can be repeated.
        """
        return await self.wait(self.submit_write(work))

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """As `read`, for a thread that may wait."""
        return self.submit_read(work).result()

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """As `write`, for a thread that may wait."""
        return self.submit_write(work).result()

    def submit_read(self, work: Callable[[Connection], T]) -> Future[T]:
        if self._threads is None:
            return self.submit_write(work)
        return self._submit(self._read, work)

    def submit_write(self, work: Callable[[Connection], T]) -> Future[T]:
        future = self._submit(self._write, work) if self._writer is None else self._writer.submit(work)
        future.add_done_callback(self._note_write)
        return future

    async def wait(self, future: Future[T]) -> T:
        """The result of what was submitted. Raises `ApiError` 503 where it takes too long; then it may yet be done."""
        try:
            async with asyncio.timeout(self.config.patience_seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise unavailable("it takes too long") from None

    async def answers(self) -> bool:
        """Whether a request that needs the database would be served now. To be asked every second or so: a server whose
        lock was lost takes it again here.
        """
        try:
            if not await self._holds_server_lock():
                return False
            if self._writes_fail:  # nobody may be there to write and find that they do again
                await self.write(_write_nothing)
            return await self.read(self._may_write)
        except Exception:  # noqa: BLE001  # whatever it is, the answer is no
            return False

    def become_the_server(self) -> None:
        """Make sure that no other server works on this database, until `close`. Raises `StorageError`."""
        if not self.is_sqlite:
            lock = ServerLock(self.engine)
            self._serving.callback(lock.close)
            try:
                taken = lock.take(self.config.lock_seconds)
            except SQLAlchemyError as error:
                raise StorageError(f"cannot use the database {self.name}: {reason_of(error)}") from error
            if not taken:
                raise _in_use(self.name, "another one")
            self._server_lock = lock
        elif path := sqlite.database_file(self.url):
            lock_file = path.with_name(path.name + ".lock")
            self._serving.enter_context(hold_lock(lock_file, lambda holder: _in_use(self.name, holder)))

    def require_the_server(self) -> None:
        """Raises `ApiError` 503 where this was the one server of the database and is no longer known to be."""
        if self._server_lock is not None and not self._server_lock.held:
            raise unavailable("the lock of its one server was lost, and is not regained yet")

    def close(self) -> None:
        """Finish what waits, then let go. Blocks."""
        self._closing.close()

    def _open_sqlite(self) -> None:
        driver = sqlite.choose_driver()
        path = sqlite.database_file(self.url)
        self.journal: sqlite.JournalMode = "memory"
        if path is not None:
            sqlite.prepare_file(path)
            self._file = sqlite.OpenedFile(path)
            self.journal = sqlite.choose_journal(driver, path, self.config.lock_seconds)
        self.engine = sqlite.open_engine(
            driver, self.url, connections=1, lock_seconds=self.config.lock_seconds, writes=True
        )
        self._closing.callback(self.engine.dispose)
        self._reading = self.engine
        if path is not None:
            self._reading = sqlite.open_engine(
                driver,
                self.url,
                connections=self.config.connections,
                lock_seconds=self.config.lock_seconds,
                writes=False,
            )
            self._closing.callback(self._reading.dispose)

    def _open_postgresql(self) -> None:
        self.engine = self._reading = postgresql.open_engine(
            self.url,
            connections=self.config.connections,
            lock_seconds=self.config.lock_seconds,
            patience_seconds=self.config.patience_seconds,
        )
        self._closing.callback(self.engine.dispose)

    def _start(self) -> None:
        self._serving = self._closing.enter_context(ExitStack())  # ends after everything that was begun is written
        if self.is_sqlite:
            self._writer = GroupCommitWriter(
                self.engine, max_waiting=self.config.max_waiting, require_file=self._require_file
            )
            self._closing.callback(self._writer.close)
        if not self.is_sqlite or self._reading is not self.engine:  # in memory there is one connection for all
            self._threads = ThreadPoolExecutor(self.config.connections, "ponder-database")
            self._closing.callback(self._threads.shutdown)

    def _submit(self, run: Callable[[Callable[[Connection], T]], T], work: Callable[[Connection], T]) -> Future[T]:
        assert self._threads is not None
        if not self._room.acquire(blocking=False):
            raise unavailable("too many requests wait for it")
        future = self._threads.submit(run, work)
        future.add_done_callback(lambda _: self._room.release())
        return future

    async def _holds_server_lock(self) -> bool:
        """Or has no need of one."""
        if self._server_lock is None or self._threads is None:
            return True
        return await self.wait(self._threads.submit(self._server_lock.look))

    def _require_file(self) -> None:
        if self._file is not None:
            self._file.require()

    def _may_write(self, connection: Connection) -> bool:
        """PostgreSQL answers also where it only reads: a standby, or one that was set so."""
        query = "SELECT 'off'" if self.is_sqlite else "SHOW transaction_read_only"
        return connection.execute(text(query)).scalar_one() == "off"

    def _note_write(self, future: Future[Any]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None or is_unavailable(error):  # any other one is of the work, and tells nothing of the database
            self._writes_fail = error is not None

    def _read(self, work: Callable[[Connection], T]) -> T:
        self._require_file()
        return self._transact(self._reading, work)

    def _write(self, work: Callable[[Connection], T]) -> T:
        return self._transact(self.engine, work)

    def _transact(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        try:
            for _ in range(ATTEMPTS - 1):
                try:
                    return _once(engine, work)
                except _Again:
                    continue
            return _once(engine, work)
        except _Again as again:
            raise explained(again.cause) from again.cause
        except Exception as error:
            shown = explained(error)
            if shown is error:
                raise
            raise shown from error


class _Again(Exception):
    """Nothing was committed, and another attempt may do better."""

    def __init__(self, cause: DBAPIError) -> None:
        super().__init__()
        self.cause = cause


def _once(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.connect() as connection:
        transaction = connection.begin()
        try:
            result = work(connection)
        except DBAPIError as error:
            transaction.rollback()
            if postgresql.may_be_repeated(error):
                raise _Again(error) from error
            raise
        except BaseException:
            transaction.rollback()
            raise
        transaction.commit()  # a connection lost during this is not tried again: nobody can tell what happened
    return result


def _write_nothing(connection: Connection) -> None:
    """A write that changes nothing, of a page or row that every database has."""
    connection.execute(text("UPDATE alembic_version SET version_num = version_num"))


def _in_use(name: str, holder: str) -> StorageError:
    return StorageError(
        f"another server works on the database {name} (process {holder}); stop it, or give this one another database"
    )
