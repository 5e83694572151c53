"""What the process of a side does: it loads a model, says so, and then does one thing each time it is told to.

It is started with the path of its job (JSON). One JSON object a line goes over standard input and output. Standard
library only: peers run this in environments of their own.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

Ids = Sequence[int]


class Unsupported(Exception):
    """This side cannot do what the job asks for; the message says why."""


class Timed(NamedTuple):
    """What was timed, and what came of it."""

    seconds: float
    ids: Sequence[Ids] = ()  # the new tokens of each sequence


class Side(Protocol):
    """A library with a model loaded."""

    facts: Mapping[str, object]  # its versions, and what else is worth knowing

    def prefill(self, prompts: Sequence[Ids]) -> Timed:
        """Read prompts, one after the other, and choose the first token of each. They are new: nothing of them is
        known from before.
        """
        ...

    def decode(self, prompts: Sequence[Ids], tokens: int) -> Timed:
        """Continue all prompts at once by so many tokens each, greedily. Only these steps are timed: one token for each
        prompt is chosen before the clock starts.
        """
        ...


def serve(open_side: Callable[[Mapping[str, Any]], Any]) -> None:
    """The whole of a process: open what the job says, then call the method that each request names. What anything
    else prints to standard output goes to standard error.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(content: Mapping[str, object]) -> None:
        out.write(json.dumps(content) + "\n")
        out.flush()

    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    began = time.perf_counter()
    try:
        side = open_side(job)
    except Unsupported as reason:
        say({"unsupported": str(reason)})
        return
    say({**side.facts, "load_seconds": time.perf_counter() - began, "peak_bytes": peak_bytes()})
    for line in sys.stdin:
        request = json.loads(line)
        method = getattr(side, request.pop("do"))
        wall, cores = time.perf_counter(), time.process_time()
        result = method(**request)
        say(
            {
                "seconds": result.seconds,
                "ids": result.ids,
                "wall_seconds": time.perf_counter() - wall,
                "core_seconds": time.process_time() - cores,
                "peak_bytes": peak_bytes(),
            }
        )


def peak_bytes() -> int:
    """The most memory that this process has had."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
