"""Worker processes that compare answers, each killed and replaced when it takes too long."""

import contextlib
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

from ponder.core.errors import ConfigError, DataError

START_SECONDS = 120  # sympy is slow to load on a busy machine


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
        self._idle: queue.Queue[_Worker] = queue.Queue()
        self._lock = threading.Lock()
        self._closed = False
        for _ in range(self._config.workers):
            self._idle.put(_Worker(self._config))

    def compare(self, reference: str, answer: str) -> Comparison:
        """Whether `answer` equals `reference`. Raises `DataError` where no worker can be started."""
        if self._closed:
            raise DataError("the pool of comparing workers is closed")
        worker = self._idle.get()
        try:
            reply = worker.ask({"reference": reference, "answer": answer}, self._config.seconds)
            if reply is None:
                worker.kill()
                worker = _Worker(self._config)  # loads while the caller goes on
                return Comparison(None, f"it took more than {self._config.seconds:g} seconds, or ended", late=True)
        finally:
            self._idle.put(worker)
        equal, reason = reply.get("equal"), str(reply.get("reason"))
        return Comparison(equal if isinstance(equal, bool) else None, reason)

    def close(self) -> None:
        """End the workers that are idle, and refuse further work."""
        self._closed = True
        while True:
            try:
                self._idle.get_nowait().kill()
            except queue.Empty:
                return

    def __enter__(self) -> "MathPool":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Worker:
    """One process, which may still be loading."""

    def __init__(self, config: MathConfig) -> None:
        command = [sys.executable, "-m", "ponder.verify.math.worker", str(config.memory_mb)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._rest = b""
        self._ready = False

    def ask(self, request: dict[str, object], seconds: float) -> dict[str, object] | None:
        """The reply; None where the process ended or took longer. Raises `DataError` where it did not start."""
        if not self._ready:
            if self._line(START_SECONDS) is None:
                self.kill()
                raise DataError(
                    "the process that compares answers does not start. Is math-verify installed? "
                    "To see what it says: python -m ponder.verify.math.worker 1024"
                )
            self._ready = True
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return None
        line = self._line(seconds)
        return None if line is None else json.loads(line)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not yet written
                    pipe.close()
        self._process.wait()

    def _line(self, seconds: float) -> bytes | None:
        """The next line; None where it does not come in time."""
        assert self._process.stdout is not None
        file = self._process.stdout.fileno()
        deadline = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([file], [], [], left)[0]:
                return None
            part = os.read(file, 65_536)
            if not part:
                return None
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return line
