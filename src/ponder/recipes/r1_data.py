"""What R1's stages learn from: worked examples and ordinary replies to imitate, and problems to practise on."""

import bisect
import difflib
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from ponder.core.errors import ConfigError, DataError
from ponder.core.seeds import python_rng
from ponder.core.types import Conversation, Message, Problem, Split
from ponder.data.gym import GymSource, gym_tasks
from ponder.data.problems import Document, ProblemSource, held_out_problems
from ponder.data.task_file import TaskFile, load_task_file
from ponder.data.worked.numbers import NUMBER_TASKS
from ponder.data.worked.source import WorkedSource
from ponder.data.worked.words import WORD_TASKS
from ponder.recipes.tasks import rewards_of
from ponder.text.examples import Example, encode_conversation
from ponder.text.prompt import Prompter
from ponder.verify.by_task import CheckerByTask
from ponder.verify.checkers import AnswerChecker, check_exact
from ponder.verify.gym import GymChecker, GymPool

NEVER_TRAINED = ("stories_new",)  # worked sources that are there to be measured alone
NOT_MEASURED = ("drills", "spelling")  # steps of other tasks

WAITING = 5.0  # seconds for a process that has to be started anew

Draw = Callable[[random.Random], Conversation | Example]


class WeightedChoice:
    """Draws names with given weights."""

    def __init__(self, weights: Mapping[str, float], what: str) -> None:
        """`what` names the setting in errors. Names of weight 0 are never drawn."""
        if any(not weight >= 0 for weight in weights.values()) or not sum(weights.values()) > 0:
            raise ConfigError(f"{what} = {dict(weights)}; expected weights of 0 or more, one of them above 0")
        self._names = [name for name, weight in weights.items() if weight]
        self._bounds = list(itertools.accumulate(weights[name] for name in self._names))

    def draw(self, rng: random.Random) -> str:
        """One of the names."""
        return self._names[bisect.bisect(self._bounds, rng.random() * self._bounds[-1], hi=len(self._names) - 1)]


class OwnTask:
    """A person's task file as a worked task."""

    def __init__(self, file: TaskFile, *, imitated: bool) -> None:
        """`imitated`: its worked traces are needed. Raises `DataError` where the file has none then."""
        if imitated and not file.has_documents:
            raise DataError(
                f"{file.path}: defines no worked(problem, rng), so there is nothing to imitate; define it, take the "
                "thoughts of a model that can think (ponder distill), or leave it to reinforcement learning: "
                """--stages='["reasoning-rl"]'"""
            )
        self.file, self.name = file, file.name

    def sample(self, split: Split, rng: random.Random) -> Problem:
        """See `ponder.data.worked.source.WorkedSource`."""
        return replace(self.file.sample(split, rng), task=self.name)

    def worked(self, problem: Problem, rng: random.Random) -> Document:
        """See `ponder.data.worked.source.WorkedSource`."""
        return self.file.worked(problem, rng)


