"""From a model to an engine that serves it: on the native kernels where they are there, else on PyTorch."""

from dataclasses import dataclass

import torch

from ponder.core.errors import GenerationError
from ponder.engine.engine import Engine, EngineConfig
from ponder.engine.native import NativeModel, WeightFormat, available
from ponder.engine.native.packing import StoredBlocks
from ponder.engine.native_runner import NativeRunner
from ponder.engine.runner import Runner, pages_for
from ponder.engine.torch_runner import TorchRunner
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer

PAGE = 16  # positions
CACHE_BYTES = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedEngine:
    """An engine, and what its user should be told."""

    engine: Engine
    notice: str  # why it is slower than it could be; "" where it is not


def open_engine(
    model: Transformer,
    tokenizer: Tokenizer | None = None,
    config: EngineConfig | None = None,
    *,
    weights: WeightFormat = "fp32",
    source: StoredBlocks | None = None,
    threads: int = 0,
    cache_bytes: int = CACHE_BYTES,
) -> OpenedEngine:
    """An engine on this module, whose weights it follows when told to.

    `weights`, `source`, `threads`: as in `NativeModel`. Without native kernels, weights are fp32 where they are asked
    for, else bf16, whatever the format. `cache_bytes`: most memory for cached tokens; it is taken as it is used. Raises
    `GenerationError` where that is too little for a single page.
    """
    config = config or EngineConfig()
    shape, full = model.config, weights == "fp32"
    page_bytes = PAGE * shape.layers * shape.cache_width * (4 if full else 2)
    pages = min(pages_for(config.max_running, config.context or shape.max_positions, PAGE), cache_bytes // page_bytes)
    if pages < 1:
        raise GenerationError(
            f"a cache of {cache_bytes} bytes holds no page of {PAGE} tokens, which takes {page_bytes}; give it more"
        )
    missing, notice = available(), ""
    runner: Runner
    if missing is None:
        native = NativeModel(model, weights=weights, source=source, threads=threads)
        runner = NativeRunner(native, pages=pages, module=model)
    else:
        dtype = torch.float32 if full else torch.bfloat16
        runner = TorchRunner(model, pages=pages, page_size=PAGE, dtype=dtype, threads=threads)
        notice = f"{missing}. PyTorch generates until then, several times slower"
    return OpenedEngine(engine=Engine(runner, config, tokenizer), notice=notice)
