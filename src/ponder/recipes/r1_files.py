"""The files of a person's own that R1's recipe names, read before anything begins."""

from collections.abc import Sequence
from pathlib import Path

from ponder.core.errors import DataError
from ponder.core.files import explain_read_errors
from ponder.core.progress import Reporter
from ponder.data.conversations import read_conversations
from ponder.data.preferences import read_preferences, read_safety, split_by_prompt
from ponder.recipes.endpoint_config import is_url
from ponder.recipes.open_teacher import require_client
from ponder.recipes.r1_measure import read_ordinary
from ponder.recipes.r1_recipe import R1Recipe


def try_files(recipe: R1Recipe, reporter: Reporter) -> None:
    """Read them, and tell what is left out of them: what is wrong shows now and not hours into a run.

    Raises `RunError` for a file that cannot be read, `DataError` for one that cannot be used.
    """
    for path in recipe.measure.texts:
        read_ordinary(Path(path))
    if "second-sft" in recipe.stages and recipe.rejection.collected:
        read_conversations(Path(recipe.rejection.collected))
    if "reward-model" not in recipe.stages:
        return
    judge = recipe.preferences.judge
    if is_url(judge.model):
        require_client()
        if judge.endpoint.key_file:
            with explain_read_errors(Path(judge.endpoint.key_file)):
                Path(judge.endpoint.key_file).read_bytes()
    if path := recipe.preferences.pairs:
        preferences = read_preferences(Path(path))
        reporter.note(f"{path}: {preferences.cleaning}")
        _require_both_sides(path, *split_by_prompt(preferences.pairs))
    if path := recipe.preferences.safety:
        safety = read_safety(Path(path))
        reporter.note(f"{path}: {safety.cleaning}")
        _require_both_sides(path, *split_by_prompt(safety.labels))


def _require_both_sides(path: str, train: Sequence[object], held_out: Sequence[object]) -> None:
    if not train or not held_out:
        raise DataError(
            f"{path}: {len(train)} rows to train a reward model on and {len(held_out)} held out (one prompt in ten); "
            "expected some of each: give more prompts"
        )
