"""From a model's shape and a device to tokens per second and dollars per million tokens.

Decoding is a roofline: a step takes the longer of its arithmetic and of reading the weights and the caches. Prefill is
arithmetic. Both run at the utilisation; weights and caches are spread evenly over the devices, and what passes between
devices is not counted beside it.
"""

import math
from dataclasses import dataclass
from typing import Literal

from ponder.core.errors import ConfigError
from ponder.models.config import ModelConfig
from ponder.models.presets import ParameterCount
from ponder.plan.flops import causal_keys, decode_flops, forward_flops
from ponder.plan.hardware import Format, Hardware
from ponder.plan.memory import cache_bytes, weight_bytes

USABLE_MEMORY = 0.9  # of a device's memory, for weights and caches; the rest is for activations and the runtime
MOST_SEQUENCES = 512  # per device, where memory would hold more
MILLION = 1e6


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How a model is served."""

    hardware: Hardware
    utilization: float
    gpus: int
    weights: str = "bf16"  # a key of WEIGHT_BYTES
    cache_bits: float = 16.0
    context: int = 4096  # tokens of a conversation that are in the cache while a token is made, on average
    batch: int | None = None  # conversations at a time on all devices; None: as many as fit


@dataclass(frozen=True, kw_only=True)
class ServingPlan:
    """What serving gives."""

    batch: int
    bound: Literal["arithmetic", "bandwidth"]  # what a decode step waits for
    decode_tokens_per_second: float  # all devices, all conversations
    decode_ceiling: float  # the same at the hardware's peak
    prefill_tokens_per_second: float  # all devices
    weights_bytes: float
    cache_bytes_per_token: float
    usd_per_million_output: float | None
    usd_per_million_input: float | None


def serve(config: ModelConfig, count: ParameterCount, serving: Serving) -> ServingPlan:
    """Throughput and prices. Raises `ConfigError` where weights and caches do not fit."""
    hardware, gpus = serving.hardware, serving.gpus
    weights = weight_bytes(count.total, serving.weights)
    per_token = cache_bytes(config, serving.cache_bits)
    batch = _batch(serving, weights, per_token)
    linear, rest = _rates(hardware, serving.weights)

    decode = decode_flops(config, serving.context)
    arithmetic = batch * (decode.linear / linear + (decode.total - decode.linear) / rest) / gpus
    read = weights * _weights_read(config, count, batch) + batch * serving.context * per_token
    reading = read / (hardware.bandwidth * gpus)
    ceiling = batch / max(arithmetic, reading)

    prompt = forward_flops(config, causal_keys(serving.context))
    prefill = gpus / (prompt.linear / linear + (prompt.total - prompt.linear) / rest) * serving.utilization
    output = ceiling * serving.utilization
    return ServingPlan(
        batch=batch,
        bound="arithmetic" if arithmetic >= reading else "bandwidth",
        decode_tokens_per_second=output,
        decode_ceiling=ceiling,
        prefill_tokens_per_second=prefill,
        weights_bytes=weights,
        cache_bytes_per_token=per_token,
        usd_per_million_output=price_per_million(hardware.price, gpus, output),
        usd_per_million_input=price_per_million(hardware.price, gpus, prefill),
    )


def price_per_million(price: float | None, gpus: float, tokens_per_second: float) -> float | None:
    """Dollars per million tokens: $ an hour · devices / (tokens a second · 3600) · 10⁶."""
    return None if price is None else price * gpus / (tokens_per_second * 3600) * MILLION


def devices_for(needed: float, hardware: Hardware) -> int:
    """The fewest devices whose usable memory holds so many bytes: 1, 2, 4, 8, then whole nodes of 8."""
    least = max(1, math.ceil(needed / (USABLE_MEMORY * hardware.memory)))
    if hardware.name == "cpu":
        return 1
    return next((number for number in (1, 2, 4) if number >= least), 8 * math.ceil(least / 8))


def _batch(serving: Serving, weights: float, per_token: float) -> int:
    """The conversations at a time: those asked for, if they fit."""
    room = USABLE_MEMORY * serving.hardware.memory * serving.gpus - weights
    most = math.floor(room / (serving.context * per_token))
    if most < 1 or (serving.batch or 0) > most:
        fits = f"{most:,} fit" if most >= 1 else "not even one fits"
        raise ConfigError(
            f"{serving.batch or 1:,} × {serving.context:,} tokens of conversation need {weights / 1e9:,.1f} GB of "
            f"weights and {(serving.batch or 1) * serving.context * per_token / 1e9:,.1f} GB of cache; {fits} in "
            f"{USABLE_MEMORY:.0%} of {serving.gpus} × {serving.hardware.memory / 1e9:,.0f} GB; take more --gpus, a "
            "smaller --batch or --context, or smaller --weights"
        )
    return serving.batch or min(most, MOST_SEQUENCES * serving.gpus)


def _rates(hardware: Hardware, weights: str) -> tuple[float, float]:
    """FLOP/s of linear maps and of attention. Weights in 4 to 8 bits of GGUF are multiplied in BF16."""
    rest: Format = "bf16" if "bf16" in hardware.peak and weights != "fp32" else "fp32"
    linear: Format = "fp8" if weights == "fp8" and "fp8" in hardware.peak else rest
    return hardware.rate(linear), hardware.rate(rest)


def _weights_read(config: ModelConfig, count: ParameterCount, batch: int) -> float:
    """Share of the weights that a decode step reads: of E experts, 1 - (1 - K/E)^batch are expected to be used."""
    moe = config.moe
    if moe is None:
        return 1.0
    experts = len(config.routed_layers) * moe.routed_experts * 3 * config.hidden_size * moe.expert_intermediate_size
    used = 1 - (1 - moe.experts_per_token / moe.routed_experts) ** batch
    return (count.total - experts * (1 - used)) / count.total
