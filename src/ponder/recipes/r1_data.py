"""What R1's stages learn from: worked examples and ordinary replies to imitate, and problems to practise on."""

import bisect
import copy
import difflib
import functools
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
from ponder.data.library.contamination import MeasuredText
from ponder.data.library.records import Kind
from ponder.data.library.sets import PROBLEM_SETS
from ponder.data.problems import Document, ProblemSource, held_out_problems
from ponder.data.task_file import TaskFile, load_task_file
from ponder.data.worked.numbers import NUMBER_TASKS
from ponder.data.worked.source import WorkedSource
from ponder.data.worked.words import WORD_TASKS
from ponder.recipes.open_task import GYM
from ponder.recipes.practised_sets import PHRASE, KeptApart, PractisedSet, SetConfig, is_set, open_measured, open_set
from ponder.recipes.problem_sets import CheckerConfig, Checkers, require_judged
from ponder.recipes.tasks import AddedRewards, rewards_of
from ponder.text.examples import Example, encode_conversation
from ponder.text.prompt import Prompter
from ponder.verify.by_task import CheckerByTask
from ponder.verify.checkers import AnswerChecker, check_exact
from ponder.verify.code.config import SandboxConfig
from ponder.verify.gym import GymChecker, GymPool

NEVER_TRAINED = ("stories_new",)  # worked sources that are there to be measured alone
NOT_MEASURED = ("drills", "spelling", "plain_questions")  # steps of other tasks, and what is measured apart

WAITING = 5.0  # seconds for a process that has to be started anew

Draw = Callable[[random.Random], Conversation | Example]
Taught = Callable[[random.Random], tuple[Problem, Document]]


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
                """--stages='["reasoning-rl"]' (and sharpening without them: --sharpening.worked_share=0)"""
            )
        self.file, self.name = file, file.name

    def sample(self, split: Split, rng: random.Random) -> Problem:
        """See `ponder.data.worked.source.WorkedSource`."""
        return replace(self.file.sample(split, rng), task=self.name)

    def worked(self, problem: Problem, rng: random.Random) -> Document:
        """See `ponder.data.worked.source.WorkedSource`."""
        return self.file.worked(problem, rng)


class NamedSource:
    """Problems of a task of reasoning-gym that has another name here."""

    def __init__(self, name: str, source: ProblemSource) -> None:
        self._name, self._source = name, source

    def sample(self, split: Split, rng: random.Random) -> Problem:
        """See `ponder.data.problems.ProblemSource`."""
        return replace(self._source.sample(split, rng), task=self._name)


