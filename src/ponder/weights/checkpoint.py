"""A model on disk: opened from its headers, loaded, and saved as transformers, vLLM and others read it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

from ponder.core.errors import CheckpointError
from ponder.core.workers import kernel_threads
from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from ponder.weights.adapters.config import is_adapter
from ponder.weights.adapters.source import open_adapter
from ponder.weights.allocate import allocate
from ponder.weights.gguf.blocks import READABLE as GGUF_READABLE
from ponder.weights.gguf.header import split_of
from ponder.weights.gguf.reader import open_gguf
from ponder.weights.hf.config import config_to_json
from ponder.weights.hf.folder import CONFIG, open_hf_folder, read_config, write_files
from ponder.weights.hf.names import count_file_tensors, file_tensors, is_spare
from ponder.weights.hf.safetensors import READABLE, WEIGHTS, refuse_pickle
from ponder.weights.hf.tokenizer import TOKENIZER, tokenizer_files
from ponder.weights.opened import LoadedModel, OpenCheckpoint
from ponder.weights.source import TensorInfo, explained, some

__all__ = [
    "LoadedModel",
    "OpenCheckpoint",
    "load_model",
    "misfits",
    "open_checkpoint",
    "open_whole",
    "read_config",
    "read_model",
    "save_model",
]

GGUF_SUFFIX = ".gguf"
MANY = 10_000  # tensors: up to here, those that a checkpoint lacks are found by name
PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)


@contextmanager
def open_checkpoint(path: Path) -> Iterator[OpenCheckpoint]:
    """A model from its headers alone: a Hugging Face folder, a GGUF file (of a split model, any), a folder that holds
    one, or the folder of an adapter, which is opened as the model that it makes of its base.

    Raises `CheckpointError` for whatever is missing, damaged or unknown, and for pickles.
    """
    with explained(path):
        opened = _open(path)
    with opened.source:
        yield opened


@contextmanager
def open_whole(path: Path) -> Iterator[tuple[OpenCheckpoint, Tokenizer]]:
    """`open_checkpoint`, for whoever is going to use the model: with a tokenizer that fits it, and tensors that do.

    Raises `CheckpointError` where there is none, or they do not.
    """
    with open_checkpoint(path) as opened:
        if opened.tokenizer is None and opened.format == "gguf":
            raise CheckpointError(
                f"{path} has no tokenizer in its metadata; a model is read together with its tokenizer. Take a GGUF "
                "file that was converted with one"
            )
        if opened.tokenizer is None:
            raise CheckpointError(
                f"{path} has no {TOKENIZER}; a model is read together with its tokenizer. Copy the file from where "
                "the weights come from, or from a model with the same vocabulary"
            )
        check_vocabulary(path, opened.config, opened.tokenizer)
        check_tensors(opened)
        yield opened, opened.tokenizer


def load_model(path: Path, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Read a model into memory, in `dtype` whatever the file's precision.

    Memory is taken for the weights once, in `dtype`; the files are read straight into it. Raises `CheckpointError`
    for whatever is missing, damaged or does not fit, before that memory is taken where a header tells.
    """
    if dtype not in PRECISIONS:
        raise CheckpointError(f"a model cannot be held in {dtype}; expected one of {', '.join(map(str, PRECISIONS))}")
    with open_whole(path) as (opened, tokenizer):
        return LoadedModel(read_model(opened, dtype), tokenizer, opened.chat_template)


def read_model(opened: OpenCheckpoint, dtype: torch.dtype = torch.float32) -> Transformer:
    """The weights of a model that `open_whole` has opened."""
    model = allocate(opened.config, dtype)
    wanted = file_tensors(model)
    with kernel_threads(1):  # many short kernels: on several threads, each waits for the slowest core
        for name in opened.source.infos:  # in the order of the files
            if name in wanted:
                opened.source.read_into(name, wanted[name].view)
    return model


