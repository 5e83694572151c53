"""What money a caller has, in DeepSeek's form."""

from dataclasses import dataclass
from typing import Protocol

from ponder.serve.records import Caller
from ponder.serve.wire.exchange import Exchange, Handler
from ponder.serve.wire.json_text import compact

_MICRO_UNITS_PER_CENT = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """Money in one currency, in millionths of its unit."""

    currency: str  # "CNY" or "USD"
    granted: int  # spent first
    topped_up: int

    @property
    def total(self) -> int:
        return self.granted + self.topped_up


class Balances(Protocol):
    """Tells what money there is."""

    async def balances(self, caller: Caller) -> list[Balance]: ...


class NoBalances:
    """A server that charges nothing has no balances, and is available."""

    async def balances(self, caller: Caller) -> list[Balance]:
        return []


def balance_handler(balances: Balances) -> Handler:
    """`GET /user/balance`. Amounts are cut to two decimals, never rounded up; requests are served while some currency
    has money in it, or always where nothing is charged: then the list is empty.
    """

    async def handle(exchange: Exchange) -> None:
        found = await balances.balances(exchange.caller)
        infos = [
            {
                "currency": balance.currency,
                "total_balance": two_decimals(balance.total),
                "granted_balance": two_decimals(balance.granted),
                "topped_up_balance": two_decimals(balance.topped_up),
            }
            for balance in found
        ]
        available = not found or any(balance.total > 0 for balance in found)
        await exchange.send_json(compact({"is_available": available, "balance_infos": infos}).encode())

    return handle


def two_decimals(micro_units: int) -> str:
    """An amount cut, towards zero, to hundredths of its unit."""
    cents = abs(micro_units) // _MICRO_UNITS_PER_CENT
    sign = "-" if micro_units < 0 and cents else ""
    return f"{sign}{cents // 100}.{cents % 100:02d}"
