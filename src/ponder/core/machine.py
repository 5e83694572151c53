"""What this machine has left to give."""

import os
from pathlib import Path


def available_memory() -> int | None:
    """Bytes that a new process can take without another giving any up; None where the system does not tell.

    Linux counts what it can free of its file cache (`MemAvailable`); elsewhere free pages are counted, if anything.
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
