"""The books: who has how much, and from where it came.

Everything that moves money is one of the functions below; each posts one entry whose amounts sum to 0, and keeps the
wallet's sums along in the same transaction. An entry happens once for its kind and reference, however often it is asked
for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ponder.serve.errors import ApiError
from ponder.serve.ledger.tables import entries, postings, reservations, usage, wallets

HOUSE = ""
LARGEST_AMOUNT = 10**15  # micro-units, a thousand million units
LARGEST_BALANCE = 10**17  # far below 2**63, where SQLite would go on with numbers that are not exact
LONGEST_REFERENCE = 200  # characters
EntryKind = Literal["grant", "credit", "reserve", "settle", "release"]
Book = Literal["granted", "topped_up", "reserved", "revenue", "grants", "payments"]
_SOURCE: Mapping[str, tuple[Book, Book]] = {"grant": ("granted", "grants"), "credit": ("topped_up", "payments")}

# The statements of every request are made once: to make one takes several times as long as to run it.
_THIS_WALLET = (wallets.c.account_id == bindparam("of_account")) & (wallets.c.currency == bindparam("in_currency"))
_LOCK_WALLET = select(wallets.c.granted, wallets.c.topped_up, wallets.c.reserved).where(_THIS_WALLET).with_for_update()
_CHANGE_WALLET = (
    update(wallets)
    .where(_THIS_WALLET)
    .values(
        {
            book: book + bindparam(f"add_{book.name}")
            for book in (wallets.c.granted, wallets.c.topped_up, wallets.c.reserved)
        }
    )
)
_ADD_RESERVATION, _ADD_ENTRY, _ADD_POSTINGS = insert(reservations), insert(entries), insert(postings)
_TAKE_RESERVATION = delete(reservations).where(reservations.c.ask_id == bindparam("ask")).returning(reservations)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wallet:
    """Micro-units. What is reserved can no longer be spent."""

    currency: str
    granted: int
    topped_up: int
    reserved: int

    @property
    def available(self) -> int:
        return self.granted + self.topped_up


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What is held back for one request, and from which books it came."""

    ask_id: str
    account: str
    currency: str
    granted: int
    topped_up: int

    @property
    def total(self) -> int:
        return self.granted + self.topped_up


def add_money(
    connection: Connection,
    kind: Literal["grant", "credit"],
    account: str,
    currency: str,
    amount: int,
    *,
    reference: str,
    now_ms: int,
    note: str = "",
) -> bool:
    """Give money (`grant`) or book a payment (`credit`), in micro-units; below 0 takes it back, as far as it is there.

    False where this reference was booked before with the same amount. Raises `ApiError` 409 where it was booked
    otherwise, 402 where less is there than is taken back, 422 for an amount that is no amount.
    """
    if amount == 0 or abs(amount) > LARGEST_AMOUNT or not 0 < len(reference) <= LONGEST_REFERENCE:
        raise ApiError(422, f"expected an amount other than 0, up to {LARGEST_AMOUNT:,} micro-units, and a reference")
    book, source = _SOURCE[kind]
    wallet = _lock_wallet(connection, account, currency)
    if (booked := _booked(connection, kind, reference)) is not None:
        if booked != (account, currency, amount):
            raise ApiError(
                409, f"the reference {reference!r} was used before for another {kind}; give this one its own",
                code="reference_used",
            )  # fmt: skip
        return False
    if getattr(wallet, book) + amount < 0:
        raise _insufficient()
    if wallet.available + wallet.reserved + amount > LARGEST_BALANCE:
        raise ApiError(422, f"a balance may not be above {LARGEST_BALANCE:,} micro-units")
    _post(
        connection,
        kind,
        reference,
        {(account, book): amount, (HOUSE, source): -amount},
        currency,
        now_ms,
        note=note[:500],
    )
    _change_wallet(connection, account, currency, **{book: amount})
    return True


def reserve(connection: Connection, ask_id: str, account: str, currency: str, amount: int, *, now_ms: int) -> Held:
    """Hold back `amount` micro-units, granted money first. Raises `ApiError` 402 where there is less."""
    wallet = _lock_wallet(connection, account, currency)
    if wallet.available < amount:
        raise _insufficient()
    granted = min(wallet.granted, amount)
    held = Held(ask_id=ask_id, account=account, currency=currency, granted=granted, topped_up=amount - granted)
    row = {"ask_id": ask_id, "account_id": account, "currency": currency, "created_ms": now_ms}
    connection.execute(_ADD_RESERVATION, row | {"granted": held.granted, "topped_up": held.topped_up})
    moved: dict[tuple[str, Book], int] = {
        (account, "granted"): -held.granted,
        (account, "topped_up"): -held.topped_up,
        (account, "reserved"): held.total,
    }
    _post(connection, "reserve", ask_id, moved, currency, now_ms)
    _change_wallet(connection, account, currency, granted=-held.granted, topped_up=-held.topped_up, reserved=held.total)
    return held


