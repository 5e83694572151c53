"""An adapter's base with the adapter worked in, tensor by tensor as it is asked for."""

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from ponder.core.errors import CheckpointError
from ponder.models.adapter_config import AdapterConfig
from ponder.models.config import ModelConfig
from ponder.weights.adapters.base import base_of, check_base, find_base
from ponder.weights.adapters.config import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    base_name,
    read_adapter_config,
    read_base,
    trained_tokens,
)
from ponder.weights.adapters.tensors import AdapterTensors, LowRank, read_tensors
from ponder.weights.hf.folder import CARD, read_card
from ponder.weights.hf.tokenizer import TOKENIZER, read_chat_template, read_tokenizer
from ponder.weights.opened import OpenCheckpoint
from ponder.weights.source import TensorInfo, TensorSource, some

EMBEDDING = "model.embed_tokens"


class AdaptedSource:
    """A `TensorSource`: that of the base, with every tensor that the adapter changes made in fp32 as it is read."""

    def __init__(
        self,
        folder: Path,
        base: TensorSource,
        config: AdapterConfig,
        tensors: AdapterTensors,
        tokens: Mapping[str, tuple[int, ...]],
        vocab_size: int,
    ) -> None:
        """`tokens`: whose rows are trained, by table. Raises `CheckpointError` where base and adapter do not fit."""
        self._base, self._scale, self._dora = base, config.scale, config.kind == "dora"
        self._tensors, self._tokens = tensors, tokens
        self._infos = dict(base.infos)
        path = folder / ADAPTER_WEIGHTS
        changed = {f"{module}.weight" for part in (tensors.low_rank, tensors.rows, tensors.whole) for module in part}
        if strange := sorted(changed - base.infos.keys()):
            raise CheckpointError(f"{path} changes {some(strange)}, which the base does not have")
        for name in changed:
            shape = base.infos[name].shape
            if len(shape) == 2 and name.endswith(("embed_tokens.weight", "lm_head.weight")):
                shape = (vocab_size, shape[1])
            self._infos[name] = TensorInfo(shape=shape, stored="F32", bytes=4 * math.prod(shape), file=path)
        self._check(path)

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        return self._infos

    def read(self, name: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """See `TensorSource`."""
        module = name.removesuffix(".weight")
        if self._infos[name] is self._base.infos[name]:
            return self._base.read(name, dtype)
        if module in self._tensors.whole:
            return self._tensors.whole[module].to(dtype)
        weight = self._base.read(name, torch.float32)
        if module in self._tensors.rows:
            grown = weight.new_zeros(self._infos[name].shape)
            grown[: len(weight)] = weight
            grown[list(self._ids(module))] = self._tensors.rows[module]
            weight = grown
        if module in self._tensors.low_rank:
            weight = _worked_in(weight, self._tensors.low_rank[module], self._scale)
        return weight.to(dtype)

    def read_into(self, name: str, out: torch.Tensor) -> None:
        """See `TensorSource`."""
        if self._infos[name] is self._base.infos[name]:
            self._base.read_into(name, out)
        else:
            out.detach().copy_(self.read(name).view(out.shape))

    def __enter__(self) -> Self:
        self._base.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.__exit__(kind, error, trace)

    def _ids(self, module: str) -> tuple[int, ...]:
        return self._tokens[module.rpartition(".")[2]]

    def _check(self, path: Path) -> None:
        """Refuse shapes that do not fit, before anything is read."""
        for module in (*self._tensors.low_rank, *self._tensors.rows):
            if len(shape := self._infos[f"{module}.weight"].shape) != 2:
                raise CheckpointError(
                    f"{path} changes {module}.weight, which has the shape {shape} in the base; expected a matrix, the "
                    "only thing that LoRA and trained tokens change"
                )
        for module, low in self._tensors.low_rank.items():
            rows, columns = self._infos[f"{module}.weight"].shape
            magnitude = low.magnitude_O
            if magnitude is not None and magnitude.shape != (rows,):
                raise CheckpointError(
                    f"{path}: the magnitudes of {module} have the shape {tuple(magnitude.shape)}; expected {(rows,)}"
                )
            if (low.b_OR.shape[0], low.a_RI.shape[1]) != (rows, columns) or (magnitude is None) == self._dora:
                raise CheckpointError(
                    f"{path}: the change of {module} is for a matrix of {low.b_OR.shape[0]} × {low.a_RI.shape[1]}"
                    f"{' without magnitudes' if magnitude is None else ''}, and that of the base has {rows} × {columns}"
                )
        for module, trained in self._tensors.rows.items():
            shape, name = self._infos[f"{module}.weight"].shape, module.rpartition(".")[2]
            ids = self._tokens.get(name, ())
            if trained.shape != (len(ids), shape[1]) or any(i >= shape[0] for i in ids):
                raise CheckpointError(
                    f"{path}: {module} has rows of shape {tuple(trained.shape)}, and {ADAPTER_CONFIG} names "
                    f"{len(ids)} trained tokens of a vocabulary of {shape[0]}"
                )
        for module, tensor in self._tensors.whole.items():
            if tuple(tensor.shape) != self._infos[f"{module}.weight"].shape:
                raise CheckpointError(
                    f"{path}: {module}.weight has shape {tuple(tensor.shape)}; expected "
                    f"{self._infos[f'{module}.weight'].shape}"
                )


def open_adapter(folder: Path, open_base: Callable[[Path], OpenCheckpoint]) -> OpenCheckpoint:
    """The plain model that an adapter makes of its base, from headers and the adapter's few tensors.

    Tokenizer and chat template are the adapter's where it has its own. Raises `CheckpointError` where the base is
    missing, or other weights than the adapter was trained on.
    """
    config, tensors, tokens = read_adapter_config(folder), read_tensors(folder), trained_tokens(folder)
    stated, name = read_base(folder), base_name(folder)
    base_path = find_base(folder, name)
    with ExitStack() as stack:
        base = open_base(base_path)
        stack.push(base.source.__exit__)
        if stated is not None:
            check_base(folder, stated, base_of(base_path, base))
        vocab_size = _vocabulary(base.config, tensors, tokens)
        source = AdaptedSource(folder, base.source, config, tensors, tokens, vocab_size)
        own = (folder / TOKENIZER).is_file()
        opened = OpenCheckpoint(
            path=folder,
            format="safetensors",
            config=replace(base.config, vocab_size=vocab_size),
            source=source,
            tokenizer=read_tokenizer(folder, {}) if own else base.tokenizer,
            chat_template=read_chat_template(folder) or base.chat_template,
            metadata={**base.metadata, "name": folder.resolve().name, "base_model": name} | read_card(folder / CARD),
        )
        stack.pop_all()
    return opened


def _vocabulary(config: ModelConfig, tensors: AdapterTensors, tokens: Mapping[str, tuple[int, ...]]) -> int:
    if EMBEDDING in tensors.whole:
        return max([config.vocab_size, *tensors.whole[EMBEDDING].shape[:1]])
    trained = [i for module in tensors.rows for i in tokens.get(module.rpartition(".")[2], ())]
    return max([config.vocab_size, *(i + 1 for i in trained)])


def _worked_in(weight_OI: torch.Tensor, low: LowRank, scale: float) -> torch.Tensor:
    merged = torch.addmm(weight_OI, low.b_OR, low.a_RI, alpha=scale)
    if low.magnitude_O is None:
        return merged
    return merged * (low.magnitude_O / torch.linalg.vector_norm(merged, dim=1)).unsqueeze(1)
