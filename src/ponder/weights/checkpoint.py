"""A model on disk: `model.safetensors` + `config.json` + `tokenizer.json`, as transformers, vLLM and others read it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ponder.core.errors import CheckpointError
from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import CONTROL_TOKENS, Tokenizer
from ponder.weights.hf.config import config_from_json, config_to_json
from ponder.weights.hf.names import file_tensors, is_mtp, is_spare

WEIGHTS, INDEX, CONFIG, TOKENIZER = "model.safetensors", "model.safetensors.index.json", "config.json", "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
# what transformers' AutoTokenizer needs beside tokenizer.json
FOR_AUTO_TOKENIZER = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": CONTROL_TOKENS[0],
    "eos_token": CONTROL_TOKENS[1],
}
READABLE = ("F32", "BF16", "F16", "F64")  # safetensors' names of the precisions that are converted to fp32
SHOWN = 3  # tensors named in an error; the others are counted


@dataclass(frozen=True)
class LoadedModel:
    """A model with the tokenizer that it was trained with."""

    model: Transformer
    tokenizer: Tokenizer


def save_model(folder: Path, model: Transformer, tokenizer: Tokenizer) -> None:
    """Write the model into a folder, which is made if need be.

    Weights keep their precision. The files are written one by one: call it in `core.files.atomic_directory`,
    which puts the folder in place as a whole and explains what the disk refuses. Raises `CheckpointError` if model
    and tokenizer differ in vocabulary.
    """
    _same_vocabulary(folder, model.config, tokenizer)
    config = config_to_json(model.config, tokenizer.control, model.embedding.weight.dtype)
    tensors = {name: tensor.read() for name, tensor in file_tensors(model).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(_json(config), encoding="utf-8")
    (folder / TOKENIZER_CONFIG).write_text(_json(FOR_AUTO_TOKENIZER), encoding="utf-8")
    tokenizer.save(folder / TOKENIZER)


def load_model(folder: Path) -> LoadedModel:
    """Read a model from a folder, into fp32 whatever the file's precision.

    The weights may be in one file or, with an index, in several. A checkpoint without any tensor of its
    multi-token prediction modules (transformers leaves them out) gives a model with `mtp_depth = 0`. Raises
    `CheckpointError` for whatever is missing, damaged or does not fit.
    """
    config = read_config(folder)
    tokenizer_path = folder / TOKENIZER
    if not tokenizer_path.is_file():
        raise CheckpointError(f"{folder} has no {TOKENIZER}; a model is read together with its tokenizer")
    tokenizer = Tokenizer.load(tokenizer_path)
    _same_vocabulary(folder, config, tokenizer)
    with _open_weights(folder) as (place, files):
        if config.mtp_depth and not any(is_mtp(name, config) for name in files):
            config = replace(config, mtp_depth=0)
        _check_tensors(config, files, place)
        model = Transformer(config)
        for name, tensor in file_tensors(model).items():
            tensor.write(files[name].get_tensor(name))
    return LoadedModel(model, tokenizer)


def read_config(folder: Path) -> ModelConfig:
    """The shape of the model in a folder, without reading its weights."""
    if not folder.is_dir():
        found = "is a file, not a folder" if folder.exists() else "does not exist"
        raise CheckpointError(f"{folder} {found}; expected a folder with {CONFIG}, {WEIGHTS} and {TOKENIZER}")
    return config_from_json(_read_json(folder / CONFIG), str(folder / CONFIG))


def _same_vocabulary(folder: Path, config: ModelConfig, tokenizer: Tokenizer) -> None:
    if config.vocab_size != tokenizer.vocab_size:
        raise CheckpointError(
            f"{folder}: the model has a vocabulary of {config.vocab_size} and its tokenizer one of "
            f"{tokenizer.vocab_size}; they belong to different models"
        )


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no {path.name}; it is not the folder of a model") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"cannot read {path}: expected a JSON object, got {type(content).__name__}")
    return content


@contextmanager
def _open_weights(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The file to name in errors, and each tensor's name with the open safetensors file that holds it."""
    if (folder / WEIGHTS).is_file():
        place, shards = folder / WEIGHTS, [WEIGHTS]
    elif (folder / INDEX).is_file():
        place = folder / INDEX
        weight_map = _read_json(place).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
            raise CheckpointError(f"cannot read {place}: expected a 'weight_map' of tensor and file names")
        shards = sorted(set(weight_map.values()))
    else:
        raise CheckpointError(f"{folder} has no {WEIGHTS}; it is not the folder of a model")
    with ExitStack() as stack:
        files: dict[str, Any] = {}
        for shard in shards:
            path = folder / shard
            try:
                opened = stack.enter_context(safe_open(path, framework="pt"))
            except FileNotFoundError:
                raise CheckpointError(f"{folder} has no {shard}, which {INDEX} names") from None
            except (OSError, SafetensorError) as error:
                raise CheckpointError(
                    f"{path} is damaged or cut short ({error}); take an earlier checkpoint or copy it again"
                ) from error
            files |= dict.fromkeys(opened.keys(), opened)
        yield place, files


def _check_tensors(config: ModelConfig, files: Mapping[str, Any], place: Path) -> None:
    """Refuse files that hold other tensors than the config asks for, before any memory is taken."""
    with torch.device("meta"):
        expected = file_tensors(Transformer(config))
    missing = [name for name in expected if name not in files]
    unexpected = [name for name in files if name not in expected and not is_spare(name, config)]
    if missing or unexpected:
        parts = [f"lacks {_some(missing)}"] if missing else []
        parts += [f"holds {_some(unexpected)}, which the model has no place for"] if unexpected else []
        raise CheckpointError(f"{place} {' and '.join(parts)}; {CONFIG} and the weights are of different models")
    for name, tensor in expected.items():
        stored = files[name].get_slice(name)
        shape = tuple(stored.get_shape())
        if shape != tensor.shape:
            raise CheckpointError(
                f"{place}: {name} has shape {shape}; expected {tensor.shape} "
                f"({CONFIG} and the weights are of different models)"
            )
        if stored.get_dtype() not in READABLE:
            raise CheckpointError(f"{place}: {name} holds {stored.get_dtype()}; expected one of {', '.join(READABLE)}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
