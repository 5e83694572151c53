"""From the stages of a training run to GPU hours, days and dollars.

One number stands for everything that keeps hardware from its peak: the utilisation. A stage takes
tokens · (FLOPs of linear maps / their peak + other FLOPs / their peak) / utilisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ponder.core.errors import ConfigError
from ponder.models.config import ModelConfig
from ponder.plan.flops import Flops, Recompute, TrainingFlops, causal_keys, decode_flops, forward_flops, training_flops
from ponder.plan.hardware import Format, Hardware

HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How and on what a model is trained."""

    hardware: Hardware
    utilization: float  # share of the peak, above 0, at most 1
    gpus: int
    precision: Format = "bf16"  # of the linear maps; gate, head and attention are in BF16 at least
    recompute: Recompute = "none"

    def __post_init__(self) -> None:
        if not 0 < self.utilization <= 1:
            raise ConfigError(f"utilization = {self.utilization}; expected a share above 0, at most 1, such as 0.4")
        if self.gpus < 1:
            raise ConfigError(f"gpus = {self.gpus}; expected 1 or more")
        self.hardware.rate(self.precision)

    def peak_seconds(self, linear: float, rest: float) -> float:
        """Seconds of one device at its peak for so many FLOPs."""
        rest_format: Format = "fp32" if self.precision == "fp32" else "bf16"
        return linear / self.hardware.rate(self.precision) + rest / self.hardware.rate(rest_format)

    def forward_seconds(self, flops: Flops) -> float:
        """Seconds of one device for one token's forward pass, at the utilisation."""
        return self.peak_seconds(flops.linear, flops.total - flops.linear) / self.utilization

    def training_seconds(self, flops: TrainingFlops) -> float:
        """Seconds of one device for one token, forward and backward, at the utilisation."""
        return self.peak_seconds(flops.linear, flops.rest) / self.utilization


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """A part of a stage: so many tokens, in causal sequences of so many tokens. Epochs count as tokens."""

    tokens: float
    length: float


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Completions that are sampled; `rounds` rounds of them, each of which ends with its longest."""

    samples: float
    length: float  # tokens of a completion, on average
    # longest completion of a round and the speed of one completion, where the wait for it counts
    waits: Sequence[tuple[float, float]] = ()  # (rounds, tokens of the longest)
    tokens_per_second: float | None = None
    forwards: int = 0  # other models that read every sample: the reference, a reward model
    learns: bool = True  # the policy is trained on every sample

    @property
    def tokens(self) -> float:
        return self.samples * self.length

    def wait_hours(self) -> float:
        """Hours by the clock until the longest completion of every round is there; 0 where that is not counted."""
        if self.tokens_per_second is None:
            return 0.0
        return sum(rounds * longest for rounds, longest in self.waits) / self.tokens_per_second / HOUR


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One line of a cost table."""

    name: str
    parts: Sequence[Sequences | Rollouts]
    formula: str
    published_hours: float | None = None
    borrowed: str = ""  # inputs that its source does not give, and where they are taken from


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What a stage takes."""

    stage: Stage
    tokens: float
    flops: float
    gpu_hours: float
    days: float
    cost_usd: float | None

    @property
    def deviation(self) -> float | None:
        """(planned - published) / published."""
        published = self.stage.published_hours
        return None if published is None else self.gpu_hours / published - 1


def estimate(config: ModelConfig, stage: Stage, setting: Setting) -> StageCost:
    """GPU hours, days on the setting's GPUs and dollars of one stage."""
    tokens = flops = hours = 0.0
    for part in stage.parts:
        added = _sequences(config, part, setting) if isinstance(part, Sequences) else _rollouts(config, part, setting)
        tokens, flops, hours = tokens + part.tokens, flops + added[0], hours + added[1]
    price = setting.hardware.price
    return StageCost(
        stage=stage,
        tokens=tokens,
        flops=flops,
        gpu_hours=hours,
        days=hours / setting.gpus / 24,
        cost_usd=None if price is None else hours * price,
    )


def _sequences(config: ModelConfig, part: Sequences, setting: Setting) -> tuple[float, float]:
    """FLOPs and GPU hours of training on these tokens."""
    per_token = training_flops(config, part.length, recompute=setting.recompute)
    return part.tokens * per_token.total, part.tokens * setting.training_seconds(per_token) / HOUR


def _rollouts(config: ModelConfig, part: Rollouts, setting: Setting) -> tuple[float, float]:
    """FLOPs and GPU hours of sampling, of the other models' forward passes and of training on the samples.

    Sampling takes the larger of its arithmetic, spread over all GPUs, and the wait of all GPUs for the longest.
    """
    decode = decode_flops(config, causal_keys(part.length))
    forward = forward_flops(config, causal_keys(part.length))
    sampling = part.tokens * setting.forward_seconds(decode) / HOUR
    hours = max(sampling, setting.gpus * part.wait_hours())
    hours += part.forwards * part.tokens * setting.forward_seconds(forward) / HOUR
    flops = part.tokens * (decode.total + part.forwards * forward.total)
    if part.learns:
        added = _sequences(config, Sequences(tokens=part.tokens, length=part.length), setting)
        flops, hours = flops + added[0], hours + added[1]
    return flops, hours


def implied_utilization(config: ModelConfig, parts: Sequence[Sequences], gpu_hours: float, setting: Setting) -> float:
    """The utilisation at which these tokens take these GPU hours; above 1 where that cannot be."""
    ideal = replace(setting, utilization=1.0)
    return sum(_sequences(config, part, ideal)[1] for part in parts) / gpu_hours
