"""The machine's side of `ponder bench`: how fast it reads memory, and how fast it multiplies matrices.

What limits generation: one sequence must read every weight for every token, many sequences must multiply by them.
Bandwidth is that of summing a buffer far larger than the caches, in huge pages where the system gives them; the peaks
are those of PyTorch's matrix product (oneDNN or MKL) of square matrices.
"""

import mmap
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from ponder.recipes.bench.turns import Timed, serve

NUMBERS = ("fp32", "bf16", "int8")


class Limits:
    """`seconds` is for reading the buffer once, or for one product."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._threads, self._size = job["threads"], job["size"]
        torch.set_num_threads(self._threads)
        memory = mmap.mmap(-1, job["buffer"], flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        self._parts = torch.frombuffer(memory, dtype=torch.int64).chunk(self._threads)
        for part in self._parts:
            part.fill_(1)
        # a thread of its own for each part: each reads one stretch from end to end
        self._pool = ThreadPoolExecutor(self._threads, initializer=lambda: torch.set_num_threads(1))
        self.facts = {"buffer_bytes": job["buffer"], "product_operations": 2 * self._size**3}

    def bandwidth(self) -> Timed:
        began = time.perf_counter()
        list(self._pool.map(torch.sum, self._parts))
        return Timed(time.perf_counter() - began)

    def product(self, numbers: str) -> Timed:
        a, b = (_matrix(numbers, self._size) for _ in range(2))
        multiply = torch._int_mm if numbers == "int8" else torch.mm
        multiply(a, b)
        began = time.perf_counter()
        multiply(a, b)
        return Timed(time.perf_counter() - began)


def _matrix(numbers: str, size: int) -> torch.Tensor:
    if numbers == "int8":
        return torch.randint(-100, 100, (size, size), dtype=torch.int8)
    return torch.randn(size, size).to(torch.bfloat16 if numbers == "bf16" else torch.float32)


if __name__ == "__main__":
    serve(Limits)
