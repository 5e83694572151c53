"""The end of a process that does not end by itself."""

import os
import threading
from types import TracebackType
from typing import Self


class HardStop:
    """Ends the process some time after `begin`, whatever still runs or hangs, unless it is left before.

    To be entered by whoever owns all that has to be closed, so that everything is closed within this time.
    """

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def begin(self, seconds: float) -> None:
        """So many seconds from now the process ends with status 1. Again: nothing happens. Nothing is lost: what was
        acknowledged is on disk, as after a power cut.
        """
        if self._timer is None:
            self._timer = threading.Timer(seconds, os._exit, (1,))
            self._timer.daemon = True
            self._timer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
