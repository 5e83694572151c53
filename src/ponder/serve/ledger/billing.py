"""Usage, balance and prices as they are shown to people."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from ponder.serve.ledger import ledger
from ponder.serve.ledger.prices import PriceTable
from ponder.serve.ledger.usage import sum_usage
from ponder.serve.records import Balance, Price, PriceList, UsageOfDay
from ponder.serve.storage.database import Database


class LedgerBilling:
    """A `Billing` of the browser app's API, and the `Balances` of the API for programs."""

    def __init__(
        self,
        database: Database,
        prices: PriceTable,
        models: Callable[[], Iterable[str]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`models`: the ids of what is served now. `clock`: seconds since 1970."""
        self._database, self._prices, self._models, self._clock = database, prices, models, clock

    async def usage(self, account_id: str, *, from_ms: int, to_ms: int) -> Sequence[UsageOfDay]:
        """One for each day (UTC) and model, in the currency of the prices."""
        rows = await self._database.read(
            lambda connection: sum_usage(connection, ("day", "model"), account=account_id, from_ms=from_ms, to_ms=to_ms)
        )
        return [
            UsageOfDay(
                date=datetime.fromtimestamp((row.day or 0) / 1000, UTC).date().isoformat(),
                model=row.model or "",
                requests=row.requests,
                prompt_tokens=row.cache_hit_tokens + row.cache_miss_tokens,
                cache_hit_tokens=row.cache_hit_tokens,
                completion_tokens=row.completion_tokens,
                reasoning_tokens=row.reasoning_tokens,
                micro_units=row.micro_units,
            )
            for row in rows
            if row.currency == self._prices.currency
        ]

    async def balance(self, account_id: str) -> Balance | None:
        """What can still be spent, in the currency of the prices; None where everything is free."""
        if self._prices.free:
            return None
        wallet = await self._database.read(
            lambda connection: ledger.wallet_of(connection, account_id, self._prices.currency)
        )
        return Balance(granted=wallet.granted, topped_up=wallet.topped_up, currency=wallet.currency)

    def prices(self) -> PriceList | None:
        """None where everything is free."""
        if self._prices.free:
            return None
        now, models = self._clock(), list(self._models())
        rates = {model: self._prices.rates(model, now) for model in models}
        return PriceList(
            currency=self._prices.currency,
            models={
                model: Price(cache_hit=rate.cache_hit, cache_miss=rate.cache_miss, output=rate.output)
                for model, rate in rates.items()
            },
            until=self._prices.next_change(models, now),
        )
