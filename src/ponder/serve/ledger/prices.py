"""What tokens cost.

Prices are given per million tokens, in units of the currency with up to six decimals. A micro-unit is a millionth of
the currency's unit, so a price in micro-units per million tokens is a whole number, and so is everything that is
computed from it: a request costs (hits × price + misses × price + output × price) / 1,000,000 micro-units, added up
first and then rounded once, half a micro-unit up. Thought counts as output.

Which tier is in force is decided by the time at which a request ends, in UTC (DeepSeek's off-peak prices of 2025 were
16:30 to 00:30).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from ponder.core.errors import ConfigError
from ponder.serve.errors import ApiError
from ponder.serve.records import Usage

T = TypeVar("T")
MICRO = 1_000_000  # micro-units in a unit
PER_TOKENS = 1_000_000
ANY_MODEL = "*"
DAY_MINUTES = 24 * 60
HIGHEST_PRICE = 1_000_000  # units per million tokens; a number above is a mistake
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class PriceTier:
    """Other prices at a time of the day. It may go past midnight."""

    start: str  # HH:MM, UTC
    end: str  # the first minute that is no longer in it
    cache_hit: float  # units of the currency per million tokens, as below
    cache_miss: float
    output: float

    def __post_init__(self) -> None:
        _check_prices(self, f"the tier from {self.start}")
        if minute_of(self.start) == minute_of(self.end):
            raise ConfigError(f"the price tier from {self.start} to {self.end} is empty; expected two different times")

    def covers(self, minute: int) -> bool:
        """Whether it is in force in this minute of the day."""
        first, last = minute_of(self.start), minute_of(self.end)
        return first <= minute < last if first < last else minute >= first or minute < last


@dataclass(frozen=True, kw_only=True)
class ModelPrice:
    model: str  # its id, or "*" for every model that has no price of its own
    cache_hit: float  # units of the currency per million tokens of the prompt that were in the cache
    cache_miss: float  # of the rest of the prompt
    output: float  # of thought and answer
    tiers: tuple[PriceTier, ...] = ()

    def __post_init__(self) -> None:
        _check_prices(self, f"the model {self.model!r}")
        for minute in range(DAY_MINUTES):
            if sum(tier.covers(minute) for tier in self.tiers) > 1:
                time = f"{minute // 60:02}:{minute % 60:02}"
                raise ConfigError(f"two price tiers of the model {self.model!r} are in force at {time} UTC; keep one")


@dataclass(frozen=True, kw_only=True)
class PricesConfig:
    currency: str = "CNY"  # three letters (ISO 4217)
    models: tuple[ModelPrice, ...] = ()  # none: everything is free
    welcome_grant: float = 0.0  # units of the currency that every new account is given

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z]{3}", self.currency, re.ASCII):
            raise ConfigError(f"'currency' of the prices is {self.currency!r}; expected three letters, such as CNY")
        names = [price.model for price in self.models]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"the model {twice[0]!r} has two prices; keep one")
        if not 0 <= self.welcome_grant <= HIGHEST_PRICE:
            raise ConfigError(f"'welcome_grant' of the prices is {self.welcome_grant}; expected 0 to {HIGHEST_PRICE}")


@dataclass(frozen=True, slots=True)
class Rates:
    """Micro-units per million tokens."""

    cache_hit: int
    cache_miss: int
    output: int

    def cost(self, usage: Usage) -> int:
        """Micro-units."""
        exact = (
            self.cache_hit * usage.cache_hit_tokens
            + self.cache_miss * usage.cache_miss_tokens
            + self.output * usage.completion_tokens
        )
        return (exact + PER_TOKENS // 2) // PER_TOKENS


class PriceTable:
    """The prices of all models at all times of the day."""

    def __init__(self, config: PricesConfig) -> None:
        self.currency = config.currency
        self.free = not config.models
        self._prices = {price.model: _rates_by_minute(price) for price in config.models}
        # what a request may cost at most does not depend on when it will end
        self._dearest = {
            model: Rates(*(max(getattr(rates, kind) for rates in by_minute) for kind in Rates.__slots__))
            for model, by_minute in self._prices.items()
        }

    def rates(self, model: str, time: float) -> Rates:
        """In force at `time`, in seconds since 1970. Raises `ApiError` 503 for a model without a price."""
        return self._of(model, self._prices)[int(time // 60) % DAY_MINUTES] if not self.free else _FREE

    def cost(self, model: str, usage: Usage, time: float) -> int:
        """Micro-units of a request that ended at `time`."""
        return self.rates(model, time).cost(usage)

    def most(self, model: str, prompt_tokens: int, completion_tokens: int) -> int:
        """Micro-units that a request can cost at most, whenever it ends and whatever is in the cache."""
        if self.free:
            return 0
        rates = self._of(model, self._dearest)
        dearest = Rates(rates.cache_miss, max(rates.cache_hit, rates.cache_miss), rates.output)
        return dearest.cost(Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens))

    def next_change(self, models: Iterable[str], time: float) -> float | None:
        """When one of these models will have other prices than at `time`, in seconds since 1970; None: never."""
        tables = [] if self.free else [self._of(model, self._prices) for model in models]
        minutes = int(time // 60)
        for later in range(minutes + 1, minutes + DAY_MINUTES):
            if any(table[later % DAY_MINUTES] != table[minutes % DAY_MINUTES] for table in tables):
                return 60.0 * later
        return None

    def require(self, models: Iterable[str]) -> None:
        """Raises `ConfigError` where a model has no price although others have."""
        if missing := [model for model in models if not self.free and not {model, ANY_MODEL} & set(self._prices)]:
            raise ConfigError(
                f'the model {missing[0]!r} has no price; give it one, or one to the model "*", which means all others'
            )

    def _of(self, model: str, table: Mapping[str, T]) -> T:
        found = table.get(model, table.get(ANY_MODEL))
        if found is None:
            raise ApiError(
                503, f"the model {model[:100]!r} has no price here; ask who runs this server", type="server_error"
            )
        return found


_FREE = Rates(0, 0, 0)


def micro_units(units: float) -> int:
    """An amount as it is written in settings, exactly. Raises `ConfigError` for more than six decimals."""
    exact = Decimal(repr(units)) * MICRO
    if exact != exact.to_integral_value():
        raise ConfigError(f"{units} has more than six decimals; the smallest amount is 0.000001")
    return int(exact)


def minute_of(time: str) -> int:
    """The minute of the day of HH:MM."""
    match = _TIME.fullmatch(time)
    if match is None:
        raise ConfigError(f"{time!r} is no time of the day; expected one such as 16:30 (UTC)")
    return 60 * int(match[1]) + int(match[2])


def _rates_by_minute(price: ModelPrice) -> tuple[Rates, ...]:
    usual = _rates(price)
    tiers = [(tier, _rates(tier)) for tier in price.tiers]
    return tuple(next((rates for tier, rates in tiers if tier.covers(minute)), usual) for minute in range(DAY_MINUTES))


def _rates(price: ModelPrice | PriceTier) -> Rates:
    return Rates(micro_units(price.cache_hit), micro_units(price.cache_miss), micro_units(price.output))


def _check_prices(price: ModelPrice | PriceTier, of: str) -> None:
    for name in ("cache_hit", "cache_miss", "output"):
        value = getattr(price, name)
        if not 0 <= value <= HIGHEST_PRICE:
            raise ConfigError(f"'{name}' of {of} is {value}; expected a price from 0 to {HIGHEST_PRICE:,}")
        micro_units(value)
