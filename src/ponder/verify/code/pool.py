"""Sandboxes that are kept ready, and replaced once they are used up or broken."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from ponder.core.errors import SandboxError
from ponder.core.time_limit import finishing
from ponder.verify.code.config import SandboxConfig
from ponder.verify.code.layers import present_layers
from ponder.verify.code.sandbox import Sandbox

Role = Literal["candidate", "examiner"]  # a sandbox never serves both


class SandboxPool:
    """Lends sandboxes. Safe to use from several threads."""

    def __init__(self, config: SandboxConfig) -> None:
        """Raises `SandboxError` where a protection is missing that the config does not allow to be missing."""
        self._config = config
        self._layers = present_layers(config)
        self._idle: dict[Role, list[Sandbox]] = {"candidate": [], "examiner": []}
        self._lock = threading.Lock()
        self._closed = False
        # a sandbox dies with the thread that started it, so one thread that lasts starts them all
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="ponder-sandbox")

    @contextlib.contextmanager
    def borrow(self, role: Role) -> Iterator[Sandbox]:
        """A sandbox for one program. It comes back unless it is broken, used up or left by an exception."""
        sandbox = self._take(role)
        sound = False
        try:
            yield sandbox
            sound = True
        finally:
            with finishing():
                self._give_back(role, sandbox, sound)

    def close(self) -> None:
        """End those that are idle; those lent end when they come back."""
        with self._lock:
            self._closed = True
            idle = [sandbox for sandboxes in self._idle.values() for sandbox in sandboxes]
            self._idle = {"candidate": [], "examiner": []}
        for sandbox in idle:
            sandbox.kill()
        self._starter.shutdown()

    def _take(self, role: Role) -> Sandbox:
        with self._lock:
            if self._closed:
                raise SandboxError("the pool of sandboxes is closed")
            while self._idle[role]:
                sandbox = self._idle[role].pop()
                if sandbox.alive():
                    return sandbox
                sandbox.kill()
        return self._starter.submit(Sandbox, self._config, self._layers).result()

    def _give_back(self, role: Role, sandbox: Sandbox, sound: bool) -> None:
        sandbox.programs += 1
        used_up = role == "candidate" and sandbox.programs >= self._config.programs_per_sandbox
        with self._lock:
            if sound and not sandbox.broken and not used_up and not self._closed:
                self._idle[role].append(sandbox)
                return
        sandbox.kill()
