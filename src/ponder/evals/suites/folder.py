"""An evaluation is a folder: its settings, its samples as they come, and its result once it is whole."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ponder.core.errors import RunError, RunLockedError
from ponder.core.files import atomic_write_text, clean_leftovers, explain_os_errors, what_is
from ponder.core.locks import hold_lock
from ponder.evals.by_task import TaskEvaluation
from ponder.evals.drawing import KeptSamples

EVALUATIONS = Path("evaluations")  # where evaluations are kept unless said otherwise
NOT_PROBLEMS = ("duplicates", "left_out")  # what is told of a set beside its settings: its digest says it all
Settings = Mapping[str, Any]


class EvaluationFolder:
    """`evaluations/<name>/`: `settings.json`, `samples.jsonl` and, at the end, `result.json`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def settings(self) -> Path:
        return self.path / "settings.json"

    @property
    def samples(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @contextmanager
    def begin(self, settings: Settings) -> Iterator[KeptSamples]:
        """Have the folder to oneself, new or to go on in, and the samples that are in it.

        Raises `RunError` where it holds an evaluation with other settings or something else, `RunLockedError` where
        another process evaluates into it.
        """

        def in_use(holder: str) -> RunLockedError:
            return RunLockedError(
                f"the evaluation {self.path} is in use by process {holder}; wait until it ends or stop it"
            )

        with explain_os_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            others = sorted(e.name for e in self.path.iterdir() if e.name != "lock" and not e.name.startswith("."))
        if others and what_is(self.settings) is None:
            raise RunError(f"{self.path} is no evaluation but holds {', '.join(others[:3])}; choose another folder")
        with hold_lock(self.path / "lock", in_use):
            clean_leftovers(self.path)
            if what_is(self.settings) is None:
                atomic_write_text(self.settings, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
            else:
                self._check(settings)
            with KeptSamples(self.samples) as kept:
                yield kept

    def finish(self, settings: Settings, evaluation: TaskEvaluation) -> None:
        """Write the result, whole or not at all."""
        result = {**settings, **evaluation.to_json()}
        atomic_write_text(self.result, json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def read_settings(self) -> dict[str, Any]:
        """Raises `RunError` where there is none."""
        return _read_object(self.settings)

    def read_result(self) -> TaskEvaluation:
        """Raises `RunError` where the evaluation is not whole yet."""
        if what_is(self.result) is None:
            raise RunError(f"{self.path} has no result yet: the evaluation is not whole; start its command again")
        return TaskEvaluation.from_json(_read_object(self.result), str(self.result))

    def _check(self, settings: Settings) -> None:
        there, wanted = _compared(self.read_settings()), _compared(json.loads(json.dumps(settings)))
        if there != wanted:
            name, was, now = _first_difference(there, wanted)
            raise RunError(
                f"{self.path} holds an evaluation with other settings: {name} was {_abbreviated(was)}, now it is "
                f"{_abbreviated(now)}; evaluate into another folder, or with the settings as they were"
            )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: not JSON ({error}); evaluate into another folder") from None
    if not isinstance(data, dict):
        raise RunError(f"{path} is damaged: expected a JSON object, got {type(data).__name__}")
    return data


def _compared(settings: Settings) -> Settings:
    """What has to be the same for an evaluation to go on."""
    sets = settings.get("sets")
    if not isinstance(sets, dict) or not all(isinstance(of, dict) for of in sets.values()):
        return settings
    kept = {name: {key: value for key, value in of.items() if key not in NOT_PROBLEMS} for name, of in sets.items()}
    return {**settings, "sets": kept}


def _first_difference(there: Settings, wanted: Settings) -> tuple[str, object, object]:
    """The first setting in which two differ, with both values; inside of a group, by its path: sets.gsm8k.samples."""
    name = next(name for name in {**there, **wanted} if there.get(name) != wanted.get(name))
    was, now = there.get(name), wanted.get(name)
    if isinstance(was, dict) and isinstance(now, dict):
        inner, was, now = _first_difference(was, now)
        name = f"{name}.{inner}"
    return name, was, now


def _abbreviated(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"
