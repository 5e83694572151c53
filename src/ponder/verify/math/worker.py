"""The worker process: a line of JSON in, a line of JSON out. Started and stopped by `pool`."""

import json
import os
import resource
import sys
import warnings
from typing import TextIO

from ponder.verify.math.comparison import compare


def main() -> None:
    """Answer requests until the input ends. Whatever a comparison raises becomes its answer."""
    memory = int(sys.argv[1]) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no reply
    compare("1", "2/2 + x")  # what is loaded on first use
    _send(replies, {"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            equal, reason = compare(request["reference"], request["answer"])
        except (Exception, RecursionError, MemoryError) as error:  # noqa: BLE001 - a library on any text whatever
            equal, reason = None, f"failed: {type(error).__name__}"
        _send(replies, {"equal": equal, "reason": reason})


def _send(replies: TextIO, message: dict[str, object]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
