"""One process at a time: a lock that the system frees however its holder ends."""

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ponder.core.errors import PonderError
from ponder.core.files import explain_os_errors

_held: set[int] = set()  # file descriptors of the locks that this process holds


@contextmanager
def hold_lock(path: Path, in_use: Callable[[str], PonderError]) -> Iterator[None]:
    """Hold the lock file `path`, which stays and says nothing by itself. Its folder must be there.

    Where another process holds it, raises what `in_use` makes of that process's name.
    """
    with explain_os_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    _held.add(descriptor)
    try:
        _acquire(path, descriptor, in_use)
        yield
    finally:
        if descriptor in _held:  # not so in a child made by fork
            _held.remove(descriptor)
            os.close(descriptor)


def _acquire(path: Path, descriptor: int, in_use: Callable[[str], PonderError]) -> None:
    with explain_os_errors(path):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise in_use(os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "unknown") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _forget() -> None:
    """A child made by fork shares its parent's locks; it must not keep them when the parent is killed."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
