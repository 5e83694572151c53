"""Which code is running."""

import subprocess
from functools import cache
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[3]  # where pyproject.toml lies when the package runs from its repository


@cache
def source_commit() -> str | None:
    """The commit of the repository that this package runs from, "-dirty" added where files differ from it.

    None for an installed package, or where git cannot tell.
    """
    if not (_CHECKOUT / ".git").exists() or not (_CHECKOUT / "src" / "ponder").is_dir():
        return None
    command = ["git", "-C", str(_CHECKOUT), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
