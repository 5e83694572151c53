"""Settings of the database."""

import re
from dataclasses import dataclass, field

from ponder.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class StorageConfig:
    # sqlite:///FOLDER/FILE (three slashes for a relative path, four for an absolute one) or
    # postgresql://USER@HOST/DATABASE; its password rather in ~/.pgpass than here
    url: str = field(default="sqlite:///server/ponder.db", repr=False)
    connections: int = 4  # threads that read from SQLite, or that use PostgreSQL
    lock_seconds: float = 5.0  # how long to wait for another process's lock on the database
    patience_seconds: float = 15.0  # after which a request that waits for the database is answered with 503
    max_waiting: int = 10_000  # reads and writes in the queue; further ones are answered with 503

    def __post_init__(self) -> None:
        if not re.match(r"(sqlite|postgresql)(\+\w+)?://", self.url):
            scheme = self.url.partition(":")[0]
            raise ConfigError(
                f"'url' of the storage begins with {scheme[:20]!r}; expected sqlite:///FOLDER/FILE or "
                "postgresql://USER@HOST/DATABASE"
            )
        for name in ("connections", "lock_seconds", "patience_seconds", "max_waiting"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"'{name}' of the storage is {getattr(self, name)}; expected more than 0")
