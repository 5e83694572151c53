"""The right to be the one server of a PostgreSQL database."""

import threading
from contextlib import suppress

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from ponder.serve.storage import postgresql

BUSY_SECONDS = 1.0  # how long one who looks waits for another who does


class ServerLock:
    """An advisory lock, which lives as long as the connection that took it. It is lost where PostgreSQL is restarted or
    the network breaks, and then another server may take it: whoever relies on it has to look again and again.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._looking = threading.Lock()
        self.held = False  # as far as is known

    def take(self, seconds: float) -> bool:
        """Whether the lock is held now; another server's is waited for so long. Raises `SQLAlchemyError`."""
        connection = self._engine.connect()
        connection.detach()  # the pool gets another one in its place
        try:
            self.held = postgresql.take_server_lock(connection, seconds)
        finally:
            if self.held:
                self._connection = connection
            else:
                connection.close()
        return self.held

    def look(self) -> bool:
        """Whether the lock is still held. Where the connection was lost it is taken again, if nobody else has it."""
        if not self._looking.acquire(timeout=BUSY_SECONDS):
            return False
        try:
            if self._is_alive():
                return True
            self._let_go()
            return self.take(0)
        except SQLAlchemyError:
            return False
        finally:
            self._looking.release()

    def close(self) -> None:
        """Give it back."""
        with self._looking:
            self._let_go()

    def _is_alive(self) -> bool:
        if self._connection is None:
            return False
        try:
            self._connection.execute(text("SELECT 1"))
            self._connection.commit()
        except SQLAlchemyError:
            return False
        return True

    def _let_go(self) -> None:
        self.held = False
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):  # PostgreSQL may be gone already
                connection.close()
