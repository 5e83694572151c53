"""From a model to an engine that serves it: on the native kernels where they are there, else on PyTorch."""

from dataclasses import dataclass

from ponder.core.errors import GenerationError
from ponder.engine.engine import Engine, EngineConfig
from ponder.engine.native import NativeModel, WeightFormat, available
from ponder.engine.native_runner import NativeMtpRunner, NativeRunner
from ponder.engine.runner import Runner, pages_for
from ponder.engine.torch_runner import TorchMtpRunner, TorchRunner
from ponder.engine.torch_weights import TorchFormat, read_for_torch, torch_notice
from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import OpenCheckpoint

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
    threads: int = 0,
    cache_bytes: int = CACHE_BYTES,
) -> OpenedEngine:
    """An engine on this module, whose weights it follows when told to.

    `weights`, `threads`: as in `NativeModel`. Without native kernels, weights are fp32 where they are asked for, else
    bf16, whatever the format. `cache_bytes`: most memory for cached tokens; it is taken as it is used. Raises
    `GenerationError` where that is too little for a single page.
    """
    config = config or EngineConfig()
    config.require_fits(model.config)
    pages, mtp = _cache_pages(model.config, config, weights, cache_bytes), config.speculation == "mtp"
    missing = available()
    runner: Runner
    if missing is None:
        native = NativeModel(model, weights=weights, threads=threads, mtp=mtp)
        runner = (NativeMtpRunner if mtp else NativeRunner)(native, pages=pages, module=model)
    else:
        runner = (TorchMtpRunner if mtp else TorchRunner)(
            model, pages=pages, page_size=PAGE, weights=_torch_format(weights), threads=threads
        )
    return OpenedEngine(engine=Engine(runner, config, tokenizer), notice=_notice(missing, weights))


def open_engine_on_disk(
    opened: OpenCheckpoint,
    config: EngineConfig | None = None,
    *,
    weights: WeightFormat = "bf16",
    threads: int = 0,
    cache_bytes: int = CACHE_BYTES,
) -> OpenedEngine:
    """An engine on the weights of an open checkpoint, which stay as they are; the kernels take them straight from the
    files. Everything else as in `open_engine`; "stored" takes a GGUF file's own blocks.
    """
    config = config or EngineConfig()
    config.require_fits(opened.config)
    pages, mtp = _cache_pages(opened.config, config, weights, cache_bytes), config.speculation == "mtp"
    missing = available()
    runner: Runner
    if missing is None:
        native = NativeModel.from_source(opened.config, opened.source, weights=weights, threads=threads, mtp=mtp)
        runner = (NativeMtpRunner if mtp else NativeRunner)(native, pages=pages)
    else:
        model = read_for_torch(opened, _torch_format(weights), mtp=mtp)
        runner = (TorchMtpRunner if mtp else TorchRunner)(model, pages=pages, page_size=PAGE, threads=threads)
    return OpenedEngine(engine=Engine(runner, config, opened.tokenizer), notice=_notice(missing, weights))


def _cache_pages(shape: ModelConfig, config: EngineConfig, weights: WeightFormat, cache_bytes: int) -> int:
    numbers = shape.layers * shape.cache_width
    if config.speculation == "mtp":  # its module's own layer, and the states that it is given
        numbers += shape.cache_width + shape.hidden_size
    page_bytes = PAGE * numbers * (4 if weights == "fp32" else 2)
    pages = min(pages_for(config.max_running, config.context or shape.max_positions, PAGE), cache_bytes // page_bytes)
    if pages < 1:
        raise GenerationError(
            f"a cache of {cache_bytes} bytes holds no page of {PAGE} tokens, which takes {page_bytes}; give it more"
        )
    return pages


def _torch_format(weights: WeightFormat) -> TorchFormat:
    return "fp32" if weights == "fp32" else "bf16"


def _notice(missing: str | None, weights: WeightFormat) -> str:
    if missing is None:
        return ""
    return f"{missing}. PyTorch generates until then, several times slower, {torch_notice(_torch_format(weights))}"
