"""The recipe of distillation: everything that a run depends on, from a TOML file and the command line."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ponder.core.config import apply_settings, read_toml
from ponder.core.errors import ConfigError
from ponder.core.files import what_is
from ponder.core.runs import RUNS, RunFolder
from ponder.core.workers import ComputeConfig
from ponder.evals.drawing import DrawingConfig
from ponder.models.adapter_config import AdapterConfig
from ponder.recipes.endpoint_config import EndpointConfig, is_url
from ponder.recipes.engines import named_engine
from ponder.recipes.files import merged_tables, read_recipe, recipe_kind
from ponder.recipes.opening import FULL_TRAINING, find_model, fixed_path, is_preset
from ponder.recipes.practised_sets import SetConfig, is_set
from ponder.recipes.r1_recipe import R1Recipe
from ponder.recipes.tasks import TaskConfig
from ponder.recipes.zero_recipe import ZeroRecipe
from ponder.train.distill import DistillConfig
from ponder.train.optimizer import OptimizerConfig
from ponder.train.sft import SftConfig
from ponder.verify.code.config import SandboxConfig
from ponder.verify.readable import ReadableConfig

DEFAULT_RECIPE = "distill"


@dataclass(frozen=True, kw_only=True)
class TraceConfig:
    """Which answers the teacher is asked for, and which of them are kept."""

    problems: int = 2000  # different training problems (fewer where the task has fewer)
    samples: int = 2  # answers to each
    keep_per_problem: int = 1  # at most, of the right and readable ones
    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int = 512  # of an answer, thought and all; one that is cut off is not kept
    require_thought: bool = True  # an answer without a thought is not kept
    near_duplicate: float = 0.8  # answers to one problem that share this part of their runs of words are one
    readable: ReadableConfig = field(default_factory=ReadableConfig)

    def __post_init__(self) -> None:
        for name in ("problems", "samples", "keep_per_problem", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"traces.{name} = {getattr(self, name)}; expected 1 or more")
        if not 0.0 <= self.temperature < math.inf or not 0.0 < self.top_p <= 1.0:
            raise ConfigError(
                f"traces.temperature = {self.temperature}, traces.top_p = {self.top_p}; expected 0 or more, and a "
                "share above 0, at most 1"
            )
        if self.temperature == 0.0 and self.samples > 1:
            raise ConfigError(
                f"traces.temperature = 0 gives {self.samples} equal answers to a problem; expected a higher "
                "temperature, or traces.samples = 1"
            )
        if not 0.0 < self.near_duplicate <= 1.0:
            raise ConfigError(f"traces.near_duplicate = {self.near_duplicate}; expected a share above 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class DistillRecipe:
    """Everything that a run depends on."""

    kind: Literal["distill"] = "distill"
    name: str = "distill"
    seed: int = 0
    teacher: str = ""  # a run, folder, GGUF file or pulled model; a file of traces; or an address
    student: str = ""  # a run, folder, GGUF file or pulled model; or a preset, which begins with random weights
    checkpoint_every: int = 50  # steps
    engine: str = "auto"  # native: compiled kernels; torch: plain PyTorch; auto: the first that is there
    adapter: AdapterConfig = FULL_TRAINING  # all of the student's weights, or an adapter to them
    task: TaskConfig = field(default_factory=TaskConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)  # of problems whose answers are programs
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    traces: TraceConfig = field(default_factory=TraceConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    sft: SftConfig = field(  # R1's students: 2 to 3 passes, a cosine to a tenth, 1e-4 for 1.5 billion parameters
        default_factory=lambda: SftConfig(epochs=3.0, optimizer=OptimizerConfig(learning_rate=3e-4))
    )
    problems: int = 200  # held out, to measure the student on before and after
    evaluation: DrawingConfig = field(default_factory=lambda: DrawingConfig(samples=4, temperature=0.6, top_p=0.95))

    def __post_init__(self) -> None:
        for name in ("checkpoint_every", "problems"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected 1 or more")
        if self.distill.kind == "logits" and self.teacher and not teacher_is_model(self.teacher):
            raise ConfigError(
                f"distill.kind = 'logits' needs the teacher's weights, and {self.teacher} is "
                f"{'an address' if is_url(self.teacher) else 'a file of texts'}; expected a model of this machine, or "
                "distill.kind = 'traces'"
            )


def load_distill_recipe(
    source: str | Path = DEFAULT_RECIPE, overrides: Mapping[str, Any] | None = None, runs: Path = RUNS
) -> DistillRecipe:
    """A recipe from a TOML file or by the name of a built-in one, with `overrides` (a tree of tables) on top.

    `runs`: where runs are looked for by name. Where no task is named, it is that of the teacher's own run. Teacher and
    student become paths, so that a run goes on with the weights that it began with. Raises `ConfigError` where nothing
    says which problems the teacher is to be asked.
    """
    settings = merged_tables({"sft": {"epochs": DistillRecipe().sft.epochs}}, read_recipe(source))
    settings = merged_tables(settings, overrides or {})
    recipe = apply_settings(DistillRecipe(), settings)
    _require_use(recipe.distill.kind, overrides or {})
    for name in ("teacher", "student"):
        if not getattr(recipe, name).strip():
            raise ConfigError(f"the recipe names no {name}; give both: ponder distill TEACHER STUDENT")
    teacher, student, endpoint = recipe.teacher, recipe.student, recipe.endpoint
    if is_url(teacher):
        endpoint = replace(endpoint, url=teacher)
    elif endpoint.url:
        raise ConfigError(f"the teacher is {teacher}, and endpoint.url is {endpoint.url}; expected one of them")
    if not {"name", "file"} & set(settings.get("task", {})):
        recipe = apply_settings(replace(recipe, task=_teachers_task(teacher, runs)), settings)
    if not is_url(teacher):
        teacher = str(Path(teacher).resolve()) if is_traces(teacher) else fixed_path(teacher, runs)
    if not is_preset(student, runs):
        student = fixed_path(student, runs)
    engine = named_engine(recipe.engine, recipe.compute.device)
    return replace(recipe, teacher=teacher, student=student, endpoint=endpoint, engine=engine)


def _require_use(kind: str, overrides: Mapping[str, Any]) -> None:
    """Raises `ConfigError` for a setting that was changed and has no say in what the student learns from."""
    used, idle = ("distill", "sft") if kind == "logits" else ("sft", "distill")
    settings = overrides.get(idle)
    names = [name for name in settings if name != "kind"] if isinstance(settings, Mapping) else []
    if names:
        other = "traces" if kind == "logits" else "logits"
        raise ConfigError(
            f"setting '{idle}.{names[0]}' does nothing with distill.kind = '{kind}'; set those of the section {used} "
            f"(such as {used}.steps), or distill.kind = '{other}'"
        )


def is_traces(teacher: str) -> bool:
    """Whether a teacher's name is a file of traces."""
    return teacher.endswith(".jsonl")


