"""Learning rates over the steps of a stage, as shares of their peak."""

import math
from typing import Literal

Fall = Literal["cosine", "line"]


def warmed_up(step: int, warmup_steps: int) -> float:
    """Up along a line: step 0 has `1 / warmup_steps`, step `warmup_steps - 1` and all after it have 1."""
    return min(1.0, (step + 1) / warmup_steps)


def warmup_then_fall(step: int, *, steps: int, warmup_steps: int, final_share: float, fall: Fall = "cosine") -> float:
    """Up along a line, then down along half a cosine or a line: the last of `steps` has `final_share`.

    A stage that is shorter than its warm-up has no fall. Steps beyond the last keep `final_share`.
    """
    warmup_steps = min(warmup_steps, steps)
    if step < warmup_steps:
        return warmed_up(step, warmup_steps)
    past = min(1.0, (step + 1 - warmup_steps) / max(1, steps - warmup_steps))
    left = 0.5 * (1.0 + math.cos(math.pi * past)) if fall == "cosine" else 1.0 - past
    return final_share + (1.0 - final_share) * left