class Practice:
    """The tasks that a model practises: their problems in given shares, worked traces of them, and their checkers."""

    def __init__(
        self,
        shares: Mapping[str, float],
        task_file: str = "",
        *,
        imitated: bool = True,
        problems: Mapping[str, SetConfig] | None = None,
        measured: Sequence[str] = (),
        sandbox: SandboxConfig | None = None,
        rewards_file: str = "",
    ) -> None:
        """`shares`: how often each task's problems come, by its name: a worked task, any task of reasoning-gym, a set
        of problems, or a name that `problems` describes; empty: all worked tasks alike, or the file's and those of
        `problems` alone. `task_file`: a person's own task; `imitated`: whether worked traces are needed. `measured`:
        names of what is measured besides. `sandbox`: where programs are judged.
        `rewards_file`: rewards of a person's own for all problems.

        Listed problems that are measured are left out of whatever is trained on. Raises `ConfigError` for a name that
        is no task or set, and where there is nothing to imitate; `DataError` or `SandboxError` where answers cannot be
        judged on this machine.
        """
        worked: dict[str, WorkedSource] = {source.name: source for source in (*NUMBER_TASKS, *WORD_TASKS)}
        own_task = OwnTask(load_task_file(Path(task_file)), imitated=imitated) if task_file else None
        if own_task is not None:
            worked[own_task.name] = own_task
        self._told = dict(problems or {})
        alone = ([own_task.name] if own_task is not None else []) + [n for n in self._told if n not in measured]
        trained = [name for name in worked if name not in NEVER_TRAINED]
        self.shares = dict(shares) or dict.fromkeys(alone or trained, 1.0)
        self.fingerprint = "" if own_task is None else own_task.file.fingerprint  # of a person's own task
        self._worked, self._sources = worked, dict[str, ProblemSource](worked)
        self._check_names(worked, trained, measured)
        self._sets = self._open_sets(worked)
        self._kinds: dict[str, Kind] = {name: opened.kind for name, opened in self._sets.items()}
        self._listed: dict[str, list[Problem]] = {}  # to be measured, where that is a list
        self._open_measured(measured)
        self._sources |= {name: opened.problems for name, opened in self._sets.items()}
        self._choice = WeightedChoice(self.shares, "tasks")
        self._taught = {name: source for name in self.shares if (source := self._teacher_of(name, worked)) is not None}
        self._taught_choice = self._choice_of_taught(imitated)
        self._open = ExitStack()
        sandbox = sandbox or SandboxConfig()
        checkers = self._open.enter_context(Checkers(CheckerConfig(code=sandbox)))
        pool = self._open.enter_context(GymPool())
        # that an answer's check may take in all
        self.check_seconds = max(pool.config.seconds + WAITING, checkers.config.seconds if self._kinds else 0.0)
        gym = GymChecker(pool)
        own: dict[str, AnswerChecker] = {name: check_exact for name in worked if not _is_gym(worked[name])}
        if own_task is not None and own_task.file.check is not None:
            own[own_task.name] = own_task.file.check
        own |= {name: gym if kind == "gym" else checkers.of(kind) for name, kind in self._kinds.items()}
        self.check = CheckerByTask(own, default=gym)
        try:
            of_task = () if own_task is None else rewards_of(own_task.file, own_task.name)
            self.added = AddedRewards(of_task, rewards_file, lambda: self.problem(python_rng(0, "rewards")))
            learned = {name: opened.problems.of("train") for name, opened in self._sets.items()}
            for name, found in {**self._listed, **learned}.items():
                require_judged(name, found, self.check, sandbox)
        except BaseException:
            self._open.close()
            raise

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
    def sets(self) -> dict[str, dict[str, object]]:
        """What is told of the problem sets that are trained on, by name: licence, kind, sizes, fingerprint."""
        return {name: {**opened.about(), "fingerprint": opened.fingerprint} for name, opened in self._sets.items()}

    @property
    def notes(self) -> list[str]:
        """For people: what was left out of problem sets, and which tasks have nothing to imitate."""
        notes = [note for opened in self._sets.values() for note in opened.notes]
        untaught = [name for name, share in self.shares.items() if share and name not in self._taught]
        if self._taught_choice is not None and untaught:
            notes.append(f"without worked traces, and so for reinforcement learning alone: {', '.join(untaught)}")
        return notes

    @property
    def trained(self) -> list[str]:
        """The tasks that are practised."""
        return [name for name, share in self.shares.items() if share]

    def in_shares(self, shares: Mapping[str, float], setting: str) -> "Practice":
        """The same tasks and checkers, with these shares in place of the tasks' own; what is not named keeps its own.
        Raises `ConfigError`, which names the `setting`, for a task that is not among them.
        """
        for name in shares:
            if name not in self.shares:
                raise ConfigError(
                    f"{setting} has {name!r}, which is not practised; expected some of {', '.join(self.shares)}"
                )
        other = copy.copy(self)
        other.shares = {**self.shares, **shares}
        other._choice = WeightedChoice(other.shares, setting)
        other._taught_choice = other._choice_of_taught(self._taught_choice is not None)
        return other

    def problem(self, rng: random.Random) -> Problem:
        """A training problem."""
        return self._sources[self._choice.draw(rng)].sample("train", rng)

    def conversation(self, rng: random.Random) -> Conversation:
        """A training problem with its thought and answer, of the tasks that have any."""
        assert self._taught_choice is not None  # the constructor's own check
        name = self._taught_choice.draw(rng)
        return _conversation(name, *self._taught[name](rng))

    def worked_examples(self, task: str) -> Draw:
        """What draws worked training problems of one task, whatever its share; one that has worked traces of its own
        (`ponder.data.worked`).
        """
        source = self._worked[task]
        return lambda rng: _conversation(task, *_worked_out(self._sources[task], source, rng))

    def problems_of(self, task: str, count: int) -> list[Problem]:
        """Some training problems of one task, to see what they are like; of listed ones, all."""
        if task in self._sets:
            return list(self._sets[task].problems.of("train"))
        rng = python_rng(0, "some of", task)
        return [self._sources[task].sample("train", rng) for _ in range(count)]

    def conversations_of(self, task: str, count: int) -> list[Conversation]:
        """Some of them with their thoughts and answers, of listed ones all; none where it has no worked traces."""
        if (listed := self._sets.get(task)) is not None:
            return [_conversation(task, problem, listed.worked(problem)) for problem in listed.solved]
        if task not in self._taught:
            return []
        rng = python_rng(0, "some of", task)
        return [_conversation(task, *self._taught[task](rng)) for _ in range(count)]

    def held_out(self, name: str, count: int) -> list[Problem]:
        """`count` problems of a task that no training meets, the same for every run: a worked task, any task of
        reasoning-gym by its name, or a set that the constructor was told of.
        """
        rng = python_rng(0, "held-out", name)
        if name in self._listed:
            return rng.sample(self._listed[name], min(count, len(self._listed[name])))
        source = self._sources.get(name) or _gym_source(name)
        return held_out_problems(source, count, rng)

    def held_out_to_try(self, name: str, count: int) -> list[Problem]:
        """Some of the problems of `held_out`, to see what they are like; of listed ones, all."""
        return self._listed[name] if name in self._listed else self.held_out(name, count)

    def require_held_out(self, name: str, setting: str) -> None:
        """Raises `ConfigError`, which names the setting that has it, where `held_out` knows no task of that name."""
        if name in self._sources or name in self._listed or _is_gym_task(name):
            return
        close = difflib.get_close_matches(name, [*self._sources, *gym_tasks(), *PROBLEM_SETS], n=1)
        known = (
            f"{', '.join(self._sources)}, any task of reasoning-gym, a set of `ponder problems`, or a file of "
            "questions and answers"
        )
        raise ConfigError(
            f"{setting} has {name!r}; " + (f"did you mean {close[0]!r}?" if close else f"expected some of {known}")
        )

    def _check_names(self, worked: Mapping[str, WorkedSource], trained: Sequence[str], measured: Sequence[str]) -> None:
        """Refuse names that are nothing, and settings of sets that nobody uses."""
        for name in self._told:
            if name in worked or _is_gym_task(name):
                raise ConfigError(f"problems.{name}: {name} is a task of its own already; choose another name")
            if name not in self.shares and name not in measured:
                raise ConfigError(
                    f"problems.{name} is described and not used; give it a share (tasks.{name} = 1.0), or name it in "
                    "measure.tasks or measure.apart"
                )
        for name in self.shares:
            if name in NEVER_TRAINED or not (name in trained or self._is_listed(name) or _is_gym_task(name)):
                raise ConfigError(
                    f"tasks has {name!r}; expected some of {', '.join(trained)}; another task of reasoning-gym; a set "
                    "of `ponder problems`; or a file of questions and answers"
                )

    def _is_listed(self, name: str) -> bool:
        """Whether a name is that of listed problems; reasoning-gym's tasks keep their names."""
        return name in self._told or (is_set(name) and not _is_gym_task(name))

    def _open_sets(self, worked: Mapping[str, WorkedSource]) -> dict[str, PractisedSet]:
        """The sets that are trained on; other tasks of reasoning-gym become sources."""
        opened = {}
        for name in self.shares:
            if name in worked:
                continue
            if self._is_listed(name):
                opened[name] = open_set(name, self._told.get(name, SetConfig()), task=name)
            else:
                self._sources[name] = _gym_source(name)
        return opened

    def _open_measured(self, measured: Sequence[str]) -> None:
        """Have the listed problems at hand that are measured, and none of them among those that are trained on."""
        for name, opened in self._sets.items():
            self._listed[name] = list(opened.problems.of("held_out"))
        for name in measured:
            if name not in self._sources and name not in self._sets and self._is_listed(name):
                kind, problems = open_measured(name, self._told.get(name, SetConfig()), task=name)
                self._kinds[name], self._listed[name] = kind, problems
        everything = [problem for problems in self._listed.values() for problem in problems]
        self._sets = {name: opened.without(everything) for name, opened in self._sets.items()}
        if everything:
            text = MeasuredText(everything, common=PHRASE)
            self._sources = {name: KeptApart(name, source, text) for name, source in self._sources.items()}

    def _teacher_of(self, name: str, worked: Mapping[str, WorkedSource]) -> Taught | None:
        """What draws a problem of a task with its worked trace; None where it has none."""
        if name in self._sets:
            return self._sets[name].taught if self._sets[name].solved else None
        source = worked.get(name)
        return None if source is None else functools.partial(_worked_out, self._sources[name], source)

    def _choice_of_taught(self, imitated: bool) -> WeightedChoice | None:
        """Draws a task that has worked traces. Raises `ConfigError` where they are needed and there are none."""
        if not imitated:
            return None
        shares = {name: share for name, share in self.shares.items() if name in self._taught}
        if not any(shares.values()):
            raise ConfigError(
                f"there are no worked traces of {', '.join(self.shares)}, so there is nothing to imitate; take the "
                "thoughts of a model that can think (ponder distill), name a column with worked solutions "
                "(fields = 'solution=COLUMN'), or leave it to reinforcement learning: "
                """--stages='["reasoning-rl"]' (and sharpening without them: --sharpening.worked_share=0)"""
            )
        return WeightedChoice(shares, "tasks")


def _worked_out(problems: ProblemSource, source: WorkedSource, rng: random.Random) -> tuple[Problem, Document]:
    problem = problems.sample("train", rng)
    return problem, source.worked(problem, rng)


def _is_gym_task(name: str) -> bool:
    return name.removeprefix(GYM) in gym_tasks()


def _gym_source(name: str) -> ProblemSource:
    """A task of reasoning-gym, by its name or as gym/NAME."""
    source = GymSource(name=name.removeprefix(GYM))
    return NamedSource(name, source) if name.startswith(GYM) else source


def _is_gym(source: ProblemSource) -> bool:
    """Whether a task's answers are judged by reasoning-gym."""
    return "gym" in source.sample("held_out", random.Random(0)).facts


def _conversation(task: str, problem: Problem, document: Document) -> Conversation:
    reply = Message("assistant", document.answer, reasoning=document.thought)
    return Conversation(id=problem.id, messages=(Message("user", problem.prompt), reply), task=task)


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
