"""Sessions of the browser: a random token in a cookie, of which the database knows a digest only.

A session's times are by the wall clock. It is valid from a day before it was made (a clock that was set back a little
ends no session) until it expires; a clock that jumps further ends sessions early, never late.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from ponder.serve.accounts.config import AccountsConfig
from ponder.serve.accounts.secret import Secret
from ponder.serve.accounts.tables import accounts, sessions
from ponder.serve.storage.database import Database
from ponder.serve.web_api.seams import WebAccount

DAY_MS = 86_400_000
SEEN_EVERY_MS = 300_000  # how often "seen" is written
LONGEST_TOKEN = 100  # characters; a longer one was not made here


@dataclass(frozen=True, kw_only=True, slots=True)
class NewSession:
    """What the browser is given. The token belongs into a cookie that scripts cannot read."""

    token: str
    max_age: int  # seconds

    def __repr__(self) -> str:
        return "NewSession(…)"


class Sessions:
    def __init__(
        self, database: Database, config: AccountsConfig, secret: Secret, *, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock`: seconds since 1970."""
        self._database, self._config, self._secret, self._clock = database, config, secret, clock

    async def open(self, account: str, *, instead_of: str | None = None) -> NewSession:
        """A new session for who has just logged in. `instead_of`: the token that the browser had, which ends."""
        token = secrets.token_urlsafe(32)
        old = self.digest(instead_of) if instead_of else None

        def work(connection: Connection) -> None:
            now = self._now()
            connection.execute(delete(sessions).where(sessions.c.expires_ms <= now))
            if old is not None:
                connection.execute(delete(sessions).where(sessions.c.digest == old))
            connection.execute(
                insert(sessions).values(
                    digest=self.digest(token),
                    account_id=account,
                    created_ms=now,
                    seen_ms=now,
                    expires_ms=now + round(self._config.session_days * DAY_MS),
                )
            )

        await self._database.write(work)
        return NewSession(token=token, max_age=round(self._config.session_days * 86_400))

    async def find(self, token: str) -> WebAccount | None:
        """Who a token belongs to; None for one that is unknown, has ended, or whose account is not active."""
        if not 0 < len(token) <= LONGEST_TOKEN:
            return None
        digest = self.digest(token)
        query = (
            select(sessions, accounts.c.name, accounts.c.admin, accounts.c.created_ms.label("account_ms"))
            .join(accounts, accounts.c.id == sessions.c.account_id)
            .where(sessions.c.digest == digest, accounts.c.state == "active")
        )
        row = await self._database.read(lambda connection: connection.execute(query).first())
        now = self._now()
        idle_ms = round(self._config.session_idle_days * DAY_MS)
        if row is None or not row.created_ms - DAY_MS <= now < min(row.expires_ms, row.seen_ms + idle_ms):
            return None
        if now - row.seen_ms >= SEEN_EVERY_MS:
            seen = update(sessions).where(sessions.c.digest == digest).values(seen_ms=now)
            await self._database.write(lambda connection: connection.execute(seen).rowcount)
        return WebAccount(id=row.account_id, name=row.name, admin=row.admin, created_ms=row.account_ms)

    async def close(self, token: str) -> None:
        """Log out."""
        ended = delete(sessions).where(sessions.c.digest == self.digest(token))
        await self._database.write(lambda connection: connection.execute(ended).rowcount)

    def digest(self, token: str) -> str:
        """By which the database knows a token."""
        return self._secret.digest("session", token)

    def _now(self) -> int:
        return int(1000 * self._clock())
