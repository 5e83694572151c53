"""A limit on the time of a call of Python code that is not ours, such as a user's checker."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

CHECK_SECONDS = 1.0  # for one answer, where the checker or reward is a function of ours or of a user's
AGAIN_SECONDS = 0.1  # between two alarms, for code that swallows the first

T = TypeVar("T")

_finishing = threading.local()  # `depth`: how many `finishing` blocks a thread is in


class TimeLimitReached(BaseException):
    """Not an Exception, so that the code's own `except Exception` does not swallow it."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of `call`. Raises `TimeLimitReached` where that takes longer, and again where that is swallowed.

    The limit needs a signal, so it holds in the main thread of a Unix process only. It stops Python code; a single long
    call into C ends first.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        return call()
    running = False

    def stop(signum: int, frame: FrameType | None) -> None:
        if running and not getattr(_finishing, "depth", 0):
            raise TimeLimitReached

    started = time.monotonic()
    previous_handler = signal.signal(signal.SIGALRM, stop)
    previous_delay, previous_interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        running = True
        return call()
    finally:
        running = False  # first of all: an alarm that still comes does nothing, and what follows is done to its end
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # drops one that is on its way, which may end the process else
        signal.signal(signal.SIGALRM, previous_handler or signal.SIG_DFL)
        if previous_delay:  # someone else's timer goes on
            remaining = max(previous_delay - (time.monotonic() - started), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, remaining, previous_interval)


@contextlib.contextmanager
def finishing() -> Iterator[None]:
    """In the block no limit raises; one that is over by then does so soon after it.

    For what has to be done whole when a call is stopped, such as giving back what was borrowed. It must not take long.
    """
    _finishing.depth = getattr(_finishing, "depth", 0) + 1
    try:
        yield
    finally:
        _finishing.depth -= 1
