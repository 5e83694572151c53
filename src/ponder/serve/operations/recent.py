"""The last hour by minutes, and what went wrong lately: what the status page shows."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ponder.serve.operations.watch import Outcome

MINUTES = 60
_SAMPLES = 2000  # times to the first token kept of a minute: enough for its quantiles


@dataclass(slots=True)
class Minute:
    """What came of the requests that ended in one minute."""

    number: int  # of the clock
    served: int = 0
    failed: int = 0
    rejected: int = 0
    tokens: int = 0  # generated
    first_token_seconds: list[float] = field(default_factory=list)


class RecentMinutes:
    """Counts by minute."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._minutes: deque[Minute] = deque(maxlen=MINUTES)

    def record(self, outcome: Outcome) -> None:
        minute = self._now()
        if outcome.rejected:
            minute.rejected += 1
            return
        if outcome.reason in ("error", "insufficient_system_resource"):
            minute.failed += 1
        else:
            minute.served += 1
        minute.tokens += outcome.usage.completion_tokens
        if outcome.first_token_seconds is not None and len(minute.first_token_seconds) < _SAMPLES:
            minute.first_token_seconds.append(outcome.first_token_seconds)

    def minutes(self) -> list[Minute]:
        """The last hour, the present minute last; minutes without a request are left out."""
        oldest = self._now().number - MINUTES
        return [minute for minute in self._minutes if minute.number > oldest]

    def _now(self) -> Minute:
        number = int(self._clock() // 60)
        if not self._minutes or self._minutes[-1].number < number:
            self._minutes.append(Minute(number))
        return self._minutes[-1]


def quantile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank quantile; None of nothing."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass(slots=True)
class Incident:
    """Something that an operator, or a user who wonders, should know."""

    kind: str
    detail: str  # no secrets
    began: float  # seconds since 1970
    last: float  # when it was seen last
    times: int = 1
    ended: float | None = None  # None while it lasts


class Incidents:
    """The last incidents. One that lasts or comes again within ten minutes is one."""

    KEPT = 50
    _SAME = 600.0  # seconds

    def __init__(self, wall: Callable[[], float], told: Callable[[Incident], None] = lambda incident: None) -> None:
        """`wall` tells seconds since 1970; `told` hears of each new one."""
        self._wall, self._told = wall, told
        self._kept: deque[Incident] = deque(maxlen=self.KEPT)

    def happened(self, kind: str, detail: str = "") -> None:
        """Something that is over as soon as it has happened."""
        incident = self._note(kind, detail)
        incident.ended = incident.last

    def began(self, kind: str, detail: str = "") -> None:
        """Something that lasts until `ended`."""
        self._note(kind, detail).ended = None

    def ended(self, kind: str) -> None:
        for incident in self._kept:
            if incident.kind == kind and incident.ended is None:
                incident.ended = incident.last = self._wall()

    def __iter__(self) -> "reversed[Incident]":
        """The newest first."""
        return reversed(self._kept)

    def _note(self, kind: str, detail: str) -> Incident:
        now = self._wall()
        for incident in reversed(self._kept):
            if incident.kind == kind and (incident.ended is None or now - incident.last < self._SAME):
                incident.last, incident.detail = now, detail
                incident.times += 1
                return incident
        incident = Incident(kind, detail, now, now)
        self._kept.append(incident)
        self._told(incident)
        return incident