def settle(connection: Connection, ask_id: str, cost: int, *, now_ms: int) -> int | None:
    """Charge `cost` micro-units of what is held for the request, at most all of it, and give back the rest. The cost;
    None where nothing is held: it was settled before.
    """
    held = _take_reservation(connection, ask_id)
    if held is None:
        return None
    charged = min(cost, held.total)
    from_granted = min(charged, held.granted)
    from_topped_up = charged - from_granted
    _close(connection, "settle", held, held.granted - from_granted, held.topped_up - from_topped_up, now_ms)
    return charged


def charge(connection: Connection, ask_id: str, account: str, currency: str, cost: int, *, now_ms: int) -> int:
    """Charge a request for which nothing is held any more, as far as the money reaches; how much that was."""
    wallet = _lock_wallet(connection, account, currency)
    charged = min(cost, wallet.available)
    from_granted = min(charged, wallet.granted)
    moved: dict[tuple[str, Book], int] = {
        (account, "granted"): -from_granted,
        (account, "topped_up"): from_granted - charged,
        (HOUSE, "revenue"): charged,
    }
    _post(connection, "settle", ask_id, moved, currency, now_ms)
    _change_wallet(connection, account, currency, granted=-from_granted, topped_up=from_granted - charged)
    return charged


def release(connection: Connection, ask_id: str, *, now_ms: int) -> bool:
    """Give back everything that is held for the request; False where nothing is."""
    held = _take_reservation(connection, ask_id)
    if held is None:
        return False
    _close(connection, "release", held, held.granted, held.topped_up, now_ms)
    return True


def release_all(connection: Connection, *, now_ms: int) -> int:
    """Give back what was held for requests that a server did not live to settle; how many there were.

    Nobody is charged for an answer that broke off because the server did. Only for a server that has just begun.
    """
    asks = connection.execute(select(reservations.c.ask_id)).scalars().all()
    return sum(release(connection, ask_id, now_ms=now_ms) for ask_id in asks)


def wallets_of(connection: Connection, account: str) -> list[Wallet]:
    """One for each currency that the account has ever had."""
    rows = connection.execute(select(wallets).where(wallets.c.account_id == account).order_by(wallets.c.currency))
    return [
        Wallet(currency=row.currency, granted=row.granted, topped_up=row.topped_up, reserved=row.reserved)
        for row in rows
    ]


def wallet_of(connection: Connection, account: str, currency: str) -> Wallet:
    """In one currency; an empty one where the account never had any."""
    found = (wallet for wallet in wallets_of(connection, account) if wallet.currency == currency)
    return next(found, Wallet(currency=currency, granted=0, topped_up=0, reserved=0))


def audit(connection: Connection) -> list[str]:
    """What is wrong with the books, in words; nothing if they are right."""
    faults = []
    unbalanced = (
        select(postings.c.entry_id)
        .group_by(postings.c.entry_id, postings.c.currency)
        .having(func.sum(postings.c.micro_units) != 0)
    )
    faults += [f"the amounts of entry {entry} do not sum to 0" for entry in connection.execute(unbalanced).scalars()]
    query = (
        select(postings.c.owner, postings.c.currency, postings.c.book, func.sum(postings.c.micro_units))
        .where(postings.c.owner != HOUSE)
        .group_by(postings.c.owner, postings.c.currency, postings.c.book)
    )
    posted = {(owner, currency, book): int(total) for owner, currency, book, total in connection.execute(query)}
    kept = {
        (row.account_id, row.currency, book): int(getattr(row, book))
        for row in connection.execute(select(wallets))
        for book in ("granted", "topped_up", "reserved")
    }
    for place in sorted(posted.keys() | kept.keys()):
        if posted.get(place, 0) != kept.get(place, 0):
            faults.append(f"wallet {' '.join(place)} has {kept.get(place, 0)}, its entries say {posted.get(place, 0)}")
    open_asks = select(
        reservations.c.account_id, reservations.c.currency, func.sum(reservations.c.granted + reservations.c.topped_up)
    ).group_by(reservations.c.account_id, reservations.c.currency)
    held = {(account, currency): int(total) for account, currency, total in connection.execute(open_asks)}
    for account, currency, book in sorted(kept):
        if book == "reserved" and kept[account, currency, book] != held.get((account, currency), 0):
            faults.append(f"wallet {account} {currency} holds back another sum than its requests under way")
    charged = connection.execute(
        select(func.coalesce(func.sum(postings.c.micro_units), 0)).where(postings.c.book == "revenue")
    ).scalar_one()
    used = connection.execute(select(func.coalesce(func.sum(usage.c.micro_units), 0))).scalar_one()
    if int(charged) != int(used):
        faults.append(f"{charged} micro-units were charged, but the requests cost {used}")
    return faults


