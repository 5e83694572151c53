"""Which model is meant where nobody names one."""

from pathlib import Path

from ponder.core.errors import PonderError, RunError
from ponder.core.runs import RUNS, RunFolder, list_runs
from ponder.recipes.opening import check_headers, model_folder
from ponder.weights.pull.home import pulled_models, resolve_model

QUICKSTART = "quickstart-"  # how the names of its runs begin


def default_model(runs: Path = RUNS) -> Path:
    """The newest model that the quickstart has finished; else the newest run with weights; else the largest model that
    was pulled and can be opened.

    Raises `RunError` that says how to get one.
    """
    usable = [run for run in list_runs(runs) if _has_weights(run)]
    finished = [run for run in usable if run.name.startswith(QUICKSTART) and run.evaluation("trained").is_file()]
    for run in (*finished, *usable):
        return run.path
    for manifest in sorted(pulled_models(), key=lambda manifest: manifest.size, reverse=True):
        folder = resolve_model(manifest.name)
        if folder is not None and _can_be_opened(folder):
            return folder
    raise RunError(
        f"there is no model yet, neither in {runs} nor pulled. Train one in about two minutes: ponder quickstart; or "
        "fetch one: ponder pull smollm2-135m-instruct"
    )


def _has_weights(run: RunFolder) -> bool:
    try:
        return model_folder(run.path) != run.path
    except PonderError:
        return False


def _can_be_opened(folder: Path) -> bool:
    try:
        check_headers(folder)
    except PonderError:
        return False
    return True
