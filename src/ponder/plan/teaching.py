"""What it takes to teach a model that is there already: fine-tuning and GRPO, of all weights or by an adapter.

Memory is counted as Ponder's own training holds it; docs/plan.md has the formulas.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch

from ponder.core.errors import ConfigError
from ponder.models.adapter_config import AdapterConfig
from ponder.models.adapters import with_adapter
from ponder.models.config import ModelConfig
from ponder.models.head import CHUNK_BYTES
from ponder.models.presets import count_parameters
from ponder.models.transformer import Transformer
from ponder.plan.cases import calibrated_utilization
from ponder.plan.flops import Recompute, TrainingFlops, causal_keys, decode_flops, forward_flops, training_flops
from ponder.plan.hardware import CPU, GB, Format, Hardware, find_hardware
from ponder.plan.memory import ACTIVATION_BYTES, activation_numbers, cache_numbers
from ponder.plan.serving import USABLE_MEMORY
from ponder.weights.catalogue import find_model

Method = Literal["sft", "grpo"]
METHODS: tuple[Method, ...] = ("sft", "grpo")

RUNTIME_BYTES = 0.5 * GB  # of Python, PyTorch and, on a GPU, its context

TWO_CORES = "cpu-2"
LEARNERS = (TWO_CORES, "rtx-4090", "a100-80")  # unless others are asked for
# What two cores of an AMD EPYC (Zen 4) do with SmolLM2-135M in bf16; all times on `TWO_CORES` follow from these two.
MEASURED_MODEL = "smollm2-135m-instruct"
MEASURED_LENGTH = 256  # tokens of an example
TRAINED_PER_SECOND = 525.0  # tokens, fine-tuning of all weights (dev/LEADERBOARD.md)
SAMPLED_PER_SECOND = 1081.0  # tokens, 32 completions at a time (dev/LEADERBOARD.md)
CPU_PRECISION_LOSS = 3.0  # fp32 takes so much longer than bf16 there


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How much is taught, and how it is cut: the settings that the recipes have by these names."""

    tokens: float = 2e6  # of examples to imitate
    row_tokens: int = 1024  # sft: a row of packed examples; micro_batch_tokens of grpo
    steps: int = 100  # grpo
    completions: int = 128  # grpo: prompts_per_step · group_size
    prompt_tokens: int = 100
    completion_tokens: int = 256
    rank: int = 0  # of the adapter; 0: all weights are trained
    precision: Format = "bf16"
    rollouts: Format = "bf16"  # what the sampler holds (rollout_weights)
    recompute: Recompute = "none"  # blocks: gradient_checkpointing

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "rank" else 1
            if isinstance(value, int | float) and not value >= least:
                raise ConfigError(f"{field.name} = {value}; expected {least} or more")
        if "fp8" in (self.precision, self.rollouts):
            raise ConfigError("precision = 'fp8'; Ponder trains in bf16 or fp32")


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A device that trains, with what it does a second."""

    hardware: Hardware
    micro_batches: int  # at once
    utilization: float  # share of the hardware's peak
    sampling_flops: float | None = None  # FLOP/s of sampling, where it was measured


@dataclass(frozen=True, kw_only=True)
class TeachingMemory:
    """Bytes at the fullest moment."""

    weights: float  # fp32, trained or frozen
    compute_copy: float  # bf16, which the passes run on
    gradients: float  # the sum in fp32, and one in the compute's precision for each micro-batch under way
    moments: float  # AdamW's
    activations: float
    logits: float
    sampler: float  # grpo: the engine's weights
    cache: float  # grpo: of all completions
    beside: float = 0.0  # frozen models that are only read: a reference, a teacher, reward models
    runtime: float = RUNTIME_BYTES

    @property
    def total(self) -> float:
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """The answer for one model, method and device."""

    model: str
    method: Method
    rank: int
    device: str
    memory: TeachingMemory
    room: float  # bytes that may be used
    seconds: float
    lesson: Lesson  # as it was planned: cut smaller where that alone makes it fit
    smaller: bool = False

    @property
    def fits(self) -> bool:
        return self.memory.total <= self.room


def adapter_parameters(config: ModelConfig, rank: int) -> int:
    """Numbers of a LoRA adapter to every linear map: rank · (inputs + outputs) of each."""
    with torch.device("meta"):
        model = with_adapter(Transformer(config), AdapterConfig(kind="lora", rank=rank), None)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def find_learner(name: str, utilization: float | None = None) -> Learner:
    """`TWO_CORES`, "cpu" (this machine, measured now) or a device of `HARDWARE`. Raises `ConfigError` for others."""
    if name == TWO_CORES:
        return Learner(
            hardware=_two_cores(),
            micro_batches=2,
            utilization=utilization or 1.0,
            sampling_flops=SAMPLED_PER_SECOND * decode_flops(_measured_shape(), MEASURED_LENGTH).total,
        )
    hardware = find_hardware(name)
    if hardware.name == CPU:
        return Learner(hardware=hardware, micro_batches=torch.get_num_threads(), utilization=utilization or 1.0)
    return Learner(hardware=hardware, micro_batches=1, utilization=utilization or calibrated_utilization())


def teach(name: str, config: ModelConfig, method: Method, lesson: Lesson, learner: Learner) -> Teaching:
    """Memory and time of teaching one model on one device; with `smaller_cut` where that is what makes it fit."""
    trained = adapter_parameters(config, lesson.rank) if lesson.rank else None

    def planned(cut: Lesson, *, smaller: bool) -> Teaching:
        return Teaching(
            model=name,
            method=method,
            rank=cut.rank,
            device=learner.hardware.name,
            memory=teaching_memory(config, method, cut, learner.micro_batches, trained),
            room=USABLE_MEMORY * learner.hardware.memory,
            seconds=teaching_seconds(config, method, cut, learner, trained),
            lesson=cut,
            smaller=smaller,
        )

    whole = planned(lesson, smaller=False)
    cut = smaller_cut(method, lesson)
    if whole.fits or cut == lesson:
        return whole
    small = planned(cut, smaller=True)
    return small if small.fits else whole


def smaller_cut(method: Method, lesson: Lesson) -> Lesson:
    """The same lesson in less memory: blocks computed again (SFT), or one completion in a micro-batch (GRPO)."""
    if method == "sft":
        return replace(lesson, recompute="blocks")
    return replace(lesson, row_tokens=min(lesson.row_tokens, lesson.prompt_tokens + lesson.completion_tokens))


def teaching_memory(
    config: ModelConfig,
    method: Method,
    lesson: Lesson,
    micro_batches: int,
    adapter: int | None = None,
    *,
    beside: float = 0.0,
) -> TeachingMemory:
    """Bytes of one device. `adapter`: its parameters, which alone are trained; None: all weights are. `beside`: bytes
    of frozen models that are only read.
    """
    count = count_parameters(config)
    whole = count.total + count.mtp
    held = whole + (adapter or 0)
    trained = whole if adapter is None else adapter
    number, sampler = ACTIVATION_BYTES[lesson.precision], ACTIVATION_BYTES[lesson.rollouts]
    row = lesson.row_tokens
    sampled = lesson.completions * (lesson.prompt_tokens + lesson.completion_tokens)
    grpo = method == "grpo"
    return TeachingMemory(
        weights=4.0 * held,
        compute_copy=2.0 * held if lesson.precision == "bf16" else 0.0,
        gradients=trained * (4.0 + number * micro_batches),
        moments=8.0 * trained,
        activations=float(micro_batches * row * activation_numbers(config, lesson.recompute) * number),
        logits=float(micro_batches * min(CHUNK_BYTES, row * config.vocab_size * number)),
        sampler=float(sampler * whole) if grpo else 0.0,
        cache=float(sampled * cache_numbers(config) * sampler) if grpo else 0.0,
        beside=beside,
    )


def lesson_flops(config: ModelConfig, length: float, lesson: Lesson, adapter: int | None = None) -> TrainingFlops:
    """FLOPs of one trained token. Under an adapter no gradient of a frozen matrix is made: linear maps and head cost
    two forwards instead of three, and each number of the adapter 6.
    """
    full = training_flops(config, length, recompute=lesson.recompute)
    if adapter is None:
        return full
    forward = forward_flops(config, causal_keys(length), mtp=True)
    spared = forward.gate + forward.head
    return TrainingFlops(
        linear=full.linear - forward.linear + 6.0 * adapter,
        rest=full.rest - spared,
        model=full.model - forward.linear - spared + 6.0 * adapter,
    )


def teaching_seconds(
    config: ModelConfig, method: Method, lesson: Lesson, learner: Learner, adapter: int | None = None
) -> float:
    """Seconds of the whole lesson on one device: training, and for GRPO the sampling of what is trained on."""
    if method == "sft":
        flops = lesson_flops(config, MEASURED_LENGTH, lesson, adapter)
        return lesson.tokens * flops.total / _rate(learner, lesson.precision)
    length = lesson.prompt_tokens + lesson.completion_tokens
    trained = lesson.completions * length * lesson_flops(config, length, lesson, adapter).total
    step = trained / _rate(learner, lesson.precision) + _sampling_seconds(config, lesson, learner)
    return lesson.steps * step


def _sampling_seconds(config: ModelConfig, lesson: Lesson, learner: Learner) -> float:
    """Of one step's completions, all at once: what takes longer, the arithmetic or the reading of weights and cache."""
    keys = lesson.prompt_tokens + causal_keys(lesson.completion_tokens)
    flops = lesson.completions * decode_flops(config, keys).total
    if learner.sampling_flops is not None:  # measured, reading included
        scale = CPU_PRECISION_LOSS if lesson.rollouts == "fp32" else 1.0
        return lesson.completion_tokens * flops * scale / learner.sampling_flops
    number, hardware = ACTIVATION_BYTES[lesson.rollouts], learner.hardware
    read = number * (count_parameters(config).total + lesson.completions * keys * cache_numbers(config))
    slowest = max(flops / _rate(learner, lesson.rollouts), read / hardware.bandwidth / learner.utilization)
    return lesson.completion_tokens * slowest


