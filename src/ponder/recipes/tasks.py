"""The tasks that a recipe can name: problems, documents and checker, wired together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ponder.core.errors import ConfigError
from ponder.core.types import Problem
from ponder.data.chain import ChainSource
from ponder.data.countdown import CountdownSource
from ponder.data.own_rewards import OwnReward, RewardsFile
from ponder.data.problems import DocumentSource, ProblemSource
from ponder.data.task_file import TaskFile, load_task_file
from ponder.verify.checkers import AnswerChecker, check_countdown, check_exact
from ponder.verify.rewards import NamedReward, Reply, RewardConfig, further_rewards

BUILT_IN = ("chain", "countdown")


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """Which task, and the settings of the built-in ones."""

    name: str = "chain"
    file: str = ""  # a Python file with a task of one's own; wins over `name`
    kind: str = ""  # of a table of one's own or a set of the Hub: how answers are judged; empty: exact
    fields: str = ""  # of the same: which column is what, such as question=q,answer=a; empty: the usual names
    drop_unanswered: bool = False  # of sets: leave rows without an answer out, where they would be refused
    path: str = ""  # of a set: a file of one's own, or of a published set a folder that stands in for the Hub
    test: str = ""  # of a set: one to measure with; empty: its own split `test`, else one problem in ten
    chain: ChainSource = field(default_factory=ChainSource)
    countdown: CountdownSource = field(default_factory=CountdownSource)

    @property
    def of_library(self) -> bool:
        """Whether it is a set of problems or a task of reasoning-gym, and neither built in nor a file of Python."""
        return not self.file and self.name not in BUILT_IN


@dataclass(frozen=True, kw_only=True)
class Task:
    """Problems with a checker, and documents about them where there are any."""

    name: str
    problems: ProblemSource
    documents: DocumentSource | None
    check: AnswerChecker
    fingerprint: str = ""  # changes with a user's file; a built-in task is known by its settings
    file: TaskFile | None = None
    rewards: tuple[NamedReward, ...] = ()  # that the file adds
    sets: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # what is told of problem sets, by name


def rewards_of(file: TaskFile | RewardsFile, task: str | None = None) -> tuple[NamedReward, ...]:
    """The rewards that a file adds; with `task`, for problems of that name alone, and 0 for all others. Raises
    `ConfigError` where one has the name of a reward that there is already.
    """

    def of_reply(own: OwnReward) -> Callable[[Reply], object]:
        def worth(reply: Reply) -> object:
            if task is not None and reply.problem.task != task:
                return 0.0
            return own.function(reply.problem, reply.thought, reply.answer)

        return worth

    found = tuple(NamedReward(own.name, own.weight, of_reply(own)) for own in file.rewards)
    further_rewards(RewardConfig(), found)  # two of one name show now, and not when learning by trial begins
    return found


class AddedRewards:
    """What learning by trial is rewarded with besides: the rewards of a task's file, and those of a file of rewards."""

    def __init__(self, of_task: tuple[NamedReward, ...], path: str, tried_on: Callable[[], Problem]) -> None:
        """`path`: a file of rewards, or ""; `tried_on` makes a problem to try it on. Raises `DataError` for a file that
        cannot be used, `ConfigError` where one has the name of a reward that there is already.
        """
        self.rewards, self.fingerprint = of_task, ""
        if path:
            file = RewardsFile(Path(path))
            file.probe(tried_on())
            self.rewards, self.fingerprint = (*of_task, *rewards_of(file)), file.fingerprint
        further_rewards(RewardConfig(), self.rewards)


def build_task(config: TaskConfig) -> Task:
    """The task that the config names."""
    if config.file:
        custom = load_task_file(Path(config.file))
        return Task(
            name=custom.name,
            problems=custom,
            documents=custom.documents,
            check=custom.check or check_exact,
            fingerprint=custom.fingerprint,
            file=custom,
            rewards=rewards_of(custom),
        )
    if config.name == "chain":
        return Task(name="chain", problems=config.chain, documents=config.chain, check=check_exact)
    if config.name == "countdown":
        return Task(name="countdown", problems=config.countdown, documents=config.countdown, check=check_countdown)
    raise ConfigError(
        f"task.name = {config.name!r}; expected one of {', '.join(BUILT_IN)}, or task.file with a task of your own"
    )
