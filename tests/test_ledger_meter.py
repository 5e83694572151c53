"""The meter on a real ledger: no overspend under any concurrency, one charge for each request, exact after kill -9."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from databases import lose_server_lock
from ponder.serve.accounts.accounts import create_account
from ponder.serve.errors import ApiError
from ponder.serve.ledger import ledger
from ponder.serve.ledger.billing import LedgerBilling
from ponder.serve.ledger.meter import LedgerMeter
from ponder.serve.ledger.prices import ModelPrice, PricesConfig, PriceTable, PriceTier
from ponder.serve.ledger.tables import reservations
from ponder.serve.ledger.tables import usage as usage_table
from ponder.serve.ledger.usage import sum_usage
from ponder.serve.records import Ask, Balance, Caller, Cost, PlainText, Usage
from ponder.serve.storage.config import StorageConfig
from ponder.serve.storage.database import Database

NOON = 1_740_830_400.0  # 2025-03-01 12:00 UTC
ALICE = Caller(account="alice", key="key-1")
# a token in costs 1 micro-unit (in the cache: 0), a token out 10; at night 5
PRICES = PriceTable(
    PricesConfig(
        models=(
            ModelPrice(
                model="m", cache_hit=0, cache_miss=1, output=10,
                tiers=(PriceTier(start="20:00", end="06:00", cache_hit=0, cache_miss=1, output=5),),
            ),
        )
    )
)  # fmt: skip


@dataclass
class FixedSize:
    """A `Prepared`."""

    prompt_tokens: int = 10
    max_completion_tokens: int = 9


SIZE = FixedSize()  # costs 100 at most
USED = Usage(prompt_tokens=10, cache_hit_tokens=0, completion_tokens=2, reasoning_tokens=1)  # costs 30


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(database: Database) -> Iterator[Database]:
    """A database with the accounts alice, who has 1,000 micro-units, and bob, who has none."""
    open_accounts(database)
    yield database
    assert database.read_now(ledger.audit) == []


def open_accounts(database: Database, amount: int = 1000) -> None:
    def work(connection: Connection) -> None:
        for name in ("alice", "bob"):
            create_account(connection, name, None, now_ms=1, id=name)
        ledger.add_money(connection, "credit", "alice", "CNY", amount, reference="payment", now_ms=1)

    database.write_now(work)


def ask(name: str, model: str = "m") -> Ask:
    return Ask(id=name, model=model, prompt=PlainText(text="canary-prompt"))


def run(
    database: Database, work: Callable[[LedgerMeter], Awaitable[Any]], *, clock: Clock | None = None, **options: Any
) -> Any:
    """`work` on a meter of its own, which is closed afterwards."""

    async def main() -> Any:
        meter = LedgerMeter(database, PRICES, clock=clock or Clock(), **options)
        try:
            return await work(meter)
        finally:
            await meter.close()

    return asyncio.run(main())


def wallet(database: Database, account: str = "alice") -> tuple[int, int]:
    """What can be spent, and what is reserved."""
    (found,) = database.read_now(lambda connection: ledger.wallets_of(connection, account))
    return found.available, found.reserved


# --- one request


def test_a_request_is_charged_for_what_it_used(accounts: Database) -> None:
    async def work(meter: LedgerMeter) -> Cost:
        reservation = await meter.reserve(ask("1"), ALICE, SIZE)
        assert (reservation.micro_units, wallet(accounts)) == (100, (900, 100))
        return await meter.settle(reservation, USED, "stop")

    assert run(accounts, work) == Cost(micro_units=30, currency="CNY")
    assert wallet(accounts) == (970, 0)
    row = accounts.read_now(lambda connection: connection.execute(select(usage_table)).one())
    assert (row.ask_id, row.account_id, row.key_id, row.model) == ("1", "alice", "key-1", "m")
    assert row.finished_ms == 1000 * NOON
    assert (row.cache_hit_tokens, row.cache_miss_tokens, row.completion_tokens, row.reasoning_tokens) == (0, 10, 2, 1)
    assert (row.micro_units, row.currency, row.finish_reason) == (30, "CNY", "stop")


def test_settling_again_charges_nothing_and_tells_the_first_cost(accounts: Database) -> None:
    async def work(meter: LedgerMeter) -> list[Cost]:
        reservation = await meter.reserve(ask("1"), ALICE, SIZE)
        more = Usage(prompt_tokens=10, completion_tokens=9)
        return list(await asyncio.gather(*(meter.settle(reservation, usage, "stop") for usage in [USED] + [more] * 9)))

    costs = run(accounts, work)
    assert len(set(costs)) == 1
    assert wallet(accounts) == (1000 - costs[0].micro_units, 0)


def test_never_more_than_was_reserved(accounts: Database) -> None:
    async def work(meter: LedgerMeter) -> Cost:
        reservation = await meter.reserve(ask("1"), ALICE, SIZE)
        return await meter.settle(reservation, Usage(prompt_tokens=10, completion_tokens=10**6), "stop")

    assert run(accounts, work).micro_units == 100


def test_the_tier_goes_by_the_time_of_completion(accounts: Database, clock: Clock) -> None:
    async def work(meter: LedgerMeter) -> Cost:
        reservation = await meter.reserve(ask("1"), ALICE, SIZE)
        clock.time += 8 * 3600
        return await meter.settle(reservation, USED, "stop")

    assert run(accounts, work, clock=clock).micro_units == 10 + 2 * 5


def test_a_clock_that_jumps_back_charges_the_same(accounts: Database, clock: Clock) -> None:
    async def work(meter: LedgerMeter) -> Cost:
        reservation = await meter.reserve(ask("1"), ALICE, SIZE)
        clock.time -= 365 * 86_400
        return await meter.settle(reservation, USED, "stop")

    assert run(accounts, work, clock=clock).micro_units == 30


def test_without_money_a_request_is_refused(accounts: Database) -> None:
    async def work(meter: LedgerMeter) -> None:
        await meter.reserve(ask("1"), Caller(account="bob"), SIZE)

    with pytest.raises(ApiError, match="Insufficient Balance") as caught:
        run(accounts, work)
    assert caught.value.status == 402


def test_what_is_free_needs_no_money_and_is_counted(accounts: Database) -> None:
    async def main() -> Cost:
        meter = LedgerMeter(accounts, PriceTable(PricesConfig()), clock=Clock())
        reservation = await meter.reserve(ask("1"), Caller(account="bob"), SIZE)
        return await meter.settle(reservation, USED, "stop")

    assert asyncio.run(main()) == Cost(micro_units=0, currency="CNY")
    (used,) = accounts.read_now(lambda connection: sum_usage(connection, ["account"]))
    assert (used.account, used.requests, used.completion_tokens, used.micro_units) == ("bob", 1, 2, 0)


def test_an_id_is_good_for_one_request(accounts: Database) -> None:
    async def work(meter: LedgerMeter) -> None:
        reservation = await meter.reserve(ask("1"), ALICE, SIZE)
        with pytest.raises(ApiError, match="a request with this id before") as caught:
            await meter.reserve(ask("1"), ALICE, SIZE)
        assert caught.value.status == 409
        await meter.settle(reservation, USED, "stop")

    run(accounts, work)
    assert wallet(accounts) == (970, 0)


def test_a_balance_is_of_the_prices_currency(accounts: Database) -> None:
    accounts.write_now(lambda c: ledger.add_money(c, "grant", "alice", "AUD", 5_000_000, reference="gift", now_ms=1))

    billing = LedgerBilling(accounts, PRICES, lambda: ["m"])
    assert asyncio.run(billing.balance("alice")) == Balance(currency="CNY", granted=0, topped_up=1000)
    assert asyncio.run(billing.balance("bob")) == Balance(currency="CNY", granted=0, topped_up=0)
    assert asyncio.run(LedgerBilling(accounts, PriceTable(PricesConfig()), lambda: ["m"]).balance("alice")) is None


# --- many at once


def test_a_thousand_at_once_on_a_balance_for_ten(accounts: Database) -> None:
    async def work(meter: LedgerMeter) -> list[Any]:
        asks = [meter.reserve(ask(f"{i}"), ALICE, SIZE) for i in range(1000)]
        return list(await asyncio.gather(*asks, return_exceptions=True))

    results = run(accounts, work)
    refused = [result for result in results if isinstance(result, ApiError)]
    assert len(refused) == 990
    assert {error.status for error in refused} == {402}
    assert wallet(accounts) == (0, 1000)


def test_requests_that_come_and_go_at_once_keep_the_sums(accounts: Database) -> None:
    async def work(meter: LedgerMeter) -> int:
        source = random.Random(0)

        async def one(number: int) -> int:
            try:
                reservation = await meter.reserve(ask(f"{number}"), ALICE, SIZE)
            except ApiError:
                return 0
            await asyncio.sleep(source.random() / 100)
            used = Usage(prompt_tokens=10, cache_hit_tokens=10, completion_tokens=source.randint(0, 9))
            return (await meter.settle(reservation, used, "stop")).micro_units

        return sum(await asyncio.gather(*(one(number) for number in range(300))))

    charged = run(accounts, work)
    assert 0 < charged <= 1000
    assert wallet(accounts) == (1000 - charged, 0)


# --- callers who vanish, and a database that does


def test_whoever_is_gone_while_it_is_reserved_holds_nothing(accounts: Database) -> None:
    async def work(meter: LedgerMeter) -> None:
        for number in range(20):
            task = asyncio.create_task(meter.reserve(ask(f"{number}"), ALICE, SIZE))
            await asyncio.sleep(0.0005 * number)
            task.cancel()
            try:
                reservation = await task
            except asyncio.CancelledError:
                continue
            await meter.settle(reservation, Usage(), "cancelled")

    run(accounts, work)
    assert wallet(accounts) == (1000, 0)


def test_a_reservation_that_came_too_late_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller was told 503, and then the database did it after all."""
    database = Database.open(StorageConfig(url=f"sqlite:///{tmp_path}/x.db", patience_seconds=0.1))
    open_accounts(database)

    async def work(meter: LedgerMeter) -> None:
        slow = database.submit_write(lambda connection: time.sleep(0.3))
        while not slow.running():
            await asyncio.sleep(0.001)
        with pytest.raises(ApiError, match="takes too long"):  # in the queue: it is taken out of it
            await meter.reserve(ask("1"), ALICE, SIZE)
        await asyncio.wrap_future(slow)
        assert wallet(database) == (1000, 0)
        original = ledger.reserve

        def slow_reserve(*values: Any, **named: Any) -> Any:
            held = original(*values, **named)
            time.sleep(0.3)
            return held

        monkeypatch.setattr(ledger, "reserve", slow_reserve)
        with pytest.raises(ApiError, match="takes too long"):  # under way
            await meter.reserve(ask("2"), ALICE, SIZE)
        while not database.read_now(
            lambda c: c.execute(text("SELECT 1 FROM ledger_entries WHERE kind = 'release'")).all()
        ):
            await asyncio.sleep(0.01)

    run(database, work)
    assert wallet(database) == (1000, 0)
    database.close()


