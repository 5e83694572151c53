"""Rewards of a user's own, which reinforcement learning adds: REWARDS of a Python file.

    def brief(problem, thought, answer): return len(thought) < 400
    REWARDS = {"brief": (0.1, brief)}

A file that defines nothing else is for all problems of a run; that of a task is for its own problems.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ponder.core.numbers import plain_number
from ponder.core.time_limit import CHECK_SECONDS
from ponder.core.types import Problem
from ponder.data.user_file import Place, UserFile, kind_of, shown

FIRST_CALL_SECONDS = 10.0  # that the first call of each of the file's functions may take: it may have things to import


@dataclass(frozen=True, slots=True)
class OwnReward:
    """A reward of the file's own; `function` takes the problem, the thought, and the answer where there is one."""

    name: str
    weight: float
    function: Callable[[Problem, str, str | None], object]


class RewardsFile:
    """A file of rewards for the problems of any task. Raises `DataError` where it defines none."""

    def __init__(self, path: Path) -> None:
        self._file = UserFile(path)
        self.rewards = rewards_in(self._file)
        if not self.rewards:
            raise self._file.error('defines no rewards: expected REWARDS = {"brief": (0.1, brief)}')

    @property
    def fingerprint(self) -> str:
        """Changes with the file: a run is continued with the rewards that it began with."""
        return self._file.digest

    def probe(self, problem: Problem) -> None:
        """Try the rewards on a problem, with an answer and without one. Raises `DataError` for what is no number."""
        with self._file.limited(CHECK_SECONDS, FIRST_CALL_SECONDS):
            for reward in self.rewards:
                for answer in {problem.answer or "1", None}:
                    worth_of(reward, problem, "so", answer, self._file.at("REWARDS"))


def worth_of(reward: OwnReward, problem: Problem, thought: str, answer: str | None, place: Place) -> None:
    """Raises `DataError` with the place where a reward gives no finite number."""
    worth = plain_number(reward.function(problem, thought, answer))
    if not isinstance(worth, bool | int | float) or not abs(worth) < float("inf"):
        label = f"{reward.name}(problem, thought, answer)"
        raise place.error(f"{label} returned {shown(worth)}; expected a finite number")


def told(problem: Problem) -> dict[str, object]:
    """A problem as a reward is given it: what is known of it, and what its own file said."""
    known = {"id": problem.id, "task": problem.task, "prompt": problem.prompt, "answer": problem.answer}
    return {**known, **problem.facts}


def rewards_in(file: UserFile) -> tuple[OwnReward, ...]:
    """What the file's REWARDS define, if it has any. Raises `DataError` where they are no rewards."""
    listed, place = file.names.get("REWARDS", {}), file.at("REWARDS")
    if not isinstance(listed, Mapping):
        raise place.error(f"REWARDS is {kind_of(listed)}; expected a dict such as {{'brief': (0.1, brief)}}")
    return tuple(_reward(file, place, name, entry) for name, entry in listed.items())


def _reward(file: UserFile, place: Place, name: object, entry: object) -> OwnReward:
    if not isinstance(name, str) or not name.isidentifier():
        raise place.error(f"a reward is named {shown(name)}; expected a name like 'brief'")
    if not isinstance(entry, tuple | list) or len(entry) != 2:
        raise place.error(f"REWARDS[{name!r}] is {shown(entry)}; expected a weight and a function: (0.1, {name})")
    weight, function = entry
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not abs(weight) < float("inf"):
        raise place.error(f"REWARDS[{name!r}] has the weight {shown(weight)}; expected a finite number")
    called, label = file.taking("problem, thought, answer", function, name, place), f"{name}(problem, thought, answer)"
    return OwnReward(name, float(weight), lambda problem, *said: file.call(called, label, told(problem), *said))
