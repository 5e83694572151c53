"""Lanes: registration and login each have places and rates of their own, as known users have the gate, so that a flood
in one does not hold up another.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

from ponder.serve.errors import ApiError
from ponder.serve.limits.addresses import address_group
from ponder.serve.limits.bucket import TokenBucket
from ponder.serve.limits.settings import LaneSettings, LanesSettings

LaneName = Literal["registration", "login"]
_REMEMBERED = 20_000  # addresses; the one that was seen longest ago is forgotten first


class Lane:
    """So many at once, so many that wait, so many a minute, and of those so many from one address."""

    def __init__(self, name: str, settings: LaneSettings, clock: Callable[[], float]) -> None:
        self.name, self.settings = name, settings
        self.running = self.waiting = 0
        self._clock = clock
        self._free = asyncio.Semaphore(settings.running)
        self._all = self._bucket(settings.per_minute, math.inf)
        self._addresses: OrderedDict[str, TokenBucket] = OrderedDict()

    def count(self, address: str) -> None:
        """Somebody comes from this address. Raises `ApiError` 429 where it is over its rate.

        Told before `enter`, so that one address cannot use up what is for all.
        """
        now = self._clock()
        own = self._of(address_group(address), now)
        if own is None:
            return
        if seconds := own.seconds_until(1, now):
            raise ApiError(
                429,
                f"too many tries of {self.name} from this address; try again in {seconds:.0f} seconds",
                type="rate_limit_error",
                code=f"{self.name}_rate_exceeded",
                retry_after=seconds,
            )
        own.take(1, now)

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """A place, given back at the end. Raises `ApiError` 503 for a full lane, or where all together are over their
        rate.
        """
        self._check_rate_of_all()
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._free.release()

    async def _wait(self) -> None:
        if self.waiting >= self.settings.waiting:
            raise self._busy(1.0)
        self.waiting += 1
        try:
            async with asyncio.timeout(self.settings.wait):
                await self._free.acquire()
        except TimeoutError:
            raise self._busy(self.settings.wait) from None
        finally:
            self.waiting -= 1

    def _check_rate_of_all(self) -> None:
        now = self._clock()
        if self._all is None:
            return
        if seconds := self._all.seconds_until(1, now):
            raise self._busy(seconds)
        self._all.take(1, now)

    def _of(self, group: str, now: float) -> TokenBucket | None:
        if self.settings.address_per_minute is None:
            return None
        bucket = self._addresses.get(group)
        if bucket is None:
            bucket = self._bucket(self.settings.address_per_minute, self.settings.address_burst)
            assert bucket is not None
            self._addresses[group] = bucket
            if len(self._addresses) > _REMEMBERED:
                self._addresses.popitem(last=False)
        else:
            self._addresses.move_to_end(group)
        return bucket

    def _bucket(self, per_minute: float | None, burst: float) -> TokenBucket | None:
        if per_minute is None:
            return None
        return TokenBucket(per_minute / 60, max(1.0, min(burst, per_minute)), self._clock())

    def _busy(self, seconds: float) -> ApiError:
        return ApiError(
            503,
            f"{self.name} is busy; try again later",
            type="overloaded_error",
            code=f"{self.name}_busy",
            retry_after=seconds,
        )


class Lanes:
    """All lanes of a server."""

    def __init__(self, settings: LanesSettings, clock: Callable[[], float]) -> None:
        self._lanes: dict[LaneName, Lane] = {
            "registration": Lane("registration", settings.registration, clock),
            "login": Lane("login", settings.login, clock),
        }

    def __getitem__(self, name: LaneName) -> Lane:
        return self._lanes[name]
