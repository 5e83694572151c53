"""Work side by side on the cores of one machine: several threads, each running its own small kernels.

At the sizes that fit a CPU, two workers with one kernel thread each train 1.6 to 1.9 times as fast as one with
two: no kernel waits for another core (dev/LOG.md). Torch releases the interpreter lock inside its kernels.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch

from ponder.core.errors import ConfigError

Device = Literal["auto", "cpu", "cuda"]
Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """What is computed on. The number of workers never changes a result; that of threads may, by rounding, and so may
    the device.
    """

    device: Device = "auto"  # of training; auto: the CPU, or under torchrun a GPU for each process where there are some
    workers: int = 0  # micro-batches at once; 0: one per core
    threads_per_worker: int = 1  # kernel threads of each; more only pays for large models

    def __post_init__(self) -> None:
        if self.workers < 0 or self.threads_per_worker < 1:
            raise ConfigError(
                f"compute.workers = {self.workers}, compute.threads_per_worker = {self.threads_per_worker}; "
                "expected 0 or more workers and at least one thread each"
            )


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def kernel_threads(count: int) -> Iterator[None]:
    """Kernels of the calling thread run on so many threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Workers:
    """A pool that maps a function over jobs and gives the results back in the order of the jobs."""

    def __init__(self, config: ComputeConfig | None = None) -> None:
        config = config or ComputeConfig()
        self.count = self.default_count(config)
        threads = config.threads_per_worker
        self.cores = self.count * threads  # that all of them use together
        torch.set_num_threads(threads)
        self._pool = ThreadPoolExecutor(
            self.count, thread_name_prefix="ponder", initializer=lambda: torch.set_num_threads(threads)
        )

    @staticmethod
    def default_count(config: ComputeConfig) -> int:
        """How many workers this config means on this machine."""
        beside = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)  # processes that torchrun started on this machine
        return config.workers or max(1, available_cores() // (beside * config.threads_per_worker))

    def map(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
        """Results in the order of `jobs`. The first exception of a job is raised, and what has not begun is dropped."""
        return self._pool.map(function, jobs)

    def close(self) -> None:
        """Stop the threads; jobs that have not begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
