"""A model with what its run knows about it."""

from pathlib import Path

from ponder.cli.output import err
from ponder.core.config import read_toml
from ponder.core.files import what_is
from ponder.core.runs import RunFolder
from ponder.core.workers import Workers
from ponder.engine.native import WeightFormat
from ponder.recipes.engines import engine_notice
from ponder.recipes.files import DEFAULT_KIND, KIND
from ponder.recipes.opening import OpenModel, checkpoint_notice, open_model
from ponder.recipes.zero_recipe import ZeroRecipe, load_recipe


def recipe_of(folder: Path) -> ZeroRecipe | None:
    """The recipe of the run of R1-Zero that `folder` is; None where it is a model folder only, or another run."""
    config = RunFolder(folder).config
    if what_is(config) != "file" or read_toml(config).get(KIND, DEFAULT_KIND) != DEFAULT_KIND:
        return None
    return load_recipe(config)


def open_shown(path: Path, workers: Workers | None = None, weights: WeightFormat = "fp32") -> OpenModel:
    """`open_model`, with a word on standard error where the native kernels are missing, or a run is not finished."""
    note_checkpoint(path)
    if notice := engine_notice(weights):
        err().print(notice, style="dim", soft_wrap=True)
    return open_model(path, workers, weights=weights)


def note_checkpoint(path: Path) -> None:
    """Say on standard error which weights stand for a run that is not finished."""
    if notice := checkpoint_notice(path):
        err().print(f"note: {notice}", style="dim", soft_wrap=True)
