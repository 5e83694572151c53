"""The comparison of distillation and RL, whole and very small; what it counts, and what it concludes."""

import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ponder.cli.main import main
from ponder.core.errors import DataError
from ponder.core.metrics import read_metrics
from ponder.core.progress import SilentReporter
from ponder.core.runs import RunFolder
from ponder.core.seeds import python_rng
from ponder.core.types import Completion, Prompt, Sampling
from ponder.data.chain import ChainSource
from ponder.data.traces import Origin, Trace, TraceLog
from ponder.evals.comparison_report import ARMS, comparison_json, conclusion, write_comparison_report
from ponder.evals.drawing import DrawingConfig
from ponder.evals.evaluator import EvaluationConfig
from ponder.models.config import GqaConfig, ModelConfig
from ponder.plan.flops import causal_keys, forward_flops
from ponder.recipes.comparison_recipe import ComparisonRecipe
from ponder.recipes.distill_comparison import run_comparison
from ponder.recipes.distill_recipe import TraceConfig
from ponder.recipes.metering import CountingGenerator, sampling_cost, training_cost
from ponder.recipes.open_task import open_task
from ponder.recipes.tracing import distinct_problems, task_fingerprint
from ponder.train.sft import SftConfig
from tiny_recipe import RECIPE

MEASURED = EvaluationConfig(problems=4, samples=1, max_tokens=24, forced=False)
ZERO = replace(
    RECIPE,
    evaluation=MEASURED,
    pretrain=replace(RECIPE.pretrain, max_skill_steps=2, gate_every=2, polish_steps=0, habit_steps=2),
    grpo=replace(RECIPE.grpo, steps=1, kl_weight=0.0, prompts_per_step=4, group_size=4, max_tokens=24),
    checkpoint_every=2,
)
SMALLER = replace(
    RECIPE.model, moe=None, mtp_depth=0, hidden_size=16, heads=2, attention=GqaConfig(kv_heads=1, head_dim=8),
    rope_layout="halves",
)  # fmt: skip
COMPARISON = ComparisonRecipe(
    engine="torch",
    seeds=(3, 4),
    checkpoint_every=2,
    compute=RECIPE.compute,
    teacher=ZERO,
    student=replace(ZERO, model=SMALLER, grpo=replace(ZERO.grpo, steps=2)),
    traces=TraceConfig(problems=8, samples=1, temperature=1.0, top_p=1.0, max_tokens=24),
    sft=SftConfig(epochs=2.0, tokens_per_step=64, row_tokens=64, warmup_steps=2),
    problems=6,
    evaluation=DrawingConfig(samples=2, max_tokens=24),
)
CHAIN = ChainSource(terms=2)


def begin(path: Path) -> RunFolder:
    """A run whose teacher has answered already: one of this size knows nothing."""
    run = RunFolder.create(path)
    with open_task(COMPARISON.student.task) as (task, _):
        problems = distinct_problems(task, "train", 8, python_rng(COMPARISON.seed, "traces", task.name))
        origin = Origin(task="chain", fingerprint=task_fingerprint(task), teacher="teacher")
    with TraceLog(run.path / "traces.jsonl", origin) as log:
        for problem in problems:
            document = CHAIN.worked(problem, python_rng(0, problem.id), thorough=True)
            log.append(
                Trace(
                    problem=problem, sample=0, thought=document.thought, answer=str(problem.answer), flaw=None,
                    tokens=12,
                )
            )  # fmt: skip
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = begin(tmp_path_factory.mktemp("runs") / "comparison")
    run_comparison(COMPARISON, run, SilentReporter())
    return run


