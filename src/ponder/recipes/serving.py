"""From the place of a model to an engine that serves it as requests come."""

from dataclasses import dataclass
from pathlib import Path

from ponder.engine.engine import Engine, EngineConfig
from ponder.engine.native import WeightFormat
from ponder.engine.opening import CACHE_BYTES, open_engine_on_disk
from ponder.models.config import ModelConfig
from ponder.recipes.opening import model_folder
from ponder.text.prompt import Prompter
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import open_whole


@dataclass(frozen=True, kw_only=True)
class OpenedServing:
    """A model behind an engine, with what turns conversations into its prompts. Close the engine, or use `with`."""

    engine: Engine
    tokenizer: Tokenizer
    prompter: Prompter
    config: ModelConfig
    notice: str  # why it is slower than it could be; "" where it is not
    name: str  # see `served_name`

    def __enter__(self) -> "OpenedServing":
        return self

    def __exit__(self, *exception: object) -> None:
        self.engine.close()


def open_serving(
    path: Path,
    *,
    weights: WeightFormat = "bf16",
    config: EngineConfig | None = None,
    threads: int = 0,
    cache_bytes: int = CACHE_BYTES,
) -> OpenedServing:
    """The model of a run (see `model_folder`), of a model's folder, or of a GGUF file, in an engine of its own.

    The engine runs no steps until its `start` is called, or somebody reads. `weights`, `threads`: as in `NativeModel`;
    "stored" takes a GGUF file's own blocks. `cache_bytes`: most memory for cached tokens. Raises `CheckpointError` for
    files that hold no such model, `ConfigError` for a format that they do not have.
    """
    with open_whole(model_folder(path)) as (opened, tokenizer):
        engine = open_engine_on_disk(opened, config, weights=weights, threads=threads, cache_bytes=cache_bytes)
        return OpenedServing(
            engine=engine.engine,
            tokenizer=tokenizer,
            prompter=Prompter.of(tokenizer, opened.chat_template),
            config=opened.config,
            notice=engine.notice,
            name=served_name(path),
        )


def served_name(path: Path) -> str:
    """What the model at a place is called: as its run, folder or file."""
    return path.stem if path.suffix.lower() == ".gguf" else path.resolve().name
