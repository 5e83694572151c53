"""What every recipe's run keeps beside its weights: whose folder it is, and what it has cost so far."""

import json
import platform
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass, replace
from importlib.metadata import version
from typing import Any, ClassVar, Protocol, TypeVar

import torch

from ponder.core.config import apply_settings, read_toml, to_toml
from ponder.core.errors import RunError
from ponder.core.files import atomic_write_text
from ponder.core.provenance import source_commit
from ponder.core.runs import RunFolder
from ponder.core.workers import ComputeConfig, Workers
from ponder.models.config import ModelConfig
from ponder.models.presets import count_parameters
from ponder.recipes.files import DEFAULT_KIND, KIND
from ponder.train.checkpoint import Progress
from ponder.train.loop import Clock


class Recipe(Protocol):
    """What the recipes have in common; each is a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def kind(self) -> str:
        """What it is a recipe of."""
        ...

    @property
    def name(self) -> str:
        """What the recipe is called."""
        ...

    @property
    def seed(self) -> int:
        """Of everything random in the run."""
        ...

    @property
    def compute(self) -> ComputeConfig:
        """How the cores are used."""
        ...


SomeRecipe = TypeVar("SomeRecipe", bound=Recipe)

# settings that may differ from one start to the next: they change no result
ITS_OWN = frozenset({"compute", "minutes"})
# and those, in whatever section, without which a run may not be able to go on: how much is in memory at once, which
# changes results by rounding at most; and what becomes of an example that is too long, which is not learned either way
TO_GO_ON = frozenset(
    {
        *("too_long", "gradient_checkpointing", "micro_batch_rows", "micro_batch_tokens"),
        *("completions_per_batch", "tokens_per_batch", "vocabulary_chunk"),
    }
)


class RunCosts:
    """A run's summary.json: what it is, and the time and steps of each of its parts."""

    def __init__(self, run: RunFolder, recipe: Recipe, model: ModelConfig, about: Mapping[str, Any]) -> None:
        """The summary so far, or a new one that says `about`. Raises `RunError` where it is damaged."""
        self._run, self._recipe = run, recipe
        self.summary = _read_summary(run) or _new_summary(recipe, model, about)
        self._clock = Clock(self.summary["seconds"], self.summary["core_seconds"])

    def begin(self) -> None:
        """From here on the folder is a run: it has a summary and the recipe's settings; those of a later start, where
        more than `ITS_OWN` differ.
        """
        there = saved_recipe(self._recipe, self._run) if self._run.config.exists() else None
        if there is None or _with(there, self._recipe, ITS_OWN) != self._recipe:
            atomic_write_text(self._run.config, to_toml(self._recipe))
        self.save()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Record the time of a part without checkpoints, together with that of earlier tries that were stopped.

        Of a try that was killed (SIGKILL) nothing is known.
        """
        stopped: dict[str, tuple[float, float]] = self.summary.pop("stopped", {})
        clock = Clock(*stopped.pop(name, (0.0, 0.0)))
        try:
            yield
        except BaseException:
            self.summary["stopped"] = {**stopped, name: clock.read()}
            self.save()
            raise
        if stopped:
            self.summary["stopped"] = stopped
        self.record(name, clock.progress())

    def record(self, name: str, progress: Progress) -> None:
        """Put a part's cost into the summary, in the place where it was first."""
        part = {
            "name": name,
            "steps": progress.step,
            "seconds": progress.seconds,
            "core_seconds": progress.core_seconds,
            "remark": progress.remark,
        }
        by_name = {p["name"]: p for p in self.summary["stages"]} | {name: part}
        # a part that was resumed knows of more time than this process has seen
        spent = [(p["seconds"], p["core_seconds"]) for p in by_name.values()]
        seconds, core_seconds = map(max, self._clock.read(), map(sum, zip(*spent, strict=True)))
        self.summary |= {"stages": [*by_name.values()], "seconds": seconds, "core_seconds": core_seconds}
        self.save()

    def has(self, name: str) -> bool:
        """Whether a part is done."""
        return any(part["name"] == name for part in self.summary["stages"])

    def remark(self, name: str, text: str) -> None:
        """Have a part that is done say this in the report."""
        for part in self.summary["stages"]:
            if part["name"] == name:
                part["remark"] = text
        self.save()

    def save(self) -> None:
        """Write summary.json."""
        atomic_write_text(self._run.summary, json.dumps(self.summary, indent=2))


