"""Settings of accounts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ponder.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class HashingConfig:
    """argon2id (RFC 9106). Dearer hashes slow down whoever steals the database, and every login."""

    memory_kib: int = 19_456  # the least that OWASP's password storage cheat sheet advises, with two passes
    passes: int = 2
    lanes: int = 1
    threads: int = 1  # hashes at the same time: a flood of logins takes no more of the processor than this
    max_waiting: int = 32  # in the queue; further logins are answered with 503
    max_waiting_registrations: int = 4  # of these, so that a flood of sign-ups does not keep known users out
    per_account: int = 10  # hashes for one name within `window_seconds`; more are answered with 429
    window_seconds: float = 900.0

    def __post_init__(self) -> None:
        for name in ("memory_kib", "passes", "lanes", "threads", "max_waiting", "max_waiting_registrations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"'{name}' of the password hashing is {getattr(self, name)}; expected 1 or more")
        if self.memory_kib < 8 * self.lanes:
            raise ConfigError(
                f"'memory_kib' of the password hashing is {self.memory_kib}; {self.lanes} lanes need {8 * self.lanes}"
            )
        if self.per_account < 1 or not self.window_seconds > 0:
            raise ConfigError("'per_account' and 'window_seconds' of the password hashing must be above 0")


@dataclass(frozen=True, kw_only=True)
class AccountsConfig:
    mode: Literal["open", "accounts"] = "open"  # open: nobody is asked who he is; for one's own machine only
    registration: Literal["closed", "invite", "open"] = "closed"
    # The secret under which tokens and keys are stored. Whoever has the database but not this file can use neither.
    # Without the file all sessions and keys are void: back it up with the database.
    secret_file: Path = Path("server/secret")
    session_days: float = 30.0  # after which a login ends
    session_idle_days: float = 7.0  # without a request, after which it ends
    min_password: int = 8  # characters
    key_cache_seconds: float = 1.0  # how long a key that another process revoked may still be taken
    max_keys: int = 50  # valid keys of one account
    hashing: HashingConfig = field(default_factory=HashingConfig)

    def __post_init__(self) -> None:
        for name in ("session_days", "session_idle_days", "key_cache_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"'{name}' of the accounts is {getattr(self, name)}; expected more than 0")
        for name in ("min_password", "max_keys"):
            if getattr(self, name) < 1:
                raise ConfigError(f"'{name}' of the accounts is {getattr(self, name)}; expected 1 or more")
