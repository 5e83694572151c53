"""The books: every movement by hand, and any sequence of movements leaves them right."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, select, text
from sqlalchemy.exc import IntegrityError

from ponder.serve.accounts.accounts import create_account
from ponder.serve.accounts.tables import accounts
from ponder.serve.errors import ApiError
from ponder.serve.ledger import ledger
from ponder.serve.ledger.ledger import LARGEST_AMOUNT, LARGEST_BALANCE, Wallet
from ponder.serve.ledger.tables import entries, postings, reservations, wallets
from ponder.serve.storage.config import StorageConfig
from ponder.serve.storage.database import Database

NOW = 1_700_000_000_000


@pytest.fixture
def book(database: Database) -> "Book":
    return Book(database)


class Book:
    """The ledger of two accounts, a and b."""

    def __init__(self, database: Database) -> None:
        self.database = database
        for account in "ab":
            self._write(lambda c, account=account: create_account(c, f"name-{account}", None, now_ms=NOW, id=account))

    def _write(self, work: Callable[[Connection], Any]) -> Any:
        return self.database.write_now(work)

    def add(self, kind: Any, amount: int, reference: str, account: str = "a", currency: str = "CNY") -> bool:
        return self._write(
            lambda c: ledger.add_money(c, kind, account, currency, amount, reference=reference, now_ms=NOW)
        )

    def reserve(self, ask: str, amount: int, account: str = "a") -> None:
        self._write(lambda c: ledger.reserve(c, ask, account, "CNY", amount, now_ms=NOW))

    def settle(self, ask: str, cost: int) -> int | None:
        return self._write(lambda c: ledger.settle(c, ask, cost, now_ms=NOW))

    def release(self, ask: str) -> bool:
        return self._write(lambda c: ledger.release(c, ask, now_ms=NOW))

    def wallet(self, account: str = "a") -> tuple[int, int, int]:
        """Granted, topped up, reserved."""
        (found,) = self.database.read_now(lambda c: ledger.wallets_of(c, account)) or [
            Wallet(currency="CNY", granted=0, topped_up=0, reserved=0)
        ]
        return found.granted, found.topped_up, found.reserved

    def house(self) -> dict[str, int]:
        rows = self.database.read_now(lambda c: c.execute(select(postings).where(postings.c.owner == "")).all())
        sums: dict[str, int] = {}
        for row in rows:
            sums[row.book] = sums.get(row.book, 0) + row.micro_units
        return sums

    def faults(self) -> list[str]:
        return self.database.read_now(ledger.audit)


def test_granted_money_is_held_back_and_spent_first(book: Book) -> None:
    book.add("grant", 10, "welcome")
    book.add("credit", 100, "payment")
    assert book.wallet() == (10, 100, 0)
    book.reserve("ask", 30)
    assert book.wallet() == (0, 80, 30)
    assert book.settle("ask", 12) == 12  # all that was granted, and 2
    assert book.wallet() == (0, 98, 0)
    assert book.house() == {"grants": -10, "payments": -100, "revenue": 12}


def test_what_was_not_used_goes_back_to_where_it_came_from(book: Book) -> None:
    book.add("grant", 10, "welcome")
    book.add("credit", 100, "payment")
    book.reserve("ask", 30)
    book.settle("ask", 4)
    assert book.wallet() == (6, 100, 0)
    book.reserve("next", 30)
    assert book.release("next") is True
    assert book.wallet() == (6, 100, 0)
    assert book.release("next") is False


def test_settling_twice_is_once_and_never_more_than_was_held(book: Book) -> None:
    book.add("credit", 100, "payment")
    book.reserve("ask", 30)
    assert book.settle("ask", 1000) == 30
    assert book.settle("ask", 1000) is None
    assert book.settle("never reserved", 5) is None
    assert book.wallet() == (0, 70, 0)


def test_too_small_a_balance_is_402_and_changes_nothing(book: Book) -> None:
    book.add("credit", 29, "payment")
    with pytest.raises(ApiError, match="Insufficient Balance") as caught:
        book.reserve("ask", 30)
    assert (caught.value.status, caught.value.type, caught.value.should_retry) == (402, "insufficient_balance", False)
    with pytest.raises(ApiError, match="Insufficient Balance"):
        book.reserve("ask", 1, account="b")
    assert book.wallet() == (0, 29, 0)
    book.reserve("ask", 29)


def test_the_same_credit_twice_is_once(book: Book) -> None:
    assert book.add("credit", 100, "payment 1") is True
    assert book.add("credit", 100, "payment 1") is False
    assert book.add("grant", 7, "payment 1") is True  # another kind
    for changed in ({"amount": 101}, {"account": "b"}, {"currency": "USD"}):
        with pytest.raises(ApiError, match="'payment 1' was used before for another credit") as caught:
            book.add("credit", **{"amount": 100, "reference": "payment 1", **changed})
        assert caught.value.status == 409
    assert book.wallet() == (7, 100, 0)


def test_money_is_taken_back_as_far_as_it_is_there(book: Book) -> None:
    book.add("credit", 100, "payment")
    book.reserve("ask", 60)
    with pytest.raises(ApiError, match="Insufficient Balance"):
        book.add("credit", -41, "refund")
    book.add("credit", -40, "refund")
    assert book.wallet() == (0, 0, 60)
    assert book.house() == {"payments": -60}


def test_a_restart_gives_back_what_was_held(book: Book) -> None:
    book.add("grant", 10, "welcome")
    book.add("credit", 100, "payment")
    book.add("credit", 100, "payment b", account="b")
    for i in range(3):
        book.reserve(f"{i}", 5)
    book.reserve("b", 100, account="b")
    book.settle("1", 5)
    assert book._write(lambda c: ledger.release_all(c, now_ms=NOW)) == 3
    assert (book.wallet(), book.wallet("b")) == ((5, 100, 0), (0, 100, 0))
    assert book._write(lambda c: ledger.release_all(c, now_ms=NOW)) == 0


@pytest.mark.parametrize(
    ("amount", "reference"), [(0, "r"), (LARGEST_AMOUNT + 1, "r"), (-LARGEST_AMOUNT - 1, "r"), (1, ""), (1, "r" * 201)]
)
def test_amounts_and_references_that_are_none(book: Book, amount: int, reference: str) -> None:
    with pytest.raises(ApiError) as caught:
        book.add("credit", amount, reference)
    assert caught.value.status == 422


def test_a_balance_stays_where_numbers_are_exact(book: Book) -> None:
    for i in range(LARGEST_BALANCE // LARGEST_AMOUNT):
        book.add("credit", LARGEST_AMOUNT, f"{i}")
    with pytest.raises(ApiError, match="a balance may not be above"):
        book.add("grant", 1, "one more")
    assert book.wallet() == (0, LARGEST_BALANCE, 0)


def test_nobody_has_no_wallet(book: Book) -> None:
    with pytest.raises(ApiError, match="there is no such account"):
        book.add("credit", 1, "r", account="nobody")


def test_the_database_itself_refuses_less_than_nothing(book: Book) -> None:
    book.add("credit", 10, "payment")
    for column in ("granted", "topped_up", "reserved"):
        with pytest.raises(IntegrityError):
            book._write(lambda c, column=column: c.execute(text(f"UPDATE wallets SET {column} = -1")).rowcount)


def test_an_entry_that_does_not_sum_to_nothing_is_not_made(book: Book) -> None:
    with pytest.raises(AssertionError, match="sum to 1, not to 0"):
        book._write(lambda c: ledger._post(c, "grant", "r", {("a", "granted"): 2, ("", "grants"): -1}, "CNY", NOW))
    assert book.database.read_now(lambda c: c.execute(select(entries)).all()) == []


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("UPDATE ledger_postings SET micro_units = micro_units + 1 WHERE owner = ''", "entry 1 do not sum to 0"),
        ("UPDATE wallets SET topped_up = 99", "wallet a CNY topped_up has 99, its entries say 70"),
        ("DELETE FROM reservations", "wallet a CNY holds back another sum than its requests under way"),
        ("DELETE FROM wallets", "wallet a CNY reserved has 0, its entries say 30"),
    ],
)
def test_the_audit_finds_damage(book: Book, damage: str, fault: str) -> None:
    book.add("credit", 100, "payment")
    book.reserve("ask", 30)
    assert book.faults() == []
    book._write(lambda c: c.execute(text(damage)).rowcount)
    assert any(fault in found for found in book.faults())


AMOUNTS = st.integers(1, 60)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("credit"), AMOUNTS),
        st.tuples(st.just("grant"), AMOUNTS),
        st.tuples(st.just("take back"), AMOUNTS),
        st.tuples(st.just("reserve"), AMOUNTS),
        st.tuples(st.just("settle"), st.integers(0, 80), st.integers(0, 9)),
        st.tuples(st.just("release"), st.integers(0, 9)),
        st.tuples(st.just("restart")),
    ),
    max_size=25,
)


@pytest.fixture(scope="module")
def in_memory() -> Iterator[Database]:
    database = Database.open(StorageConfig(url="sqlite://"))
    yield database
    database.close()


def forget_everything(connection: Connection) -> None:
    for table in (postings, entries, reservations, wallets, accounts):
        connection.execute(delete(table))


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_any_sequence_keeps_the_books_right(in_memory: Database, steps: list[tuple[Any, ...]]) -> None:
    """Against a model of three numbers and a list of what is held."""
    in_memory.write_now(forget_everything)
    book = Book(in_memory)
    granted = topped_up = revenue = 0
    held: dict[str, tuple[int, int]] = {}
    for number, (step, *values) in enumerate(steps):
        if step in ("credit", "grant"):
            book.add(step, values[0], f"{number}")
            granted, topped_up = granted + values[0] * (step == "grant"), topped_up + values[0] * (step == "credit")
        elif step == "take back" and topped_up >= values[0]:
            book.add("credit", -values[0], f"{number}")
            topped_up -= values[0]
        elif step == "reserve" and granted + topped_up >= values[0]:
            book.reserve(f"{number}", values[0])
            first = min(granted, values[0])
            held[f"{number}"] = (first, values[0] - first)
            granted, topped_up = granted - first, topped_up - values[0] + first
        elif step == "reserve":
            with pytest.raises(ApiError):
                book.reserve(f"{number}", values[0])
        elif step in ("settle", "release") and held:
            ask = list(held)[values[-1] % len(held)]
            first, second = held.pop(ask)
            cost = min(values[0], first + second) if step == "settle" else 0
            assert (book.settle(ask, values[0]) if step == "settle" else book.release(ask)) in (cost, True)
            from_granted = min(cost, first)
            granted, topped_up = granted + first - from_granted, topped_up + second - (cost - from_granted)
            revenue += cost
        elif step == "restart":
            book._write(lambda c: ledger.release_all(c, now_ms=NOW))
            granted += sum(first for first, _ in held.values())
            topped_up += sum(second for _, second in held.values())
            held.clear()
        assert book.wallet() == (granted, topped_up, sum(map(sum, held.values())))
    assert book.house().get("revenue", 0) == revenue
    # the requests' usage rows are the meter's business; everything else must be right
    assert [fault for fault in book.faults() if "requests cost" not in fault] == []