def _close(
    connection: Connection, kind: Literal["settle", "release"], held: Held, granted: int, topped_up: int, now_ms: int
) -> None:
    """End a reservation; `granted` and `topped_up` go back."""
    moved: dict[tuple[str, Book], int] = {
        (held.account, "reserved"): -held.total,
        (held.account, "granted"): granted,
        (held.account, "topped_up"): topped_up,
        (HOUSE, "revenue"): held.total - granted - topped_up,
    }
    _post(connection, kind, held.ask_id, moved, held.currency, now_ms)
    _change_wallet(connection, held.account, held.currency, granted=granted, topped_up=topped_up, reserved=-held.total)


def _post(
    connection: Connection,
    kind: EntryKind,
    reference: str,
    amounts: Mapping[tuple[str, Book], int],
    currency: str,
    now_ms: int,
    *,
    note: str = "",
) -> None:
    """The only place where entries are made."""
    if sum(amounts.values()) != 0:
        raise AssertionError(f"the amounts of an entry sum to {sum(amounts.values())}, not to 0")
    row = {"kind": kind, "reference": reference, "created_ms": now_ms, "note": note}
    done = connection.execute(_ADD_ENTRY, row)
    assert done.inserted_primary_key is not None
    rows = [
        {
            "entry_id": done.inserted_primary_key[0],
            "owner": owner,
            "book": book,
            "currency": currency,
            "micro_units": amount,
        }
        for (owner, book), amount in amounts.items()
        if amount != 0
    ]
    if rows:
        connection.execute(_ADD_POSTINGS, rows)


def _booked(connection: Connection, kind: Literal["grant", "credit"], reference: str) -> tuple[str, str, int] | None:
    row = connection.execute(
        select(postings.c.owner, postings.c.currency, postings.c.micro_units)
        .join(entries, entries.c.id == postings.c.entry_id)
        .where(entries.c.kind == kind, entries.c.reference == reference, postings.c.owner != HOUSE)
    ).first()
    return None if row is None else (row.owner, row.currency, row.micro_units)


def _lock_wallet(connection: Connection, account: str, currency: str) -> Wallet:
    """On PostgreSQL nobody else changes the row until this transaction has ended; SQLite has one writer anyway. Raises
    `ApiError` 404 where there is no such account.
    """
    here = {"of_account": account, "in_currency": currency}
    row = connection.execute(_LOCK_WALLET, here).first()
    if row is None:
        try:
            with connection.begin_nested():
                values = {"account_id": account, "currency": currency, "granted": 0, "topped_up": 0, "reserved": 0}
                connection.execute(insert(wallets).values(values))
        except IntegrityError:  # another was faster, or there is no such account
            pass
        row = connection.execute(_LOCK_WALLET, here).first()
    if row is None:
        raise ApiError(404, "there is no such account", type="not_found_error", code="no_account")
    return Wallet(currency=currency, granted=row.granted, topped_up=row.topped_up, reserved=row.reserved)


def _change_wallet(
    connection: Connection, account: str, currency: str, *, granted: int = 0, topped_up: int = 0, reserved: int = 0
) -> None:
    changes = {"add_granted": granted, "add_topped_up": topped_up, "add_reserved": reserved}
    if any(changes.values()):
        connection.execute(_CHANGE_WALLET, changes | {"of_account": account, "in_currency": currency})


def _take_reservation(connection: Connection, ask_id: str) -> Held | None:
    """Of two that settle at the same moment, one gets it."""
    row = connection.execute(_TAKE_RESERVATION, {"ask": ask_id}).first()
    if row is None:
        return None
    return Held(
        ask_id=ask_id, account=row.account_id, currency=row.currency, granted=row.granted, topped_up=row.topped_up
    )


def _insufficient() -> ApiError:
    return ApiError(
        402, "Insufficient Balance", type="insufficient_balance", code="insufficient_balance", should_retry=False
    )
