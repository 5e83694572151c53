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
from ponder.core.workers import ComputeConfig, Workers
from ponder.models.scalar_head import ScoringModel
from ponder.recipes.engines import choose_engine
from ponder.text.prompt import Prompter
from ponder.text.tokenizer import Tokenizer
from ponder.train import parallel
from ponder.train.parallel import CPU, Parallel, current, joined
from ponder.train.preference_reward import PreferenceReward
from ponder.train.reward_model import KINDS, RewardCard, RewardModel
from small_models import random_model, small_dense

TOKENIZER = Tokenizer.for_arithmetic()
PROMPTER = Prompter(TOKENIZER)
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


def test_reward_models_are_moved_to_where_the_policy_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's device without memory stands for the GPU: what is left on the CPU is seen by its name."""
    here = torch.device("meta")
    monkeypatch.setattr(parallel, "_alone", Parallel(device=here))
    models = [
        RewardModel(ScoringModel(random_model(small_dense())), PROMPTER, RewardCard(kind=kind, max_tokens=64))
        for kind in KINDS
    ]
    with Workers(ComputeConfig(workers=1)) as workers:
        PreferenceReward(models[0], TOKENIZER, workers, safe=models[1])
    assert {p.device for model in models for p in model.model.parameters()} == {here}


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