def test_a_settlement_goes_on_when_its_caller_is_gone(accounts: Database) -> None:
    async def work(meter: LedgerMeter) -> None:
        reservation = await meter.reserve(ask("1"), ALICE, SIZE)
        task = asyncio.create_task(meter.settle(reservation, USED, "cancelled"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(accounts, work)
    assert wallet(accounts) == (970, 0)


class Outage:
    """Takes SQLite's lock, so that nothing can be written."""

    def __init__(self, tmp_path: Path) -> None:
        self.database = Database.open(StorageConfig(url=f"sqlite:///{tmp_path}/x.db", lock_seconds=0.05))
        open_accounts(self.database)
        self._other = Database.open(self.database.config)
        self._over = threading.Event()

    def begin(self) -> None:
        begun = threading.Event()
        self._over.clear()
        self._ended = self._other.submit_write(lambda connection: (begun.set(), self._over.wait(10)))
        assert begun.wait(10)

    def end(self) -> None:
        self._over.set()
        self._ended.result()

    def close(self) -> None:
        self._other.close()
        self.database.close()


@pytest.fixture
def outage(tmp_path: Path) -> Iterator[Outage]:
    outage = Outage(tmp_path)
    yield outage
    assert outage.database.read_now(ledger.audit) == []
    outage.close()


def test_while_the_database_is_gone_nothing_is_let_in(outage: Outage) -> None:
    outage.begin()
    with pytest.raises(ApiError, match="cannot use its database") as caught:
        run(outage.database, lambda meter: meter.reserve(ask("1"), ALICE, SIZE), retry_seconds=(0.01,))
    assert (caught.value.status, caught.value.retry_after) == (503, 5.0)
    outage.end()
    assert wallet(outage.database) == (1000, 0)


def test_what_ends_during_an_outage_is_charged_after_it(outage: Outage) -> None:
    async def work(meter: LedgerMeter) -> None:
        reservation = await meter.reserve(ask("1"), ALICE, SIZE)
        outage.begin()
        with pytest.raises(ApiError) as caught:
            await meter.settle(reservation, USED, "stop")
        assert caught.value.status == 503
        assert wallet(outage.database) == (900, 100)
        outage.end()
        while wallet(outage.database) == (900, 100):
            await asyncio.sleep(0.01)
        assert await meter.settle(reservation, USED, "stop") == Cost(micro_units=30, currency="CNY")

    run(outage.database, work, retry_seconds=(0.01,))
    assert wallet(outage.database) == (970, 0)


def test_an_outage_that_outlasts_the_server_ends_without_hanging(outage: Outage) -> None:
    async def work(meter: LedgerMeter) -> None:
        reservation = await meter.reserve(ask("1"), ALICE, SIZE)
        outage.begin()
        with pytest.raises(ApiError):
            await meter.settle(reservation, USED, "stop")

    began = time.monotonic()
    run(outage.database, work, retry_seconds=(1000.0,))
    assert time.monotonic() - began < 5
    outage.end()
    assert LedgerMeter(outage.database, PRICES).recover() == 1
    assert wallet(outage.database) == (1000, 0)


def test_on_a_full_disk_the_ledger_refuses_and_stays_right(tmp_path: Path) -> None:
    database = Database.open(StorageConfig(url=f"sqlite:///{tmp_path}/x.db"))
    open_accounts(database, 10**9)
    with database.engine.connect() as connection:
        used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {used + 1}")

    async def work(meter: LedgerMeter) -> tuple[int, list[int]]:
        served, refused = 0, []
        for number in range(150):
            try:
                await meter.settle(await meter.reserve(ask(f"{number:0100}"), ALICE, SIZE), USED, "stop")
                served += 1
            except ApiError as error:
                refused.append(error.status)
        return served, refused

    served, refused = run(database, work, retry_seconds=(1000.0,))
    assert served > 0
    assert set(refused) == {503}
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    LedgerMeter(database, PRICES).recover()
    assert wallet(database) == (10**9 - 30 * served, 0)
    assert database.read_now(ledger.audit) == []
    database.close()


# --- another server


def test_a_request_whose_hold_was_given_back_is_charged_nevertheless(
    accounts: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(meter: LedgerMeter) -> list[Cost]:
        reservation = await meter.reserve(ask("1"), ALICE, SIZE)
        assert LedgerMeter(accounts, PRICES).recover() == 1  # as a second server does that begins
        assert wallet(accounts) == (1000, 0)
        return [await meter.settle(reservation, USED, "stop") for _ in range(2)]

    assert run(accounts, work) == [Cost(micro_units=30, currency="CNY")] * 2
    assert wallet(accounts) == (970, 0)
    assert "30 micro-units were charged without it, 0 could not be" in caplog.text


def test_where_the_money_was_spent_meanwhile_the_rest_is_charged_and_the_loss_is_an_error(
    accounts: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(meter: LedgerMeter) -> Cost:
        reservation = await meter.reserve(ask("1"), ALICE, SIZE)
        LedgerMeter(accounts, PRICES).recover()
        accounts.write_now(
            lambda c: ledger.add_money(c, "credit", "alice", "CNY", -980, reference="taken back", now_ms=1)
        )
        with pytest.raises(ApiError, match="less was left than it cost") as caught:
            await meter.settle(reservation, USED, "stop")
        assert (caught.value.status, caught.value.code) == (402, "hold_lost")
        return await meter.settle(reservation, USED, "stop")

    assert run(accounts, work) == Cost(micro_units=20, currency="CNY")
    assert wallet(accounts) == (0, 0)
    assert "20 micro-units were charged without it, 10 could not be" in caplog.text


def test_a_server_that_lost_its_lock_holds_nothing_back_until_it_has_it_again(accounts: Database) -> None:
    if accounts.is_sqlite:
        pytest.skip("the lock of a file is lost with the process only")
    accounts.become_the_server()
    other = Database.open(replace(accounts.config, lock_seconds=0.5))
    lose_server_lock(other)
    other.become_the_server()

    async def refused(meter: LedgerMeter) -> None:
        assert await accounts.answers() is False
        with pytest.raises(ApiError, match="the lock of its one server was lost") as caught:
            await meter.reserve(ask("1"), ALICE, SIZE)
        assert caught.value.status == 503
        other.close()
        assert await accounts.answers() is True
        await meter.settle(await meter.reserve(ask("2"), ALICE, SIZE), USED, "stop")

    run(accounts, refused)
    assert wallet(accounts) == (970, 0)


# --- kill -9

WRITER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from test_ledger_meter import *

async def main():
    database = Database.open(StorageConfig(url=sys.argv[1]))
    database.become_the_server()
    meter = LedgerMeter(database, PRICES, clock=Clock())
    meter.recover()

    async def one(name):
        reservation = await meter.reserve(ask(name), ALICE, SIZE)
        print("reserved", name, flush=True)
        await meter.settle(reservation, USED, "stop")
        print("settled", name, flush=True)

    for round_ in range(10**6):
        await asyncio.gather(*(one(f"{sys.argv[3]}-{round_}-{i}") for i in range(8)))

asyncio.run(main())
"""


def kill_while_it_writes(url: str, kills: int, source: random.Random) -> None:
    database = Database.open(StorageConfig(url=url))
    open_accounts(database, 10**12)
    settled: set[str] = set()
    for number in range(kills):
        arguments = [sys.executable, "-c", WRITER, url, str(Path(__file__).parent), f"{number}"]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(9)]  # eight were let in, one is settled
            time.sleep(source.random() * 0.05)
            os.kill(process.pid, signal.SIGKILL)
            lines += process.stdout.readlines()
        whole = [line.split() for line in lines if line.endswith("\n")]
        assert len(whole) > 0
        settled |= {name for what, name in whole if what == "settled"}
        rows = database.read_now(list_ids)
        assert settled <= rows  # every acknowledged charge is there
        assert database.read_now(ledger.audit) == []
        available, reserved = wallet(database)
        assert available + reserved + 30 * len(rows) == 10**12
    LedgerMeter(database, PRICES).recover()
    assert wallet(database) == (10**12 - 30 * len(database.read_now(list_ids)), 0)
    assert database.read_now(lambda c: c.execute(select(reservations)).all()) == []
    assert len(settled) > kills
    database.close()


def list_ids(connection: Connection) -> set[str]:
    return set(connection.execute(text("SELECT ask_id FROM usage")).scalars())


def test_kill_minus_nine_loses_no_charge_and_no_money(database_url: str) -> None:
    kill_while_it_writes(database_url, 3, random.Random(1))


@pytest.mark.slow
def test_kill_minus_nine_two_hundred_times(database_url: str) -> None:
    kill_while_it_writes(database_url, 200, random.Random(2))


# --- what the usage page asks for


def test_usage_by_day_key_and_model(accounts: Database, clock: Clock) -> None:
    clock.time = NOON + 11.9 * 3600

    async def work(meter: LedgerMeter) -> None:
        for number, (key, hours) in enumerate([("key-1", 0), (None, 0), ("key-1", 1), ("key-2", 24)]):
            caller = Caller(account="alice", key=key)
            reservation = await meter.reserve(ask(f"{number}"), caller, SIZE)
            clock.time += 3600 * hours
            await meter.settle(reservation, USED, "stop")

    run(accounts, work, clock=clock)

    def sums(*by: Any, **within: Any) -> list[Any]:
        rows = accounts.read_now(lambda connection: sum_usage(connection, by, **within))
        return [(*(getattr(row, name) for name in by), row.requests, row.completion_tokens) for row in rows]

    first, day = int(1000 * (NOON - 12 * 3600)), 86_400_000
    assert sums("day") == [(first, 2, 4), (first + day, 1, 2), (first + 2 * day, 1, 2)]
    assert sums("key") == [("", 1, 2), ("key-1", 2, 4), ("key-2", 1, 2)]
    assert sums("model") == [("m", 4, 8)]
    assert sums("account", "day", from_ms=first + day) == [
        ("alice", first + day, 1, 2),
        ("alice", first + 2 * day, 1, 2),
    ]
    assert sums(account="bob") == []
    assert sums(to_ms=first + day) == [(2, 4)]

    billing = LedgerBilling(accounts, PRICES, lambda: ["m"], clock=clock)
    rows = asyncio.run(billing.usage("alice", from_ms=0, to_ms=2**50))
    assert [(row.date, row.model, row.requests, row.prompt_tokens, row.micro_units) for row in rows] == [
        ("2025-03-01", "m", 2, 20, 40), ("2025-03-02", "m", 1, 10, 20), ("2025-03-03", "m", 1, 10, 20),
    ]  # fmt: skip
    prices = billing.prices()
    assert prices is not None
    assert (prices.models["m"].output, prices.until) == (5_000_000, NOON + (12 + 24 + 6) * 3600)


def test_no_text_of_a_request_is_in_the_database(tmp_path: Path) -> None:
    database = Database.open(StorageConfig(url=f"sqlite:///{tmp_path}/x.db"))
    open_accounts(database)

    async def work(meter: LedgerMeter) -> None:
        await meter.settle(await meter.reserve(ask("1"), ALICE, SIZE), USED, "stop")

    run(database, work)
    database.close()
    assert b"canary-prompt" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
