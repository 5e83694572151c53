"""Accounts: who has one, under which name and password, and in which state."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from ponder.serve.accounts.config import AccountsConfig
from ponder.serve.accounts.invites import spend_invite
from ponder.serve.accounts.names import LONGEST_PASSWORD, checked_password, name_key, password_form, shown_name
from ponder.serve.accounts.passwords import Passwords
from ponder.serve.accounts.secret import Secret
from ponder.serve.accounts.tables import accounts, api_keys, sessions
from ponder.serve.errors import ApiError
from ponder.serve.storage.database import Database

State = Literal["active", "suspended", "deleted"]
OnAccount = Callable[[Connection, str], object]  # done in the transaction that changes the account of this id


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    id: str
    name: str
    state: State
    admin: bool
    created_ms: int
    has_password: bool


class Accounts:
    """Registration and login. After what changes who may do what, the listeners are called with the account's id."""

    def __init__(
        self,
        database: Database,
        config: AccountsConfig,
        secret: Secret,
        *,
        passwords: Passwords | None = None,
        on_created: OnAccount = lambda connection, account: None,
        on_deleted: OnAccount = lambda connection, account: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`on_created` runs in the transaction that makes an account, e.g. for a grant; `on_deleted` in the one that
        deletes it, for what others keep of it. `clock`: seconds since 1970.
        """
        self._database, self._config, self._secret = database, config, secret
        self._passwords = passwords or Passwords(config.hashing)
        self._on_created, self._on_deleted, self._clock = on_created, on_deleted, clock
        self._listeners: list[Callable[[str], None]] = []

    @property
    def min_password_characters(self) -> int:
        return self._config.min_password

    def on_change(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    async def register(self, name: str, password: str, *, invite: str | None = None) -> Account:
        """A new account. Raises `ApiError` 403 where registration is closed or the invitation is not valid, 409 for a
        name that is taken, 422 for a name or password that will not do, 429 and 503.
        """
        if self._config.registration == "closed":
            raise _forbidden(
                "registration is closed here; ask who runs this server for an account", "registration_closed"
            )
        shown, key = shown_name(name), name_key(name)
        password = checked_password(password, name, self._config.min_password)
        invited = self._config.registration == "invite"
        code = self._secret.digest("invite", invite or "") if invited else None
        if code is not None:  # before the costly part
            await self._database.read(lambda connection: spend_invite(connection, code, self._now(), dry=True))
        password_hash = await self._passwords.hash(key, password, registration=True)

        def work(connection: Connection) -> Account:
            if code is not None:
                spend_invite(connection, code, self._now())
            account = create_account(connection, shown, password_hash, now_ms=self._now())
            self._on_created(connection, account.id)
            return account

        try:
            return await self._database.write(work)
        except IntegrityError:  # two at the same moment
            raise _taken() from None

    async def log_in(self, name: str, password: str) -> Account:
        """Whose name and password these are. Raises `ApiError` 401 with one message and at one cost, whether or not
        there is such an account; 403 for a suspended one, once the password was right; 429 and 503.
        """
        key = name_key(name)
        row = await self._database.read(lambda connection: _by_key(connection, key))
        stored = None if row is None else row.password_hash
        if len(password) > LONGEST_PASSWORD:
            password, stored = "", None
        password = password_form(password)
        if not await self._passwords.matches(key, password, stored) or row is None:
            raise _wrong_credentials("the name or the password is wrong")
        if row.state != "active":
            raise _forbidden("this account is suspended; ask who runs this server", "account_suspended")
        if self._passwords.is_outdated(row.password_hash) and self._passwords.may_hash(key):
            fresh = await self._passwords.hash(key, password)
            await self._database.write(lambda connection: _replace_hash(connection, row.id, row.password_hash, fresh))
        return _account(row)

    async def change_password(self, account: str, old: str, new: str, *, keep: str | None = None) -> None:
        """By its owner. All sessions end but the one with the digest `keep`. Raises `ApiError` 401 for a wrong old
        password, 422, 429, 503.
        """
        row = await self._database.read(lambda connection: _by_id(connection, account))
        checked = checked_password(new, row.name, self._config.min_password)
        if not await self._passwords.matches(row.name_key, password_form(old), row.password_hash):
            raise _wrong_credentials("the present password is wrong")
        fresh = await self._passwords.hash(row.name_key, checked)
        await self._database.write(lambda connection: set_password_hash(connection, account, fresh, keep=keep))
        self._changed(account)

    async def find(self, account: str) -> Account:
        """Raises `ApiError` 404."""
        return _account(await self._database.read(lambda connection: _by_id(connection, account)))

    async def set_state(self, account: str, state: Literal["active", "suspended"]) -> None:
        """A suspended account's sessions end; its keys are refused until it is active again."""
        await self._database.write(lambda connection: set_state(connection, account, state))
        self._changed(account)

    async def delete(self, account: str) -> None:
        """Its name, password, sessions and keys are gone, and what `on_deleted` deletes; what it used and paid stays on
        the books.
        """
        await self._database.write(lambda connection: delete_account(connection, account, self._on_deleted))
        self._changed(account)

    def close(self) -> None:
        self._passwords.close()

    def _changed(self, account: str) -> None:
        for listener in self._listeners:
            listener(account)

    def _now(self) -> int:
        return int(1000 * self._clock())


def create_account(
    connection: Connection,
    name: str,
    password_hash: str | None,
    *,
    now_ms: int,
    admin: bool = False,
    id: str | None = None,  # noqa: A002  # as the column
) -> Account:
    """Raises `ApiError` 409 for a name that is taken."""
    shown, key = shown_name(name), name_key(name)
    if _by_key(connection, key) is not None:
        raise _taken()
    account = Account(
        id=id or secrets.token_hex(10),
        name=shown,
        state="active",
        admin=admin,
        created_ms=now_ms,
        has_password=password_hash is not None,
    )
    connection.execute(
        insert(accounts).values(
            id=account.id,
            name=shown,
            name_key=key,
            password_hash=password_hash,
            state="active",
            admin=admin,
            created_ms=now_ms,
        )
    )
    return account


def ensure_account(connection: Connection, account: str, name: str, *, now_ms: int, admin: bool) -> None:
    """Make an account of this id where there is none: open mode's, whom everybody is."""
    if connection.execute(select(accounts.c.id).where(accounts.c.id == account)).first() is None:
        create_account(connection, name, None, now_ms=now_ms, admin=admin, id=account)


def find_by_name(connection: Connection, name: str) -> Account:
    """By name or id. Raises `ApiError` 404."""
    row = _by_key(connection, name_key(name))
    return _account(row if row is not None else _by_id(connection, name))


def list_accounts(connection: Connection) -> list[Account]:
    """All but the deleted ones, the oldest first."""
    rows = connection.execute(
        select(accounts).where(accounts.c.state != "deleted").order_by(accounts.c.created_ms, accounts.c.id)
    )
    return [_account(row) for row in rows]


def set_state(connection: Connection, account: str, state: Literal["active", "suspended"]) -> None:
    _by_id(connection, account)
    connection.execute(update(accounts).where(accounts.c.id == account).values(state=state))
    if state == "suspended":
        connection.execute(delete(sessions).where(sessions.c.account_id == account))


def set_password_hash(connection: Connection, account: str, password_hash: str, *, keep: str | None = None) -> None:
    """All sessions end but the one with the digest `keep`."""
    connection.execute(update(accounts).where(accounts.c.id == account).values(password_hash=password_hash))
    ended = delete(sessions).where(sessions.c.account_id == account)
    connection.execute(ended if keep is None else ended.where(sessions.c.digest != keep))


def delete_account(connection: Connection, account: str, on_deleted: OnAccount) -> None:
    """`on_deleted`: see `Accounts`."""
    _by_id(connection, account)
    connection.execute(delete(sessions).where(sessions.c.account_id == account))
    connection.execute(delete(api_keys).where(api_keys.c.account_id == account))
    on_deleted(connection, account)
    connection.execute(
        update(accounts)
        .where(accounts.c.id == account)
        .values(name="", name_key=f"deleted {account}", password_hash=None, state="deleted", admin=False)
    )


def _replace_hash(connection: Connection, account: str, old: str, new: str) -> None:
    """Unless it was changed meanwhile."""
    connection.execute(
        update(accounts).where(accounts.c.id == account, accounts.c.password_hash == old).values(password_hash=new)
    )


def _by_key(connection: Connection, key: str) -> Row[Any] | None:
    return connection.execute(select(accounts).where(accounts.c.name_key == key, accounts.c.state != "deleted")).first()


def _by_id(connection: Connection, account: str) -> Row[Any]:
    query = select(accounts).where(accounts.c.id == account, accounts.c.state != "deleted")
    if (row := connection.execute(query).first()) is None:
        raise ApiError(404, "there is no such account", type="not_found_error", code="no_account")
    return row


def _account(row: Row[Any]) -> Account:
    return Account(
        id=row.id,
        name=row.name,
        state=row.state,
        admin=row.admin,
        created_ms=row.created_ms,
        has_password=row.password_hash is not None,
    )


def _wrong_credentials(message: str) -> ApiError:
    return ApiError(401, message, type="authentication_error", code="wrong_credentials", should_retry=False)


def _taken() -> ApiError:
    return ApiError(409, "this name is taken; choose another one", code="name_taken", param="name", should_retry=False)


def _forbidden(message: str, code: str) -> ApiError:
    return ApiError(403, message, type="permission_error", code=code, should_retry=False)
