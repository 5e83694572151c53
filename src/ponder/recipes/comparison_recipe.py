"""The recipe of the paper's comparison (R1v1 section 4.1) at a small scale: everything that it depends on."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ponder.core.config import apply_settings
from ponder.core.errors import ConfigError
from ponder.core.workers import ComputeConfig
from ponder.evals.drawing import DrawingConfig
from ponder.recipes.distill_recipe import TraceConfig
from ponder.recipes.engines import named_engine
from ponder.recipes.files import BEGINS_FROM, merged_tables, read_recipe
from ponder.recipes.zero_recipe import ZeroRecipe, load_recipe
from ponder.train.sft import SftConfig

DEFAULT_COMPARISON = "distill-comparison"
SIDES = ("teacher", "student")


@dataclass(frozen=True, kw_only=True)
class ComparisonRecipe:
    """Everything that a run depends on. In a file, `[teacher]` and `[student]` are recipes of R1-Zero with the setting
    `recipe`, the one that they begin from.
    """

    kind: Literal["distill-comparison"] = "distill-comparison"
    name: str = DEFAULT_COMPARISON
    seed: int = 0  # of the teacher, its traces and the evaluations
    seeds: tuple[int, ...] = (0, 1, 2)  # of the students
    checkpoint_every: int = 25  # steps
    engine: str = "auto"  # native: compiled kernels; torch: plain PyTorch; auto: the first that is there
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    teacher: ZeroRecipe = field(default_factory=ZeroRecipe)  # trained by R1-Zero
    student: ZeroRecipe = field(default_factory=ZeroRecipe)  # its base, and `grpo` of both students that learn by RL
    traces: TraceConfig = field(default_factory=TraceConfig)
    sft: SftConfig = field(default_factory=lambda: SftConfig(epochs=3.0))
    problems: int = 500  # held out, the same for every model
    evaluation: DrawingConfig = field(default_factory=DrawingConfig)

    def __post_init__(self) -> None:
        for name in ("checkpoint_every", "problems"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected 1 or more")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds = {list(self.seeds)}; expected at least one, each once")
        if self.problems < 2:
            raise ConfigError(f"problems = {self.problems}; expected 2 or more: an interval needs a spread")
        if self.teacher.task != self.student.task:
            raise ConfigError("teacher.task and student.task differ; expected one task: the teacher works it out")
        for side in SIDES:
            if getattr(self, side).minutes:
                raise ConfigError(f"{side}.minutes would make the result depend on the clock; leave it at 0")
            if getattr(self, side).start_from:
                raise ConfigError(f"{side}.start_from is set; expected a model that the run itself begins")
        if not self.sft.epochs:
            raise ConfigError(
                "sft.epochs = 0, as where sft.steps is set instead; expected the number of passes, from which the "
                "compute is counted"
            )

    def of_seed(self, seed: int) -> ZeroRecipe:
        """The recipe of one student."""
        return replace(self.student, seed=seed)


def load_comparison_recipe(
    source: str | Path = DEFAULT_COMPARISON, overrides: Mapping[str, Any] | None = None
) -> ComparisonRecipe:
    """A recipe from a TOML file or by the name of a built-in one, with `overrides` (a tree of tables) on top."""
    settings = merged_tables({"sft": {"epochs": ComparisonRecipe().sft.epochs}}, read_recipe(source))
    settings = merged_tables(settings, overrides or {})
    sides: dict[str, ZeroRecipe] = {}
    for side in SIDES:
        own = settings.pop(side, {})
        if not isinstance(own, Mapping):
            raise ConfigError(f"{side} is {own!r}; expected a table with a recipe of R1-Zero")
        below = own.get(BEGINS_FROM, "zero-chain")
        sides[side] = load_recipe(below, {name: value for name, value in own.items() if name != BEGINS_FROM})
    settings["engine"] = named_engine(settings.get("engine", "auto"))
    recipe = apply_settings(ComparisonRecipe(), {k: v for k, v in settings.items() if k not in SIDES} | sides)
    shared: dict[str, Any] = {
        "engine": recipe.engine,
        "compute": recipe.compute,
        "checkpoint_every": recipe.checkpoint_every,
    }
    return replace(recipe, teacher=replace(recipe.teacher, **shared), student=replace(recipe.student, **shared))
