"""Planned figures beside published ones, and what the plan would say under other assumptions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ponder.models.config import ModelConfig
from ponder.models.presets import ParameterCount
from ponder.plan.cases import CASES, MTP_SPEEDUP, PublishedCase, calibrated_utilization
from ponder.plan.flops import Recompute, causal_keys, forward_flops, training_flops
from ponder.plan.hardware import HARDWARE
from ponder.plan.memory import cache_bytes, cache_numbers
from ponder.plan.serving import ServingPlan
from ponder.plan.training import Rollouts, Sequences, Setting, Stage, StageCost, estimate, implied_utilization
from ponder.weights.catalogue import find_model

Seconds = Callable[[float], float]  # of one device at its peak for one token, by the length of its sequence


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One figure as planned and as published."""

    figure: str
    unit: str
    planned: float
    published: float
    source: str

    @property
    def deviation(self) -> float:
        return self.planned / self.published - 1


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A planned figure with one assumption changed."""

    figure: str
    assumption: str
    planned: float
    published: float

    @property
    def deviation(self) -> float:
        return self.planned / self.published - 1


@dataclass(frozen=True, kw_only=True)
class ApiPrice:
    """Dollars per million tokens of a public service."""

    name: str
    input_usd: float | None  # not from a cache
    output_usd: float
    source: str
    verified: bool = True


PRICES: Mapping[str, Sequence[ApiPrice]] = {
    "deepseek-v2": (
        ApiPrice(name="DeepSeek-V2", input_usd=0.14, output_usd=0.28, source="V2 README, 6 May 2024"),
        ApiPrice(name="GPT-4-Turbo-1106", input_usd=10, output_usd=30, source="V2 README, 6 May 2024"),
    ),
    "deepseek-v3": (
        ApiPrice(name="DeepSeek-V3", input_usd=0.27, output_usd=1.10, source="api-docs.deepseek.com, 9 Feb 2025"),
    ),
    "deepseek-r1": (
        ApiPrice(name="DeepSeek-R1", input_usd=0.55, output_usd=2.19, source="api-docs.deepseek.com, 20 Jan 2025"),
        ApiPrice(
            name="OpenAI o1", input_usd=None, output_usd=60.0, source="press reports; not verified", verified=False
        ),
    ),
}
NEWS_CLAIM = {"deepseek-r1": "90 to 95 % (press, Jan 2025)", "deepseek-v2": "a hundredth of GPT-4's price (press)"}


def compare(
    case: PublishedCase,
    config: ModelConfig,
    count: ParameterCount,
    stages: Sequence[StageCost],
    served: ServingPlan | None,
) -> list[Comparison]:
    """The case's published figures besides its stages' GPU hours."""
    found = list(_FIGURES[case.model](config, count, stages))
    published = case.serving
    if served is None:
        return found
    for figure, planned, value in (
        ("decode tokens/s per GPU", served.decode_tokens_per_second, published.output_per_gpu),
        ("prefill tokens/s per GPU", served.prefill_tokens_per_second, published.input_per_gpu),
    ):
        if value is not None:
            found.append(_figure(figure, "tokens/s", planned / published.gpus, value, "see serving"))
    return found


def variants(case: PublishedCase, config: ModelConfig, setting: Setting) -> list[Variant]:
    """What the case's figures would be under other assumptions."""
    if case.model == "deepseek-v3":
        return _context_extension_variants(case, config)
    if case.model == "deepseek-r1":
        return _slower_rollouts(case, config, setting)
    return []


def kept_utilization(case: PublishedCase, config: ModelConfig, setting: Setting) -> float | None:
    """The utilisation that the case's own published pre-training hours imply."""
    stage = case.stages[0]
    parts = [part for part in stage.parts if isinstance(part, Sequences)]
    if stage.published_hours is None or not parts:
        return None
    return implied_utilization(config, parts, stage.published_hours, setting)


def hours_per_trillion(stage: StageCost) -> float:
    return stage.gpu_hours / stage.tokens * 1e12


def _figure(figure: str, unit: str, planned: float, published: float, source: str) -> Comparison:
    return Comparison(figure=figure, unit=unit, planned=planned, published=published, source=source)


def _sizes(model: str, count: ParameterCount) -> Sequence[Comparison]:
    """The sizes beside those that the catalogue has as published."""
    published = find_model(model).published
    found = [_figure("parameters", "", count.total, published.total, published.source)]
    if published.active is not None:
        found.append(_figure("parameters, active", "", count.active, published.active, published.source))
    return found


def _v3(config: ModelConfig, count: ParameterCount, stages: Sequence[StageCost]) -> Sequence[Comparison]:
    return (
        *_sizes("deepseek-v3", count),
        _figure("GPU hours, in all", "h", _hours(stages), 2788e3, "V3 table 1"),
        _figure("cost, in all", "$", 2.0 * _hours(stages), 5.576e6, "V3 table 1, at $2"),
        _figure("pre-training, per T tokens", "h", hours_per_trillion(stages[0]), 180e3, "V3 section 1"),
        _figure("pre-training, 2,048 GPUs", "days", stages[0].gpu_hours / 2048 / 24, 54.2, "2,664K h / 2,048"),
    )