class Practice:
    """The tasks that a model practises: their problems in given shares, worked traces of them, and their checkers."""

    def __init__(self, shares: Mapping[str, float], task_file: str = "", *, imitated: bool = True) -> None:
        """`shares`: how often each task's problems come, by its name; empty: all alike, or the file's alone.
        `task_file`: a person's own task; `imitated`: whether its worked traces are needed, which it may lack. Raises
        `ConfigError` for a name that is no worked task.
        """
        self._sources: dict[str, WorkedSource] = {source.name: source for source in (*NUMBER_TASKS, *WORD_TASKS)}
        own_task = OwnTask(load_task_file(Path(task_file)), imitated=imitated) if task_file else None
        if own_task is not None:
            self._sources[own_task.name] = own_task
            shares = shares or {own_task.name: 1.0}
        self.fingerprint = "" if own_task is None else own_task.file.fingerprint  # of a person's own task
        trained = [name for name in self._sources if name not in NEVER_TRAINED]
        for name in shares:
            if name not in trained:
                raise ConfigError(f"tasks has {name!r}; expected some of {', '.join(trained)}")
        self.shares = dict(shares) or dict.fromkeys(trained, 1.0)
        self._choice = WeightedChoice(self.shares, "tasks")
        self._open = ExitStack()
        pool = self._open.enter_context(GymPool())
        self.check_seconds = pool.config.seconds + WAITING  # that an answer's check may take in all
        gym = GymChecker(pool)
        own: dict[str, AnswerChecker] = {name: check_exact for name in self._sources if not self._is_gym(name)}
        if own_task is not None and own_task.file.check is not None:
            own[own_task.name] = own_task.file.check
        self.check = CheckerByTask(own, default=gym)
        self.rewards = () if own_task is None else rewards_of(own_task.file, own_task.name)  # in learning by trial

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def measured(self) -> list[str]:
        """The trained tasks whose accuracy is measured by default."""
        return [name for name, share in self.shares.items() if share and name not in NOT_MEASURED]

    @property
    def trained(self) -> list[str]:
        """The tasks that are practised."""
        return [name for name, share in self.shares.items() if share]

    def problem(self, rng: random.Random) -> Problem:
        """A training problem."""
        return self._sources[self._choice.draw(rng)].sample("train", rng)

    def conversation(self, rng: random.Random) -> Conversation:
        """A training problem with its thought and answer."""
        return _worked(self._sources[self._choice.draw(rng)], rng)

    def problems_of(self, task: str, count: int) -> list[Problem]:
        """Some training problems of one task, to see what they are like."""
        rng = python_rng(0, "some of", task)
        return [self._sources[task].sample("train", rng) for _ in range(count)]

    def conversations_of(self, task: str, count: int) -> list[Conversation]:
        """Some of them with their thoughts and answers."""
        rng = python_rng(0, "some of", task)
        return [_worked(self._sources[task], rng) for _ in range(count)]

    def held_out(self, name: str, count: int) -> list[Problem]:
        """`count` problems of a task that no training meets, the same for every run: a worked task, or any task of
        reasoning-gym by its name.
        """
        source: ProblemSource = self._sources.get(name) or GymSource(name=name)
        return held_out_problems(source, count, python_rng(0, "held-out", name))

    def require_held_out(self, name: str, setting: str) -> None:
        """Raises `ConfigError`, which names the setting that has it, where `held_out` knows no task of that name."""
        if name in self._sources:
            return
        names = [*self._sources, *gym_tasks()]
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            known = f"{', '.join(self._sources)}, or any task of reasoning-gym (ponder problems --json)"
            raise ConfigError(
                f"{setting} has {name!r}; " + (f"did you mean {close[0]!r}?" if close else f"expected some of {known}")
            )

    def _is_gym(self, name: str) -> bool:
        """Whether a task's answers are judged by reasoning-gym."""
        return "gym" in self._sources[name].sample("held_out", random.Random(0)).facts


def _worked(source: WorkedSource, rng: random.Random) -> Conversation:
    problem = source.sample("train", rng)
    document = source.worked(problem, rng)
    reply = Message("assistant", document.answer, reasoning=document.thought)
    return Conversation(id=problem.id, messages=(Message("user", problem.prompt), reply), task=source.name)


class MixedExamples:
    """An endless `ExampleSource`: conversations and plain texts of several kinds, in given shares."""

    size = None

    def __init__(self, parts: Mapping[str, tuple[float, Draw]], prompter: Prompter, seed: int) -> None:
        """`parts`: name → share and what draws an example of that kind."""
        if prompter.template is None:
            raise DataError("examples are conversations, and this model has no chat template; expected one that has")
        self._choice = WeightedChoice({name: share for name, (share, _) in parts.items()}, "the shares of examples")
        self._draws = {name: draw for name, (_, draw) in parts.items()}
        self._template, self._seed = prompter.template, seed

    def example(self, index: int) -> Example:
        """Example number `index`, the same whenever it is asked for."""
        rng = python_rng(self._seed, "examples", index)
        drawn = self._draws[self._choice.draw(rng)](rng)
        return drawn if isinstance(drawn, Example) else encode_conversation(self._template, drawn)


def one_of(examples: Sequence[Conversation | Example], what: str) -> Draw:
    """What draws from a list. Raises `DataError`, which names `what`, for an empty one."""
    if not examples:
        raise DataError(f"there is nothing among {what}; expected at least one")
    return lambda rng: rng.choice(examples)