def test_every_arm_of_every_seed_is_measured_and_reported(whole: RunFolder) -> None:
    figures = comparison_json(whole)
    assert figures["finished"]
    assert list(figures["arms"]) == list(ARMS)
    assert len(figures["conclusion"]) == 5
    report = whole.report.read_text(encoding="utf-8")
    assert all(sentence in report for sentence in figures["conclusion"])
    assert (whole.path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "2 seeds tell little" in report


def test_rl_alone_costs_what_distilling_costs_up_to_a_step(whole: RunFolder) -> None:
    """Within a step above C1 and C2, in both seeds."""
    for seed, arms in json.loads(whole.summary.read_text(encoding="utf-8"))["arms"].items():
        rows = [r for r in read_metrics(whole.path / f"seed-{seed}" / "rl" / "metrics.jsonl") if r["stage"] == "zero"]
        spent = [0.0, *(row["cost/flops"] for row in rows)]
        largest = max(b - a for a, b in itertools.pairwise(spent))
        for rl, other in (("rl-at-c1", "distilled"), ("rl", "distilled-rl")):
            assert 0 <= arms[rl]["flops"] - arms[other]["flops"] < largest
        assert arms["rl"]["flops"] == pytest.approx(spent[-1])
        assert arms["distilled-rl"]["flops"] > arms["distilled"]["flops"]


def test_distilling_costs_the_traces_and_the_training_on_them(whole: RunFolder) -> None:
    """Counted again from the files: the teacher's tokens, and two passes over what was kept."""
    summary = json.loads(whole.summary.read_text(encoding="utf-8"))
    kept = summary["traces"]["outcomes"]["kept"]
    rows = [r for r in read_metrics(whole.path / "seed-3" / "distilled" / "metrics.jsonl") if r["stage"] == "sft"]
    assert sum(row["data/examples"] for row in rows) == 2 * kept
    teacher = forward_flops(COMPARISON.teacher.model, causal_keys(0)).total * 8 * 12
    assert teacher < summary["traces_flops"] < 2 * teacher  # prompts and attention come on top
    arms = summary["arms"]
    assert arms["3"]["distilled"]["flops"] == arms["4"]["distilled"]["flops"]


class _StopAt(SilentReporter):
    """Ends the process's work at an item of a stage that comes up for the `visit`th time."""

    def __init__(self, stage: str, item: int, visit: int) -> None:
        self._at, self._visits, self._stage = (stage, item), visit, ""

    def stage(self, name: str, total: int | None) -> None:
        self._stage = name
        self._visits -= name == self._at[0]

    def step(self, step: int, metrics: object) -> None:
        self.advance(step + 1)

    def advance(self, done: int) -> None:
        if self._at[0] == self._stage and self._visits <= 0 and done >= self._at[1]:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("seeds", "stage", "item", "visit"),
    [
        pytest.param((3,), "evaluation rl-at-c1-seed-3", 5, 1, id="measured on the way"),
        pytest.param((3,), "zero", 1, 1, marks=pytest.mark.slow, id="teacher"),
        pytest.param((3,), "zero", 1, 3, marks=pytest.mark.slow, id="rl"),
        pytest.param((3, 4), "sft", 2, 2, marks=pytest.mark.slow, id="second seed"),
    ],
)
def test_a_stopped_comparison_goes_on_to_the_same_figures(
    whole: RunFolder, tmp_path: Path, seeds: tuple[int, ...], stage: str, item: int, visit: int
) -> None:
    run, recipe = begin(tmp_path / "run"), replace(COMPARISON, seeds=seeds)
    with pytest.raises(KeyboardInterrupt):
        run_comparison(recipe, run, _StopAt(stage, item, visit))
    run_comparison(recipe, run, SilentReporter(), resume=True)
    for seed in seeds:
        ours, theirs = (RunFolder(r.path / f"seed-{seed}" / "rl").latest_checkpoint("zero") for r in (run, whole))
        assert ours is not None
        assert theirs is not None
        for name, tensor in load_file(theirs / "model.safetensors").items():
            assert torch.equal(tensor, load_file(ours / "model.safetensors")[name]), name
        for arm in ARMS:
            samples = [r.evaluation_samples(f"{arm}-seed-{seed}").read_bytes() for r in (run, whole)]
            assert samples[0] == samples[1], arm
    spent = [json.loads(r.summary.read_text(encoding="utf-8"))["arms"]["3"] for r in (run, whole)]
    assert {arm: cost["flops"] for arm, cost in spent[0].items()} == {a: c["flops"] for a, c in spent[1].items()}


