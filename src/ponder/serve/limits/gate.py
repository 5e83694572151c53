"""The gate: a bounded, fair queue in front of every model, and the rates of every account."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from ponder.serve.errors import ApiError, shutting_down
from ponder.serve.limits.bucket import TokenBucket
from ponder.serve.limits.settings import AccountLimits, GateSettings
from ponder.serve.limits.shares import FairShares
from ponder.serve.limits.table import Table, Ticket
from ponder.serve.records import Caller, Queued, Usage

_SMOOTHING = 0.1
_FIRST_GUESS = 256.0  # completion tokens of a request, before any was seen
_REMEMBERED = 10_000  # accounts whose rates are kept when they have nothing under way


class FairGate:
    """See `ponder.serve.seams.Gate`. Belongs to one event loop."""

    def __init__(
        self,
        settings: GateSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or GateSettings()
        self.clock = clock
        self.draining = False
        self._shares = FairShares()
        self._tables: dict[str, Table] = {}
        self._accounts: dict[str, _Account] = {}
        self._mean_completion = _FIRST_GUESS  # tokens of a request

    @property
    def running(self) -> int:
        """Samples that have a place."""
        return sum(table.running for table in self._tables.values())

    @property
    def waiting(self) -> int:
        """Requests in all queues."""
        return sum(table.waiting for table in self._tables.values())

    @property
    def fullness(self) -> float:
        """Share of the fullest queue that is taken, from 0 to 1."""
        return max((table.waiting / max(table.queue, 1) for table in self._tables.values()), default=0.0)

    def precheck(self, caller: Caller, model: str) -> None:
        """Raises what `admit` would raise for the smallest request. Lets nobody in and counts nothing."""
        if self.draining:
            raise shutting_down()
        account, table = self.account(caller.account), self._table(model)
        self._check_account(account, 1, self.clock())
        self._check_table(table, caller.account, 1)

    def priority(self, caller: Caller) -> int:
        """See `ponder.serve.seams.Gate`."""
        return self.account(caller.account).limits.priority

    def admit(
        self,
        caller: Caller,
        *,
        model: str,
        prompt_tokens: int,
        max_completion_tokens: int,
        samples: int = 1,
    ) -> "GatePlace":
        """A place, for `async with`. Entering raises `ApiError` 429 or 503 for who is sent away at once."""
        return GatePlace(self, caller.account, model, prompt_tokens, max_completion_tokens, samples)

    def spent(self, caller: Caller, usage: Usage) -> None:
        """What a request really took, told before its place is given back: it counts with the most until then."""
        account = self._accounts.get(caller.account)
        if account is not None and account.tokens is not None:
            account.tokens.take(usage.total_tokens, self.clock())
        weight = account.limits.weight if account is not None else 1.0
        cost = usage.cache_miss_tokens + self.settings.output_cost * usage.completion_tokens
        self._shares.charge(caller.account, cost / weight)
        if usage.completion_tokens:
            self._mean_completion += _SMOOTHING * (usage.completion_tokens - self._mean_completion)

    def drain(self) -> None:
        """Send away who waits and whoever comes; who runs goes on."""
        self.draining = True
        for table in self._tables.values():
            table.send_all_away(shutting_down)

    # What follows is for `GatePlace`.

    def enter(self, place: "GatePlace") -> Ticket:
        """Check every limit, and only then take from any."""
        if self.draining:
            raise shutting_down()
        now = self.clock()
        account = self.account(place.account)
        table = self._table(place.model)
        self._check_account(account, place.reserved_tokens, now)
        self._check_table(table, place.account, place.samples)
        table.make_room(place.account, place.samples, lambda: self._queue_full(table))
        account.requests += 1
        if account.calls is not None:
            account.calls.take(1, now)
        if account.tokens is not None:
            account.tokens.take(place.reserved_tokens, now)
        self._shares.enter(place.account)
        completion = min(place.max_completion_tokens, self._mean_completion)
        cost = place.prompt_tokens + self.settings.output_cost * completion
        return table.arrive(place.account, place.samples, cost)

    def leave(self, place: "GatePlace", ticket: Ticket) -> None:
        """Give back the place, and what was counted for a request that had not ended."""
        account = self.account(place.account)
        account.requests -= 1
        if account.tokens is not None:
            account.tokens.give_back(place.reserved_tokens, self.clock())
        if ticket.running:
            self._shares.charge(place.account, -ticket.cost / account.limits.weight)
        self._table(place.model).leave(ticket)
        self._shares.leave(place.account)

    def position(self, place: "GatePlace", ticket: Ticket) -> int:
        return self._table(place.model).ahead(place.account, ticket)

    def waited_too_long(self, place: "GatePlace") -> ApiError:
        return ApiError(
            503,
            f"this request has waited {self.settings.queue_wait:.0f} seconds and has not begun; try again later",
            type="overloaded_error",
            code="queue_timeout",
            retry_after=_retry_after(self._table(place.model).expected_wait(place.account)),
        )

    def account(self, name: str) -> "_Account":
        account = self._accounts.get(name)
        if account is None:
            if len(self._accounts) >= _REMEMBERED:
                self._forget_idle()
            limits = self.settings.accounts.get(name, self.settings.account)
            account = self._accounts[name] = _Account.new(limits, self.clock())
        return account

    def _table(self, model: str) -> Table:
        table = self._tables.get(model)
        if table is None:
            table = self._tables[model] = Table(
                self.settings.running_of(model),
                self.settings.queue,
                self._shares,
                weight=lambda name: self.account(name).limits.weight,
                most_running=lambda name: self.account(name).limits.running_samples,
                clock=self.clock,
            )
        return table

    def _check_account(self, account: "_Account", tokens: int, now: float) -> None:
        limits = account.limits
        if limits.requests is not None and account.requests >= limits.requests:
            raise ApiError(
                429,
                f"this account has {account.requests} requests under way and may have {limits.requests}; "
                "wait for one to end",
                type="rate_limit_error",
                code="concurrency_limit_exceeded",
                retry_after=_retry_after(1.0),
            )
        if account.calls is not None and (seconds := account.calls.seconds_until(1, now)):
            raise ApiError(
                429,
                f"this account may send {limits.requests_per_minute} requests a minute; try again in "
                f"{_in_words(seconds)}",
                type="rate_limit_error",
                code="requests_per_minute_exceeded",
                retry_after=_retry_after(seconds),
            )
        if account.tokens is not None and (seconds := account.tokens.seconds_until(tokens, now)):
            raise ApiError(
                429,
                f"this account may use {limits.tokens_per_minute} tokens a minute, and this request could use "
                f"{tokens}; try again in {_in_words(seconds)}, or lower max_tokens",
                type="rate_limit_error",
                code="tokens_per_minute_exceeded",
                retry_after=_retry_after(seconds),
            )

    def _check_table(self, table: Table, account: str, samples: int) -> None:
        if not table.has_room(account, samples):
            raise self._queue_full(table)
        if table.expected_wait(account, samples) > self.settings.expected_wait:
            raise self._too_long(table, account, samples)

    def _queue_full(self, table: Table) -> ApiError:
        return ApiError(
            503,
            f"the server is busy: {table.waiting} requests wait already; try again later",
            type="overloaded_error",
            code="queue_full",
            retry_after=_retry_after((table.held_seconds or 1.0) * table.waiting / table.capacity),
        )

    def _too_long(self, table: Table, account: str, samples: int) -> ApiError:
        seconds = table.expected_wait(account, samples)
        return ApiError(
            503,
            f"the server is busy: this request would wait about {seconds:.0f} seconds; try again later",
            type="overloaded_error",
            code="expected_wait_too_long",
            retry_after=_retry_after(seconds - self.settings.expected_wait),
        )

    def _forget_idle(self) -> None:
        """Drop accounts with nothing under way and full buckets: a new one would be the same."""
        now = self.clock()
        self._accounts = {name: account for name, account in self._accounts.items() if not account.is_fresh(now)}


class GatePlace:
    """See `ponder.serve.seams.Place`."""

    __slots__ = (
        "_gate",
        "_ticket",
        "_told",
        "account",
        "max_completion_tokens",
        "model",
        "prompt_tokens",
        "samples",
    )

    def __init__(
        self,
        gate: FairGate,
        account: str,
        model: str,
        prompt_tokens: int,
        max_completion_tokens: int,
        samples: int,
    ) -> None:
        self.account, self.model, self.samples = account, model, samples
        self.prompt_tokens, self.max_completion_tokens = prompt_tokens, max_completion_tokens
        self._gate = gate
        self._ticket: Ticket | None = None
        self._told = False

    @property
    def reserved_tokens(self) -> int:
        """The most that the request can take."""
        return self.prompt_tokens + self.max_completion_tokens

    async def __aenter__(self) -> "GatePlace":
        self._ticket = self._gate.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._gate.leave(self, ticket)

    async def wait(self) -> Queued | None:
        """None once it is this request's turn; else where it stands: at once the first time, then every few seconds.

        Raises `ApiError` 503 for one that has waited too long, or that was sent away for another.
        """
        ticket = self._ticket
        if ticket is None:
            raise RuntimeError("wait() belongs inside the `async with` of its place")
        if self._told and not ticket.running and ticket.error is None:
            await self._sleep(ticket)
        if ticket.error is not None:
            raise ticket.error
        if ticket.running:
            return None
        if self._gate.clock() - ticket.since >= self._gate.settings.queue_wait:
            raise self._gate.waited_too_long(self)
        self._told = True
        return Queued(position=self._gate.position(self, ticket))

    async def _sleep(self, ticket: Ticket) -> None:
        settings = self._gate.settings
        left = settings.queue_wait - (self._gate.clock() - ticket.since)
        ticket.turn = ticket.turn or asyncio.Event()
        try:
            async with asyncio.timeout(max(0.0, min(settings.tell_every, left))):
                await ticket.turn.wait()
        except TimeoutError:
            return


@dataclass(slots=True)
class _Account:
    """What one account has under way and may still use."""

    limits: AccountLimits
    calls: TokenBucket | None
    tokens: TokenBucket | None
    requests: int = 0  # waiting and running

    @classmethod
    def new(cls, limits: AccountLimits, now: float) -> "_Account":
        calls, tokens = limits.requests_per_minute, limits.tokens_per_minute
        return cls(
            limits,
            TokenBucket(calls / 60, calls, now) if calls is not None else None,
            TokenBucket(tokens / 60, tokens, now) if tokens is not None else None,
        )

    def is_fresh(self, now: float) -> bool:
        buckets = [bucket for bucket in (self.calls, self.tokens) if bucket is not None]
        return not self.requests and all(bucket.level(now) >= bucket.size for bucket in buckets)


def _in_words(seconds: float) -> str:
    whole = max(1, math.ceil(seconds))
    return f"{whole} second{'s' * (whole != 1)}"


def _retry_after(seconds: float) -> float:
    """What is told of a wait: the wire spreads it, so that those who were sent away together do not come together."""
    return min(max(seconds, 1.0), 60.0)
