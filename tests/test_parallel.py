"""Two processes under torchrun: the losses of one, checkpoints that either goes on with, and an end for all."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import parallel_stages
from ponder.core import workers
from ponder.core.config import to_toml
from ponder.core.metrics import read_metrics
from ponder.core.workers import ComputeConfig, Workers
from ponder.train import parallel
from ponder.train.divided import mirror
from ponder.train.parallel import Parallel, rows_of_process, turns
from ponder.weights.checkpoint import save_model
from small_models import random_model
from test_r1 import CHATML, SHAPE
from tiny_recipe import RECIPE
from vocabularies import small_chatml

TESTS = Path(__file__).parent
ALWAYS = ("pretrain", "sft-lora", "grpo")
AT_TIMES = ("sft", "grpo-lora", "reward", "distill")
MEASURED_HERE = ("time", "time/seconds", "time/rollout_seconds", "time/train_seconds")


def torchrun(*arguments: str, cwd: Path = TESTS) -> subprocess.CompletedProcess[str]:
    """The command in two processes of this machine, with one kernel thread each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900, check=False)


def two_processes(*jobs: str) -> None:
    done = torchrun(str(TESTS / "parallel_stages.py"), *jobs)
    assert done.returncode == 0, done.stderr[-3000:]


def curves(path: Path) -> list[dict[str, float | str]]:
    """What a run logged, but for times and speeds."""
    return [
        {k: v for k, v in row.items() if k not in MEASURED_HERE and not k.startswith("speed/")}
        for row in read_metrics(path / "metrics.jsonl")
    ]


def assert_same_curves(path: Path, other: Path, steps: int) -> None:
    """Losses and all else to 1e-5. The gradient's norm, a larger number of many small ones, to 1e-4 of its size."""
    ours, theirs = curves(path), curves(other)
    assert len(ours) == len(theirs) == steps
    for row, expected in zip(ours, theirs, strict=True):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            bounds = {"rel": 1e-4} if name == "optimizer/gradient_norm" else {"rel": 0.0, "abs": 1e-5}
            close = value if isinstance(value, str) else pytest.approx(value, **bounds)
            assert row[name] == close, (path, row["step"], name)


def checkpoint(path: Path, step: int) -> Path:
    [found] = (path / "checkpoints").glob(f"*/step-{step:06d}")
    return found


def go_on_both_ways(folder: Path, names: Sequence[str], first: int, last: int) -> None:
    """Each stage by one process; by one and then two; and by two and then one: `first` steps, then up to `last`."""
    for name in names:
        parallel_stages.work(folder / "one" / name, last)
        parallel_stages.work(folder / "one then two" / name, first)
    begun = [f"{folder}/two then one/{name}:{first}" for name in names]
    two_processes(*begun, *[f"{folder}/one then two/{name}:{last}" for name in names])
    for name in names:
        parallel_stages.work(folder / "two then one" / name, last)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parallel")
    go_on_both_ways(folder, ALWAYS, 2, 3)
    return folder


@pytest.fixture(scope="module")
def more_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parallel")
    go_on_both_ways(folder, AT_TIMES, 4, 10)
    return folder


