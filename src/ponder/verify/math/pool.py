"""Worker processes that compare answers, each killed and replaced when it takes too long."""

from dataclasses import dataclass

from ponder.core.errors import ConfigError
from ponder.verify.worker_pool import WorkerPool

READING_SECONDS = 5.0  # that reading a reference may take in any case


@dataclass(frozen=True, kw_only=True)
class MathConfig:
    """What a comparison may use."""

    workers: int = 1  # processes, of about 100 MB each
    seconds: float = 5.0  # by the clock, for one comparison
    memory_mb: int = 1024  # address space of a worker

    def __post_init__(self) -> None:
        if self.workers < 1 or not self.seconds > 0 or self.memory_mb < 256:
            raise ConfigError(
                f"math.workers = {self.workers}, math.seconds = {self.seconds}, math.memory_mb = {self.memory_mb}; "
                "expected at least one worker, a time above 0 and 256 MB"
            )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether two answers are equal; None where it cannot be told. `late`: it was cut off by the time limit."""

    equal: bool | None
    reason: str
    late: bool = False


class MathPool:
    """Compares answers in worker processes. Safe to use from several threads; close it at the end.

    A comparison ends within the time limit whatever the texts: the process that does it is killed and replaced.
    """

    def __init__(self, config: MathConfig | None = None) -> None:
        self._config = config or MathConfig()
        self._pool = WorkerPool(
            "ponder.verify.math.worker",
            workers=self._config.workers,
            seconds=self._config.seconds,
            memory_mb=self._config.memory_mb,
            needs="math-verify (pip install 'ponder[verify]')",
        )

    def compare(self, reference: str, answer: str) -> Comparison:
        """Whether `answer` equals `reference`. Raises `DataError` where no worker can be started."""
        reply = self._pool.ask({"reference": reference, "answer": answer})
        if reply is None:
            return Comparison(None, f"it took more than {self._config.seconds:g} seconds, or ended", late=True)
        equal, reason = reply.get("equal"), str(reply.get("failed") or reply.get("reason"))
        return Comparison(equal if isinstance(equal, bool) else None, reason)

    def reads(self, reference: str) -> bool:
        """Whether a reference can be read within the limits; five seconds are allowed in any case, since what is late
        on a busy machine would count as unreadable for good. Raises `DataError` where no worker can be started.
        """
        reply = self._pool.ask({"reference": reference}, max(self._config.seconds, READING_SECONDS))
        return reply is not None and reply.get("readable") is True

    def close(self) -> None:
        """End the workers that are idle, and refuse further work."""
        self._pool.close()

    def __enter__(self) -> "MathPool":
        """Waits until the workers are loaded, which takes seconds: no grader's time limit has to.

        Raises `DataError` where one does not start.
        """
        self._pool.wait()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
