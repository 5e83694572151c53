"""The progress of bytes that come or go: a bar at a terminal, lines elsewhere."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from ponder.cli.output import printable
from ponder.core.progress import Transfer

LINE_EVERY = 10.0  # seconds between lines where there is no terminal


@contextmanager
def transfer_display(console: Console) -> Iterator[Callable[[Transfer], None]]:
    """A bar with bytes per second on a terminal; a line now and then elsewhere."""
    if not console.is_terminal or os.environ.get("TERM") == "dumb":
        yield _lines(console)
        return
    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        DownloadColumn(table_column=Column(no_wrap=True)),
        TransferSpeedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, expand=True) as bar:
        task = bar.add_task("looking it up", total=None)

        def report(progress: Transfer) -> None:
            if bar.tasks[0].total is None and progress.total is not None and progress.resumed:
                bar.reset(task, total=progress.total, completed=progress.resumed)  # not counted as speed
            bar.update(task, description=printable(progress.file), total=progress.total, completed=progress.done)

        yield report


def _lines(console: Console) -> Callable[[Transfer], None]:
    last = [time.monotonic(), -1.0]

    def report(progress: Transfer) -> None:
        now = time.monotonic()
        if now - last[0] < LINE_EVERY and progress.done != progress.total:
            return
        speed = ""
        if progress.done >= last[1] >= 0 and now > last[0]:  # less is another transfer
            speed = f", {(progress.done - last[1]) / (now - last[0]) / 1e6:.1f} MB/s"
        of_all = "" if progress.total is None else f" of {progress.total / 1e6:,.1f}"
        console.print(f"{printable(progress.file)}: {progress.done / 1e6:,.1f}{of_all} MB{speed}", soft_wrap=True)
        last[:] = [now, float(progress.done)]

    return report
