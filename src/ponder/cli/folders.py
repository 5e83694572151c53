"""From the name that a person gives to the run it means."""

import difflib
from pathlib import Path

from ponder.cli.output import shown_path
from ponder.core.errors import RunError
from ponder.core.files import what_is
from ponder.core.runs import RUNS, RunFolder, list_runs

DEFAULT_ROOT = RUNS


def find_run(name: str, root: Path) -> RunFolder:
    """The run at that path, or of that name under `root`."""
    if not name.strip():
        raise RunError(f"the name of the run is empty; runs are listed by: ponder runs --runs {shown_path(root)}")
    for path in (Path(name), root / name):
        if what_is(path) == "folder":
            return RunFolder.open(path)
    if what_is(Path(name)) == "file":
        raise RunError(f"{name} is a file; expected the folder of a run")
    names = [run.name for run in list_runs(root)]
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        advice = f"did you mean {close[0]}?"
    elif names:
        advice = f"runs in {shown_path(root)}: {', '.join(sorted(names))}"
    else:
        advice = f"{shown_path(root)} holds no run yet; make one with: ponder quickstart"
    raise RunError(f"there is no run {name!r}, neither here nor in {shown_path(root)}; {advice}")


def in_series(root: Path, name: str) -> tuple[RunFolder | None, Path]:
    """The newest begun run of `name`, `name-2`, `name-3`, …, and the path for the one after it."""
    newest, number = None, 1
    while True:
        run = RunFolder(root / (name if number == 1 else f"{name}-{number}"))
        if not run.config.is_file():
            return newest, run.path
        newest, number = run, number + 1
