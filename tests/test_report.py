"""The report of a run folder that the test itself writes."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from ponder.core.errors import RunError
from ponder.core.metrics import MetricsLog
from ponder.core.runs import RunFolder
from ponder.evals import findings
from ponder.evals.evaluator import Evaluation
from ponder.evals.report import report_json, write_report

PROMISED = {
    "n",
    "greedy_accuracy",
    "pass_at_1",
    "pass_at_1_interval",
    "mean_length",
    "self_corrections",
    "truncated_share",
}


def evaluation(**changes: Any) -> Evaluation:
    """A base that seldom thinks; fields can be changed. Intervals of accuracies are ± 0.02 unless given."""
    values: dict[str, Any] = {
        "n": 1000,
        "samples": 8,
        "seed": 1,
        "temperature": 1.0,
        "max_tokens": 64,
        "greedy_accuracy": 0.16,
        "pass_at_1": 0.28,
        "pass_at_k": {1: 0.28, 8: 0.97},
        "forced_accuracy": 0.93,
        "mean_length": 13.0,
        "self_corrections": 0.02,
        "thinking_share": 0.25,
        "checking_share": 0.08,
        "retracting_share": 0.02,
        "retrying_share": 0.02,
        "truncated_share": 0.0,
        "ungraded_share": 0.0,
        "well_formed_share": 0.99,
        "seconds": 3.25,
    } | changes
    values["pass_at_1"] = values["pass_at_k"][1]
    forced = values["forced_accuracy"]
    computed = {
        "greedy_interval": around(values["greedy_accuracy"]),
        "pass_at_1_interval": around(values["pass_at_1"]),
        "pass_at_k_interval": {k: around(share) for k, share in values["pass_at_k"].items()},
        "forced_interval": None if forced is None else around(forced),
    }
    return Evaluation(**(computed | values))


def around(share: float) -> tuple[float, float]:
    return max(0.0, share - 0.02), min(1.0, share + 0.02)


BASE = evaluation()
TRAINED = evaluation(
    greedy_accuracy=0.98,
    pass_at_k={1: 0.96, 8: 0.99},
    forced_accuracy=0.98,
    mean_length=39.0,
    self_corrections=0.06,
    thinking_share=0.999,
    checking_share=0.33,
)


def sample_row(stage: str, problem: str, text: str, correct: bool | None, **more: Any) -> dict[str, Any]:
    return {
        "stage": stage,
        "step": 0,
        "problem_id": problem,
        "prompt": f"{problem}=?",
        "text": text,
        "correct": correct,
    } | more


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def evaluated_rows(stage: str, answers: dict[str, tuple[str, bool | None]]) -> list[dict[str, Any]]:
    rows = []
    for greedy, forced in ((True, False), (True, True), (False, False)):
        how = "forced" if forced else "greedy" if greedy else "sampled"
        for problem, (answer, correct) in answers.items():
            for copy in range(1 if greedy else 2):
                text = f"<{stage} {how} {copy}>{answer}"
                rows.append(sample_row(stage, problem, text, correct, greedy=greedy, forced=forced))
    return rows


SUMMARY = {
    "task": "chain",
    "recipe": "zero-chain",
    "seed": 3,
    "seconds": 165.5,
    "core_seconds": 324.0,
    "parameters_total": 1_187_000,
    "parameters_active": 612_000,
    "stages": [
        {"name": "pretrain", "steps": 400, "seconds": 95.0},
        {"name": "evaluation base", "steps": 0, "seconds": 3.5},
        {"name": "zero", "steps": 3, "seconds": 63.0},
    ],
    "versions": {"torch": "2.13.0", "ponder": "0.1.0", "python": "3.11.2"},
    "workers": 2,
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished run of three RL steps."""
    folder = RunFolder(tmp_path / "first")
    folder.path.mkdir()
    folder.config.write_text('name = "zero-chain"\nseed = 3\n')
    with MetricsLog(folder.metrics) as log:
        for step, loss in enumerate((2.0, 1.0, 0.5)):
            log.log("pretrain", step, {"loss/next_token": loss, "speed/tokens_per_second": 12_000.0})
        log.log("pretrain", 3, {"loss/next_token": 0.4, "skill/forced_accuracy": 0.9})
        for step, (accuracy, mismatch) in enumerate(((0.3, 2e-7), (0.6, 4e-7), (0.9, 3e-7))):
            values = {"reward/mean": 0.9 * accuracy + 0.1, "reward/accuracy": accuracy}
            values |= {"rollout/mean_length": 13.0 + 10 * step, "rollout/checking_share": 0.1 * step}
            log.log("zero", step, values | {"engine/logprob_mismatch": mismatch, "groups/no_spread_share": 0.25 * step})
    folder.evaluations.mkdir()
    for name, measured in (("base", BASE), ("trained", TRAINED)):
        folder.evaluation(name).write_text(json.dumps(measured.to_json()))
    order = ["1+1", "2+2", "3+3", "4+4", "5+5", "6+6"]
    before = dict(zip(order, ("1", "4", "0", "7", "1", "1"), strict=True))
    right_before = dict(zip(order, (False, True, None, True, False, False), strict=True))
    right_after = dict(zip(order, (False, True, True, False, True, True), strict=True))
    write_lines(
        folder.evaluation_samples("base"),
        evaluated_rows("base", {p: (before[p], right_before[p]) for p in order}),
    )
    write_lines(
        folder.evaluation_samples("trained"),
        evaluated_rows("trained", {p: ("x", right_after[p]) for p in order}),
    )
    during = [sample_row("zero", "8+8", f"step {s}, row {i}", True, step=s) for s in (0, 1, 2) for i in (0, 1)]
    write_lines(folder.samples, during)
    folder.summary.write_text(json.dumps(SUMMARY))
    return folder


