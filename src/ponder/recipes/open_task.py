"""Problems to distil on, by any name: a built-in task, a file with one, a problem set, or a task of reasoning-gym."""

import random
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ponder.core.errors import ConfigError, DataError, MissingLayerError
from ponder.core.files import what_is
from ponder.core.progress import Reporter, SilentReporter
from ponder.core.seeds import python_rng
from ponder.core.time_limit import CHECK_SECONDS
from ponder.core.types import Problem, Split
from ponder.data.problems import split_of
from ponder.recipes.tasks import BUILT_IN, Task, TaskConfig, build_task
from ponder.verify.code.config import SandboxConfig
from ponder.verify.trial import TRIED, require_working

GYM = "gym/"  # how the name of a task of reasoning-gym begins


class OpenedTask(NamedTuple):
    """A task, and how long its checker may take with one answer."""

    task: Task
    check_seconds: float


class ListedProblems:
    """A `ProblemSource` of problems that are there already; which are held out goes by a hash of their ids."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        self._name = name
        self._by_split: dict[Split, list[Problem]] = {"train": [], "held_out": []}
        for problem in problems:
            self._by_split[split_of(problem.id)].append(problem)
        for split, found in self._by_split.items():
            if not found:
                raise DataError(
                    f"none of the {len(problems)} problems of {name} is in the split {split!r}; expected more of them"
                )

    def sample(self, split: Split, rng: random.Random) -> Problem:
        """See `ponder.data.problems.ProblemSource`."""
        return rng.choice(self._by_split[split])

    def __repr__(self) -> str:
        """What they are: equal for equal problems."""
        known = sorted((p.id, str(p.answer)) for problems in self._by_split.values() for p in problems)
        return f"ListedProblems({self._name}, {known})"


def _training_split(name: str, splits: Collection[str] | None) -> str | None:
    """Of a published set with these splits: the one to learn from. A benchmark's test problems are taken only where
    they are named.
    """
    if splits is None or "train" in splits:
        return None if splits is None else "train"
    raise ConfigError(
        f"{name} has no split to learn from ({', '.join(splits)}): a model that learned a benchmark's problems cannot "
        f"be measured with it. Take another set, or, if you mean it, name the split: {name}:{next(iter(splits))}"
    )


def set_and_split(name: str) -> tuple[str, str]:
    """A set of problems and its split, "" where the name has none.

    >>> set_and_split("hub:acme/sums:train"), set_and_split("hub:acme/sums"), set_and_split("gsm8k")
    (('hub:acme/sums', 'train'), ('hub:acme/sums', ''), ('gsm8k', ''))
    """
    found, colon, split = name.rpartition(":")
    whole = not colon or found == "hub" or what_is(Path(name)) == "file"
    return (name, "") if whole else (found, split)


def fixed_problems(name: str) -> str:
    """The same problems by a name that holds in any folder: a file of one's own by its whole path.

    A file is known by its suffix: without one, a name is that of a set, whatever lies in the folder.
    """
    found, _ = set_and_split(name)
    if not Path(found).suffix or what_is(Path(found)) != "file":
        return name
    return f"{Path(found).resolve()}{name[len(found) :]}"


@contextmanager
def open_task(
    config: TaskConfig, sandbox: SandboxConfig | None = None, reporter: Reporter | None = None
) -> Iterator[OpenedTask]:
    """The task of that name. The processes of its checker end with the block; programs are run by `sandbox`.

    Beside the built-in tasks and a user's file: `gym/TASK`, a set of `ponder problems` (`NAME` or `NAME:SPLIT`), or a
    file of one's own with questions and answers, whose `kind` and `fields` the config tells. Of a set's rows, those
    that are no problems here are told to `reporter`.

    Raises `DataError` or `SandboxError` where answers to the problems cannot be judged on this machine.
    """
    if config.file or config.name in BUILT_IN:
        yield OpenedTask(build_task(config), CHECK_SECONDS)
        return
    if find_spec("reasoning_gym") is None:
        raise ConfigError(
            f"task.name = {config.name!r} needs the library of problems; install it with: pip install "
            f"'ponder[reason]'. Without it there are {', '.join(BUILT_IN)}, and a Python file with a task"
        )
    from ponder.data.gym import GymSource  # the extra's libraries: the built-in tasks need none of them
    from ponder.data.library.fields import read_fields
    from ponder.data.library.library import problem_set
    from ponder.data.library.records import read_kind
    from ponder.data.library.sets import ALIASES, PROBLEM_SETS
    from ponder.recipes.problem_sets import CheckerConfig, Checkers

    sandbox, reporter = sandbox or SandboxConfig(), reporter or SilentReporter()
    problems: Sequence[Problem]
    with Checkers(CheckerConfig(code=sandbox)) as checkers:
        if config.name.startswith(GYM):
            source = GymSource(name=config.name.removeprefix(GYM))
            task = Task(name=config.name, problems=source, documents=None, check=checkers.of_gym())
            problems = [source.sample("train", python_rng(0, "trial", i)) for i in range(TRIED)]
        else:
            name, split = set_and_split(config.name)
            published = PROBLEM_SETS.get(ALIASES.get(name, name))
            loaded = problem_set(
                name,
                split=split or _training_split(name, published.splits if published else None),
                kind=read_kind(config.kind) if config.kind else None,
                fields=read_fields(config.fields) if config.fields else None,
                drop_unanswered=config.drop_unanswered,
            )
            for note in loaded.notes:
                reporter.note(note)
            listed = ListedProblems(loaded.name, loaded.problems)
            task = Task(name=loaded.name, problems=listed, documents=None, check=checkers.of(loaded.kind))
            problems = loaded.problems
        try:
            require_working(task.name, problems, task.check)
        except MissingLayerError as error:
            names = ", ".join(f'"{layer}"' for layer in (*sandbox.allow_missing, *error.layers))
            raise error.with_setting(f"--sandbox.allow_missing='[{names}]'") from error
        yield OpenedTask(task, checkers.config.seconds)