def check_claim(recipe: SomeRecipe, run: RunFolder, *, resume: bool, free: Collection[str] = ()) -> None:
    """Refuse a folder that holds a run, unless it is to be resumed and was made by this recipe.

    `free`: further settings and sections that may differ from the run's, by their dotted paths. A file of rewards may
    have another place: its content is compared.
    """
    if not run.config.exists():
        return
    if not resume:
        raise RunError(f"{run.path} already holds a run; continue it with --resume, or choose another name with --run")
    begun = saved_recipe(recipe, run)
    if getattr(recipe, "rewards_file", "") and (_read_summary(run) or {}).get("rewards_fingerprint"):
        free = {*free, "rewards_file"}
    saved = _with(begun, recipe, {*ITS_OWN, *TO_GO_ON, *free})
    ours, theirs = _flatten(asdict(recipe)), _flatten(asdict(saved))
    if saved != recipe or list(ours) != list(theirs):  # a table of names counts in its order too: draws go by it
        raise RunError(
            f"{run.path} was made by another recipe: {_difference(ours, theirs)}; resume it with its own settings, or "
            "choose another name with --run"
        )


def saved_recipe(recipe: SomeRecipe, run: RunFolder) -> SomeRecipe:
    """The settings of a run. Raises `RunError` where it is one of another kind than `recipe`."""
    settings = read_toml(run.config)
    kind = settings.get(KIND, DEFAULT_KIND)
    if kind != recipe.kind:
        raise RunError(
            f"{run.path} holds a run of the kind {kind!r}, and the recipe {recipe.name} is of the kind "
            f"{recipe.kind!r}; resume it with the command that began it, or choose another name with --run"
        )
    # from the defaults, since what is applied to a table of names keeps those that it has
    return apply_settings(type(recipe)(), settings)


def _with(saved: Any, given: Any, free: Collection[str], path: str = "") -> Any:
    """A config with those settings of another one that are `free`: by their dotted path, or by their name anywhere."""
    taken = {}
    for field in (field for field in fields(saved) if field.init):
        name, theirs = field.name, getattr(saved, field.name)
        ours = getattr(given, name)
        if name in free or f"{path}{name}" in free:
            taken[name] = ours
        elif is_dataclass(theirs) and type(theirs) is type(ours):
            taken[name] = _with(theirs, ours, free, f"{path}{name}.")
    return replace(saved, **taken)


def _read_summary(run: RunFolder) -> dict[str, Any] | None:
    if not run.summary.exists():
        return None
    try:
        return dict(json.loads(run.summary.read_text(encoding="utf-8")))
    except ValueError as error:
        raise RunError(f"{run.summary} is damaged ({error}); remove it and resume: its times are lost") from error


def _new_summary(recipe: Recipe, model: ModelConfig, about: Mapping[str, Any]) -> dict[str, Any]:
    parameters = count_parameters(model)
    return {
        **about,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "seconds": 0.0,
        "core_seconds": 0.0,
        "parameters_total": parameters.total,
        "parameters_active": parameters.active,
        "stages": [],
        "versions": {
            "ponder": version("ponder"),
            "commit": source_commit(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "workers": Workers.default_count(recipe.compute),
    }


def _difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """The first setting that is not the same in a recipe and in a run."""
    name = next((n for n in {**theirs, **ours} if n not in ours or n not in theirs or ours[n] != theirs[n]), None)
    if name is not None:
        return f"{name} is {theirs.get(name)!r} there and {ours.get(name)!r} here"
    for here, there in zip(ours, theirs, strict=True):
        if here != there:
            return f"{there} stands there where {here} stands here, and the order counts"
    return "a section is of another kind"


def _flatten(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{path}{key}.") if isinstance(value, Mapping) else {f"{path}{key}": value}
    return flat
