"""Follows every request from its start to its end, and tells what came of it, once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ponder.serve.errors import ApiError
from ponder.serve.records import Ask, Caller, Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of one request. It holds nothing that anybody wrote."""

    id: str
    account: str
    key: str | None  # the id of the API key
    model: str
    status: int  # of the answer; 200 where it failed after its first byte
    reason: str  # the finish reason, or why it was rejected: the error's code
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    queue_seconds: float | None = None  # None: it never had a turn
    first_token_seconds: float | None = None  # None: nothing came
    rejected: bool = False

    @property
    def seconds_per_token(self) -> float | None:
        """After the first one."""
        if self.first_token_seconds is None or self.usage.completion_tokens < 2:
            return None
        return (self.seconds - self.first_token_seconds) / (self.usage.completion_tokens - 1)


class _Seen:
    """A request under way."""

    __slots__ = ("began", "first_token", "queue", "waiting")

    def __init__(self, began: float) -> None:
        self.began = began
        self.waiting = False
        self.queue: float | None = None
        self.first_token: float | None = None


class Watch:
    """An `Observer` that tells its `sinks` of every outcome. They are quick and do not raise."""

    def __init__(
        self,
        sinks: Sequence[Callable[[Outcome], None]],
        *,
        clock: Callable[[], float],
        trouble: Callable[[str, str], None] = lambda kind, detail: None,
    ) -> None:
        """`trouble` is told of what an operator should know: a kind, and a detail without secrets."""
        self.waiting = 0  # requests in the queue
        self.running = 0  # requests whose turn has come
        self._sinks, self._clock, self._trouble = tuple(sinks), clock, trouble
        self._seen: dict[str, _Seen] = {}

    def started(self, ask: Ask, caller: Caller) -> None:
        self._seen[ask.id] = _Seen(self._clock())

    def queued(self, ask: Ask, position: int) -> None:
        seen = self._seen.get(ask.id)
        if seen is not None and not seen.waiting:
            seen.waiting = True
            self.waiting += 1

    def admitted(self, ask: Ask, seconds: float) -> None:
        seen = self._seen.get(ask.id)
        if seen is not None and seen.queue is None:
            seen.queue = seconds
            self._stop_waiting(seen)
            self.running += 1

    def first_token(self, ask: Ask, seconds: float) -> None:
        seen = self._seen.get(ask.id)
        if seen is not None and seen.first_token is None:
            seen.first_token = seconds

    def finished(self, ask: Ask, caller: Caller, usage: Usage, reason: str, seconds: float) -> None:
        seen = self._forget(ask)
        if seen is None:
            return
        self._tell(
            Outcome(
                id=ask.id,
                account=caller.account,
                key=caller.key,
                model=ask.model,
                status=200,
                reason=reason,
                usage=usage,
                seconds=seconds,
                queue_seconds=seen.queue,
                first_token_seconds=seen.first_token,
            )
        )

    def rejected(self, ask: Ask, caller: Caller, error: ApiError) -> None:
        seen = self._forget(ask)
        if seen is None:
            return
        self._tell(
            Outcome(
                id=ask.id,
                account=caller.account,
                key=caller.key,
                model=ask.model,
                status=error.status,
                reason=error.code or error.type,
                seconds=self._clock() - seen.began,
                rejected=True,
            )
        )

    def settlement_failed(self, ask: Ask, error: ApiError) -> None:
        self._trouble("ledger", f"the cost of {ask.id} could not be charged: {error.code or error.type}")

    def _forget(self, ask: Ask) -> _Seen | None:
        """What was seen of a request that ends; None where it has ended before."""
        seen = self._seen.pop(ask.id, None)
        if seen is not None:
            self._stop_waiting(seen)
            self.running -= seen.queue is not None
        return seen

    def _stop_waiting(self, seen: _Seen) -> None:
        if seen.waiting:
            seen.waiting = False
            self.waiting -= 1

    def _tell(self, outcome: Outcome) -> None:
        for sink in self._sinks:
            sink(outcome)
