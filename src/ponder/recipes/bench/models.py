"""From the name that a person gives to files that can be timed: a model that is here, or a preset's shape."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ponder.core.errors import ConfigError
from ponder.core.machine import available_memory
from ponder.core.runs import RUNS
from ponder.core.seeds import torch_rng
from ponder.models.presets import PRESETS, count_parameters
from ponder.models.transformer import Transformer
from ponder.recipes.opening import find_model, is_preset, model_folder
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import save_model

COPIES = 3  # of the weights in fp32 while a preset is made: the module, what is written, the file in the page cache


@contextmanager
def benched_model(name: str, runs: Path = RUNS) -> Iterator[Path]:
    """The model that `name` means; for a preset (of `ponder presets`), random weights in a folder that goes away again,
    since what a step costs does not depend on them.

    Raises `RunError` for a name that means nothing, `ConfigError` for a preset that this machine has no memory for.
    """
    if not is_preset(name, runs):
        yield model_folder(find_model(name, runs))
        return
    tokenizer = Tokenizer.for_arithmetic()
    shape = PRESETS[name](tokenizer.vocab_size)
    count = count_parameters(shape)
    needed, free = COPIES * 4 * (count.total + count.mtp), available_memory()
    if free is not None and needed > free:
        raise ConfigError(
            f"{name} with random weights takes {needed / 1e9:,.1f} GB while it is made, and this machine has "
            f"{free / 1e9:,.1f} GB left; take a smaller preset (ponder presets)"
        )
    with tempfile.TemporaryDirectory(prefix="ponder-bench-") as folder:
        path = Path(folder) / name
        save_model(path, Transformer(shape, torch_rng(0, "bench", name)), tokenizer)
        yield path
