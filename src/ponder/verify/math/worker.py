"""The worker process that compares answers. Started and stopped by `pool`."""

import sys

from ponder.verify.math.comparison import compare, readable
from ponder.verify.worker_loop import limit, serve


def main() -> None:
    """Answer requests until the input ends: whether an answer equals a reference, or whether a reference is one."""
    limit(int(sys.argv[1]))
    compare("1", "2/2 + x")  # what is loaded on first use
    serve(_answer)


def _answer(request: dict[str, object]) -> dict[str, object]:
    if "answer" not in request:
        return {"readable": readable(str(request["reference"]))}
    equal, reason = compare(str(request["reference"]), str(request["answer"]))
    return {"equal": equal, "reason": reason}


if __name__ == "__main__":
    main()
