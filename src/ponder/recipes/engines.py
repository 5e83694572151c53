"""Which engine generates: the native kernels where they are built, else plain PyTorch."""

from collections.abc import Mapping
from typing import Literal

from ponder.core.errors import ConfigError
from ponder.core.generator import TrainableGenerator
from ponder.core.progress import Reporter
from ponder.core.workers import Device, Workers
from ponder.engine import native
from ponder.engine.native import NativeGenerator, NativeModel, WeightFormat
from ponder.engine.reference import ReferenceGenerator
from ponder.engine.torch_weights import TorchFormat, read_for_torch, torch_notice
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import ControlIds
from ponder.train.device_generator import DeviceGenerator
from ponder.train.divided import divided
from ponder.train.parallel import current
from ponder.weights.checkpoint import OpenCheckpoint

Engine = Literal["native", "torch"]
ENGINES: Mapping[str, Engine] = {"native": "native", "torch": "torch"}
AnyGenerator = NativeGenerator | ReferenceGenerator


def choose_engine(wanted: str, device: Device = "auto") -> Engine:
    """What "auto" means on this machine, and for training on this device; any other name is taken as it is.

    Raises `ConfigError` for a name that is no engine, or for "native" where the kernels cannot be used.
    """
    missing = native.available()
    if wanted == "auto":
        return "torch" if missing or device == "cuda" else "native"
    if wanted == "native" and missing:
        raise ConfigError(f"engine = 'native' cannot be had: {missing}. Or take engine = 'torch'")
    if wanted not in ENGINES:
        raise ConfigError(f"engine = {wanted!r}; expected auto, {' or '.join(ENGINES)}")
    return ENGINES[wanted]


def named_engine(engine: str, device: Device = "auto") -> str:
    """What a recipe's "auto" means here, by its name, so that a run goes on with the engine that it began with; any
    other name as it is.
    """
    return choose_engine(engine, device) if engine == "auto" else engine


def engine_notice(weights: WeightFormat = "fp32") -> str | None:
    """What a person should know where the kernels are missing: why, and what runs instead; else None."""
    missing = native.available()
    if missing is None:
        return None
    half = f" {torch_notice('bf16')}" if weights == "bf16" else ""
    return f"generating in plain PyTorch{half}: {missing}"


def note_engine(engine: str, reporter: Reporter) -> None:
    """Tell `reporter` where a run generates without the kernels, and why."""
    if choose_engine(engine) == "torch" and (notice := engine_notice()):
        reporter.note(notice)


def training_generator(
    engine: Engine,
    model: Transformer,
    control: ControlIds,
    workers: Workers,
    weights: TorchFormat = "fp32",
) -> TrainableGenerator:
    """A generator that follows the weights of a model in training.

    Several processes each have one, and divide what there is to complete.
    """
    if engine == "torch" and not current().on_cpu:
        return divided(DeviceGenerator(model, weights, lambda moved: ReferenceGenerator(moved, control)))
    if engine == "torch":
        return divided(ReferenceGenerator(model, control, workers, weights=weights))
    return divided(NativeGenerator(NativeModel(model, weights=weights, threads=workers.count), control, model))


def open_generator(
    engine: Engine,
    opened: OpenCheckpoint,
    control: ControlIds,
    *,
    workers: Workers | None = None,
    weights: WeightFormat = "fp32",
) -> AnyGenerator:
    """A generator whose weights stay as they are on disk. Other formats than fp32 and bf16 are the native engine's, and
    "stored" is for GGUF files.
    """
    if engine == "torch":
        if weights not in ("fp32", "bf16"):
            raise ConfigError(
                f"weights = {weights!r} needs the native engine: {native.available() or 'engine torch was asked for'}. "
                "PyTorch takes fp32 and bf16"
            )
        return ReferenceGenerator(read_for_torch(opened, weights), control, workers)
    threads = 0 if workers is None else workers.count
    return NativeGenerator(
        NativeModel.from_source(opened.config, opened.source, weights=weights, threads=threads), control
    )
