"""The tasks of the `reasoning-gym` library, by name, as sources of problems."""

import difflib
import functools
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ponder.core.errors import ConfigError, DataError
from ponder.core.types import Problem, Split
from ponder.data.problems import split_of

DRAWS = 1_000  # draws before a split counts as empty
_EXAMPLES = ("example_correct_answer", "example_answer", "possible_answer")


@dataclass(frozen=True, kw_only=True)
class GymSource:
    """One task of reasoning-gym. `config` holds its own settings; what is left out is as the library has it.

    A problem's facts are `gym` (the task's name), `entry` (what the library's own scorer needs) and, where there are
    settings, `config`. Some tasks have many right answers and give none, or an example of one.
    """

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tasks = gym_tasks()
        if self.name not in tasks:
            near = difflib.get_close_matches(self.name, tasks, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(tasks)}"
            raise ConfigError(f"reasoning-gym has no task {self.name!r}{hint}")

    def sample(self, split: Split, rng: random.Random) -> Problem:
        """A problem of that split; the same state of `rng` gives the same problem."""
        for _ in range(DRAWS):
            problem = self._problem(rng.getrandbits(31))
            if problem.answer == "":
                continue  # zero in base 5, as the library writes it: no answer can be given
            if split_of(problem.id) == split:
                return problem
        raise DataError(f"reasoning-gym's task {self.name!r} gave no problem of the split {split!r} in {DRAWS} draws")

    def _problem(self, seed: int) -> Problem:
        entry = json.loads(json.dumps(gym_dataset(self.name, seed, self.config)[0], default=str))
        facts = {"gym": self.name, "entry": entry}
        if self.config:
            facts["config"] = json.loads(json.dumps(dict(self.config), default=str))
        return Problem(
            id=f"{self.name}: {entry['question']}",
            prompt=entry["question"],
            answer=_answer(entry),
            facts=facts,
            task=self.name,
        )


@functools.cache
def gym_tasks() -> tuple[str, ...]:
    """The names of all tasks but `composite`, which mixes others: here problems of several tasks are mixed by name.

    Raises `ConfigError` where reasoning-gym is not installed.
    """
    return tuple(sorted(set(_library().factory.DATASETS) - {"composite"}))


def gym_dataset(name: str, seed: int, config: Mapping[str, Any] | None = None) -> Any:
    """The library's own data set of one problem of a task. Raises `ConfigError` for settings that it refuses."""
    try:
        return _library().create_dataset(name, seed=seed, size=1, **(config or {}))
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(f"reasoning-gym's task {name!r} cannot be made so: {error}") from error


@functools.cache
def _library() -> Any:
    try:
        import reasoning_gym  # type: ignore[import-untyped]  # of an extra, and slow to load
    except ImportError as error:
        raise ConfigError("tasks of reasoning-gym need it installed: pip install 'ponder[reason]'") from error
    return reasoning_gym


def _answer(entry: Mapping[str, Any]) -> str | None:
    """The reference answer, or the example of one; None where the scorer decides alone."""
    if entry["answer"] is not None:
        return str(entry["answer"])
    example = next((entry["metadata"][key] for key in _EXAMPLES if key in entry["metadata"]), None)
    return example if example is None or isinstance(example, str) else json.dumps(example)
