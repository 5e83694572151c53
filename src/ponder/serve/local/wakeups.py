"""From the engine's thread to the event loop, once for all that came together.

A step of the engine brings something to every stream of its batch. Waking the loop costs a system call, so that is done
for the first of them only: the others are found by the loop when it looks.
"""

import asyncio
import contextlib
import threading


class Waiter:
    """One reader on the loop. Whoever tells it knows nothing of the reader, so that it keeps nothing alive."""

    __slots__ = ("_future", "_told", "due")

    def __init__(self) -> None:
        self.due = False  # `Wakeups` has it on its list
        self._told = False
        self._future: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Until it is told; at once if it was told since the last wait. One task waits at a time."""
        if not self._told:
            self._future = asyncio.get_running_loop().create_future()
            try:
                await self._future
            finally:
                self._future = None
        self._told = False

    def tell(self) -> None:
        """On the loop."""
        self._told = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class Wakeups:
    """Tells the waiters of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._lock = threading.Lock()
        self._due: list[Waiter] = []

    def signal(self, waiter: Waiter) -> None:
        """Something came for this waiter. From any thread; a loop that is closed has nobody to be told."""
        with self._lock:
            if waiter.due:
                return
            waiter.due = True
            self._due.append(waiter)
            if len(self._due) > 1:
                return
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        with self._lock:
            due, self._due = self._due, []
            for waiter in due:
                waiter.due = False
        for waiter in due:
            waiter.tell()