def test_report_of_a_finished_run(run: RunFolder) -> None:
    assert write_report(run) == run.report
    text = run.report.read_text()
    assert "# first\n" in text
    assert "pretrains a model of 1.19 million parameters (612,000 active per token)" in text
    assert "The whole job took 2 min 46 s, 0.090 core-hours." in text
    assert "R1-Zero made the model better." in text
    assert "greedy accuracy went from 16.0 % to 98.0 %" in text
    assert "| greedy accuracy | 16.0 % [14.0, 18.0] | 98.0 % [96.0, 100.0] |" in text
    assert "| sampled accuracy (pass@1) | 28.0 % [26.0, 30.0] | 96.0 % [94.0, 98.0] |" in text
    assert "| pass@8 | 97.0 % [95.0, 99.0] | 99.0 % [97.0, 100.0] |" in text
    assert "| self-corrections (retries per sample) | 0.02 | 0.06 |" in text
    assert "| problems (n) × samples | 1,000 × 8 | 1,000 × 8 |" in text
    assert "| zero | 3 | 63.0 |" in text
    assert "1,187,000 in all, 612,000 active per token" in text
    assert "pretraining 12,000 tokens/s" in text
    # health: first, last, mean and largest of 2e-7, 4e-7, 3e-7
    assert "| 2e-07 | 3e-07 | 3e-07 | 4e-07 (step 1) |" in text
    assert "The sampler and the trainer agree" in text
    assert "step is 4.0e-07 nat (limit 1e-05)" in text
    assert f"ponder train {run.config}\n" in text
    assert "seed 3, 2 workers; ponder 0.1.0, python 3.11.2, torch 2.13.0" in text
    assert 'name = "zero-chain"' in text
    for name in ("reward.png", "length.png", "reflection.png", "pretraining.png"):
        assert f"]({name})" in text
        assert (run.path / name).read_bytes().startswith(b"\x89PNG")


