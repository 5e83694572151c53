"""Tells by its API key who asks."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress

from sqlalchemy import select, update

from ponder.serve.accounts.accounts import Accounts
from ponder.serve.accounts.config import AccountsConfig
from ponder.serve.accounts.keys import ApiKeys, digest_of, looks_like_a_key
from ponder.serve.accounts.secret import Secret
from ponder.serve.accounts.tables import accounts, api_keys
from ponder.serve.errors import ApiError
from ponder.serve.records import Caller
from ponder.serve.storage.database import Database

MOST_CACHED = 10_000
USED_EVERY_MS = 300_000  # how often "last used" is written


class AccountAuthenticator:
    """An `Authenticator` for `Authorization: Bearer` and `x-api-key`.

    A key that was found good is taken for a moment without asking the database. One that this process revokes is
    refused from then on; one that another process revokes, after `key_cache_seconds`.
    """

    def __init__(
        self,
        database: Database,
        config: AccountsConfig,
        secret: Secret,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._secret, self._clock = database, secret, clock
        self._wall_clock = wall_clock
        self._seconds = config.key_cache_seconds
        self._cache: OrderedDict[str, tuple[float, str, str, bool]] = OrderedDict()  # until, account, key id, admin
        self._changes = 0  # what was read before a change is not cached after it

    def follow(self, accounts: Accounts, keys: ApiKeys) -> None:
        """Hear of what they change."""
        accounts.on_change(self.forget)
        keys.on_change(self.forget)

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Caller:
        key = key_in(headers)
        if not looks_like_a_key(key):
            raise refused(key)
        digest = digest_of(self._secret, key)
        cached = self._cache.get(digest)
        if cached is None or cached[0] <= self._clock():
            cached = await self._look_up(digest)
            if cached is None:
                raise refused(key)
        return Caller(account=cached[1], key=cached[2], admin=cached[3], address=address)

    def forget(self, account: str) -> None:
        """Something about this account has changed."""
        self._changes += 1
        for digest in [digest for digest, entry in self._cache.items() if entry[1] == account]:
            del self._cache[digest]

    async def _look_up(self, digest: str) -> tuple[float, str, str, bool] | None:
        self._cache.pop(digest, None)
        changes, until = self._changes, self._clock() + self._seconds
        query = (
            select(api_keys.c.id, api_keys.c.account_id, api_keys.c.last_used_ms, accounts.c.admin)
            .join(accounts, accounts.c.id == api_keys.c.account_id)
            .where(api_keys.c.digest == digest, api_keys.c.revoked_ms.is_(None), accounts.c.state == "active")
        )
        row = await self._database.read(lambda connection: connection.execute(query).first())
        if row is None:
            return None
        self._note_use(row.id, row.last_used_ms)
        entry = (until, row.account_id, row.id, row.admin)
        if changes == self._changes:
            self._cache[digest] = entry
            while len(self._cache) > MOST_CACHED:
                self._cache.popitem(last=False)
        return entry

    def _note_use(self, key: str, last_ms: int | None) -> None:
        """Nobody waits for it, and nobody is refused if it cannot be written."""
        now = int(1000 * self._wall_clock())
        if last_ms is None or not 0 <= now - last_ms < USED_EVERY_MS:
            used = update(api_keys).where(api_keys.c.id == key).values(last_used_ms=now)
            with suppress(ApiError):
                self._database.submit_write(lambda connection: connection.execute(used).rowcount)


def key_in(headers: Mapping[str, str]) -> str:
    """The key that a request carries. Raises `ApiError` 401 where it carries none."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    key = credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()
    if not key:
        raise ApiError(
            401,
            "Authentication Fails (no such user): no API key was given; send it as Authorization: Bearer <key>",
            type="authentication_error",
            code="invalid_request_error",
            should_retry=False,
        )
    return key


def refused(key: str) -> ApiError:
    """At most the last four characters are told back, and none of a text so short that these were much of it."""
    shown = f"****{key[-4:]}" if len(key) >= 20 and key[-4:].isascii() and key[-4:].isprintable() else "****"
    return ApiError(
        401,
        f"Authentication Fails, Your api key: {shown} is invalid",
        type="authentication_error",
        code="invalid_request_error",
        should_retry=False,
    )
