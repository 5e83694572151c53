"""What every new account is given."""

from sqlalchemy import Connection

from ponder.serve.ledger.amounts import exact_amount
from ponder.serve.ledger.ledger import add_money
from ponder.serve.ledger.prices import PricesConfig, micro_units


def welcome(connection: Connection, account: str, prices: PricesConfig, *, now_ms: int) -> str:
    """Book the grant of the settings in the transaction that makes an account. What was given, as a decimal; "" for
    nothing.
    """
    granted = micro_units(prices.welcome_grant)
    if not granted:
        return ""
    add_money(connection, "grant", account, prices.currency, granted, reference=f"welcome {account}", now_ms=now_ms)
    return exact_amount(granted)
