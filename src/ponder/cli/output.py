"""Where the commands write: figures to standard output, progress and messages to standard error."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

PLAIN_WIDTH = 120  # columns where there is no terminal to ask
_COMPLETION = re.compile(r"<think>(?P<thought>.*?)</think><answer>(?P<answer>.*?)</answer>(<eos>)?", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class PipeConsole(Console):
    """A console whose reader may go away: `cli.main` hears of it, where rich would end the process by itself."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def out() -> Console:
    """Standard output, for a person."""
    return _console(stderr=False)


def err() -> Console:
    """Standard error: progress, notes and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = PipeConsole(stderr=stderr, highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        return console
    return PipeConsole(stderr=stderr, highlight=False, markup=False, emoji=False, width=PLAIN_WIDTH)


def print_json(value: Mapping[str, Any]) -> None:
    """The one JSON object of a command with --json."""
    print(json.dumps(value, indent=2, allow_nan=False))


def print_error(message: str) -> None:
    """A message of this program about what went wrong."""
    print(f"ponder: {message}", file=sys.stderr)


def printable(text: str) -> str:
    """Text of a model or a file, made safe for a terminal: what could steer it becomes visible."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def completion_text(text: str) -> Text:
    """A completion with the thought dim and the answer bold; one of another shape is shown as it is."""
    match = _COMPLETION.fullmatch(text)
    if match is None:
        return Text(printable(text))
    thought, answer = printable(match["thought"]), printable(match["answer"])
    return Text.assemble((thought, "dim"), (" → " if thought else "→ ", "dim"), (answer, "bold"))


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """Minutes and seconds as a clock shows them: 0:07, 12:30, 1:02:03."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def byte_size(count: int) -> str:
    """Bytes as people say them: 512 bytes, 3.2 MB, 688.6 GB."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count} bytes"


def parameter_count(count: int) -> str:
    """Parameters as people say them: 671.0B, 7.62B, 134.5M, 1,024."""
    if count >= 1e9:
        return f"{count / 1e9:.1f}B" if count >= 1e11 else f"{count / 1e9:.2f}B"
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count:,}"


def program() -> str:
    """How this program is started from here: by its name where the shell finds it."""
    beside_python = Path(sys.executable).with_name("ponder")
    if shutil.which("ponder") is not None or not beside_python.is_file():
        return "ponder"
    return os.path.relpath(beside_python) if beside_python.is_relative_to(Path.cwd()) else str(beside_python)


def shown_path(path: Path) -> str:
    """A path as short as it can be said from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
