"""What a tested program may use, and which protections may be missing."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ponder.core.errors import ConfigError

Layer = Literal["namespaces", "seccomp", "landlock"]
LAYERS: tuple[Layer, ...] = get_args(Layer)
MEGABYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class SandboxConfig:
    """The limits of one program. A program that meets one fails; nothing else on the machine notices."""

    seconds: float = 10.0  # by the clock, for all tests of a program; of programs with input, for each input
    inputs_seconds: float = 30.0  # by the clock, for all inputs of a program together
    memory_mb: int = 512  # address space
    output_mb: float = 4.0  # what it writes to its standard output
    disk_mb: int = 0  # its working folder, which is in memory and gone afterwards; 0: it cannot write files
    threads: int = 32  # it can start threads, and no processes
    # Programs that a sandbox runs one after the other, each in a fresh process and an emptied folder. More is faster;
    # 1 also gives each its own namespaces.
    programs_per_sandbox: int = 32
    allow_missing: tuple[Layer, ...] = ()  # protections to do without, by name; each one is named in docs/verifiers.md

    def __post_init__(self) -> None:
        if self.disk_mb < 0:
            raise ConfigError(f"sandbox.disk_mb is {self.disk_mb}; expected 0 or more")
        for name in ("seconds", "inputs_seconds", "memory_mb", "output_mb", "threads", "programs_per_sandbox"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"sandbox.{name} is {value}; expected a number above 0")
        if self.memory_mb < 64:
            raise ConfigError(f"sandbox.memory_mb is {self.memory_mb}; the interpreter alone needs 64")
        for layer in self.allow_missing:
            if layer not in LAYERS:
                raise ConfigError(f"sandbox.allow_missing names {layer!r}; expected one of {', '.join(LAYERS)}")