@pytest.mark.parametrize("name", ALWAYS)
@pytest.mark.parametrize("order", ["one then two", "two then one"])
def test_losses_are_those_of_one_process_whoever_began_the_run(runs: Path, name: str, order: str) -> None:
    """Two steps by the first, of which the last is lost; the others go on from the checkpoint after one."""
    assert_same_curves(runs / order / name, runs / "one" / name, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", AT_TIMES)
@pytest.mark.parametrize("order", ["one then two", "two then one"])
def test_losses_of_the_other_stages_over_ten_steps(more_runs: Path, name: str, order: str) -> None:
    assert_same_curves(more_runs / order / name, more_runs / "one" / name, 10)


@pytest.mark.parametrize("name", ALWAYS)
def test_a_checkpoint_of_two_processes_is_that_of_one(runs: Path, name: str) -> None:
    """The same files, names and types; numbers but for rounding. Nothing else is left in the run's folder."""
    ours, theirs = checkpoint(runs / "one then two" / name, 2), checkpoint(runs / "one" / name, 2)
    assert {p.name for p in ours.iterdir()} == {p.name for p in theirs.iterdir()}
    for file in theirs.glob("*.safetensors"):
        expected, found = load_file(file), load_file(ours / file.name)
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            assert found[key].dtype == tensor.dtype
            torch.testing.assert_close(found[key], tensor, rtol=1e-3, atol=2e-5)
    numbers = [json.loads((path / "state.json").read_text(encoding="utf-8"))["stage"] for path in (ours, theirs)]
    assert numbers[0].keys() == numbers[1].keys()
    left = [{p.name for p in (runs / order / name).iterdir()} for order in ("one then two", "one")]
    assert left[0] == left[1]


@pytest.mark.slow
def test_ten_steps_of_pretraining_in_two_processes(tmp_path: Path) -> None:
    """Experts choose by small differences: ten steps of these are where rounding would first show."""
    parallel_stages.work(tmp_path / "one" / "pretrain", 10)
    two_processes(f"{tmp_path}/two/pretrain:10")
    assert_same_curves(tmp_path / "two" / "pretrain", tmp_path / "one" / "pretrain", 10)


@pytest.mark.slow
def test_bf16_passes_over_shards_stay_near_fp32(tmp_path: Path) -> None:
    parallel_stages.work(tmp_path / "one" / "sft", 10)
    two_processes(f"{tmp_path}/two/sft-bf16:10")
    exact, rounded = ([row["loss/next_token"] for row in curves(tmp_path / n)] for n in ("one/sft", "two/sft-bf16"))
    assert rounded == pytest.approx(exact, abs=0.02)
    assert rounded != pytest.approx(exact, abs=1e-5)


@pytest.mark.slow
def test_the_command_in_two_processes_makes_the_run_of_one(tmp_path: Path) -> None:
    """Pretraining, gates, GRPO, evaluations and the report; then the run goes on in one process, to do nothing more."""
    recipe = replace(
        RECIPE,
        pretrain=replace(RECIPE.pretrain, max_skill_steps=4, gate_every=2, polish_steps=1, habit_steps=3),
        grpo=replace(RECIPE.grpo, steps=2),
    )
    (tmp_path / "tiny.toml").write_text(to_toml(recipe), encoding="utf-8")
    command = ["train", "tiny.toml", "--runs", str(tmp_path / "runs"), "--run"]
    done = torchrun("-m", "ponder", "--", *command, "two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("held-out problems") == 1  # the first process alone prints
    assert done.stderr.count("two begins in") == 1
    alone = [sys.executable, "-m", "ponder", *command]
    subprocess.run([*alone, "one"], cwd=tmp_path, check=True, capture_output=True, timeout=300)
    assert_same_curves(tmp_path / "runs" / "two", tmp_path / "runs" / "one", 10)
    before = (tmp_path / "runs" / "two" / "metrics.jsonl").read_bytes()
    subprocess.run([*alone, "two", "--resume"], cwd=tmp_path, check=True, capture_output=True, timeout=300)
    assert (tmp_path / "runs" / "two" / "metrics.jsonl").read_bytes() == before
    files = [{p.relative_to(run) for p in run.rglob("*")} for run in sorted((tmp_path / "runs").iterdir())]
    assert files[0] == files[1]
    assert not any(p.is_symlink() for p in (tmp_path / "runs").rglob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_pipeline_of_r1_in_two_processes_makes_the_run_of_one(tmp_path: Path, kind: str) -> None:
    """Stopped within the second stage that trains, and gone on with: every stage, collection and reward model."""
    save_model(tmp_path / "base", random_model(SHAPE), small_chatml(), CHATML)
    jobs = {name: [str(tmp_path / "base"), str(tmp_path / name), kind] for name in ("one", "two")}
    script = str(TESTS / "parallel_r1.py")
    subprocess.run([sys.executable, script, *jobs["one"]], check=True, capture_output=True, timeout=600)
    for stop in (["reasoning-rl:1"], []):
        done = torchrun(script, *jobs["two"], *stop)
        assert done.returncode == 0, done.stderr[-3000:]
    steps = len(curves(tmp_path / "one"))
    assert steps == 15
    assert_same_curves(tmp_path / "two", tmp_path / "one", steps)
    files = [{p.relative_to(run) for p in run.rglob("*")} for run in (tmp_path / "one", tmp_path / "two")]
    assert files[0] == files[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "message"),
    [("fail", "this process alone has failed"), ("differ", "the processes differ in the ranks: process 0 has 0")],
)
def test_what_goes_wrong_in_one_process_ends_all(job: str, message: str) -> None:
    done = torchrun(str(TESTS / "parallel_stages.py"), job)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.fixture
def as_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Make this process seem to be one of several; nothing can be exchanged with the others."""

    def pretend(rank: int, world_size: int) -> None:
        monkeypatch.setattr(parallel, "_joined", [Parallel(rank=rank, world_size=world_size)])

    return pretend


def test_every_job_is_somebodys_and_every_process_takes_as_many_turns(as_process: Callable[[int, int], None]) -> None:
    shares = [list(Parallel(rank=rank, world_size=3).share(range(8))) for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4, 7], [2, 5]]
    as_process(2, 3)
    assert turns(8) == 3
    assert turns(1) == 1


def test_rows_are_divided_as_fsdp_does(as_process: Callable[[int, int], None]) -> None:
    whole = torch.arange(10).view(5, 2)
    sizes = []
    for rank in range(4):
        as_process(rank, 4)
        sizes.append(len(rows_of_process(whole)))
    assert sizes == [2, 2, 1, 0]


def test_processes_of_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "available_cores", lambda: 8)
    assert Workers.default_count(ComputeConfig()) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Workers.default_count(ComputeConfig()) == 4
    assert Workers.default_count(ComputeConfig(workers=3)) == 3


def test_the_scratch_of_another_process_begins_as_the_run_and_changes_nothing_in_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    weights = run / "checkpoints" / "sft" / "step-000001" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    for name in ("metrics.jsonl", "lock", ".config.toml.new-0123456789ab"):
        (run / name).write_text("{}\n", encoding="utf-8")
    mirror(run, tmp_path / "scratch")
    mine = tmp_path / "scratch" / weights.relative_to(run)
    assert mine.read_bytes() == b"weights"
    assert mine.is_symlink()
    assert sorted(p.name for p in (tmp_path / "scratch").iterdir()) == ["checkpoints", "metrics.jsonl"]
    shutil.rmtree(mine.parent)
    (tmp_path / "scratch" / "metrics.jsonl").write_text("", encoding="utf-8")
    assert weights.read_bytes() == b"weights"
    assert (run / "metrics.jsonl").read_text(encoding="utf-8") == "{}\n"
