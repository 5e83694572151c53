"""Training on another device than main memory: what can be known of it without a GPU.

A second name of the CPU stands for the GPU: for it, weights are copied over and back as they are for one.
"""

import hashlib
from pathlib import Path

import pytest
import torch

import parallel_stages
from ponder.core.errors import ConfigError
from ponder.core.metrics import read_metrics
from ponder.recipes.engines import choose_engine
from ponder.train import parallel
from ponder.train.parallel import CPU, Parallel, current, joined

STAGES = ("sft-bf16", "sft-lora", "grpo-lora")
STEPS = 3  # of which the second is done on the CPU
SPEEDS = ("time", "speed/")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"compute\.device = 'cuda', but PyTorch .* sees no GPU"), joined("cuda"):
        pass
    for wanted in ("auto", "cpu"):
        with joined(wanted) as here:
            assert here.on_cpu


def test_one_process_takes_a_gpu_only_where_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with joined("cuda") as here:
        assert (here.device, here.alone, current()) == (torch.device("cuda", 0), True, here)
    with joined("auto") as here:
        assert here.device == CPU
    assert current().on_cpu


def test_a_gpu_is_sampled_on_as_well() -> None:
    assert choose_engine("auto", "cuda") == "torch"


def states(folder: Path) -> dict[str, str]:
    """A hash of every checkpoint's tensors."""
    files = sorted(folder.rglob("*.safetensors"))
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.mark.parametrize("name", STAGES)
def test_a_run_goes_from_one_device_to_the_other_bit_for_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second name of the CPU computes the same bits, so whatever is not moved over and back is seen."""
    parallel_stages.work(tmp_path / "here" / name, STEPS)
    for steps, device in ((1, torch.device("cpu", 0)), (2, CPU), (STEPS, torch.device("cpu", 0))):
        monkeypatch.setattr(parallel, "_alone", Parallel(device=device))
        parallel_stages.work(tmp_path / "there" / name, steps)
    ours, theirs = (
        [
            {key: value for key, value in row.items() if not key.startswith(SPEEDS)}
            for row in read_metrics(tmp_path / where / name / "metrics.jsonl")
        ]
        for where in ("there", "here")
    )
    assert ours == theirs
    assert states(tmp_path / "there") == states(tmp_path / "here") != {}