def test_completions_are_chosen_by_the_rule(run: RunFolder) -> None:
    text = write_report(run).read_text()
    section = text.split("## Completions before and after")[1].split("\n## ")[0]
    blocks = section.split("```")[1::2]
    # the first three of the evaluation, then the first turned right (5+5: 3+3 was ungraded) and the first turned wrong
    assert [block.strip().split("\n")[0].split()[1] for block in blocks] == [
        "1+1=?",
        "2+2=?",
        "3+3=?",
        "5+5=?",
        "4+4=?",
    ]
    assert "First turned from wrong to right** (2 of 6 problems)" in section
    assert "First turned from right to wrong** (1 of 6 problems)" in section
    assert blocks[2].strip().split("\n")[1:] == [
        "base, greedy     ungraded <base greedy 0>0",
        "base, sample     ungraded <base sampled 0>0",
        "R1-Zero, greedy  right    <trained greedy 0>x",
        "R1-Zero, sample  right    <trained sampled 0>x",
    ]
    during = text.split("## While it learned")[1].split("\n## ")[0]
    assert [f"step {s}, row 0" in during for s in (0, 1, 2)] == [True, True, True]
    assert "row 1" not in during


def test_report_is_a_function_of_the_files(run: RunFolder) -> None:
    names = ["report.md", "reward.png", "length.png", "reflection.png", "pretraining.png"]
    write_report(run)
    first = [(run.path / name).read_bytes() for name in names]
    write_report(run)
    assert [(run.path / name).read_bytes() for name in names] == first


def test_report_json(run: RunFolder) -> None:
    figures = report_json(run)
    assert set(figures["base"]) >= PROMISED
    assert set(figures["trained"]) >= PROMISED
    assert figures["base"]["greedy_accuracy"] == 0.16
    assert figures["trained"]["pass_at_1_interval"] == pytest.approx([0.94, 0.98])
    same = ("task", "seconds", "core_seconds", "parameters_total", "parameters_active")
    assert {name: figures[name] for name in same} == {name: SUMMARY[name] for name in same}
    assert figures["finished"] is True
    json.dumps(figures, allow_nan=False)


def test_unfinished_run_reports_what_there_is(run: RunFolder) -> None:
    run.evaluation("trained").unlink()
    run.evaluation_samples("trained").unlink()
    text = write_report(run).read_text()
    assert "**This run is not finished.**" in text
    assert "stage pretrain up to step 3, stage zero up to step 2" in text
    assert "The trained model has not been evaluated." in text
    assert "R1-Zero made the model better" not in text
    assert "What RL added" not in text
    run.summary.unlink()
    run.evaluation("base").unlink()
    run.evaluation_samples("base").unlink()
    run.samples.unlink()
    text = write_report(run).read_text()
    assert "reward.png" in text
    assert "Base against R1-Zero" not in text
    figures = report_json(run)
    assert figures["base"] is figures["trained"] is figures["seconds"] is None
    assert figures["finished"] is False


def test_pretraining_only(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "young")
    run.path.mkdir()
    run.config.write_text("")
    with pytest.raises(RunError, match="nothing to report on yet"):
        write_report(run)
    with MetricsLog(run.metrics) as log:
        log.log("pretrain", 0, {"loss/next_token": 2.0})
    text = write_report(run).read_text()
    assert "pretraining.png" in text
    assert "reward.png" not in text


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run at"):
        write_report(RunFolder(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("evaluations/base.json", "{", r"base\.json is damaged: not JSON"),
        ("evaluations/base.json", "[]", r"base\.json is damaged: expected a JSON object, got list"),
        ("evaluations/trained.json", '{"n": 3}', r"trained\.json: the field 'samples' is missing"),
        (
            "evaluations/base-samples.jsonl",
            '{"stage": "base"}\n',
            r"base-samples\.jsonl, line 1 is damaged: it lacks step",
        ),
        ("evaluations/base-samples.jsonl", "nonsense\n", r"base-samples\.jsonl, line 1 is damaged"),
        ("samples.jsonl", "3\n", r"samples\.jsonl, line 1 is damaged"),
        ("metrics.jsonl", "{}\nnonsense\n{}\n", r"metrics\.jsonl, line 2 is damaged"),
        ("summary.json", json.dumps(SUMMARY | {"seconds": None}), r"summary\.json is damaged: 'seconds' is None"),
        ("summary.json", json.dumps(SUMMARY | {"stages": [3]}), r"summary\.json is damaged: a stage is 3"),
    ],
)
def test_damaged_files_are_named(run: RunFolder, file: str, content: str, message: str) -> None:
    (run.path / file).write_text(content)
    with pytest.raises(RunError, match=message):
        write_report(run)
    assert not run.report.exists()


