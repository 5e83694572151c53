"""Prices by hand: DeepSeek's of 2025, in yuan per million tokens, with its off-peak tier."""

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.core.config import apply_settings, read_toml, to_toml
from ponder.core.errors import ConfigError
from ponder.serve.errors import ApiError
from ponder.serve.ledger.amounts import exact_amount, parse_amount
from ponder.serve.ledger.prices import ModelPrice, PricesConfig, PriceTable, PriceTier, Rates, micro_units
from ponder.serve.records import Usage

OFF_PEAK = PriceTier(start="16:30", end="00:30", cache_hit=0.25, cache_miss=1.0, output=4.0)
REASONER = ModelPrice(model="deepseek-reasoner", cache_hit=1, cache_miss=4, output=16, tiers=(OFF_PEAK,))
TABLE = PriceTable(PricesConfig(models=(REASONER,)))
TOKENS = st.integers(0, 10**7)


def at(time: str) -> float:
    return datetime.fromisoformat(f"2025-03-01T{time}").replace(tzinfo=UTC).timestamp()


def used(prompt: int = 0, hit: int = 0, completion: int = 0, reasoning: int = 0) -> Usage:
    return Usage(prompt_tokens=prompt, cache_hit_tokens=hit, completion_tokens=completion, reasoning_tokens=reasoning)


@pytest.mark.parametrize(
    ("usage", "time", "cost"),
    [
        # 1000 tokens in, 640 of them from the cache, 500 out: 640 × 1 + 360 × 4 + 500 × 16 = 10,080
        (used(1000, 640, 500, 400), "12:00:00", 10_080),
        (used(1000, 640, 500, 0), "12:00:00", 10_080),  # thought costs what other output costs
        (used(1000, 640, 500, 400), "20:00:00", 2_520),  # a quarter
        (used(10**6), "12:00:00", 4_000_000),  # the price itself
        (used(), "12:00:00", 0),
        # the tier goes by the end of the request, to the second, and past midnight
        (used(completion=1), "16:29:59", 16),
        (used(completion=1), "16:30:00", 4),
        (used(completion=1), "00:00:00", 4),
        (used(completion=1), "00:29:59", 4),
        (used(completion=1), "00:30:00", 16),
        # 0.25, 0.5, 0.75 and 1.25 micro-units: rounded once, half up
        (used(1, 1), "20:00:00", 0),
        (used(2, 2), "20:00:00", 1),
        (used(3, 3), "20:00:00", 1),
        (used(5, 5), "20:00:00", 1),
        (used(6, 6), "20:00:00", 2),
    ],
)
def test_costs_by_hand(usage: Usage, time: str, cost: int) -> None:
    assert TABLE.cost("deepseek-reasoner", usage, at(time)) == cost


@given(TOKENS, TOKENS, TOKENS, st.integers(0, 86_399), st.randoms(use_true_random=False))
def test_no_request_costs_more_than_the_most(
    prompt: int, completion: int, less: int, second: int, random_source: random.Random
) -> None:
    hit = random_source.randint(0, prompt)
    usage = used(prompt, hit, max(0, completion - less))
    most = TABLE.most("deepseek-reasoner", prompt, completion)
    assert 0 <= TABLE.cost("deepseek-reasoner", usage, second) <= most
    assert most == Rates(0, 4_000_000, 16_000_000).cost(used(prompt, 0, completion))


def test_the_most_covers_a_cache_that_costs_more() -> None:
    odd = PriceTable(PricesConfig(models=(ModelPrice(model="m", cache_hit=3, cache_miss=1, output=1),)))
    assert odd.most("m", 10, 0) == 30


