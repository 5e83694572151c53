"""What the browser app's API needs of the accounts and the bill."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ponder.serve.records import Balance, PriceList, UsageOfDay

Registration = Literal["open", "invite", "closed"]  # who may register


@dataclass(frozen=True, kw_only=True, slots=True)
class WebAccount:
    """Who is signed in."""

    id: str
    name: str
    admin: bool
    created_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedIn:
    """A session that has begun. Its token goes into the cookie and nowhere else."""

    account: WebAccount
    token: str
    seconds: int  # until it ends

    def __repr__(self) -> str:
        return f"SignedIn(account={self.account!r})"


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyInfo:
    """An API key without the key."""

    id: str
    name: str
    last4: str
    created_ms: int
    last_used_ms: int | None = None


class WebAccounts(Protocol):
    """Accounts, sessions and keys."""

    @property
    def min_password_characters(self) -> int:
        """Of a new password."""
        ...

    async def register(self, name: str, password: str, *, address: str, invite: str | None) -> SignedIn:
        """Raises `ApiError` 403 where registration is closed, 409 `name_taken`, 422 for what will not do."""
        ...

    async def login(self, name: str, password: str, *, address: str, instead_of: str | None = None) -> SignedIn:
        """`instead_of`: the token of the session that the browser had, which ends when the new one begins. Raises
        `ApiError` 401 `wrong_credentials`, 403 `account_suspended`, 429 after too many tries, 503 where too many log
        in at this moment.
        """
        ...

    async def logout(self, token: str) -> None: ...

    async def find_session(self, token: str) -> WebAccount | None:
        """Who this session belongs to; None for one that has ended."""
        ...

    async def change_password(self, account_id: str, token: str, *, current: str, new: str) -> None:
        """All sessions but that of the token end. Raises `ApiError` 401 `wrong_credentials` for a wrong present
        password, 422 for a new one that will not do, 429 after too many tries, 503 where too many log in at this
        moment.
        """
        ...

    async def list_keys(self, account_id: str) -> Sequence[KeyInfo]: ...

    async def create_key(self, account_id: str, name: str) -> tuple[KeyInfo, str]:
        """The key itself is given this once."""
        ...

    async def revoke_key(self, account_id: str, key_id: str) -> None:
        """Raises `ApiError` 404."""
        ...


class Billing(Protocol):
    """What was used and what is left."""

    async def usage(self, account_id: str, *, from_ms: int, to_ms: int) -> Sequence[UsageOfDay]: ...

    async def balance(self, account_id: str) -> Balance | None: ...

    def prices(self) -> PriceList | None: ...
