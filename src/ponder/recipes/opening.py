"""From the name that a person gives to a model that can be used."""

import difflib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from ponder.core.errors import CheckpointError, ConfigError, RunError
from ponder.core.files import what_is
from ponder.core.runs import RUNS, RunFolder, list_runs
from ponder.core.workers import Workers
from ponder.engine.native import WeightFormat
from ponder.models.adapter_config import AdapterConfig
from ponder.models.adapters import with_adapter
from ponder.models.config import ModelConfig
from ponder.models.presets import PRESETS
from ponder.models.vocabulary import with_token_rows
from ponder.recipes.engines import AnyGenerator, choose_engine, open_generator
from ponder.text.prompt import Prompter, r1_zero_jinja
from ponder.text.thinking_template import thinking_jinja
from ponder.text.tokenizer import Tokenizer
from ponder.text.vocabulary import THOUGHT_TAGS, with_reasoning_tokens
from ponder.train.checkpoint import read_progress
from ponder.train.grpo import Grpo
from ponder.train.pretrain import Pretraining
from ponder.weights.adapters.config import is_adapter
from ponder.weights.adapters.trainable import load_base, load_trainable
from ponder.weights.checkpoint import check_tensors, load_model, open_checkpoint, open_whole
from ponder.weights.opened import LoadedModel
from ponder.weights.pull.home import is_hub_id, known, pulled_models, read_manifest, resolve_model

