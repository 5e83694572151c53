"""Who hears of every request. What it makes of that (metrics, log lines, a status page) changes no answer.

    started(ask, caller)                      once an ask was read and its caller is known
    queued(ask, position)                     it has to wait; again whenever it is told where it stands
    admitted(ask, seconds)                    it is its turn; whether or not it had to wait
    first_token(ask, seconds)                 something to show has come
    finished(...) or rejected(...)            the first of the two ends it; a second end is ignored

Calls are synchronous, quick, never raise, and come from the event loop's thread. Seconds count from `started`.
"""

from typing import Protocol

from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, Caller, Usage


class Observer(Protocol):
    """Hears of everything that happens to requests."""

    def started(self, ask: Ask, caller: Caller) -> None: ...

    def queued(self, ask: Ask, position: int) -> None: ...

    def admitted(self, ask: Ask, seconds: float) -> None: ...

    def first_token(self, ask: Ask, seconds: float) -> None:
        """The first text, thought or tool call has come."""
        ...

    def finished(self, ask: Ask, caller: Caller, usage: Usage, reason: str, seconds: float) -> None:
        """All samples have ended; `reason` is the last one's, "cancelled" for a caller who went away."""
        ...

    def rejected(self, ask: Ask, caller: Caller, error: ApiError) -> None:
        """It was sent away before anything was generated, by whichever part, and is charged nothing."""
        ...

    def settlement_failed(self, ask: Ask, error: ApiError) -> None:
        """What a request cost could not be charged: its money stays reserved."""
        ...


class NoObserver:
    """Hears nothing."""

    def started(self, ask: Ask, caller: Caller) -> None:
        pass

    def queued(self, ask: Ask, position: int) -> None:
        pass

    def admitted(self, ask: Ask, seconds: float) -> None:
        pass

    def first_token(self, ask: Ask, seconds: float) -> None:
        pass

    def finished(self, ask: Ask, caller: Caller, usage: Usage, reason: str, seconds: float) -> None:
        pass

    def rejected(self, ask: Ask, caller: Caller, error: ApiError) -> None:
        pass

    def settlement_failed(self, ask: Ask, error: ApiError) -> None:
        pass
