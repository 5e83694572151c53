"""Whether the server would serve a request now."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ponder.serve.operations.drain import Drain
from ponder.serve.seams import Backend

Check = Callable[[], Awaitable[bool]]
_CHECK_SECONDS = 2.0  # a check that takes longer has failed
_FRESH_SECONDS = 1.0  # that a result is good for: whoever asks often costs nothing


@dataclass(frozen=True, slots=True)
class Ready:
    """What was found."""

    ready: bool
    state: str  # "ready", "draining" or "not ready"
    failed: tuple[str, ...] = ()  # names of the checks that failed; "models" where no model can be asked
    unready_models: tuple[str, ...] = ()  # those whose backend would not serve a request


class Readiness:
    """Runs named checks, such as whether the database answers, which all have to be passed; and asks the backends, of
    which one has to be ready: who asks for its models is served.
    """

    def __init__(
        self, drain: Drain, checks: Mapping[str, Check], backends: Sequence[Backend], clock: Callable[[], float]
    ) -> None:
        """Without `backends` there are the checks alone."""
        self._drain, self._checks, self._backends, self._clock = drain, dict(checks), tuple(backends), clock
        self._found = Ready(False, "not ready", tuple(self._checks))
        self._found_at = float("-inf")
        self._looking = asyncio.Lock()

    async def look(self) -> Ready:
        """Draining is told at once; all else is at most a second old."""
        if self._drain.draining:
            return Ready(False, "draining")
        async with self._looking:
            if self._clock() - self._found_at >= _FRESH_SECONDS:
                self._found = await self._run()
                self._found_at = self._clock()
        return self.found

    async def _run(self) -> Ready:
        """All side by side: none waits for another that hangs."""
        passed, ready = await asyncio.gather(
            _pass(self._checks.values()), _pass(backend.ready for backend in self._backends)
        )
        failed = [name for name, good in zip(self._checks, passed, strict=True) if not good]
        if self._backends and not any(ready):
            failed.append("models")
        unready = (
            model.id
            for backend, good in zip(self._backends, ready, strict=True)
            if not good
            for model in backend.models
        )
        return Ready(not failed, "not ready" if failed else "ready", tuple(failed), tuple(unready))

    @property
    def found(self) -> Ready:
        """What was found last."""
        return Ready(False, "draining") if self._drain.draining else self._found


async def _pass(checks: Iterable[Check]) -> list[bool]:
    return await asyncio.gather(*map(_passes, checks))


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await check()
    except Exception:  # noqa: BLE001  # whatever went wrong, it is not ready; who serves requests tells what it was
        return False
