"""Accounts as the browser app knows them: see `ponder.serve.web_api.seams.WebAccounts`."""

from collections.abc import Sequence

from ponder.serve.accounts.accounts import Account, Accounts
from ponder.serve.accounts.keys import ApiKey, ApiKeys
from ponder.serve.accounts.sessions import Sessions
from ponder.serve.web_api.seams import KeyInfo, SignedIn, WebAccount


class DatabaseAccounts:
    """A `WebAccounts`. Limits by network address stand in front of it."""

    def __init__(self, accounts: Accounts, sessions: Sessions, keys: ApiKeys) -> None:
        self._accounts, self._sessions, self._keys = accounts, sessions, keys

    @property
    def min_password_characters(self) -> int:
        return self._accounts.min_password_characters

    async def register(self, name: str, password: str, *, address: str, invite: str | None) -> SignedIn:
        return await self._sign_in(await self._accounts.register(name, password, invite=invite))

    async def login(self, name: str, password: str, *, address: str, instead_of: str | None = None) -> SignedIn:
        return await self._sign_in(await self._accounts.log_in(name, password), instead_of)

    async def logout(self, token: str) -> None:
        await self._sessions.close(token)

    async def find_session(self, token: str) -> WebAccount | None:
        return await self._sessions.find(token)

    async def change_password(self, account_id: str, token: str, *, current: str, new: str) -> None:
        await self._accounts.change_password(account_id, current, new, keep=self._sessions.digest(token))

    async def list_keys(self, account_id: str) -> Sequence[KeyInfo]:
        return [_info(key) for key in await self._keys.list(account_id)]

    async def create_key(self, account_id: str, name: str) -> tuple[KeyInfo, str]:
        new = await self._keys.create(account_id, name)
        return _info(new.info), new.key

    async def revoke_key(self, account_id: str, key_id: str) -> None:
        await self._keys.revoke(account_id, key_id)

    async def _sign_in(self, account: Account, instead_of: str | None = None) -> SignedIn:
        session = await self._sessions.open(account.id, instead_of=instead_of)
        return SignedIn(
            account=WebAccount(id=account.id, name=account.name, admin=account.admin, created_ms=account.created_ms),
            token=session.token,
            seconds=session.max_age,
        )


def _info(key: ApiKey) -> KeyInfo:
    return KeyInfo(id=key.id, name=key.name, last4=key.last4, created_ms=key.created_ms, last_used_ms=key.last_used_ms)
