"""Hashing passwords, slowly on purpose, and never more of it than the server can bear."""

import asyncio
import os
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from ponder.serve.accounts.config import HashingConfig
from ponder.serve.errors import ApiError

T = TypeVar("T")
MOST_NAMES = 100_000
NICE = 5  # how far the threads that hash stand back behind the one that answers requests


class AttemptLimit:
    """How often something may be tried for each name, by a monotonic clock: at most `most` times within any `window`
    seconds. A restart forgets.
    """

    def __init__(self, most: int, window: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._window, self._clock = most, window, clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()  # the name that was tried last comes last

    def wait(self, name: str) -> float:
        """Seconds until it may be tried again; 0 for now."""
        now = self._clock()
        times = self._times.get(name)
        while times and times[0] <= now - self._window:
            times.popleft()
        return times[0] + self._window - now if times and len(times) >= self._most else 0.0

    def count(self, name: str) -> None:
        """One try."""
        now = self._clock()
        self._times.setdefault(name, deque()).append(now)
        self._times.move_to_end(name)
        while self._times:
            oldest = next(iter(self._times.values()))
            if len(self._times) <= MOST_NAMES and oldest and oldest[-1] > now - self._window:
                break
            self._times.popitem(last=False)

    def __len__(self) -> int:
        return len(self._times)


class Passwords:
    """argon2id in threads of its own. Every hash counts against the name that it is for."""

    def __init__(self, config: HashingConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._hasher = PasswordHasher(
            time_cost=config.passes, memory_cost=config.memory_kib, parallelism=config.lanes, type=Type.ID
        )
        self._threads = ThreadPoolExecutor(config.threads, "ponder-passwords", _stand_back)
        self._limit = AttemptLimit(config.per_account, config.window_seconds, clock=clock)
        self._waiting = {"all": 0, "registrations": 0}
        self._decoy = self._hasher.hash("there is no such account")
        self.hashes = 0  # so far, for metrics

    async def hash(self, name: str, password: str, *, registration: bool = False) -> str:
        """`name` is the key under which tries are counted. Raises `ApiError` 429 or 503."""
        return await self._run(name, registration, lambda: self._hasher.hash(_bytes(password)))

    async def matches(self, name: str, password: str, stored: str | None) -> bool:
        """Whether the password is the one in `stored`. Takes as long where nothing is stored."""
        return await self._run(name, False, lambda: self._verify(password, stored))

    def hash_now(self, password: str) -> str:
        """For the command line: blocks and counts nothing."""
        return self._hasher.hash(_bytes(password))

    def is_outdated(self, stored: str) -> bool:
        """Whether it was made with other parameters than are set now."""
        return self._hasher.check_needs_rehash(stored)

    def may_hash(self, name: str) -> bool:
        return self._limit.wait(name) == 0

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _verify(self, password: str, stored: str | None) -> bool:
        try:
            self._hasher.verify(stored or self._decoy, _bytes(password))
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    async def _run(self, name: str, registration: bool, work: Callable[[], T]) -> T:
        if wait := self._limit.wait(name):
            raise ApiError(
                429,
                f"too many tries with this name; wait {max(1, round(wait / 60))} min",
                type="rate_limit_error",
                code="too_many_attempts",
                retry_after=wait,
                should_retry=False,
            )
        kinds = ("all", "registrations") if registration else ("all",)
        most = {"all": self._config.max_waiting, "registrations": self._config.max_waiting_registrations}
        if any(self._waiting[kind] >= most[kind] for kind in kinds):
            raise ApiError(
                503,
                "too many people log in at this moment; try again in a few seconds",
                type="overloaded_error",
                retry_after=3.0,
            )
        self._limit.count(name)
        self.hashes += 1
        for kind in kinds:
            self._waiting[kind] += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # counted until the thread is done with it, even if nobody waits any more
        future.add_done_callback(lambda _: self._leave(kinds))
        return await asyncio.shield(future)

    def _leave(self, kinds: tuple[str, ...]) -> None:
        for kind in kinds:
            self._waiting[kind] -= 1


def _stand_back() -> None:
    """On Linux each thread has a priority of its own: a flood of logins does not slow down answers under way."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICE))


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
