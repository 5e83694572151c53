"""Which of a run's checkpoints stands for it: that of its last finished stage; and what is said where one is not."""

import json
from pathlib import Path

import pytest

from ponder.cli.models import note_checkpoint
from ponder.core.errors import CheckpointError
from ponder.core.runs import CHECKPOINT_FILES, RunFolder
from ponder.recipes.opening import checkpoint_notice, model_folder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "mine")
    run.path.mkdir()
    run.config.write_text("")
    return run


def checkpoint(run: RunFolder, stage: str, step: int, *, finished: bool) -> Path:
    """The files of a checkpoint, of which only what it says of itself is looked at."""
    folder = run.checkpoint(stage, step)
    folder.mkdir(parents=True)
    for name in CHECKPOINT_FILES:
        (folder / name).write_text("x")
    progress = {"step": step, "finished": finished}
    (folder / "state.json").write_text(json.dumps({"progress": progress, "stage": {}}))
    return folder


def test_a_stage_that_begins_anew_does_not_stand_for_the_run_before_it_is_done(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        model_folder(run.path)
    cold = checkpoint(run, "cold-start", 0, finished=False)
    assert model_folder(run.path) == cold
    assert checkpoint_notice(run.path) == "mine is not finished: this is cold-start after 0 steps"
    checkpoint(run, "cold-start", 1800, finished=True)
    reasoning = checkpoint(run, "reasoning-rl", 45, finished=True)
    assert (model_folder(run.path), checkpoint_notice(run.path)) == (reasoning, "")
    second = checkpoint(run, "second-sft", 1400, finished=False)
    assert model_folder(run.path) == reasoning
    said = "mine is not finished: this is the model after reasoning-rl; second-sft, at step 1,400, goes by its folder: "
    assert checkpoint_notice(run.path) == f"{said}{second}"
    note_checkpoint(run.path)
    assert capsys.readouterr().err.startswith(f"note: {said}")
    done = checkpoint(run, "second-sft", 2800, finished=True)
    checkpoint(run, "reward-model", 10, finished=True)
    checkpoint(run, "control", 5, finished=False)
    assert (model_folder(run.path), checkpoint_notice(run.path)) == (done, "")


def test_what_learns_to_think_stands_for_its_run_and_the_base_does_not(run: RunFolder) -> None:
    base = checkpoint(run, "pretrain", 90, finished=True)
    assert (model_folder(run.path), checkpoint_notice(run.path)) == (base, "")
    begun = checkpoint(run, "zero", 20, finished=False)
    assert model_folder(run.path) == begun
    assert checkpoint_notice(run.path) == "mine is not finished: this is zero after 20 steps"
    (begun / "state.json").write_text("{torn")
    assert model_folder(run.path) == begun


def test_any_other_folder_is_itself(tmp_path: Path) -> None:
    assert (model_folder(tmp_path), checkpoint_notice(tmp_path)) == (tmp_path, "")
