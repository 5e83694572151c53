"""Runs of the browser app: an answer is made and stored whether or not anybody reads it."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ponder.serve.errors import ApiError, shutting_down
from ponder.serve.records import Caller
from ponder.serve.service import Service
from ponder.serve.web_api.active_run import ActiveRun, RunSettings
from ponder.serve.web_api.conversations import Asked, ConversationStore, not_found
from ponder.serve.web_api.records import StoredMessage


@dataclass(frozen=True, kw_only=True)
class RunsConfig:
    max_runs: int = 256  # under way at once
    max_runs_per_account: int = 4
    max_readers: int = 8  # of one run
    max_kept_bytes: int = 256 * 1024 * 1024  # of ended runs; the oldest are forgotten first
    keep_seconds: float = 120.0  # an ended run is kept event by event so long, afterwards only its message
    keep_alive_seconds: float = 10.0
    max_bytes: int = 32 * 1024 * 1024  # of the events of one run; it is ended there
    max_seconds: float = 3600.0  # of one run; it is ended there
    save_seconds: float = 3.0  # between two savings of an answer under way
    batch_seconds: float = 0.04  # for which text is collected before it is told


class Runs:
    """Owns every run of this process. `close` it before the service."""

    def __init__(
        self,
        service: Service,
        store: ConversationStore,
        config: RunsConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service, self._store, self._clock = service, store, clock
        self._config = config or RunsConfig()
        self._runs: dict[str, ActiveRun] = {}  # in the order in which they began; ended ones stay for a while
        self._held: Counter[str] = Counter()  # by account: places for runs that are about to begin
        self._closing = False

    @property
    def max_per_account(self) -> int:
        return self._config.max_runs_per_account

    def under_way(self, account: str | None = None) -> list[ActiveRun]:
        """Runs that have not ended, of one account or of all."""
        return [
            run for run in self._runs.values() if not run.ended and (account is None or run.caller.account == account)
        ]

    def latest(self, message: StoredMessage) -> StoredMessage:
        """A message as it stands: one under way as far as it has come, one whose process is gone as interrupted."""
        if message.role == "user" or message.finish_reason is not None or message.run_id is None:
            return message
        run = self._runs.get(message.run_id)
        return replace(message, finish_reason="interrupted") if run is None else run.so_far()

    @contextmanager
    def hold_place(self, account: str) -> Iterator[None]:
        """Keep a place for a run until it has begun. Raises `ApiError` 429 or 503 where there is none."""
        self._check_room(account)
        self._held[account] += 1
        try:
            yield
        finally:
            self._held[account] -= 1
            if not self._held[account]:
                del self._held[account]

    def _check_room(self, account: str) -> None:
        if self._closing:
            raise shutting_down()
        if len(self.under_way(account)) + self._held[account] >= self._config.max_runs_per_account:
            raise ApiError(
                429,
                f"{self._config.max_runs_per_account} answers are being made for this account, the most at once; "
                "wait for one, or stop one",
                type="rate_limit_error",
                code="too_many_runs",
                retry_after=5,
            )
        if len(self.under_way()) + self._held.total() >= self._config.max_runs:
            raise ApiError(
                503, "the server is busy; try again later", type="overloaded_error", code="overloaded", retry_after=10
            )

    def start(self, caller: Caller, asked: Asked, settings: RunSettings) -> ActiveRun:
        """Begin to make an answer, in a place that `hold_place` keeps."""
        self._forget_old()
        config = self._config
        run = ActiveRun(
            self._service,
            self._store,
            caller,
            asked,
            settings,
            max_bytes=config.max_bytes,
            max_seconds=config.max_seconds,
            save_seconds=config.save_seconds,
            batch_seconds=config.batch_seconds,
            clock=self._clock,
        )
        self._runs[run.id] = run
        run.begin()
        return run

    def find(self, account: str, run_id: str) -> ActiveRun | None:
        """A run of this account that is still in memory."""
        run = self._runs.get(run_id)
        return run if run is not None and run.caller.account == account else None

    def follow(self, run: ActiveRun, after: int) -> AsyncGenerator[bytes]:
        """The run's events behind number `after`. Raises `ApiError` 429 where too many read already."""
        if run.readers >= self._config.max_readers:
            raise ApiError(
                429,
                f"{run.readers} readers follow this run, the most it may have; close one",
                type="rate_limit_error",
                code="too_many_readers",
                retry_after=5,
            )
        return self._follow(run, after)

    async def _follow(self, run: ActiveRun, after: int) -> AsyncGenerator[bytes]:
        run.readers += 1
        try:
            async for piece in run.log.follow(after, self._config.keep_alive_seconds):
                yield piece
        finally:
            run.readers -= 1

    def require(self, account: str, run_id: str) -> ActiveRun:
        """A run that is under way. Raises `ApiError` 404, 409 for one that has ended."""
        run = self.find(account, run_id)
        if run is None:
            raise not_found("run")
        if run.ended:
            raise ApiError(409, "this run has ended", code="run_ended")
        return run

    async def stop_conversation(self, account: str, conversation_id: str) -> None:
        """Stop the runs of a conversation and wait for their ends."""
        runs = [run for run in self.under_way(account) if run.message.conversation_id == conversation_id]
        for run in runs:
            run.stop()
        for run in runs:
            await run.wait()
        for run_id in [key for key, run in self._runs.items() if run.message.conversation_id == conversation_id]:
            if self._runs[run_id].caller.account == account:
                del self._runs[run_id]

    async def close(self, seconds: float = 10.0) -> None:
        """End what is under way; what was made of it until now is stored as interrupted, as far as that is done within
        this time.
        """
        self._closing = True
        for run in self.under_way():
            run.stop("interrupted")
        await asyncio.gather(*(run.close(seconds) for run in self._runs.values()))

    def _forget_old(self) -> None:
        now, kept = self._clock(), 0
        for run_id, run in reversed(list(self._runs.items())):
            if run.ended_at is None:
                continue
            kept += run.log.size
            if now - run.ended_at > self._config.keep_seconds or kept > self._config.max_kept_bytes:
                del self._runs[run_id]
