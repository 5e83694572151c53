"""The meter of a server with accounts: holds back what a request can cost at most, and charges what it used."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.exc import IntegrityError

from ponder.serve.errors import ApiError
from ponder.serve.ledger import ledger
from ponder.serve.ledger.prices import PriceTable
from ponder.serve.ledger.tables import usage as usage_rows
from ponder.serve.ledger.usage import usage_values
from ponder.serve.records import Ask, Caller, Cost, Usage
from ponder.serve.seams import Prepared, Reservation
from ponder.serve.storage.database import Database

T = TypeVar("T")
logger = logging.getLogger(__name__)
RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)  # the last one again and again
_ADD_USAGE = insert(usage_rows)
_FIND_CHARGE = select(usage_rows.c.micro_units, usage_rows.c.currency).where(usage_rows.c.ask_id == bindparam("ask"))


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyReservation(Reservation):
    """A reservation that remembers by which key the request came."""

    key: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Charge:
    """How a request was settled."""

    ask_id: str
    cost: Cost
    hold_lost: bool = False  # what was held for it had been given back, as another server does that begins
    missing: int = 0  # micro-units that the account had no longer

    def tell(self) -> None:
        if self.hold_lost:
            logger.error(
                "what was held for the request %s had been given back: %d micro-units were charged without it, %d "
                "could not be; was another server started on this database?",
                self.ask_id,
                self.cost.micro_units,
                self.missing,
            )


class LedgerMeter:
    """A `Meter`. Where the database cannot be used, nothing is served that would cost money; what is under way goes on,
    and is charged when the database can be used again.
    """

    def __init__(
        self,
        database: Database,
        prices: PriceTable,
        *,
        clock: Callable[[], float] = time.time,
        retry_seconds: tuple[float, ...] = RETRY_SECONDS,
    ) -> None:
        """`clock`: seconds since 1970; the tier of the prices and the day of the usage go by it."""
        self._database, self._prices, self._clock = database, prices, clock
        self._retry_seconds = retry_seconds
        self._tasks: set[asyncio.Task[Any]] = set()
        self._orphans: dict[str, Future[Any]] = {}  # reservations to give back, and what perhaps makes them
        self._sweeping = False
        self._closing = asyncio.Event()

    def recover(self) -> int:
        """Give back what a server that was killed had held back; how many requests these were. Blocks. Only where no
        other server works on the database: see `Database.become_the_server`.

        Nobody is charged for an answer that broke off because the server did.
        """
        now = self._now()
        return self._database.write_now(lambda connection: ledger.release_all(connection, now_ms=now))

    async def reserve(self, ask: Ask, caller: Caller, prepared: Prepared) -> Reservation:
        amount = self._prices.most(ask.model, prepared.prompt_tokens, prepared.max_completion_tokens)
        reservation = KeyReservation(
            id=ask.id, account=caller.account, model=ask.model, micro_units=amount, key=caller.key
        )
        if amount > 0:
            self._database.require_the_server()
            now, currency = self._now(), self._prices.currency
            writing = self._database.submit_write(
                lambda connection: ledger.reserve(connection, ask.id, caller.account, currency, amount, now_ms=now)
            )
            try:
                await self._database.wait(writing)
            except IntegrityError:
                raise ApiError(409, "there was a request with this id before", code="request_id_used") from None
            except BaseException:  # whoever asked is gone, or it took too long
                if not writing.cancel() and self._may_have_happened(writing):
                    self._give_back(ask.id, writing)
                raise
        return reservation

    async def settle(self, reservation: Reservation, usage: Usage, finish_reason: str) -> Cost:
        """Once for each id: a second time charges nothing and tells the first cost. Goes on if who waits is cancelled.

        Raises `ApiError` 503 while the database cannot be used; the money stays held back, and it is tried again until
        it is done or the meter is closed. 402 `hold_lost` where another server had given the money back meanwhile and
        less was left than the request cost: then that was charged.
        """
        time_now = self._clock()
        cost = min(self._prices.cost(reservation.model, usage, time_now), reservation.micro_units)
        row = usage_values(
            reservation,
            usage,
            key=reservation.key if isinstance(reservation, KeyReservation) else None,
            micro_units=cost,
            currency=self._prices.currency,
            finish_reason=finish_reason,
            finished_ms=int(1000 * time_now),
        )
        return await asyncio.shield(self._own(self._settle(row, held=reservation.micro_units > 0)))

    async def close(self) -> None:
        """Finish what is being settled. What the database still refuses is given back at the next start."""
        self._closing.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _settle(self, row: dict[str, Any], *, held: bool) -> Cost:
        work = partial(_settle, row, held)
        try:
            charge = await self._database.write(work)
        except IntegrityError:  # another settled it at the same moment
            before = await self._database.read(lambda connection: _charged(connection, row["ask_id"]))
            if before is None:
                raise
            return before
        except ApiError as error:
            if error.status == 503:
                self._own(self._until_done(work, _Charge.tell))
            raise
        charge.tell()
        if charge.missing:
            raise ApiError(
                402, "what was held for this request was given back, and less was left than it cost", code="hold_lost"
            )
        return charge.cost

    def _may_have_happened(self, writing: Future[Any]) -> bool:
        """Whether a write that was not waited for to its end, or failed, is perhaps in the database. A failure of
        SQLite undoes everything; a lost connection to PostgreSQL leaves it open.
        """
        error = writing.exception() if writing.done() else None
        return error is None or (not self._database.is_sqlite and getattr(error, "status", 0) == 503)

    def _give_back(self, ask_id: str, writing: Future[Any]) -> None:
        """What a reservation that nobody waits for any more has perhaps taken."""
        self._orphans[ask_id] = writing
        if not self._sweeping:
            self._sweeping = True
            self._own(self._sweep())

    async def _sweep(self) -> None:
        try:
            while orphans := dict(self._orphans):
                await asyncio.gather(*map(asyncio.wrap_future, orphans.values()), return_exceptions=True)
                if not await self._until_done(partial(_release, list(orphans), self._now())):
                    return
                for ask_id in orphans:
                    del self._orphans[ask_id]
        finally:
            self._sweeping = False

    async def _until_done(
        self, work: Callable[[Connection], T], done: Callable[[T], object] = lambda result: None
    ) -> bool:
        """Write as soon as the database can be used again; False where the meter is closed before that."""
        tries = 0
        while True:
            try:
                result = await self._database.write(work)
            except IntegrityError:  # done meanwhile
                return True
            except ApiError as error:
                if error.status != 503 or self._closing.is_set():
                    return False
            else:
                done(result)
                return True
            seconds = self._retry_seconds[min(tries, len(self._retry_seconds) - 1)]
            tries += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), seconds)

    def _own(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that is waited for at the end, whoever else still waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # raised where the task was awaited; else there is nobody left to tell

    def _now(self) -> int:
        return int(1000 * self._clock())


def _settle(row: dict[str, Any], held: bool, connection: Connection) -> _Charge:
    """`row`: of the usage, with the cost. `held`: whether money was held back for it."""
    ask_id, cost, now = row["ask_id"], row["micro_units"], row["finished_ms"]
    charged = ledger.settle(connection, ask_id, cost, now_ms=now) if held else None
    hold_lost = held and charged is None
    if charged is None:  # nothing was held, or it is no longer: perhaps it was settled before
        if (before := _charged(connection, ask_id)) is not None:
            return _Charge(ask_id=ask_id, cost=before)
        charged = 0
        if hold_lost:
            charged = ledger.charge(connection, ask_id, row["account_id"], row["currency"], cost, now_ms=now)
    connection.execute(_ADD_USAGE, row | {"micro_units": charged})
    return _Charge(
        ask_id=ask_id,
        cost=Cost(micro_units=charged, currency=row["currency"]),
        hold_lost=hold_lost,
        missing=cost - charged if hold_lost else 0,
    )


def _release(asks: Sequence[str], now_ms: int, connection: Connection) -> None:
    for ask_id in asks:
        ledger.release(connection, ask_id, now_ms=now_ms)


def _charged(connection: Connection, ask_id: str) -> Cost | None:
    """What the request cost when it was settled; None where it was not."""
    row = connection.execute(_FIND_CHARGE, {"ask": ask_id}).first()
    return None if row is None else Cost(micro_units=row.micro_units, currency=row.currency)
