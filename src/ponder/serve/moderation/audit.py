"""What is kept of every application of a rule: which, when, where and to whom; never the text."""

import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, Protocol

from sqlalchemy import Connection, insert, select

from ponder.serve.errors import ApiError
from ponder.serve.moderation.rules import Action
from ponder.serve.moderation.tables import audit
from ponder.serve.storage.database import Database

logger = logging.getLogger(__name__)

Part = Literal["input", "thought", "answer", "tool_call"]
# "": decided by the rule alone. Else by a second opinion: it agreed, it did not, or there was none
Review = Literal["", "agreed", "disagreed", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """One application of a rule."""

    account: str
    request_id: str
    sample: int
    part: Part
    rule: int
    action: Action
    begin: int  # in characters of the normalised text
    end: int
    digest: str  # of the matched text, keyed
    rules_digest: str
    review: Review = ""


class AuditLog(Protocol):
    """Keeps entries."""

    def record(self, entry: AuditEntry) -> None:
        """At once: it neither waits nor raises."""
        ...

    def digest(self, text: str) -> str:
        """A keyed digest of what was matched: equal texts can be counted, none can be read or guessed from it."""
        ...


class NoAuditLog:
    """Keeps nothing."""

    def record(self, entry: AuditEntry) -> None:
        pass

    def digest(self, text: str) -> str:
        return ""


class DatabaseAuditLog:
    """Writes entries to the database, without waiting for it."""

    def __init__(
        self,
        database: Database,
        *,
        digest: Callable[[str], str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`digest`: by default with a key that ends with the process."""
        key = secrets.token_bytes(32)
        self._digest = digest or (lambda text: blake2b(text.encode(), key=key, digest_size=32).hexdigest())
        self._database, self._clock = database, clock

    def digest(self, text: str) -> str:
        return self._digest(text)

    def record(self, entry: AuditEntry) -> None:
        row = insert(audit).values(
            created_ms=int(1000 * self._clock()),
            account_id=entry.account,
            request_id=entry.request_id,
            sample=entry.sample,
            part=entry.part,
            rule=entry.rule,
            action=entry.action,
            match_begin=entry.begin,
            match_end=entry.end,
            digest=entry.digest,
            rules_digest=entry.rules_digest,
            review=entry.review,
        )
        try:
            self._database.submit_write(lambda connection: connection.execute(row).rowcount).add_done_callback(
                lambda future: _note_failure(future, entry)
            )
        except ApiError as error:
            _log_lost(entry, error)


def list_entries(connection: Connection, last: int) -> list[dict[str, Any]]:
    """The newest entries, the newest first, with the names of the table's columns."""
    rows = connection.execute(select(audit).order_by(audit.c.id.desc()).limit(last))
    return [dict(row._mapping) for row in rows]


def _note_failure(future: "Future[int]", entry: AuditEntry) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        _log_lost(entry, error)


def _log_lost(entry: AuditEntry, error: BaseException) -> None:
    """The entry goes to the log where the database takes none: it holds no text."""
    logger.error(
        "moderation: rule %d (%s) applied to the %s of request %s; the audit could not store it: %s",
        entry.rule,
        entry.action,
        entry.part,
        entry.request_id,
        type(error).__name__,
    )
