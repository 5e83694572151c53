"""The one writer of a SQLite database. Writes that wait together share one commit, and so one wait for the disk."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from ponder.serve.errors import ApiError
from ponder.serve.storage.errors import explained, unavailable

T = TypeVar("T")
MOST_PER_COMMIT = 256


class Job:
    """A piece of work and what came of it."""

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.work = work
        self.future: Future[Any] = Future()
        self.outcome: Any = None
        self.error: Exception | None = None

    def run(self, connection: Connection) -> None:
        """Within a transaction. An error of the work itself undoes this work only; one of the database is raised."""
        self.outcome = self.error = None
        # `Connection.begin_nested` does the same, and takes longer than two of the work's own statements
        connection.exec_driver_sql("SAVEPOINT job")
        try:
            self.outcome = self.work(connection)
        except DBAPIError as error:
            if not isinstance(error, IntegrityError):
                raise  # the disk may be full: SQLite has perhaps undone the whole transaction
            self.error = error
        except Exception as error:  # noqa: BLE001  # the border of a thread: it is raised where the work came from
            self.error = error
        if self.error is not None:
            connection.exec_driver_sql("ROLLBACK TO job")
        connection.exec_driver_sql("RELEASE job")

    def run_alone(self, engine: Engine) -> None:
        """In a transaction of its own."""
        self.outcome = self.error = None
        try:
            with engine.begin() as connection:
                self.outcome = self.work(connection)
        except Exception as error:  # noqa: BLE001  # as above
            self.error = explained(error)

    def finish(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.outcome)


class GroupCommitWriter:
    """A thread that runs work on one connection, in the order in which it came."""

    def __init__(self, engine: Engine, *, max_waiting: int, require_file: Callable[[], None] = lambda: None) -> None:
        """`require_file` is called before each commit, and raises `ApiError` where nothing may be written."""
        self._engine, self._require_file = engine, require_file
        self._max_waiting = max_waiting
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ponder-database-writer", daemon=True)
        self._lock = threading.Lock()
        self._closed = False
        self._thread.start()

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """`work` may be called twice (another write may force a second attempt): it changes nothing but the database.

        Raises `ApiError` 503 where too many wait.
        """
        job = Job(work)
        with self._lock:
            if self._closed:
                raise unavailable("it is being closed")
            if self._jobs.qsize() >= self._max_waiting:
                raise unavailable("too many writes wait for it")
            self._jobs.put(job)
        return job.future

    def close(self) -> None:
        """Finish what waits, then end."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, last = [first], False
            while len(jobs) < MOST_PER_COMMIT and not self._jobs.empty():
                job = self._jobs.get()
                if job is None:
                    last = True
                    break
                jobs.append(job)
            self._commit([job for job in jobs if job.future.set_running_or_notify_cancel()])
            if last:
                return

    def _commit(self, jobs: list[Job]) -> None:
        try:
            self._require_file()
        except ApiError as error:
            for job in jobs:
                job.error = error
        else:
            if len(jobs) == 1 or not self._commit_together(jobs):
                for job in jobs:
                    job.run_alone(self._engine)
        for job in jobs:
            job.finish()

    def _commit_together(self, jobs: list[Job]) -> bool:
        """False: nothing was written, and each should be tried alone, since one may stand in the way of the others."""
        try:
            connection = self._engine.connect()
        except DBAPIError as error:
            return _fail(jobs, error)
        with connection:
            try:
                transaction = connection.begin()
            except DBAPIError as error:  # locked: trying one after the other would take long and find the same
                return _fail(jobs, error)
            try:
                for job in jobs:
                    job.run(connection)
                transaction.commit()
            except DBAPIError:
                transaction.rollback()
                return False
        return True


def _fail(jobs: list[Job], error: DBAPIError) -> bool:
    for job in jobs:
        job.error = explained(error)
    return True
