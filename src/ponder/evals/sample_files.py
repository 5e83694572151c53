"""Where saved samples are, by the name that a person gives them: an evaluation, a run, or a file."""

from dataclasses import dataclass
from pathlib import Path

from ponder.core.errors import RunError
from ponder.core.files import what_is
from ponder.core.runs import RunFolder
from ponder.evals.graded import GradedSample, read_graded
from ponder.evals.run_order import first_and_last
from ponder.evals.suites.folder import EVALUATIONS, EvaluationFolder

_SUFFIX = "-samples.jsonl"  # of a run's evaluations


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedSamples:
    """Samples with where they come from."""

    name: str
    path: Path
    samples: list[GradedSample]
    whole: bool = True  # False: of an evaluation that was stopped, or is not done yet


def find_samples(name: str, runs: Path, evaluations: Path = EVALUATIONS) -> SavedSamples:
    """The samples that `name` means: a samples file, an evaluation's folder or name, or a run's folder or name.

    Of a run, `NAME:EVALUATION` names one of its evaluations and `NAME:training` what it drew while it trained; without,
    it is the evaluation of the model that the run made, as far as it is. Raises `RunError` that says what there is.
    """
    base, _, part = name.partition(":")
    for place in (Path(name), evaluations / name):
        if what_is(place) == "file":
            return _read(name, place)
        if what_is(place / "settings.json") == "file":
            return _read(name, EvaluationFolder(place).samples)
    for place in (Path(base), runs / base):
        if what_is(place / "config.toml") == "file":
            return _read(name, _of_run(RunFolder(place), part))
    there = [*_names(evaluations, "settings.json"), *_names(runs, "config.toml")]
    known = f"there are {', '.join(there[:12])}" if there else "make one with `ponder eval MODEL --suite math`"
    raise RunError(f"there is no evaluation, run or samples file {name!r}; {known}")


def _of_run(run: RunFolder, part: str) -> Path:
    found = sorted(run.evaluations.glob(f"*{_SUFFIX}")) if run.evaluations.is_dir() else []
    names = [path.name.removesuffix(_SUFFIX) for path in found]
    if part == "training" or (not part and not found):
        return run.samples
    if not part:
        whole = [path for path in found if _is_whole(path)] or found
        first, last = first_and_last([path.name.removesuffix(_SUFFIX) for path in whole])
        if name := last or first:
            return run.evaluation_samples(name)
        return max(whole, key=lambda path: path.stat().st_mtime)
    if part not in names:
        raise RunError(
            f"the run {run.path} has no evaluation {part!r}; it has {', '.join([*names, 'training'])}, such as "
            f"{run.name}:{(names or ['training'])[0]}"
        )
    return run.evaluation_samples(part)


def _read(name: str, path: Path) -> SavedSamples:
    samples = read_graded(path)
    if not samples:
        raise RunError(f"{path} holds no samples yet")
    return SavedSamples(name=name, path=path, samples=samples, whole=_is_whole(path))


def _is_whole(path: Path) -> bool:
    """Whether the evaluation that a samples file belongs to has its result; a file of no evaluation is whole."""
    folder = EvaluationFolder(path.parent)
    if path.name == folder.samples.name and what_is(folder.settings) == "file":
        return what_is(folder.result) == "file"
    run = RunFolder(path.parent.parent)
    if path.name.endswith(_SUFFIX) and path.parent == run.evaluations and what_is(run.config) == "file":
        return what_is(run.evaluation(path.name.removesuffix(_SUFFIX))) == "file"
    return True


def _names(root: Path, marker: str) -> list[str]:
    return sorted(folder.parent.name for folder in root.glob(f"*/{marker}")) if root.is_dir() else []
