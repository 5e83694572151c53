"""What a run has cost: parts that were stopped and gone on with count whole, and the run no less than its parts."""

import json
from pathlib import Path
from typing import Any

import pytest

from ponder.core.runs import RunFolder
from ponder.models.presets import tiny_dense
from ponder.recipes.run_state import RunCosts
from ponder.recipes.zero_recipe import ZeroRecipe
from ponder.train.checkpoint import Progress


class Time:
    """Stands for the clocks of the process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("ponder.train.loop.time.monotonic", lambda: self.now)
        monkeypatch.setattr("ponder.train.loop.time.process_time", lambda: 2 * self.now)


def costs(folder: Path) -> RunCosts:
    return RunCosts(RunFolder(folder), ZeroRecipe(), tiny_dense(64), {})


def saved(folder: Path) -> dict[str, Any]:
    return dict(json.loads(RunFolder(folder).summary.read_text(encoding="utf-8")))


def test_a_part_that_was_stopped_counts_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    ours = costs(tmp_path)
    with pytest.raises(KeyboardInterrupt), ours.timed("rejection"):  # noqa: PT012
        time.now += 7.0
        raise KeyboardInterrupt
    assert saved(tmp_path)["stages"] == []
    time.now += 1000.0  # nobody worked
    again = costs(tmp_path)
    with again.timed("rejection"):
        time.now += 5.0
    found = saved(tmp_path)
    assert found["stages"] == [
        {"name": "rejection", "steps": 0, "seconds": 12.0, "core_seconds": 24.0, "remark": ""}
    ]  # fmt: skip
    assert "stopped" not in found
    assert (found["seconds"], found["core_seconds"]) == (12.0, 24.0)


def test_what_was_stopped_of_one_part_is_not_anothers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    ours = costs(tmp_path)
    with pytest.raises(ValueError, match="no"), ours.timed("first"):  # noqa: PT012
        time.now += 7.0
        raise ValueError("no")
    with ours.timed("second"):
        time.now += 1.0
    with ours.timed("first"):
        time.now += 2.0
    assert [(p["name"], p["seconds"]) for p in saved(tmp_path)["stages"]] == [("second", 1.0), ("first", 9.0)]


def test_a_run_costs_no_less_than_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    ours = costs(tmp_path)
    time.now += 3.0
    ours.record("pretrain", Progress(step=8, seconds=2.0, core_seconds=4.0))
    assert (saved(tmp_path)["seconds"], saved(tmp_path)["core_seconds"]) == (3.0, 6.0)
    ours.record("rl", Progress(step=9, seconds=500.0, core_seconds=900.0))  # most of it in processes before this one
    assert (saved(tmp_path)["seconds"], saved(tmp_path)["core_seconds"]) == (502.0, 904.0)
