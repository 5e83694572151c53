"""What of R1's recipe may be another when a run goes on: what nothing in the run depends on yet."""

from contextlib import suppress

from ponder.core.errors import RunError
from ponder.core.runs import RunFolder
from ponder.evals.record import read_object
from ponder.recipes.endpoint_config import FREE
from ponder.recipes.opening import same_weights
from ponder.recipes.r1_recipe import R1Recipe
from ponder.recipes.run_state import saved_recipe


def free_on_resume(recipe: R1Recipe, run: RunFolder) -> set[str]:
    """The settings that may differ from the run's, by their dotted paths: when it is measured; how, where nothing was
    measured yet; another name for the same weights; another place of the task file, whose content is compared; how a
    judge's address is reached; which protections of the sandbox may be missing; the stages after the last one that has
    begun, and the section of a stage that the run did not have.
    """
    free = {"measure.when"} if has_measured(run) else {"measure"}
    free |= {"sandbox.allow_missing", *(f"preferences.judge.endpoint.{name}" for name in FREE)}
    if not run.config.exists():
        return free
    saved = saved_recipe(recipe, run)
    if same_weights(saved.start_from, recipe.start_from):
        free.add("start_from")
    begun = _begun(saved, run)
    if recipe.stages[: len(begun)] == begun:
        free.add("stages")
        free |= {stage.replace("-", "_") for stage in recipe.stages if stage not in saved.stages}
    with suppress(RunError):  # a damaged summary, of which the pipeline tells
        if (read_object(run.summary) or {}).get("task_fingerprint"):
            free.add("task_file")
    return free


def _begun(saved: R1Recipe, run: RunFolder) -> tuple[str, ...]:
    """A run's stages up to the last one of which there is something."""
    parts: set[str] = set()
    with suppress(RunError):
        parts = {part["name"] for part in (read_object(run.summary) or {}).get("stages", [])}
    there = [stage in parts or run.latest_checkpoint(stage) is not None for stage in saved.stages]
    return saved.stages[: len(there) - there[::-1].index(True)] if any(there) else ()


def has_measured(run: RunFolder) -> bool:
    """Whether there is a result of an evaluation, or a sample of one that has begun."""
    return any(path.stat().st_size for path in run.evaluations.glob("*.json*"))
