"""The driver's end of a side's process."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ponder.core.errors import GenerationError

PATIENCE = 10.0  # seconds that a process has to end by itself
REST = 0.05  # seconds before a turn, so that the threads of the turn before have gone to sleep
RESOLUTION = 0.02  # core-seconds: what the system's counters may be off by
QUIET_FOR = 0.25  # seconds
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
}


Progress = Callable[[str], None]  # hears what is being done


class Process:
    """A side that has been started. `facts` are what it said when it had loaded. Where it cannot do its job,
    `unsupported` says why and `facts` hold little else.
    """

    def __init__(self, name: str, command: list[str], job: Mapping[str, Any], folder: Path) -> None:
        """Start it and wait until it has loaded. Raises `GenerationError` where it fails."""
        self.name = name
        path = folder / f"{name}-{time.monotonic_ns()}.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        self._said = path.with_suffix(".log")
        environment = {k: v for k, v in os.environ.items() if k not in THREAD_SETTINGS} | QUIET
        began = time.perf_counter()
        with self._said.open("wb") as errors:
            try:
                self._process = subprocess.Popen(
                    [*command, str(path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=environment,
                )
            except OSError as error:
                raise GenerationError(f"{name} cannot be started: {error}; make its environment again") from error
        try:
            found = self._listen()
        except BaseException:
            self.close()
            raise
        self.unsupported: str | None = found.get("unsupported")
        self.facts = {**found, "start_seconds": time.perf_counter() - began}
        self.peak_bytes = int(found.get("peak_bytes", 0))

    def turn(self, do: str, **request: Any) -> dict[str, Any]:
        """Have it do one thing. Its answer, and `others`: cores that other processes kept busy meanwhile."""
        time.sleep(REST)
        before = busy_core_seconds()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._failure() from None
        answer = self._listen()
        others = busy_core_seconds() - before - answer["core_seconds"] - RESOLUTION
        answer["others"] = max(0.0, others) / answer["wall_seconds"]
        self.peak_bytes = answer["peak_bytes"]
        return answer

    def close(self) -> None:
        """End the process: it stops by itself when it is told nothing more, unless it is in the middle of a turn."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):  # it is gone, with a request unread
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _listen(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise self._failure()
        return dict(json.loads(line))

    def _failure(self) -> GenerationError:
        self.close()
        said = self._said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = said[-1] if said else "without a word"
        return GenerationError(f"{self.name} ended with exit code {self._process.returncode}: {last}")


def side_command(name: str) -> list[str]:
    """How a side of this package is started."""
    return [sys.executable, "-m", f"ponder.recipes.bench.{name}"]


def wait_for_quiet(most: float, patience: float) -> None:
    """Wait until this machine keeps no more than `most` cores busy, but no longer than `patience` seconds."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        before = busy_core_seconds()
        time.sleep(QUIET_FOR)
        if busy_core_seconds() - before - RESOLUTION <= most * QUIET_FOR:
            return


def busy_core_seconds() -> float:
    """Core-seconds that this machine has been busy, or taken away by its host, since it started, as Linux counts them;
    0 elsewhere.
    """
    try:
        fields = [int(n) for n in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
    except OSError:
        return 0.0
    user, nice, system, _, _, _, _, stolen = fields[:8]
    return (user + nice + system + stolen) / os.sysconf("SC_CLK_TCK")
