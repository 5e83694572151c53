"""Worker processes for checks that may take for ever, each killed and replaced when it takes too long."""

import contextlib
import json
import os
import queue
import select
import subprocess
import sys
import time

from ponder.core.errors import DataError
from ponder.core.time_limit import finishing

START_SECONDS = 120  # sympy is slow to load on a busy machine


class WorkerPool:
    """Processes that each answer one request at a time: a JSON object in, a JSON object out.

    Safe to use from several threads; close it at the end. `module` is run as a program whose first argument is
    `memory_mb`, and whose main is `worker_loop.serve`.
    """

    def __init__(self, module: str, *, workers: int, seconds: float, memory_mb: int, needs: str) -> None:
        """`needs` is what has to be installed, for the message where no worker starts."""
        self._command = [sys.executable, "-m", module, str(memory_mb)]
        self._seconds = seconds
        self._needs = needs
        self._idle: queue.Queue[_Worker] = queue.Queue()
        self._closed = False
        self._workers = workers
        for _ in range(workers):
            self._idle.put(_Worker(self._command, needs))

    def ask(self, request: dict[str, object], seconds: float | None = None) -> dict[str, object] | None:
        """The reply; None where it took too long or the worker ended. `seconds`: in place of the pool's own limit.

        Raises `DataError` where no worker starts.
        """
        if self._closed:
            raise DataError("the pool of worker processes is closed")
        worker = self._idle.get()
        try:
            return worker.ask(request, self._seconds if seconds is None else seconds)
        finally:
            with finishing():
                if worker.spoilt:  # also where the caller was interrupted while it waited: the reply would come late
                    with contextlib.suppress(DataError):  # the next one to ask tries again
                        worker.restart()  # loads while the caller goes on
                self._idle.put(worker)

    def wait(self) -> None:
        """Wait until every worker is loaded. Raises `DataError` where one does not start."""
        workers = [self._idle.get() for _ in range(self._workers)]
        try:
            for worker in workers:
                worker.wait()
        finally:
            with finishing():
                for worker in workers:
                    self._idle.put(worker)

    def close(self) -> None:
        """End the workers that are idle, and refuse further work."""
        self._closed = True
        while True:
            try:
                self._idle.get_nowait().kill()
            except queue.Empty:
                return


class _Worker:
    """One process, which may still be loading."""

    def __init__(self, command: list[str], needs: str) -> None:
        self._command = command
        self._needs = needs
        self._start()

    def restart(self) -> None:
        """End it, and begin another process in its place. Raises `DataError` where the system gives none."""
        self.kill()
        self._start()

    def _start(self) -> None:
        self.spoilt = True  # until there is a process: it was asked and has not answered, or is none
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise DataError(
                f"a process that checks answers cannot be started ({error.strerror}); free memory or processes"
            ) from error
        self._rest = b""
        self._ready = False
        self.spoilt = False

    def ask(self, request: dict[str, object], seconds: float) -> dict[str, object] | None:
        """The reply; None where the process ended or took longer. Raises `DataError` where it did not start."""
        self.wait()
        self.spoilt = True
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return None
        line = self._line(seconds)
        if line is None:
            return None
        self.spoilt = False
        return json.loads(line)

    def wait(self) -> None:
        """Wait until it is loaded. Raises `DataError` where it does not start."""
        if self.spoilt:
            self.restart()
        if self._ready:
            return
        if self._line(START_SECONDS) is None:
            self.spoilt = True
            raise DataError(
                f"a process that checks answers does not start. Is {self._needs} installed? "
                f"To see what it says: {' '.join(['python', *self._command[1:]])}"
            )
        self._ready = True

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
