"""What money a caller has, in DeepSeek's form."""

from typing import Protocol

from ponder.serve.records import Balance
from ponder.serve.wire.exchange import Exchange, Handler
from ponder.serve.wire.json_text import compact

_MICRO_UNITS_PER_CENT = 10_000


class Balances(Protocol):
    """Tells what money there is."""

    async def balance(self, account_id: str) -> Balance | None:
        """None where nothing is charged."""
        ...


class NoBalances:
    """A server that charges nothing has no balances, and is available."""

    async def balance(self, account_id: str) -> Balance | None:
        return None


def balance_handler(balances: Balances) -> Handler:
    """`GET /user/balance`. Amounts are cut to two decimals, never rounded up; requests are served while there is
    money, or always where nothing is charged: then the list is empty.
    """

    async def handle(exchange: Exchange) -> None:
        found = await balances.balance(exchange.caller.account)
        infos = [
            {
                "currency": balance.currency,
                "total_balance": two_decimals(balance.total),
                "granted_balance": two_decimals(balance.granted),
                "topped_up_balance": two_decimals(balance.topped_up),
            }
            for balance in ([] if found is None else [found])
        ]
        available = found is None or found.total > 0
        await exchange.send_json(compact({"is_available": available, "balance_infos": infos}).encode())

    return handle


def two_decimals(micro_units: int) -> str:
    """An amount cut, towards zero, to hundredths of its unit."""
    cents = abs(micro_units) // _MICRO_UNITS_PER_CENT
    sign = "-" if micro_units < 0 and cents else ""
    return f"{sign}{cents // 100}.{cents % 100:02d}"
