"""Loading code without looking through it for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """What is made inside stays: it is not looked through for garbage, neither now nor later.

    For loading modules. PyTorch's are hundreds of thousands of objects, and walking over them again and again while
    they come takes an eighth of the time of loading.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