def _rate(learner: Learner, precision: Format) -> float:
    """FLOP/s. A device without bf16 arithmetic computes in fp32."""
    peak = learner.hardware.peak
    return peak.get(precision, peak["fp32"]) * learner.utilization


def _measured_shape() -> ModelConfig:
    return find_model(MEASURED_MODEL).config


@functools.cache
def _two_cores() -> Hardware:
    """As fast as what was measured, so that its utilisation is 1."""
    rate = TRAINED_PER_SECOND * training_flops(_measured_shape(), MEASURED_LENGTH).total
    return Hardware(
        name=TWO_CORES,
        title="2 cores of an AMD EPYC (Zen 4), 16 GB",
        peak={"bf16": rate, "fp32": rate / CPU_PRECISION_LOSS},
        memory=16 * GB,
        bandwidth=40 * GB,
        price=None,
        price_source="",
        source=f"what fine-tuning of {MEASURED_MODEL} reached: {TRAINED_PER_SECOND:,.0f} tokens/s in bf16",
    )


def teach_all(
    models: Mapping[str, ModelConfig], lesson: Lesson, learners: Sequence[Learner], ranks: Sequence[int]
) -> list[Teaching]:
    """Every model by every method, of all weights and by an adapter, on every device."""
    return [
        teach(name, config, method, replace(lesson, rank=rank), learner)
        for name, config in models.items()
        for method in METHODS
        for rank in ranks
        for learner in learners
    ]


def to_json(found: Teaching) -> dict[str, Any]:
    """Bytes and seconds as plain numbers."""
    memory = {field.name: getattr(found.memory, field.name) for field in fields(found.memory)}
    return {
        "model": found.model,
        "method": found.method,
        "adapter_rank": found.rank or None,
        "device": found.device,
        "bytes": {**memory, "total": found.memory.total},
        "room_bytes": found.room,
        "fits": found.fits,
        "cut_smaller": found.smaller,
        "seconds": found.seconds if found.fits else None,
    }