FULL_TRAINING = AdapterConfig(kind="full")
# stages whose weights stand for a run, the last of a recipe first: of R1, of R1-Zero, of distillation
LAST_STAGES = (
    "second-sharpening", "final-rl", "sharpening", "second-sft", "reasoning-rl", "cold-start", Grpo.name,
    Pretraining.name, "sft", "distill",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OpenModel:
    """A model ready to be used."""

    config: ModelConfig
    tokenizer: Tokenizer
    prompter: Prompter
    generator: AnyGenerator


def open_model(
    path: Path, workers: Workers | None = None, *, engine: str = "auto", weights: WeightFormat = "fp32"
) -> OpenModel:
    """The model of a run (see `model_folder`), of a model's folder, or of a GGUF file.

    `weights`: how the native engine holds them; "stored" takes a GGUF file's own blocks as they are.
    """
    chosen = choose_engine(engine)
    with open_whole(model_folder(path)) as (opened, tokenizer):
        return OpenModel(
            config=opened.config,
            tokenizer=tokenizer,
            prompter=Prompter.of(tokenizer, opened.chat_template),
            generator=open_generator(chosen, opened, tokenizer.control, workers=workers, weights=weights),
        )


def load_with_answer_tags(path: Path) -> LoadedModel:
    """A model to train in R1-Zero's form, thought and answer each in tags: it gets the tags that it lacks, with rows
    that begin as the mean of the pieces that spell them.
    """
    loaded = load_model(model_folder(path))
    tokenizer, pieces = with_reasoning_tokens(loaded.tokenizer)
    if not pieces:
        return loaded
    template = loaded.chat_template or r1_zero_jinja(tokenizer)
    return LoadedModel(with_token_rows(loaded.model, pieces), tokenizer, template)


def load_with_thought_form(
    path: Path, adapter: AdapterConfig = FULL_TRAINING, generator: torch.Generator | None = None
) -> LoadedModel:
    """A model to teach R1's form, `<think>…</think>` and the answer: its chat template gets a place for the thought.

    Tags that its vocabulary lacks are added, with rows that begin as the mean of the pieces that spell them.

    `adapter`: whether all weights are to be trained, or an adapter, drawn from `generator`, and the added rows. A
    `path` that is itself an adapter's is then gone on with; to train all weights, it is worked into its base.

    Raises `DataError` for a chat template that Ponder cannot add thoughts to.
    """
    folder, base = model_folder(path), None
    if adapter.kind == "full":
        loaded = load_model(folder)
    elif is_adapter(folder):
        loaded = load_trainable(folder, adapter)
    else:
        loaded, base = load_base(folder)
    tokenizer, pieces = with_reasoning_tokens(loaded.tokenizer, THOUGHT_TAGS)
    template = thinking_jinja(tokenizer, loaded.chat_template)
    if pieces and loaded.model.adapter is not None:
        raise ConfigError(
            f"{folder} is an adapter that was trained without {' and '.join(THOUGHT_TAGS)}, and their rows cannot be "
            "added to it; export it as a plain model (ponder export) and start from that"
        )
    model = with_token_rows(loaded.model, pieces)
    if base is not None:
        model = with_adapter(model, adapter, generator, token_ids=tuple(pieces), base=base)
    return LoadedModel(model, tokenizer, template)


def check_headers(path: Path) -> None:
    """Raises `CheckpointError` where the headers tell already that there is no model that could be opened."""
    with open_checkpoint(model_folder(path)) as opened:
        check_tensors(opened)


def model_folder(path: Path) -> Path:
    """Where the weights are: `path` itself, or those that stand for the run that `path` is: of its last finished stage,
    else the newest.
    """
    if not _is_run(path):
        return path
    begun = _begun_stages(RunFolder(path))
    if not begun:
        raise CheckpointError(f"the run {path} has no checkpoint yet; continue it with --resume")
    return _of_run(begun).folder


def checkpoint_notice(path: Path) -> str:
    """What a person should know where `path` is a run whose newest stage is not finished: which weights `model_folder`
    takes. "" for any other model.
    """
    begun = _begun_stages(RunFolder(path)) if _is_run(path) else []
    if not begun or begun[0].finished:
        return ""
    name, newest, taken = RunFolder(path).name, begun[0], _of_run(begun)
    if newest == taken:
        return f"{name} is not finished: this is {taken.stage} after {taken.step:,} steps"
    return (
        f"{name} is not finished: this is the model after {taken.stage}; {newest.stage}, at step {newest.step:,}, "
        f"goes by its folder: {newest.folder}"
    )


class _BegunStage(NamedTuple):
    """A stage of a run by its newest checkpoint."""

    stage: str
    folder: Path
    step: int
    finished: bool


def _is_run(path: Path) -> bool:
    return what_is(path / "config.toml") is not None


def _begun_stages(run: RunFolder) -> list[_BegunStage]:
    """Those whose weights may stand for the run, the last first."""
    found = []
    for stage in LAST_STAGES:
        newest = run.latest_checkpoint(stage)
        if newest is not None:
            finished = False
            with suppress(CheckpointError):  # what it says of itself cannot be read; its weights may be good
                finished = read_progress(newest).finished
            found.append(_BegunStage(stage, newest, int(newest.name.rpartition("-")[2]), finished))
    return found


def _of_run(begun: Sequence[_BegunStage]) -> _BegunStage:
    """The last finished stage, but for one that only makes what R1-Zero begins with; else the newest."""
    return next((stage for stage in begun if stage.finished and stage.stage != Pretraining.name), begun[0])


def fixed_path(name: str, runs: Path = RUNS) -> str:
    """Where the weights lie that `name` means now, so that a run goes on with the ones that it began with. A saved
    run names its weights so, and keeps the name where they are gone by now.
    """
    path = Path(name)
    if path.is_absolute() and what_is(path) is None:
        return name
    return str(model_folder(find_model(name, runs)).resolve())


def fixed_name(name: str, runs: Path = RUNS) -> str:
    """What a run keeps of a model's name, so that it goes on with the weights that it began with: of a pulled model its
    name, by which any machine finds it that has pulled it too; of anything else `fixed_path`.
    """
    here = any(what_is(path) is not None for path in (Path(name), runs / name))
    pulled = None if here or not name.strip() else resolve_model(name)
    if pulled is None:
        return fixed_path(name, runs)
    manifest = read_manifest(pulled)
    return manifest.name if manifest is not None and resolve_model(manifest.name) == pulled else name


def weights_path(kept: str) -> Path:
    """Where the weights are that a run keeps as `fixed_name` says, or, as runs did before, by their path."""
    pulled = None if Path(kept).is_absolute() else resolve_model(kept)
    return Path(kept) if pulled is None else pulled


def same_weights(kept: str, named: str) -> bool:
    """Whether two names of `weights_path` mean the same weights. The path of a pulled model that is not there (the run
    came from another machine) means the one that is pulled here by that name.
    """
    then, now = weights_path(kept), weights_path(named)
    with suppress(RunError):  # a folder of somebody else's
        if what_is(then) is not None:
            return then.resolve() == now.resolve()
    return kept == named or (then.name == now.name and read_manifest(now) is not None)


def is_preset(name: str, runs: Path = RUNS) -> bool:
    """Whether a name is a preset's, and no path or run has it."""
    return name in PRESETS and what_is(Path(name)) is None and what_is(runs / name) is None


def find_model(name: str, runs: Path = RUNS) -> Path:
    """The run, folder or GGUF file that `name` means: a path, a run's name, or the name of a pulled model.

    Raises `RunError` that says which names there are, or how to fetch the model.
    """
    if not name.strip():
        raise RunError("the name of the model is empty; expected a run, a folder, a .gguf file or a pulled model")
    for path in (Path(name), runs / name):
        if what_is(path) is not None:
            return path
    pulled = resolve_model(name)
    if pulled is not None:
        return pulled
    model = known(name)
    if model is not None:
        if model.unsupported:
            raise RunError(f"{model.name} cannot be opened by Ponder: {model.unsupported}")
        raise RunError(f"{model.name} is not here yet; fetch it: ponder pull {model.name}")
    if is_hub_id(name):
        raise RunError(f"{name} is not here; if it is a model on the Hugging Face Hub, fetch it: ponder pull {name}")
    names = [run.name for run in list_runs(runs)] + [manifest.name for manifest in pulled_models()]
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        advice = f"did you mean {close[0]}?"
    elif names:
        advice = f"there are {', '.join(sorted(names))}; `ponder models` lists what can be fetched"
    else:
        advice = "make a run with `ponder quickstart`, or fetch a model: `ponder models`"
    raise RunError(f"there is no run or model {name!r}, neither here, nor in {runs}, nor pulled; {advice}")
