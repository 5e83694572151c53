"""Questions that a model was made for, for a person to begin with."""

from pathlib import Path

from ponder.core.errors import PonderError
from ponder.core.files import what_is
from ponder.core.runs import RunFolder
from ponder.core.seeds import python_rng
from ponder.recipes.tasks import build_task
from ponder.recipes.zero_recipe import load_recipe

QUESTIONS = 4


def example_questions(path: Path, count: int = QUESTIONS) -> tuple[str, ...]:
    """Held-out problems of the task that the model of a run was trained on; the same ones each time. None for any other
    model, nor where the task's file is gone: a server can do without.
    """
    config = RunFolder(path).config
    if what_is(config) != "file":
        return ()
    try:
        problems = build_task(load_recipe(config).task).problems
        return tuple(problems.sample("held_out", python_rng(0, "example question", i)).prompt for i in range(count))
    except PonderError:
        return ()
