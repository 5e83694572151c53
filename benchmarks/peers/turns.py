"""What every timed process shares: how it takes turns with the driver, and the reward.

A process is started with the path of its job (JSON). It loads, says so, and then does one step each time it is
told to, so that it is idle while another one is timed. One JSON object a line goes over standard output. Standard
library only: each peer runs this in an environment of its own.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def reward(ids: Sequence[int]) -> float:
    """A number from 0 to 1 that costs next to nothing and differs inside every group."""
    return sum(ids) % 101 / 100


def read_job() -> dict[str, Any]:
    """The job that this process was started with."""
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


class Turns:
    """A process's side of the conversation. Whatever else prints to standard output is sent to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._started = (0.0, 0.0)

    def ready(self, facts: Mapping[str, object]) -> None:
        """Everything is loaded."""
        self._say(facts)

    def wait(self) -> bool:
        """Wait for the word to do a step, and start the clock; False when there is nothing more to do."""
        told = bool(sys.stdin.readline())
        self._started = (time.perf_counter(), time.process_time())
        return told

    def done(self, *, rollout_seconds: float, tokens: int, helpers_core_seconds: float = 0.0) -> None:
        """Stop the clock. `rollout_seconds`: the part of the step that generated; `tokens`: how many it generated;
        `helpers_core_seconds`: what other processes of the same side used.
        """
        wall, cores = self._started
        self._say(
            {
                "seconds": time.perf_counter() - wall,
                "core_seconds": time.process_time() - cores + helpers_core_seconds,
                "rollout_seconds": rollout_seconds,
                "tokens": tokens,
            }
        )

    def _say(self, content: Mapping[str, object]) -> None:
        self._out.write(json.dumps(content) + "\n")
        self._out.flush()