def test_answers_to_the_task_with_other_settings_are_refused(whole: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(whole.path, tmp_path / "run")
    path = tmp_path / "run" / "traces.jsonl"
    head, *rest = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text(json.dumps(json.loads(head) | {"fingerprint": "another"}) + "\n" + "".join(rest))
    with pytest.raises(DataError, match="answers to the task 'chain' with other settings"):
        run_comparison(COMPARISON, RunFolder(tmp_path / "run"), SilentReporter(), resume=True)


def test_an_unfinished_comparison_says_so(whole: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(whole.path, run.path)
    run.evaluation("rl-seed-4").unlink()
    figures = comparison_json(run)
    assert (figures["seeds"], figures["finished"]) == ([3], False)
    write_comparison_report(run)
    assert "**This run is not finished**: of the seeds [3, 4], 3 are." in run.report.read_text(encoding="utf-8")
    run.evaluation("base-seed-3").unlink()
    write_comparison_report(run)
    assert "no seed has all its students yet" in run.report.read_text(encoding="utf-8")


# --- what is counted


class _Fixed:
    """Two completions of 5 tokens for each prompt."""

    weight_version = 0

    def refresh(self, version: int) -> None:
        self.weight_version = version

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[Sequence[int]], on_progress: Any = None
    ) -> list[list[Completion]]:
        return [
            [
                Completion(
                    prompt_ids=p.ids, ids=(1,) * 5, logprobs=(0.0,) * 5, finish_reason="stop", weight_version=0, seed=s
                )
                for s in group
            ]
            for p, group in zip(prompts, seeds, strict=True)
        ]


def test_a_prompt_is_counted_once_for_all_its_samples() -> None:
    generator = CountingGenerator(_Fixed())
    prompts = [Prompt(problem_id="a", ids=(1, 2, 3)), Prompt(problem_id="b", ids=(1, 2))]
    generator.generate(prompts, Sampling(max_tokens=9), [[0, 1], [2, 3]])
    assert (generator.tokens, generator.sequences) == (3 + 2 + 4 * 5, 4)
    assert generator.length == 2 * (3 + 5) + 2 * (2 + 5)


def test_operations_worked_by_hand() -> None:
    """One layer, width 4, one head of 4, feed-forward 8, vocabulary 10, at a length of 3 (2 positions on average): 2 ·
    (16 q + 16 k + 16 v + 16 o + 96 feed-forward + 40 head) + 2 · (4 scores + 4 values) · 2 = 432 a token.
    """
    shape = ModelConfig(
        vocab_size=10, hidden_size=4, layers=1, heads=1, attention=GqaConfig(kv_heads=1, head_dim=4),
        intermediate_size=8, max_positions=16, rope_layout="halves",
    )  # fmt: skip
    assert sampling_cost(shape, 10, 3.0) == 10 * 432
    assert training_cost(shape, 10, 3.0) == 3 * 10 * 432


# --- what is concluded


def arms(**accuracy: float) -> dict[str, list[list[float]]]:
    """Three seeds that agree, 200 problems of which the first share is right."""
    return {
        arm.replace("_", "-"): [[float(p < share * 200) for p in range(200)] for _ in range(3)]
        for arm, share in accuracy.items()
    }


def test_the_conclusion_is_what_the_intervals_say() -> None:
    found = arms(base=0.2, rl_at_c1=0.5, distilled=0.8, rl=0.9, distilled_rl=0.8)
    said = conclusion(found)
    assert said[0].startswith("Does distilling help? Yes: distilled (C1) is better than base, +60.0 points [+53.2,")
    assert said[2].startswith("At equal compute C1, is distilling better than RL alone? Yes:")
    assert said[3].startswith("At equal compute C2, is distilling and then RL better than RL alone? No:")
    assert "**worse**" in said[3]
    assert "Not decided: no difference of distilled, then RL (C2) from distilled (C1) could be shown, +0.0" in said[4]


def test_seeds_that_disagree_leave_it_open() -> None:
    """+30, 0 and +3 points: 11 on average, with a standard error of 9.5 and a t of 4.3."""
    found = arms(base=0.2, distilled=0.2)
    found["distilled"] = [[float(p < share * 200) for p in range(200)] for share in (0.5, 0.2, 0.23)]
    (said,) = conclusion(found)
    assert said.startswith("Does distilling help? Not decided:")
    assert "+11.0 points [-" in said


def test_the_command(whole: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["distill", "--compare", "--resume", "--runs", str(whole.path.parent), "--run", whole.name]
    assert main(command) == 0
    assert "Does distilling help?" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["finished"] is True
    assert main([*command, "--problems=9"]) == 1
