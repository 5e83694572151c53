"""What is looked at again and again while the server runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

_SECONDS = 0.5


class Pulse:
    """Calls `beat` twice a second and measures how late the event loop is."""

    def __init__(self, beat: Callable[[float], Awaitable[None]], seconds: float = _SECONDS) -> None:
        """`beat` is told by how many seconds the loop was late; what it raises ends the server's start, or is a bug."""
        self.lag = 0.0  # seconds, of the last beat
        self._beat, self._seconds = beat, seconds

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Beats meanwhile."""
        await self._beat(0.0)
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._seconds
            await asyncio.sleep(self._seconds)
            self.lag = max(0.0, loop.time() - due)
            await self._beat(self.lag)
