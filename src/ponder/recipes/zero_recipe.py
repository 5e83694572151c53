"""The recipe of R1-Zero: everything that a run depends on, from a TOML file and the command line."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ponder.core.config import apply_settings
from ponder.core.errors import ConfigError
from ponder.core.workers import ComputeConfig
from ponder.data.task_file import load_task_file
from ponder.evals.evaluator import EvaluationConfig
from ponder.models.config import ModelConfig
from ponder.models.presets import PRESETS
from ponder.recipes.engines import named_engine
from ponder.recipes.files import BEGINS_FROM, KIND, merged_tables, recipe_layers, whole_path
from ponder.recipes.opening import fixed_path
from ponder.recipes.practised_sets import SetConfig
from ponder.recipes.tasks import TaskConfig
from ponder.text.tokenizer import Tokenizer
from ponder.train.grpo import GrpoConfig
from ponder.train.pretrain import PretrainConfig
from ponder.verify.code.config import SandboxConfig
from ponder.verify.rewards import RewardConfig

DEFAULT_PRESET = "tiny-v3"


@dataclass(frozen=True, kw_only=True)
class ZeroRecipe:
    """Everything that a run depends on."""

    kind: Literal["zero"] = "zero"
    name: str = "zero-chain"
    seed: int = 0
    minutes: float = 0.0  # wall time for the whole run; 0: as long as the recipe takes, and then it is reproducible
    start_from: str = ""  # a model or run to start from instead of pretraining a base
    checkpoint_every: int = 25  # steps
    engine: str = "auto"  # native: compiled kernels; torch: plain PyTorch; auto: the first that is there
    preset: str = DEFAULT_PRESET
    model: ModelConfig = field(default_factory=lambda: PRESETS[DEFAULT_PRESET](Tokenizer.for_arithmetic().vocab_size))
    task: TaskConfig = field(default_factory=TaskConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    rewards: RewardConfig = field(default_factory=RewardConfig)
    rewards_file: str = ""  # a Python file whose REWARDS are added to them
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)  # where the programs of code problems are judged

    def __post_init__(self) -> None:
        if self.minutes < 0:
            raise ConfigError(f"minutes = {self.minutes}; expected 0 (no limit) or more")
        if self.checkpoint_every < 1:
            raise ConfigError(f"checkpoint_every = {self.checkpoint_every}; expected 1 or more")


def load_recipe(
    source: str | Path,
    overrides: Mapping[str, Any] | None = None,
    task_file: Path | None = None,
    problems: tuple[str, SetConfig] | None = None,
) -> ZeroRecipe:
    """A recipe from a TOML file or by the name of a built-in one, with `overrides` (a tree of tables) on top.

    `task_file`: a person's own task; `problems`: a set by its name with what is told of it. Without `task_file`, the
    one that the settings name, if any, is taken in the same way.
    """
    settings, above = recipe_layers(source)
    named = {*settings, *above}  # what the file says, whatever is changed above it
    overrides = merged_tables(above, overrides or {})
    if task_file is None:
        settings, overrides = _with_named_task(settings, overrides)
    else:
        settings = merged_tables(settings, _settings_of_task(task_file))
    if problems is not None:
        name, told = problems
        settings = merged_tables(settings, {"name": f"zero-{name}", "task": {"file": "", "name": name, **asdict(told)}})
    if "preset" in overrides:  # another preset is another model: the file's sizes were for its own
        settings = {name: value for name, value in settings.items() if name != "model"}
    merged = merged_tables(settings, overrides)
    preset = merged.get("preset", DEFAULT_PRESET)
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(f"preset = {preset!r}; expected one of {', '.join(PRESETS)}")
    model = PRESETS[preset](Tokenizer.for_arithmetic().vocab_size)
    recipe = _applied(ZeroRecipe(preset=preset, model=model), merged, named, source)
    return replace(
        recipe,
        start_from=fixed_path(recipe.start_from) if recipe.start_from else "",
        rewards_file=whole_path(recipe.rewards_file),
        engine=named_engine(recipe.engine, recipe.compute.device),
    )


def _applied(recipe: ZeroRecipe, settings: Mapping[str, Any], named: set[str], source: str | Path) -> ZeroRecipe:
    """The recipe with the settings; an error that comes of a file of another kind, which `named` such, says so."""
    try:
        return apply_settings(recipe, settings)
    except ConfigError as error:
        if KIND in settings or named <= ZeroRecipe.__dataclass_fields__.keys():
            raise
        raise ConfigError(
            f"{error}. {source} says neither which recipe it begins from (such as {BEGINS_FROM} = 'r1') nor its "
            f"{KIND}, and so it is read as a recipe of R1-Zero"
        ) from None


def _with_named_task(settings: dict[str, Any], above: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both layers of a recipe, with what the task file that they name says for itself under what is said beside it."""
    if _named_file(settings) and _named_file(above) is None:  # a file that begins from no other one
        settings, above = {}, merged_tables(settings, above)
    named = _named_file(above)
    if not named:
        return settings, above
    task = {name: value for name, value in above["task"].items() if name != "file"}
    return merged_tables(settings, _settings_of_task(Path(named))), {**above, "task": task}


def _named_file(settings: Mapping[str, Any]) -> str | None:
    """The task file that settings name: "" for none, None where they do not say."""
    task = settings.get("task")
    named = task.get("file") if isinstance(task, Mapping) else None
    return named if isinstance(named, str) else None


def _settings_of_task(path: Path) -> dict[str, Any]:
    """What a user's task file says for itself."""
    task = load_task_file(path)
    settings: dict[str, Any] = {"name": f"zero-{task.name}", "task": {"file": str(path.resolve())}}
    if task.max_tokens is not None:
        settings |= {"grpo": {"max_tokens": task.max_tokens}, "evaluation": {"max_tokens": task.max_tokens}}
    return settings
