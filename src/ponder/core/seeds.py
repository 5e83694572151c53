"""Explicit randomness: every random stream has its own seed, derived from what it is for."""

import hashlib
import random

import torch


def derive_seed(run_seed: int, *parts: int | str) -> int:
    """The seed of one random stream: a 63-bit integer that depends on every part and on nothing else.

    >>> derive_seed(0, "rollout", 3) == derive_seed(0, "rollout", 3) != derive_seed(0, "rollout", 4)
    True
    """
    digest = hashlib.blake2b(repr((run_seed, *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def python_rng(run_seed: int, *parts: int | str) -> random.Random:
    """A `random.Random` of its own for one stream."""
    return random.Random(derive_seed(run_seed, *parts))


def torch_rng(run_seed: int, *parts: int | str) -> torch.Generator:
    """A CPU `torch.Generator` of its own for one stream."""
    return torch.Generator().manual_seed(derive_seed(run_seed, *parts))
