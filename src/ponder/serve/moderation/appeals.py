"""Appeals against what was decided by the site's rules."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from ponder.serve.errors import ApiError
from ponder.serve.moderation.tables import appeals
from ponder.serve.storage.database import Database

State = Literal["open", "upheld", "reversed"]  # upheld: the decision stands
MOST_OPEN = 100  # of one account


@dataclass(frozen=True, kw_only=True, slots=True)
class Appeal:
    """What somebody has against a decision, and what came of it."""

    id: str
    account: str
    message_id: str
    conversation_id: str | None
    request_id: str
    text: str
    created_ms: int
    state: State = "open"
    answer: str | None = None


class Appeals:
    """Reads and writes appeals. An account sees its own only."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    async def create(
        self, account: str, *, message_id: str, conversation_id: str | None, request_id: str, text: str
    ) -> Appeal:
        """Raises `ApiError` 409 `appealed` where there is one for this message."""
        appeal = Appeal(
            id=f"appeal_{secrets.token_urlsafe(16)}",
            account=account,
            message_id=message_id,
            conversation_id=conversation_id,
            request_id=request_id,
            text=text,
            created_ms=int(1000 * self._clock()),
        )

        def work(connection: Connection) -> None:
            same = select(appeals.c.id).where(appeals.c.account_id == account, appeals.c.message_id == message_id)
            if connection.execute(same).first() is not None:
                raise ApiError(409, "you have appealed against this decision already", code="appealed")
            still_open = (appeals.c.account_id == account) & (appeals.c.state == "open")
            count = connection.execute(select(func.count()).select_from(appeals).where(still_open)).scalar_one()
            if count >= MOST_OPEN:
                raise ApiError(409, f"{count} of your appeals wait for an answer; wait for those", code="too_many")
            connection.execute(
                insert(appeals).values(
                    id=appeal.id,
                    account_id=account,
                    message_id=message_id,
                    conversation_id=conversation_id,
                    request_id=request_id,
                    text=text,
                    created_ms=appeal.created_ms,
                    state=appeal.state,
                )
            )

        await self._database.write(work)
        return appeal

    async def list(self, account: str) -> "list[Appeal]":
        """The newest first."""
        return await self._database.read(lambda connection: list_appeals(connection, account))


def list_appeals(connection: Connection, account: str | None = None, state: State | None = None) -> list[Appeal]:
    """Of one account or of all, the newest first."""
    query = select(appeals).order_by(appeals.c.created_ms.desc(), appeals.c.id)
    if account is not None:
        query = query.where(appeals.c.account_id == account)
    if state is not None:
        query = query.where(appeals.c.state == state)
    return [_appeal(row) for row in connection.execute(query)]


def decide_appeal(
    connection: Connection, appeal_id: str, state: Literal["upheld", "reversed"], answer: str, *, now_ms: int
) -> None:
    """Raises `ApiError` 404 where there is no such open appeal."""
    decision = (
        update(appeals)
        .where(appeals.c.id == appeal_id, appeals.c.state == "open")
        .values(state=state, answer=answer, decided_ms=now_ms)
    )
    if connection.execute(decision).rowcount == 0:
        raise ApiError(404, "there is no such open appeal", type="not_found_error", code="not_found")


def delete_appeals_of(connection: Connection, account: str) -> None:
    """All appeals of an account that is deleted."""
    connection.execute(delete(appeals).where(appeals.c.account_id == account))


def _appeal(row: Row[Any]) -> Appeal:
    return Appeal(
        id=row.id,
        account=row.account_id,
        message_id=row.message_id,
        conversation_id=row.conversation_id,
        request_id=row.request_id,
        text=row.text,
        created_ms=row.created_ms,
        state=row.state,
        answer=row.answer,
    )
