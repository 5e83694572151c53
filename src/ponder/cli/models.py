"""A model with what its run knows about it."""

from pathlib import Path

from ponder.core.runs import RunFolder
from ponder.recipes.zero_recipe import ZeroRecipe, load_recipe


def recipe_of(folder: Path) -> ZeroRecipe | None:
    """The recipe of the run that `folder` is; None where it is a model folder only."""
    config = RunFolder(folder).config
    return load_recipe(config) if config.is_file() else None