def save_model(folder: Path, model: Transformer, tokenizer: Tokenizer, chat_template: str | None = None) -> None:
    """Write the model into a folder, which is made if need be.

    Weights keep their precision. The files are written one by one: call it in `core.files.atomic_directory`,
    which puts the folder in place as a whole and explains what the disk refuses. Raises `CheckpointError` if the
    tokenizer has more tokens than the model.
    """
    check_vocabulary(folder, model.config, tokenizer)
    config = config_to_json(model.config, tokenizer.control, model.embedding.weight.dtype)
    tensors = {name: tensor.read() for name, tensor in file_tensors(model).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    write_files(folder, {CONFIG: config, **tokenizer_files(tokenizer, chat_template)})


def check_vocabulary(path: Path, config: ModelConfig, tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer with tokens that the model has no row for. Rows without a token are padding."""
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(
            f"{path}: the model has a vocabulary of {config.vocab_size} and its tokenizer one of "
            f"{tokenizer.vocab_size}; they belong to different models"
        )


def misfits(config: ModelConfig, infos: Mapping[str, TensorInfo]) -> tuple[list[str], list[str], dict[str, str]]:
    """What a checkpoint's tensors are beside what its config asks for: names that are missing, names that are
    unexpected, and what is wrong with each of those whose shape differs.

    Where a config asks for far more tensors than there are, only how many are missing is said, and none is listed.
    """
    count = count_file_tensors(config)
    if count > 2 * len(infos) + MANY:
        return [f"at least {count - len(infos):,} of the {count:,} tensors that its config asks for"], [], {}
    with torch.device("meta"):
        model = Transformer(config)
    expected = {name: tensor.shape for name, tensor in file_tensors(model).items()}
    missing = [name for name in expected if name not in infos]
    unexpected = [name for name in infos if name not in expected and not is_spare(name, config)]
    reshaped = {
        name: f"{name} has shape {infos[name].shape}; expected {shape}"
        for name, shape in expected.items()
        if name in infos and infos[name].shape != shape
    }
    return missing, unexpected, reshaped


def check_tensors(opened: OpenCheckpoint) -> None:
    """Refuse files that hold other tensors than the config asks for, before any memory is taken."""
    missing, unexpected, reshaped = misfits(opened.config, opened.source.infos)
    advice = f"{CONFIG} and the weights are of different models"
    if opened.format == "gguf":
        advice = "its metadata and its tensors are of different models"
    if missing or unexpected:
        parts = [f"lacks {some(missing)}"] if missing else []
        parts += [f"holds {some(unexpected)}, which the model has no place for"] if unexpected else []
        raise CheckpointError(f"{opened.path} {' and '.join(parts)}; {advice}")
    if reshaped:
        raise CheckpointError(f"{opened.path}: {next(iter(reshaped.values()))} ({advice})")
    if strange := unreadable(opened):
        raise CheckpointError(f"{opened.path} {strange}")


def unreadable(opened: OpenCheckpoint) -> str | None:
    """Which tensors are stored in a way that cannot be read, in words; None where there are none."""
    infos = opened.source.infos
    names = [name for name, info in infos.items() if not info.readable and not is_spare(name, opened.config)]
    if not names:
        return None
    kinds = dict.fromkeys(infos[name].stored for name in names)
    expected = GGUF_READABLE if opened.format == "gguf" else ", ".join(READABLE)
    return f"holds {some(names)} as {', '.join(kinds)}, which cannot be read; expected one of {expected}"


def _open(path: Path, above: tuple[Path, ...] = ()) -> OpenCheckpoint:
    """`above`: the adapters that are being opened with this as their base, or the base of their base."""
    refuse_pickle(path)
    if path.is_file() and _is_gguf(path):
        return open_gguf(path)
    if path.is_dir() and not (path / CONFIG).exists():
        files = sorted(file for file in path.iterdir() if _is_gguf(file))
        models = {split_of(file.name) or file.name for file in files}
        if len(models) > 1:
            names = some(file.name for file in files)
            raise CheckpointError(f"{path} holds several GGUF files ({names}); name the one that is meant")
        if files:
            return open_gguf(files[0])
        if is_adapter(path):
            here = path.resolve()
            if here in above:
                way = " → ".join(str(adapter) for adapter in (*above[above.index(here) :], here))
                raise CheckpointError(
                    f"{path} is an adapter that leads back to itself by its base ({way}); put the folder or name of "
                    "the model that it was trained on into its files"
                )
            return open_adapter(path, lambda base: _open(base, (*above, here)))
    return open_hf_folder(path)


def _is_gguf(path: Path) -> bool:
    return path.suffix.lower() == GGUF_SUFFIX
