"""The places of one model and the queue in front of them."""

import asyncio
from collections.abc import Callable

from ponder.serve.errors import ApiError
from ponder.serve.limits.shares import FairShares

_SMOOTHING = 0.1  # of a new measurement in a running mean


class Ticket:
    """One request at a table: it waits, then it runs, then it has left."""

    __slots__ = ("account", "cost", "error", "number", "running", "samples", "since", "turn")

    def __init__(self, account: str, samples: int, cost: float, number: int, now: float) -> None:
        self.account, self.samples, self.cost = account, samples, cost
        self.number = number  # in the order of arrival
        self.since = now  # when it came, then when it began
        self.running = False
        self.error: ApiError | None = None  # it was sent away while it waited
        self.turn: asyncio.Event | None = None  # set when it is its turn or it was sent away; made by who waits

    def wake(self) -> None:
        if self.turn is not None:
            self.turn.set()


class Table:
    """`capacity` samples run at once; up to `queue` requests wait, in each account by arrival, and between accounts by
    who was served least.
    """

    def __init__(
        self,
        capacity: int,
        queue: int,
        shares: FairShares,
        *,
        weight: Callable[[str], float],
        most_running: Callable[[str], int | None],  # samples of one account
        clock: Callable[[], float],
    ) -> None:
        self.capacity, self.queue = capacity, queue
        self.running = 0  # samples
        self.waiting = 0  # requests
        self.held_seconds: float | None = None  # running mean of how long a place is held; None until one was
        self._shares, self._weight, self._most_running, self._clock = shares, weight, most_running, clock
        self._queues: dict[str, list[Ticket]] = {}  # of accounts that wait, the oldest first
        self._running_of: dict[str, int] = {}  # samples
        self._arrivals = 0

    def arrive(self, account: str, samples: int, cost: float) -> Ticket:
        """Take a free place or a place in the queue. `has_room` must have said yes."""
        self._arrivals += 1
        ticket = Ticket(account, min(samples, self.capacity), cost, self._arrivals, self._clock())
        if self._is_free(account, samples):
            self._begin(ticket)
        else:
            self._queues.setdefault(account, []).append(ticket)
            self.waiting += 1
            self._serve()  # who is ahead may be held back by a limit of its own
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give a place back, whatever it was."""
        if ticket.running:
            ticket.running = False
            self.running -= ticket.samples
            left = self._running_of[ticket.account] - ticket.samples
            if left:
                self._running_of[ticket.account] = left
            else:
                del self._running_of[ticket.account]
            held = self._clock() - ticket.since
            mean = held if self.held_seconds is None else self.held_seconds
            self.held_seconds = mean + _SMOOTHING * (held - mean)
        elif ticket.error is None:
            self._remove(ticket)
        self._serve()

    def has_room(self, account: str, samples: int) -> bool:
        """Whether a request of this account could run or wait now."""
        return self.waiting < self.queue or self._is_free(account, samples) or self._greediest(account) is not None

    def make_room(self, account: str, samples: int, error: Callable[[], ApiError]) -> None:
        """Where the queue is full and this account holds less of it than another: send that one's newest away."""
        if self.waiting < self.queue or self._is_free(account, samples):
            return
        greediest = self._greediest(account)
        if greediest is not None:
            self._send_away(self._queues[greediest][-1], error())

    def ahead(self, account: str, ticket: Ticket | None = None) -> int:
        """About how many requests go before this one, or before a new one of the account: as many of its own as stand
        before it, and of every other account no more than that and one.
        """
        own = self._queues.get(account, [])
        before = own.index(ticket) if ticket is not None else len(own)
        return before + sum(min(len(others), before + 1) for other, others in self._queues.items() if other != account)

    def expected_wait(self, account: str, samples: int = 1) -> float:
        """Seconds that a new request of the account would wait, by how long places were held; 0 where one is free or
        nothing was measured.
        """
        if self.held_seconds is None or self._is_free(account, samples):
            return 0.0
        return (self.ahead(account) + 1) * self.held_seconds / self.capacity

    def send_all_away(self, error: Callable[[], ApiError]) -> None:
        """Empty the queue."""
        for tickets in list(self._queues.values()):
            for ticket in list(tickets):
                self._send_away(ticket, error())

    def _is_free(self, account: str, samples: int) -> bool:
        """Whether so many places could be taken without waiting."""
        samples = min(samples, self.capacity)
        return not self.waiting and self.running + samples <= self.capacity and not self._held_back(account, samples)

    def _held_back(self, account: str, samples: int) -> bool:
        """By the limit of the account. One request that alone is over the limit may run alone."""
        most = self._most_running(account)
        running = self._running_of.get(account, 0)
        return most is not None and running > 0 and running + samples > most

    def _begin(self, ticket: Ticket) -> None:
        ticket.running, ticket.since = True, self._clock()
        self.running += ticket.samples
        self._running_of[ticket.account] = self._running_of.get(ticket.account, 0) + ticket.samples
        self._shares.charge(ticket.account, ticket.cost / self._weight(ticket.account))
        ticket.wake()

    def _serve(self) -> None:
        """Let those begin whose turn it is. The next one is not overtaken by a smaller one: it would never begin."""
        while self._queues and self.running < self.capacity:
            firsts = (tickets[0] for tickets in self._queues.values())
            heads = [ticket for ticket in firsts if not self._held_back(ticket.account, ticket.samples)]
            if not heads:
                return
            ticket = min(heads, key=lambda head: (self._shares[head.account], head.number))
            if self.running + ticket.samples > self.capacity:
                return
            self._remove(ticket)
            self._begin(ticket)

    def _remove(self, ticket: Ticket) -> None:
        tickets = self._queues[ticket.account]
        tickets.remove(ticket)
        if not tickets:
            del self._queues[ticket.account]
        self.waiting -= 1

    def _send_away(self, ticket: Ticket, error: ApiError) -> None:
        self._remove(ticket)
        ticket.error = error
        ticket.wake()

    def _greediest(self, account: str) -> str | None:
        """The account that waits with most requests, where that is at least two more than this one."""
        if not self._queues:
            return None
        greediest = max(self._queues, key=lambda other: len(self._queues[other]) / self._weight(other))
        own = len(self._queues.get(account, []))
        return greediest if greediest != account and len(self._queues[greediest]) >= own + 2 else None
