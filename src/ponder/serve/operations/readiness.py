"""Whether the server would serve a request now."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from ponder.serve.operations.drain import Drain

Check = Callable[[], Awaitable[bool]]
_CHECK_SECONDS = 2.0  # a check that takes longer has failed
_FRESH_SECONDS = 1.0  # that a result is good for: whoever asks often costs nothing


@dataclass(frozen=True, slots=True)
class Ready:
    """What was found."""

    ready: bool
    state: str  # "ready", "draining" or "not ready"
    failed: tuple[str, ...] = ()  # names of the checks that failed


class Readiness:
    """Runs named checks: the database answers, the backends would serve."""

    def __init__(self, drain: Drain, checks: Mapping[str, Check], clock: Callable[[], float]) -> None:
        self._drain, self._checks, self._clock = drain, dict(checks), clock
        self._found = Ready(False, "not ready", tuple(self._checks))
        self._found_at = float("-inf")
        self._looking = asyncio.Lock()

    async def look(self) -> Ready:
        """Draining is told at once; all else is at most a second old."""
        if self._drain.draining:
            return Ready(False, "draining")
        async with self._looking:
            if self._clock() - self._found_at >= _FRESH_SECONDS:
                results = await asyncio.gather(*(_passes(check) for check in self._checks.values()))
                failed = tuple(name for name, good in zip(self._checks, results, strict=True) if not good)
                self._found = Ready(not failed, "not ready" if failed else "ready", failed)
                self._found_at = self._clock()
        return self.found

    @property
    def found(self) -> Ready:
        """What was found last."""
        return Ready(False, "draining") if self._drain.draining else self._found


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await check()
    except Exception:  # noqa: BLE001  # whatever went wrong, it is not ready; who serves requests tells what it was
        return False