def test_other_models_have_the_price_of_the_star_or_none() -> None:
    with pytest.raises(ApiError, match="'other' has no price here"):
        TABLE.cost("other", used(1), 0)
    with pytest.raises(ConfigError, match="the model 'other' has no price"):
        TABLE.require(["deepseek-reasoner", "other"])
    both = PriceTable(PricesConfig(models=(REASONER, ModelPrice(model="*", cache_hit=0.1, cache_miss=1, output=2))))
    both.require(["deepseek-reasoner", "other"])
    assert both.cost("other", used(10**6, 0, 10**6), at("12:00:00")) == 3_000_000


def test_without_prices_everything_is_free() -> None:
    free = PriceTable(PricesConfig())
    free.require(["anything"])
    assert free.free
    assert (free.cost("anything", used(10**6), 0), free.most("anything", 10**6, 10**6)) == (0, 0)
    assert free.next_change(["anything"], 0) is None


def test_when_prices_change_next() -> None:
    assert TABLE.next_change(["deepseek-reasoner"], at("12:00:07")) == at("16:30:00")
    assert TABLE.next_change(["deepseek-reasoner"], at("16:30:00")) == at("00:30:00") + 86_400
    flat = PriceTable(PricesConfig(models=(ModelPrice(model="*", cache_hit=1, cache_miss=1, output=1),)))
    assert flat.next_change(["m"], 0) is None


def test_settings_come_from_toml_and_go_back(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(
        'currency = "USD"\n[[models]]\nmodel = "*"\ncache_hit = 0.14\ncache_miss = 0.55\noutput = 2.19\n'
        'tiers = [{ start = "16:30", end = "00:30", cache_hit = 0.035, cache_miss = 0.135, output = 0.55 }]\n'
    )
    config = apply_settings(PricesConfig(), read_toml(tmp_path / "x.toml"))
    assert PriceTable(config).rates("m", at("12:00:00")) == Rates(140_000, 550_000, 2_190_000)
    assert PriceTable(config).rates("m", at("17:00:00")) == Rates(35_000, 135_000, 550_000)
    (tmp_path / "y.toml").write_text(to_toml(config))
    assert apply_settings(PricesConfig(), read_toml(tmp_path / "y.toml")) == config


def price(**changes: Any) -> ModelPrice:
    return ModelPrice(**{"model": "m", "cache_hit": 1, "cache_miss": 1, "output": 1, **changes})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: price(output=-1), "'output' of the model 'm' is -1"),
        (lambda: price(output=float("nan")), "'output' of the model 'm' is nan"),
        (lambda: price(output=0.0000001), "more than six decimals"),
        (lambda: PricesConfig(models=(price(), price())), "the model 'm' has two prices"),
        (lambda: PricesConfig(currency="yuan"), "'currency' of the prices is 'yuan'"),
        (lambda: PriceTier(start="25:00", end="01:00", cache_hit=1, cache_miss=1, output=1), "'25:00' is no time"),
        (lambda: PriceTier(start="01:00", end="01:00", cache_hit=1, cache_miss=1, output=1), "is empty"),
        (
            lambda: price(tiers=(OFF_PEAK, PriceTier(start="00:29", end="02:00", cache_hit=1, cache_miss=1, output=1))),
            "two price tiers of the model 'm' are in force at 00:29 UTC",
        ),
    ],
)
def test_prices_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("units", [0.1, 0.07, 1.1, 2.19, 0.000001, 999_999.999999])
def test_amounts_in_settings_are_exact(units: float) -> None:
    assert micro_units(units) == round(units * 10**6)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (110_000_000, "110.00"),
        (9_999_999, "9.999999"),
        (10_000, "0.01"),
        (0, "0.00"),
        (1_234_500, "1.2345"),
        (-1_500_000, "-1.50"),
        (-1, "-0.000001"),
    ],
)
def test_amounts_are_shown_and_read_exactly(amount: int, text: str) -> None:
    assert exact_amount(amount) == text
    assert parse_amount(text) == amount


@pytest.mark.parametrize("text", ["", "1,50", "1e3", "0.0000001", "nan", "１", "1.", "+1", "1" * 13, "- 1"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no amount"):
        parse_amount(text)
