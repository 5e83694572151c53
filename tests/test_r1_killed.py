"""R1's pipeline, killed with SIGKILL again and again in its stages, ends with the bits of one that is left alone."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ponder.core.runs import RunFolder
from ponder.evals.run_order import ORDER
from ponder.weights.checkpoint import save_model
from small_models import random_model
from test_r1 import CHATML, SHAPE, written
from vocabularies import small_chatml

# a tiny model learns to give one thought and one answer; the checker takes whatever has that form
TASK = """
def problem(rng):
    return dict(prompt=f"Say {rng.randrange(10**6)}.", answer="4")

def worked(problem, rng):
    return "so", "4"

def check(problem, answer):
    return len(answer) < 40
"""
PAIR = {"messages": [{"role": "user", "content": "Why?"}], "chosen": "Because of it.", "rejected": "No."}
STAGES = (
    "cold-start", "reasoning-rl", "rejection", "second-sft", "sharpening", "reward-model", "final-rl", "control",
)  # fmt: skip
SETTINGS = (
    "--engine=torch", "--checkpoint_every=5", f"--stages={json.dumps(STAGES)}", "--adapter.kind=full",
    "--ordinary.share=0.0", "--ordinary.texts=0", "--ordinary.text_share=0.0", "--preferences.ordinary_share=0.0",
    "--preferences.training.items_per_step=2",
    "--cold_start.steps=60", "--cold_start.tokens_per_step=512", "--cold_start.row_tokens=256",
    "--cold_start.optimizer.learning_rate=0.01", "--second_sft.optimizer.learning_rate=0.01",
    "--second_sft.steps=30", "--second_sft.tokens_per_step=512", "--second_sft.row_tokens=256",
    "--sharpening.problems=20", "--sharpening.collect.max_tokens=16", "--sharpening.training.steps=10",
    "--sharpening.training.tokens_per_step=512", "--sharpening.training.row_tokens=256",
    "--control.steps=10", "--control.tokens_per_step=512", "--control.row_tokens=256",
    "--reasoning_rl.steps=12", "--reasoning_rl.prompts_per_step=2", "--reasoning_rl.group_size=4",
    "--reasoning_rl.max_tokens=16", "--reasoning_rl.rollout_weights=fp32",
    "--final_rl.steps=8", "--final_rl.prompts_per_step=2", "--final_rl.group_size=4", "--final_rl.max_tokens=16",
    "--final_rl.rollout_weights=fp32", "--rejection.problems=40", "--rejection.collect.max_tokens=16",
    "--measure.problems=4", "--measure.drawing.samples=2", "--measure.drawing.max_tokens=16", "--measure.apart=[]",
)  # fmt: skip


def begin(folder: Path, *, resume: bool) -> subprocess.Popen[bytes]:
    root = folder.parent
    named = ["--run", folder.name, "--runs", str(root), "--task", str(root / "say.py")]
    given = [f"--start_from={root / 'base'}", f"--preferences.pairs={root / 'pairs.jsonl'}", *SETTINGS]
    command = [sys.executable, "-m", "ponder", "train", "r1", *named, *(["--resume"] if resume else []), *given]
    with (root / "said").open("wb") as said:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)


def stage_of(folder: Path) -> str:
    """Where the run is: the newest of the folders that stages write into."""
    made = [*folder.glob("checkpoints/*"), *folder.glob("collections/*"), *folder.glob("models/*")]
    return max(made, key=lambda path: path.stat().st_mtime).name if made else ""


@pytest.mark.slow
def test_a_pipeline_killed_at_any_moment_ends_with_the_same_bits(tmp_path: Path) -> None:
    save_model(tmp_path / "base", random_model(SHAPE), small_chatml(), CHATML)
    (tmp_path / "say.py").write_text(TASK)
    pairs = [{**PAIR, "messages": [{"role": "user", "content": f"Why {i}?"}]} for i in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    assert begin(tmp_path / "whole", resume=False).wait() == 0, (tmp_path / "said").read_text()

    folder, kills, patience = tmp_path / "killed", 0, 4.0
    seen: set[str] = set()
    while True:
        process = begin(folder, resume=(folder / "config.toml").exists())
        deadline = time.monotonic() + patience
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if process.poll() is not None:
            assert process.returncode == 0, (tmp_path / "said").read_text()
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.add(stage_of(folder))
        kills, patience = kills + 1, patience + 0.17
        assert kills < 100, "the run never ends"
    seen.discard("")  # killed before the first stage wrote anything
    assert len(seen) >= 4, f"it was killed in {seen} alone"
    ours, theirs = (written(RunFolder.open(tmp_path / name)) for name in ("killed", "whole"))
    assert ours == theirs
    for name in ORDER:
        killed, left_alone = (
            json.loads(RunFolder.open(tmp_path / r).evaluation(name).read_text()) for r in ("killed", "whole")
        )
        assert killed | {"seconds": None} == left_alone | {"seconds": None}