def _v2(config: ModelConfig, count: ParameterCount, stages: Sequence[StageCost]) -> Sequence[Comparison]:
    dense = find_model("deepseek-llm-67b").config
    case = CASES["deepseek-llm-67b"]
    setting = Setting(
        hardware=HARDWARE["h800"], utilization=calibrated_utilization(), gpus=case.gpus, precision=case.precision
    )
    dense_hours = hours_per_trillion(estimate(dense, case.stages[0], setting))
    saved = 1 - hours_per_trillion(stages[0]) / dense_hours
    numbers = 1 - cache_numbers(config) / cache_numbers(dense)
    size = 1 - cache_bytes(config, 6) / cache_bytes(dense, 16)
    return (
        *_sizes("deepseek-v2", count),
        _figure("pre-training, per T tokens", "h", hours_per_trillion(stages[0]), 172.8e3, "V2 section 3.2.3"),
        _figure("training saved, against 67B", "%", 100 * saved, 42.5, "V2 abstract"),
        _figure("cache: fewer numbers than 67B", "%", 100 * numbers, 82.2, "576 · 60 against 2 · 8 · 128 · 95"),
        _figure("cache: fewer bytes than 67B", "%", 100 * size, 93.3, "V2 abstract; 6 bits against 16"),
    )


def _llm_67b(config: ModelConfig, count: ParameterCount, stages: Sequence[StageCost]) -> Sequence[Comparison]:
    return (
        *_sizes("deepseek-llm-67b", count),
        _figure("pre-training, per T tokens", "h", hours_per_trillion(stages[0]), 300.6e3, "V2 section 3.2.3"),
    )


def _r1(config: ModelConfig, count: ParameterCount, stages: Sequence[StageCost]) -> Sequence[Comparison]:
    return (
        _figure("GPU hours, in all", "h", _hours(stages), 147e3, "R1 table 7"),
        _figure("cost, in all", "$", 2.0 * _hours(stages), 294e3, "R1 table 7, at $2"),
        _figure("R1-Zero, clock hours", "h", stages[0].gpu_hours / 512, 198, "R1 B.4.4, 512 GPUs"),
        _figure("R1, clock hours", "h", stages[2].gpu_hours / 512, 80, "R1 B.4.4, 512 GPUs"),
    )


_FIGURES: Mapping[str, Callable[[ModelConfig, ParameterCount, Sequence[StageCost]], Sequence[Comparison]]] = {
    "deepseek-v3": _v3,
    "deepseek-v2": _v2,
    "deepseek-llm-67b": _llm_67b,
    "deepseek-r1": _r1,
}


def _hours(stages: Sequence[StageCost]) -> float:
    return sum(stage.gpu_hours for stage in stages)


def _context_extension_variants(case: PublishedCase, config: ModelConfig) -> list[Variant]:
    """V3's context extension with one assumption less; the utilisation is calibrated anew for each."""
    device, stage = HARDWARE["h800"], case.stages[1]
    fp8, bf16 = device.rate("fp8"), device.rate("bf16")

    def seconds(length: float, linear: float = fp8, recompute: Recompute = "expansion") -> float:
        flops = training_flops(config, length, recompute=recompute)
        return flops.linear / linear + flops.rest / bf16

    def without_scores(length: float) -> float:
        return seconds(length) - forward_flops(config, causal_keys(length), mtp=True).attention_scores / bf16

    cases: Sequence[tuple[str, Seconds]] = (
        ("as planned", seconds),
        ("MLA's expansions are not computed again", lambda length: seconds(length, recompute="none")),
        ("attention's scores are not computed again", without_scores),
        ("linear maps at the BF16 peak as well", lambda length: seconds(length, bf16)),
        ("3 × forward at one peak (plain model FLOPs)", lambda length: training_flops(config, length).model / bf16),
    )
    published = stage.published_hours or 0.0
    return [
        Variant(
            figure=f"GPU hours of {stage.name}",
            assumption=assumption,
            planned=_extension_hours(case, stage, per_token),
            published=published,
        )
        for assumption, per_token in cases
    ]


def _extension_hours(case: PublishedCase, stage: Stage, per_token: Seconds) -> float:
    def total(of: Stage) -> float:
        return sum(part.tokens * per_token(part.length) for part in of.parts if isinstance(part, Sequences))

    return total(stage) / total(case.stages[0]) * (case.stages[0].published_hours or 0.0)


def _slower_rollouts(case: PublishedCase, config: ModelConfig, setting: Setting) -> list[Variant]:
    """R1 in all, as planned and where a conversation runs without speculative decoding."""
    found = []
    for assumption, divisor in (("as planned", 1.0), (f"no speculative decoding: 60 / {MTP_SPEEDUP} tokens/s", 1.8)):
        stages = [replace(stage, parts=[_slower(part, divisor) for part in stage.parts]) for stage in case.stages]
        hours = sum(estimate(config, stage, setting).gpu_hours for stage in stages)
        found.append(Variant(figure="GPU hours, in all", assumption=assumption, planned=hours, published=147e3))
    return found


def _slower(part: Sequences | Rollouts, divisor: float) -> Sequences | Rollouts:
    if isinstance(part, Sequences) or part.tokens_per_second is None:
        return part
    return replace(part, tokens_per_second=part.tokens_per_second / divisor)
