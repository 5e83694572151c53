"""Keys, usage and balance of who is signed in."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from starlette.routing import Route

from ponder.serve.errors import ApiError
from ponder.serve.web_api.endpoint import Door, WebExchange
from ponder.serve.web_api.fields import NewKey
from ponder.serve.web_api.seams import Billing, KeyInfo
from ponder.serve.wire.fields import read_fields

DEFAULT_DAYS = 30
MOST_DAYS = 400


class AccountRoutes:
    """`/keys` and `/usage`."""

    def __init__(self, door: Door, billing: Billing | None, *, clock: Callable[[], float] = time.time) -> None:
        self._door, self._billing, self._clock = door, billing, clock

    def routes(self) -> list[Route]:
        route = self._door.route
        return [
            route("GET", "/app/api/keys", self._list_keys),
            route("POST", "/app/api/keys", self._create_key),
            route("DELETE", "/app/api/keys/{id}", self._revoke_key),
            route("GET", "/app/api/usage", self._usage),
        ]

    async def _list_keys(self, exchange: WebExchange) -> None:
        keys = await self._door.require_accounts().list_keys(exchange.account)
        await exchange.reply({"data": [_describe_key(key) for key in keys]})

    async def _create_key(self, exchange: WebExchange) -> None:
        fields = read_fields(NewKey, await exchange.read_object())
        info, key = await self._door.require_accounts().create_key(exchange.account, fields.name)
        await exchange.reply(_describe_key(info) | {"key": key}, 201)

    async def _revoke_key(self, exchange: WebExchange) -> None:
        await self._door.require_accounts().revoke_key(exchange.account, exchange.path_parameters["id"])
        await exchange.reply_nothing()

    async def _usage(self, exchange: WebExchange) -> None:
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        last = _date(exchange, "to", today)
        first = _date(exchange, "from", last - timedelta(days=DEFAULT_DAYS - 1))
        if not 0 <= (last - first).days < MOST_DAYS:
            raise ApiError(422, f"from, to: expected at most {MOST_DAYS} days, the first one before", param="from")
        if self._billing is None:
            await exchange.reply({"days": [], "currency": None, "balance": None})
            return
        days = await self._billing.usage(
            exchange.account, from_ms=_midnight_ms(first), to_ms=_midnight_ms(last + timedelta(days=1))
        )
        balance = await self._billing.balance(exchange.account)
        prices = self._billing.prices()
        currency = balance.currency if balance else prices.currency if prices else None
        await exchange.reply(
            {
                "days": [
                    {
                        "date": day.date,
                        "model": day.model,
                        "requests": day.requests,
                        "prompt_tokens": day.prompt_tokens,
                        "cache_hit_tokens": day.cache_hit_tokens,
                        "completion_tokens": day.completion_tokens,
                        "reasoning_tokens": day.reasoning_tokens,
                        "micro_units": day.micro_units,
                    }
                    for day in days
                ],
                "currency": currency,
                "balance": None
                if balance is None
                else {
                    "granted": balance.granted,
                    "topped_up": balance.topped_up,
                    "total": balance.total,
                },
            }
        )


def _describe_key(key: KeyInfo) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "last4": key.last4,
        "created": key.created_ms / 1000,
        "last_used": None if key.last_used_ms is None else key.last_used_ms / 1000,
    }


def _date(exchange: WebExchange, name: str, default: date) -> date:
    text = exchange.query.get(name)
    if text is None:
        return default
    try:
        if len(text) != 10 or not text.startswith("2"):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise ApiError(422, f"{name}: expected a date as YYYY-MM-DD", param=name, code="invalid_value") from None


def _midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