def test_completions_cannot_break_out_of_their_block(run: RunFolder) -> None:
    write_lines(run.samples, [sample_row("zero", "1", "``` ````", None)])
    text = write_report(run).read_text()
    assert "`````\nstep 0     ungraded 1=? ``` ````\n`````" in text


# --- findings: the sentence follows from the numbers ---


def test_difference_by_hand() -> None:
    # Newcombe: low = d - sqrt(0.03² + 0.04²) = 0.3 - 0.05; high = d + sqrt(0.04² + 0.03²)
    change = findings.difference(0.6, (0.57, 0.64), 0.3, (0.27, 0.34))
    assert change == pytest.approx((0.3, 0.25, 0.35))


def test_share_difference_uses_problems_as_trials() -> None:
    # 5 of 10 against 5 of 10, Wilson [0.236593, 0.763407]: half width sqrt(2) · 0.263407
    half = math.sqrt(2) * 0.263407
    assert findings.share_difference(0.5, 10, 0.5, 10) == pytest.approx((0.0, -half, half), abs=1e-5)


def test_percent_never_rounds_to_all_or_none() -> None:
    assert [findings.percent(x) for x in (0.0, 0.0001, 0.1234, 0.99999, 1.0)] == [
        "0.0 %",
        "0.1 %",
        "12.3 %",
        "99.9 %",
        "100.0 %",
    ]


@pytest.mark.parametrize(
    ("greedy", "sampled", "expected"),
    [
        (0.98, 0.96, "R1-Zero made the model better."),
        (0.05, 0.10, "R1-Zero made the model worse."),
        (0.17, 0.29, "No gain is shown: both changes could be chance."),
        (0.16, 0.50, "The sampled accuracy rose; for the greedy one no change is shown."),
        (0.50, 0.28, "The greedy accuracy rose; for the sampled one no change is shown."),
        (0.16, 0.10, "The sampled accuracy fell; for the greedy one no change is shown."),
        (0.50, 0.10, "The result is mixed: greedy accuracy rose, sampled accuracy fell."),
    ],
)
def test_verdict(greedy: float, sampled: float, expected: str) -> None:
    assert findings.verdict(BASE, evaluation(greedy_accuracy=greedy, pass_at_k={1: sampled})) == expected


def test_no_gain_is_said_in_the_report(run: RunFolder) -> None:
    run.evaluation("trained").write_text(json.dumps(evaluation(greedy_accuracy=0.17, mean_length=12.0).to_json()))
    text = write_report(run).read_text()
    assert "No gain is shown" in text
    assert "RL did not bring a greedy gain that this could explain" in text
    assert "made the model better" not in text
    assert "more often**" not in text


