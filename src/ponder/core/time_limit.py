"""A limit on the time of a call of Python code that is not ours, such as a user's checker."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

CHECK_SECONDS = 1.0  # for one answer, where the checker or reward is a function of ours or of a user's

T = TypeVar("T")


class TimeLimitReached(BaseException):
    """Not an Exception, so that the code's own `except Exception` does not swallow it."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of `call`. Raises `TimeLimitReached` where that takes longer.

    The limit needs a signal, so it holds in the main thread of a Unix process only. It stops Python code; a single long
    call into C ends first.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        return call()

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeLimitReached

    started = time.monotonic()
    previous_handler = signal.signal(signal.SIGALRM, stop)
    previous_delay, previous_interval = signal.getitimer(signal.ITIMER_REAL)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            return call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:  # the alarm has rung or is off: it rings once, and cannot cut this short
        signal.signal(signal.SIGALRM, previous_handler or signal.SIG_DFL)
        if previous_delay:  # someone else's timer goes on
            remaining = max(previous_delay - (time.monotonic() - started), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, remaining, previous_interval)
