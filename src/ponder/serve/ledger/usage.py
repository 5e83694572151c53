"""What was used: one row for each request, without any of its text; and sums of these."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import BigInteger, Connection, RowMapping, Select, cast, func, select

from ponder.serve.ledger.tables import usage
from ponder.serve.records import Usage
from ponder.serve.seams import Reservation

DAY_MS = 86_400_000
LONGEST_MODEL = 200  # characters, as the column
By = Literal["day", "key", "model", "account"]


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageSum:
    """Sums over the requests that agree in what was asked for; the rest of `day`, `key`, … is None."""

    day: int | None = None  # the first millisecond of the day (UTC), since 1970
    account: str | None = None
    key: str | None = None  # "" for requests of the browser
    model: str | None = None
    currency: str
    requests: int
    cache_hit_tokens: int
    cache_miss_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    micro_units: int


def sum_usage(
    connection: Connection,
    by: Sequence[By],
    *,
    account: str | None = None,
    from_ms: int = 0,
    to_ms: int | None = None,
) -> list[UsageSum]:
    """Sums of the requests that ended in [from_ms, to_ms), by these and by currency, in their order."""
    day = cast(usage.c.finished_ms - usage.c.finished_ms % DAY_MS, BigInteger)
    columns = {
        "day": day,
        "account": usage.c.account_id,
        "key": func.coalesce(usage.c.key_id, ""),
        "model": usage.c.model,
    }
    groups = [columns[name].label(name) for name in by]
    sums = [
        func.sum(usage.c[name]).label(name)
        for name in (
            "cache_hit_tokens", "cache_miss_tokens", "completion_tokens", "reasoning_tokens", "micro_units",
        )
    ]  # fmt: skip
    query = select(*groups, usage.c.currency, func.count().label("requests"), *sums)
    query = _within(query, account, from_ms, to_ms).group_by(*groups, usage.c.currency)
    rows = connection.execute(query.order_by(*groups, usage.c.currency)).mappings()
    return [_usage_sum(row) for row in rows]


def usage_values(
    reservation: Reservation,
    used: Usage,
    *,
    key: str | None,
    micro_units: int,
    currency: str,
    finish_reason: str,
    finished_ms: int,
) -> dict[str, object]:
    """The row of one request."""
    return {
        "ask_id": reservation.id,
        "account_id": reservation.account,
        "key_id": key,
        "model": reservation.model[:LONGEST_MODEL],
        "finished_ms": finished_ms,
        "cache_hit_tokens": used.cache_hit_tokens,
        "cache_miss_tokens": used.cache_miss_tokens,
        "completion_tokens": used.completion_tokens,
        "reasoning_tokens": used.reasoning_tokens,
        "micro_units": micro_units,
        "currency": currency,
        "finish_reason": finish_reason,
    }


def _within(query: Select[Any], account: str | None, from_ms: int, to_ms: int | None) -> Select[Any]:
    query = query.where(usage.c.finished_ms >= from_ms)
    if to_ms is not None:
        query = query.where(usage.c.finished_ms < to_ms)
    return query if account is None else query.where(usage.c.account_id == account)


def _usage_sum(row: RowMapping) -> UsageSum:
    return UsageSum(
        day=int(row["day"]) if "day" in row else None,
        account=row.get("account"),
        key=row.get("key"),
        model=row.get("model"),
        currency=row["currency"],
        requests=row["requests"],
        cache_hit_tokens=int(row["cache_hit_tokens"]),  # PostgreSQL's sums are decimal numbers
        cache_miss_tokens=int(row["cache_miss_tokens"]),
        completion_tokens=int(row["completion_tokens"]),
        reasoning_tokens=int(row["reasoning_tokens"]),
        micro_units=int(row["micro_units"]),
    )