@pytest.mark.parametrize(
    ("forced", "trained", "thinking", "expected"),
    [
        (0.93, 0.98, 0.999, "That is 77.0 of the 82.0 points gained: RL mostly taught the model to choose to think"),
        (0.97, 0.98, 0.999, "RL shows nothing beyond that: it mostly taught the model to choose to think."),
        (0.40, 0.98, 0.999, "That is 24.0 of the 82.0 points gained; the rest is more than the choice to think."),
        (0.17, 0.98, 0.999, "does not clearly help the base, so the gain is more than the choice to think."),
        (0.93, 0.60, 0.999, "The trained model stays below what its base does when made to think."),
        (0.93, 0.98, 0.250, "But RL is not shown to make it think more often, so this does not explain the gain."),
        (0.93, 0.16, 0.999, "RL did not bring a greedy gain that this could explain."),
        (None, 0.98, 0.999, "Accuracy when made to think was not measured."),
    ],
)
def test_made_to_think(forced: float | None, trained: float, thinking: float, expected: str) -> None:
    after = dataclasses.replace(
        TRAINED, greedy_accuracy=trained, greedy_interval=around(trained), thinking_share=thinking
    )
    assert expected in findings.base_could_already(evaluation(forced_accuracy=forced), after)[0]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0.50, 0.90, "RL brought more problems within 8 tries; what the base could do in more is not measured."),
        (
            0.97,
            0.98,
            "is not shown to exceed the base's: RL made right answers likelier, it is not shown to bring new problems",
        ),
        (0.99, 0.70, "RL narrowed the model: 8 tries reach fewer problems than before."),
    ],
)
def test_several_tries(before: float, after: float, expected: str) -> None:
    base, trained = evaluation(pass_at_k={1: 0.28, 8: before}), evaluation(pass_at_k={1: 0.65, 8: after})
    sentence = findings.base_could_already(base, trained)[1]
    assert expected in sentence
    assert ("In 8 tries the base reaches what the trained model does in one (65.0 %)." in sentence) is (before >= 0.65)


def test_no_sentence_on_several_tries_without_them() -> None:
    assert len(findings.base_could_already(evaluation(pass_at_k={1: 0.3}), TRAINED)) == 1


@pytest.mark.parametrize(
    ("thinking", "checking", "expected"),
    [
        # 0.08 of 0.25 checked before: 32 % of thoughts
        (
            0.999,
            0.33,
            "It checks itself more often because it thinks more often**: 8.0 % of samples before RL, 33.0 % after",
        ),
        (
            0.999,
            0.80,
            "It checks itself more often**: 8.0 % of samples before RL, 80.0 % after; among samples that think, 32.0 %",
        ),
        (0.250, 0.20, "It checks itself more often**"),
        (0.999, 0.08, "No change in how often it checks itself is shown**"),
        (0.999, 0.01, "It checks itself less often**"),
    ],
)
def test_checking(thinking: float, checking: float, expected: str) -> None:
    trained = evaluation(thinking_share=thinking, checking_share=checking)
    assert expected in findings.added_by_rl(BASE, trained)[1]


def test_thinking_and_counts() -> None:
    thinking, _, corrections, length = findings.added_by_rl(BASE, TRAINED)
    assert thinking == "**It chooses to think more often**: 25.0 % of samples hold a thought before RL, 99.9 % after."
    # per sample that thinks: 0.02 / 0.25 and 0.06 / 0.999
    assert (
        corrections == "**Self-correction**: 0.02 → 0.06 retries per sample (×3.0); 0.08 → 0.06 per sample that thinks."
    )
    assert length == "**Length**: 13.0 → 39.0 tokens per sample (×3.0)."
    assert findings.added_by_rl(TRAINED, BASE)[0].startswith("**It thinks less often**")
    neither = evaluation(checking_share=0.0, self_corrections=0.0)
    assert findings.added_by_rl(neither, neither)[1:3] == [
        "**Neither model checks itself.**",
        "**Self-correction**: 0.00 → 0.00 retries per sample; 0.00 → 0.00 per sample that thinks.",
    ]


def test_cautions() -> None:
    assert findings.cautions(BASE, TRAINED) == []
    flawed = dataclasses.replace(TRAINED, truncated_share=0.05, ungraded_share=0.001)
    cut_off, ungraded = findings.cautions(BASE, flawed)
    assert cut_off.startswith("5.0 % of the trained model's samples were cut off at 64 tokens and count as wrong")
    assert ungraded == "0.1 % of the trained model's completions could not be graded and are left out."


def test_evaluations_that_differ_are_not_compared(run: RunFolder) -> None:
    run.evaluation("trained").write_text(json.dumps(dataclasses.replace(TRAINED, n=500, seed=2).to_json()))
    text = write_report(run).read_text()
    assert "The two evaluations differ in n (1000 and 500), seed (1 and 2): their figures cannot be compared." in text
    assert "made the model better" not in text
    assert "What RL added" not in text