def teacher_is_model(teacher: str) -> bool:
    """Whether a teacher is a model of this machine."""
    return not is_url(teacher) and not is_traces(teacher)


def _teachers_task(teacher: str, runs: Path) -> TaskConfig:
    """The task of the run that a teacher comes from. Raises `ConfigError` where it comes from none, or from one of many
    tasks.
    """
    why = f"{teacher} is an address"
    if not is_url(teacher):
        config = RunFolder(Path(teacher).parent if is_traces(teacher) else find_model(teacher, runs)).config
        task = _task_of(config) if what_is(config) == "file" else None
        if task is not None:
            return task
        why = f"{teacher} is not of a run with a task of its own"
    raise ConfigError(f"{why}, and nothing says what to ask; name the problems: --task FILE or --problems NAME")


def _task_of(config: Path) -> TaskConfig | None:
    """What the run of this config.toml was trained on; None where that is not one task."""
    kind, settings = recipe_kind(config), read_toml(config)
    if kind == ZeroRecipe.kind:
        return apply_settings(ZeroRecipe(), settings).task
    if kind == DistillRecipe.kind:
        return apply_settings(DistillRecipe(), settings).task
    if kind == R1Recipe.kind:
        recipe = apply_settings(R1Recipe(), settings)
        if recipe.task_file:
            return TaskConfig(file=recipe.task_file)
        return _task_of_set(recipe)
    return None


def _task_of_set(recipe: R1Recipe) -> TaskConfig | None:
    """The one set of problems that R1's pipeline was trained on; None where that is not one set."""
    names = [name for name, share in recipe.tasks.items() if share] or list(recipe.problems)
    if len(names) != 1 or not (names[0] in recipe.problems or is_set(names[0])):
        return None
    return TaskConfig(name=names[0], **asdict(recipe.problems.get(names[0], SetConfig())))
