"""Accelerators that a plan can be made for, and the processor that it is made on.

Peaks are dense tensor-core rates with FP32 accumulation, in FLOP/s, as the vendor states them.
"""

import difflib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

from ponder.core.errors import ConfigError

Format = Literal["fp8", "bf16", "fp32"]  # of the numbers that are multiplied


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One device."""

    name: str
    title: str
    peak: Mapping[Format, float]  # FLOP/s
    memory: float  # bytes
    bandwidth: float  # bytes/s
    price: float | None  # $ an hour
    price_source: str
    source: str  # of the rates

    def __post_init__(self) -> None:
        if self.price is not None and not self.price >= 0:
            raise ConfigError(f"GPU price = {self.price}; expected dollars an hour, 0 or more")

    def rate(self, wanted: Format) -> float:
        """The peak in this format. Raises `ConfigError` where the device does not have it."""
        if wanted not in self.peak:
            has = ", ".join(self.peak)
            raise ConfigError(f"{self.title} has no {wanted} arithmetic; it has {has}; try --precision bf16")
        return self.peak[wanted]


GB = 1e9
_HOPPER: Mapping[Format, float] = {"fp8": 1978.9e12, "bf16": 989.4e12, "fp32": 66.9e12}
_AMPERE: Mapping[Format, float] = {"bf16": 312e12, "fp32": 19.5e12}
_NO_PRICE = "no price that we have a source for; give --gpu-price"

HARDWARE: Mapping[str, Hardware] = {
    device.name: device
    for device in (
        Hardware(
            name="h800",
            title="NVIDIA H800 SXM 80 GB",
            peak=_HOPPER,
            memory=80 * GB,
            bandwidth=3350 * GB,
            price=2.0,
            price_source="assumed by the DeepSeek-V3 report, Dec 2024",
            source="NVIDIA H100 data sheet (the H800 differs in NVLink and FP64)",
        ),
        Hardware(
            name="h100",
            title="NVIDIA H100 SXM 80 GB",
            peak=_HOPPER,
            memory=80 * GB,
            bandwidth=3350 * GB,
            price=2.49,
            price_source="low end of on-demand list prices, pricegpu.pages.dev, early 2026 (secondary)",
            source="NVIDIA H100 data sheet",
        ),
        Hardware(
            name="a100-80",
            title="NVIDIA A100 SXM 80 GB",
            peak=_AMPERE,
            memory=80 * GB,
            bandwidth=2039 * GB,
            price=1.49,
            price_source="low end of on-demand list prices, pricegpu.pages.dev, early 2026 (secondary)",
            source="NVIDIA A100 data sheet",
        ),
        Hardware(
            name="a100-40",
            title="NVIDIA A100 SXM 40 GB",
            peak=_AMPERE,
            memory=40 * GB,
            bandwidth=1555 * GB,
            price=None,
            price_source=_NO_PRICE,
            source="NVIDIA A100 data sheet",
        ),
        Hardware(
            name="rtx-4090",
            title="NVIDIA RTX 4090 24 GB",
            peak={"fp8": 330.3e12, "bf16": 165.2e12, "fp32": 82.6e12},
            memory=24 * GB,
            bandwidth=1008 * GB,
            price=0.34,
            price_source="gputracker.dev, 19 Mar 2026 (secondary)",
            source="NVIDIA Ada GPU architecture, appendix A",
        ),
        Hardware(
            name="rtx-3090",
            title="NVIDIA RTX 3090 24 GB",
            peak={"bf16": 71e12, "fp32": 35.6e12},
            memory=24 * GB,
            bandwidth=936 * GB,
            price=None,
            price_source=_NO_PRICE,
            source="NVIDIA GA102 white paper, appendix A",
        ),
    )
}
CPU = "cpu"  # measured when asked for


def find_hardware(name: str, price: float | None = None) -> Hardware:
    """A device by its name, with the price given or else the one on record.

    "cpu" is this machine, measured. Raises `ConfigError` for a name that is not known, with the closest one.
    """
    wanted = name.strip().lower().replace("_", "-").replace(" ", "-")
    if wanted == CPU:
        device = measure_cpu()
    elif wanted in HARDWARE:
        device = HARDWARE[wanted]
    else:
        known = [*HARDWARE, CPU]
        close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"hardware {name!r} is unknown; {hint}Expected one of {', '.join(known)}")
    if price is None:
        return device
    return replace(device, price=price, price_source="given with --gpu-price")


def measure_cpu() -> Hardware:
    """This machine as one device: the best of a few products in fp32 and of a few copies, in about a second."""
    square = torch.rand(1024, 1024)
    block = torch.rand(16 * 2**20)  # 64 MiB: beyond most caches
    target = torch.empty_like(block)
    cores = torch.get_num_threads()
    return Hardware(
        name=CPU,
        title=f"this machine's processor, {cores} threads",
        peak={"fp32": 2 * 1024**3 / _fastest(lambda: square @ square)},
        memory=float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        bandwidth=2 * 4 * block.numel() / _fastest(lambda: target.copy_(block)),
        price=None,
        price_source="give --gpu-price, in $ an hour for the machine",
        source="measured just now: fp32 product of two 1024 × 1024 matrices, copy of 64 MiB",
    )


def _fastest(action: Callable[[], object], repeats: int = 8) -> float:
    """Seconds of the fastest of some runs, after one to warm up."""
    action()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best
