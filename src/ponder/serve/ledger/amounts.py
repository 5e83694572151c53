"""Amounts of money as people write them."""

import re
from decimal import Decimal

from ponder.core.errors import ConfigError
from ponder.serve.ledger.prices import MICRO

_AMOUNT = re.compile(r"-?\d{1,12}(\.\d{1,6})?", re.ASCII)


def parse_amount(text: str) -> int:
    """Micro-units. Raises `ConfigError` for what is no amount with at most six decimals."""
    if not _AMOUNT.fullmatch(text):
        raise ConfigError(f"{text!r} is no amount; expected one such as 10 or 0.50, with at most six decimals")
    return int(Decimal(text) * MICRO)


def exact_amount(micro_units: int) -> str:
    """All six decimals, without zeros at the end beyond the second."""
    sign = "-" if micro_units < 0 else ""
    whole, part = divmod(abs(micro_units), MICRO)
    decimals = f"{part:06}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}"
