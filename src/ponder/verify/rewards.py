"""Rewards by rule, each with a name and a weight; their weighted sum is the score.

R1-Zero's are accuracy and format, and no other signal (R1v1 2.2.2); R1 adds language consistency, summed (2.3.2).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ponder.core.errors import ConfigError
from ponder.core.types import FinishReason, Problem
from ponder.verify.language import check_language, language_share


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """The weight of each reward, 0 for none. The paper weighs accuracy and format equally; see `accuracy`."""

    # A base model that follows the form nearly always learns little from a large format reward: most of the
    # spread inside a group should come from the answers.
    accuracy: float = 0.9
    format: float = 0.1
    language: float = 0.0  # share of the thought's and answer's words in `target_language`
    repetition: float = 0.0  # share of runs of `repetition_tokens` tokens that are not said again
    length: float = 0.0  # 1 up to `length_from` tokens, then falling to 0 at `length_to`

    target_language: str = "en"
    repetition_tokens: int = 20
    length_from: int = 256
    length_to: int = 512

    def __post_init__(self) -> None:
        for name in ("accuracy", "format", "language", "repetition", "length"):
            weight = getattr(self, name)
            if not math.isfinite(weight) or weight < 0:
                raise ConfigError(f"rewards.{name} is {weight}; expected a number of 0 or more")
        if self.accuracy == 0:
            raise ConfigError("rewards.accuracy is 0: nothing would reward a right answer; expected more than 0")
        check_language(self.target_language)
        if self.repetition_tokens < 1:
            raise ConfigError(f"rewards.repetition_tokens is {self.repetition_tokens}; expected 1 or more")
        if not 0 <= self.length_from < self.length_to:
            raise ConfigError(
                f"rewards.length_from is {self.length_from} and rewards.length_to {self.length_to}; "
                "expected 0 or more, and the second larger"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A completion as a reward sees it. `answer` is None where none was found."""

    problem: Problem
    thought: str
    answer: str | None
    well_formed: bool
    accuracy: float  # from 0 to 1; 0 where the form has a flaw
    ids: tuple[int, ...]  # with the control tokens
    finish_reason: FinishReason


# Returns a finite number; rewards of our own run from 0 to 1. It may be a user's, so its result is not trusted.
RewardFunction = Callable[[Reply], object]


@dataclass(frozen=True, slots=True)
class NamedReward:
    """A reward beside accuracy and format. What it contributes is its weight times what the function returns."""

    name: str
    weight: float  # negative for a penalty
    function: RewardFunction

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigError(f"a reward is named {self.name!r}; expected a name like 'brevity'")
        if not math.isfinite(self.weight):
            raise ConfigError(f"the weight of the reward {self.name!r} is {self.weight}; expected a finite number")


def reward_parts(rewards: RewardConfig, *, accuracy: float, well_formed: bool) -> dict[str, float]:
    """Accuracy and format, weighed. `accuracy` (0 to 1) counts only in a well-formed completion."""
    return {
        "accuracy": rewards.accuracy * accuracy if well_formed else 0.0,
        "format": rewards.format if well_formed else 0.0,
    }


def further_rewards(config: RewardConfig, added: Sequence[NamedReward] = ()) -> tuple[NamedReward, ...]:
    """The rewards beside accuracy and format that have a weight, then those that a user adds.

    Raises `ConfigError` where two have one name.
    """
    own = (
        NamedReward("language", config.language, lambda reply: _language(reply, config.target_language)),
        NamedReward("repetition", config.repetition, lambda reply: distinct_share(reply.ids, config.repetition_tokens)),
        NamedReward("length", config.length, lambda reply: _length(reply, config.length_from, config.length_to)),
    )
    taken = {"accuracy", "format"} | {reward.name for reward in own}
    for reward in added:
        if reward.name in taken:
            raise ConfigError(f"two rewards are named {reward.name!r}; give yours another name")
        taken.add(reward.name)
    return (*(reward for reward in own if reward.weight), *added)


def distinct_share(ids: Sequence[int], run: int) -> float:
    """Different runs of `run` tokens over all of them, above 0 to 1; 1 where there is none.

    >>> distinct_share([1, 2, 1, 2, 1, 2], 2)
    0.4
    """
    runs = [tuple(ids[start : start + run]) for start in range(len(ids) - run + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0


def _language(reply: Reply, language: str) -> float:
    return language_share(f"{reply.thought}\n{reply.answer or ''}", language)


def _length(reply: Reply, start: int, end: int) -> float:
    """As DAPO's soft limit (eq. 13), with 1 in place of 0 and 0 in place of -1."""
    return min(1.0, max(0.0, (end - len(reply.ids)) / (end - start)))
