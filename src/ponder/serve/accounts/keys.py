"""API keys: shown once, stored as a digest, revocable at once."""

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from ponder.serve.accounts.config import AccountsConfig
from ponder.serve.accounts.secret import Secret
from ponder.serve.accounts.tables import accounts, api_keys
from ponder.serve.errors import ApiError
from ponder.serve.storage.database import Database

_FORM = re.compile(r"sk-[A-Za-z0-9_-]{43}", re.ASCII)  # 256 bits
LONGEST_NAME = 100  # characters


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """A key as its owner sees it later."""

    id: str
    account: str
    name: str
    last4: str  # characters of the key
    created_ms: int
    last_used_ms: int | None
    revoked_ms: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NewApiKey:
    """A key as its owner sees it once."""

    info: ApiKey
    key: str

    def __repr__(self) -> str:
        return f"NewApiKey({self.info!r})"


class ApiKeys:
    """What revokes a key calls the listeners with its account's id, after the commit."""

    def __init__(
        self, database: Database, config: AccountsConfig, secret: Secret, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database, self._config, self._secret, self._clock = database, config, secret, clock
        self._listeners: list[Callable[[str], None]] = []

    def on_change(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    async def create(self, account: str, name: str) -> NewApiKey:
        """Raises `ApiError` 404, 409 where the account has too many, 422 for a name that will not do."""
        now = int(1000 * self._clock())
        return await self._database.write(
            lambda connection: create_key(
                connection, self._secret, account, name, now_ms=now, most=self._config.max_keys
            )
        )

    async def list(self, account: str) -> "list[ApiKey]":
        """The valid ones, the oldest first."""
        return await self._database.read(lambda connection: list_keys(connection, account))

    async def revoke(self, account: str, key: str) -> None:
        """By the key's id. Raises `ApiError` 404 where the account has no such valid key."""
        now = int(1000 * self._clock())
        await self._database.write(lambda connection: revoke_key(connection, account, key, now_ms=now))
        for listener in self._listeners:
            listener(account)


def looks_like_a_key(text: str) -> bool:
    return _FORM.fullmatch(text) is not None


def digest_of(secret: Secret, key: str) -> str:
    return secret.digest("api key", key)


def create_key(connection: Connection, secret: Secret, account: str, name: str, *, now_ms: int, most: int) -> NewApiKey:
    name = name.strip()
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise ApiError(
            422, f"the name of a key has at most {LONGEST_NAME} characters and none that is invisible", param="name"
        )
    lock = select(accounts.c.state).where(accounts.c.id == account).with_for_update()
    if connection.execute(lock).scalar() not in ("active", "suspended"):
        raise ApiError(404, "there is no such account", type="not_found_error", code="no_account")
    valid = (api_keys.c.account_id == account) & api_keys.c.revoked_ms.is_(None)
    if connection.execute(select(func.count()).select_from(api_keys).where(valid)).scalar_one() >= most:
        raise ApiError(409, f"an account has at most {most} keys; revoke one that is not used", code="too_many_keys")
    key = f"sk-{secrets.token_urlsafe(32)}"
    info = ApiKey(
        id=f"key-{secrets.token_hex(8)}",
        account=account,
        name=name,
        last4=key[-4:],
        created_ms=now_ms,
        last_used_ms=None,
        revoked_ms=None,
    )
    connection.execute(
        insert(api_keys).values(
            id=info.id,
            account_id=account,
            name=name,
            digest=digest_of(secret, key),
            last4=info.last4,
            created_ms=now_ms,
        )
    )
    return NewApiKey(info=info, key=key)


def list_keys(connection: Connection, account: str | None = None, *, revoked: bool = False) -> list[ApiKey]:
    """Of one account or of all, the oldest first; with `revoked` also those."""
    query = select(api_keys).order_by(api_keys.c.created_ms, api_keys.c.id)
    if account is not None:
        query = query.where(api_keys.c.account_id == account)
    if not revoked:
        query = query.where(api_keys.c.revoked_ms.is_(None))
    return [
        ApiKey(
            id=row.id,
            account=row.account_id,
            name=row.name,
            last4=row.last4,
            created_ms=row.created_ms,
            last_used_ms=row.last_used_ms,
            revoked_ms=row.revoked_ms,
        )
        for row in connection.execute(query)
    ]


def revoke_key(connection: Connection, account: str | None, key: str, *, now_ms: int) -> None:
    """`account` None: whosever it is. Raises `ApiError` 404."""
    change = update(api_keys).where(api_keys.c.id == key, api_keys.c.revoked_ms.is_(None)).values(revoked_ms=now_ms)
    if account is not None:
        change = change.where(api_keys.c.account_id == account)
    if connection.execute(change).rowcount == 0:
        raise ApiError(404, "there is no such valid key", type="not_found_error", code="no_key")
