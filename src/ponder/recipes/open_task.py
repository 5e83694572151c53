"""Problems to learn from, by any name: a built-in task, a file with one, a problem set, or a task of reasoning-gym."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import NamedTuple

from ponder.core.errors import ConfigError
from ponder.core.progress import Reporter, SilentReporter
from ponder.core.seeds import python_rng
from ponder.core.time_limit import CHECK_SECONDS
from ponder.data.gym import GymSource
from ponder.data.library.generated import STORY_SETS
from ponder.data.worked.stories import STORIES
from ponder.recipes.practised_sets import ListedProblems, SetConfig, open_set
from ponder.recipes.problem_sets import CheckerConfig, Checkers, require_judged
from ponder.recipes.tasks import BUILT_IN, Task, TaskConfig, build_task
from ponder.verify.checkers import check_exact
from ponder.verify.code.config import SandboxConfig
from ponder.verify.trial import TRIED

GYM = "gym/"  # how the name of a task of reasoning-gym begins


class OpenedTask(NamedTuple):
    """A task, and how long its checker may take with one answer."""

    task: Task
    check_seconds: float


@contextmanager
def open_task(
    config: TaskConfig, sandbox: SandboxConfig | None = None, reporter: Reporter | None = None
) -> Iterator[OpenedTask]:
    """The task of that name. The processes of its checker end with the block.

    Beside the built-in tasks and a user's file: `gym/TASK`, a set of `ponder problems` (`NAME` or `NAME:SPLIT`), or a
    file of one's own with questions and answers, whose `kind` and `fields` the config tells. Of listed problems, what
    is measured is left out of what is trained on; what is left out is told to `reporter`. `sandbox`: where programs are
    judged. Raises `DataError` or `SandboxError` where answers to the problems cannot be judged on this machine.
    """
    if not config.of_library:
        yield OpenedTask(build_task(config), CHECK_SECONDS)
        return
    if find_spec("reasoning_gym") is None:
        raise ConfigError(
            f"task.name = {config.name!r} needs the library of problems; install it with: pip install "
            f"'ponder[reason]'. Without it there are {', '.join(BUILT_IN)}, and a Python file with a task"
        )
    told = SetConfig(
        path=config.path,
        kind=config.kind,
        fields=config.fields,
        drop_unanswered=config.drop_unanswered,
        test=config.test,
    )
    generated = config.name.startswith(GYM) or (config.name in STORY_SETS and not config.path)
    if generated and told != SetConfig():
        raise ConfigError(
            f"{config.name} is generated; leave out task.path, task.kind, task.fields and task.test, which are told of "
            "files and sets"
        )
    sandbox = sandbox or SandboxConfig()
    with Checkers(CheckerConfig(code=sandbox)) as checkers:
        if config.name.startswith(GYM):
            source = GymSource(name=config.name.removeprefix(GYM))
            task = Task(name=config.name, problems=source, documents=None, check=checkers.of_gym())
        elif generated:
            if config.name != STORIES.name:
                raise ConfigError(f"{config.name} is there to be measured, and never trained on; take {STORIES.name}")
            task = Task(name=config.name, problems=STORIES, documents=None, check=check_exact)
        else:
            opened = open_set(config.name, told)
            opened = opened.without(opened.problems.of("held_out"))
            for note in opened.notes:
                (reporter or SilentReporter()).note(note)
            task = Task(
                name=opened.name,
                problems=opened.problems,
                documents=None,
                check=checkers.of(opened.kind),
                fingerprint=opened.fingerprint,
                sets={opened.name: opened.about()},
            )
        tried = [task.problems.sample("train", python_rng(0, "trial", i)) for i in range(TRIED)]
        listed = task.problems.of("train") if isinstance(task.problems, ListedProblems) else tried
        require_judged(task.name, listed, task.check, sandbox)
        yield OpenedTask(task, checkers.config.seconds)
