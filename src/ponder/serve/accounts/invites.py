"""Invitations, where registration is by invitation."""

import secrets

from sqlalchemy import Connection, insert, select, update

from ponder.serve.accounts.secret import Secret
from ponder.serve.accounts.tables import invites
from ponder.serve.errors import ApiError


def create_invite(connection: Connection, secret: Secret, *, uses: int, days: float, now_ms: int) -> str:
    """The code of a new invitation. It is shown once: what is stored is its digest."""
    code = secrets.token_urlsafe(15)
    connection.execute(
        insert(invites).values(
            digest=secret.digest("invite", code),
            created_ms=now_ms,
            expires_ms=now_ms + round(days * 86_400_000),
            uses_left=uses,
        )
    )
    return code


def spend_invite(connection: Connection, digest: str, now_ms: int, *, dry: bool = False) -> None:
    """Take one use; `dry`: only look. Raises `ApiError` 403 for one that is unknown, spent or too old."""
    valid = (invites.c.digest == digest) & (invites.c.uses_left > 0) & (invites.c.expires_ms > now_ms)
    if dry:
        found = connection.execute(select(invites.c.digest).where(valid)).first() is not None
    else:
        found = connection.execute(update(invites).where(valid).values(uses_left=invites.c.uses_left - 1)).rowcount == 1
    if not found:
        raise ApiError(
            403,
            "registration here is by invitation, and this one is unknown, used up or too old",
            type="permission_error",
            code="invalid_invite",
            param="invite",
            should_retry=False,
        )
