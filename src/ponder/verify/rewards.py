"""The reward of R1-Zero: accuracy and format, both by rule, and no other signal (R1v1 2.2.2)."""

import math
from dataclasses import dataclass

from ponder.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """What a right answer and the right form are worth. The paper weighs them equally; see `accuracy`."""

    # A base model that follows the form nearly always learns little from a large format reward: most of the
    # spread inside a group should come from the answers.
    accuracy: float = 0.9
    format: float = 0.1

    def __post_init__(self) -> None:
        for name, weight in (("accuracy", self.accuracy), ("format", self.format)):
            if not math.isfinite(weight) or weight < 0:
                raise ConfigError(f"rewards.{name} is {weight}; expected a number of 0 or more")
        if self.accuracy == 0:
            raise ConfigError("rewards.accuracy is 0: nothing would reward a right answer; expected more than 0")


def reward_parts(rewards: RewardConfig, *, accuracy: float, well_formed: bool) -> dict[str, float]:
    """The parts of a reward; their sum is the reward. `accuracy` (0 to 1) counts only in a well-formed completion."""
    return {
        "accuracy": rewards.accuracy * accuracy if well_formed else 0.0,
        "format": rewards.format if well_formed else 0.0,
    }
