"""The reports of R1 and of distillation, from made-up evaluations: accuracy, and what was not counted."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ponder.algo.pass_at_k import Interval
from ponder.cli.figures import r1_table
from ponder.cli.main import main
from ponder.core.runs import RunFolder
from ponder.evals.by_task import TaskFigures, combine
from ponder.evals.distill_report import _figures_table
from ponder.evals.drawing import DrawingConfig
from ponder.evals.r1_report import r1_json, write_r1_report

FIGURES = TaskFigures(
    n=20,
    samples=2,
    greedy=Interval(0.5, 0.4, 0.6),
    pass_at_1=Interval(0.4, 0.3, 0.5),
    pass_at_k={2: 0.5},
    consensus=None,
    mean_length=30.0,
    mean_thought_length=20.0,
    truncated_share=0.04,
    well_formed_share=0.9,
    ungraded_share=0.0,
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run whose base alone was measured, on two tasks that count and one that does not."""
    run = RunFolder(tmp_path / "run")
    run.evaluations.mkdir(parents=True)
    tasks = {
        "gcd": replace(FIGURES, truncated_share=0.02, ungraded_share=0.03),
        "lcm": FIGURES,
        "stories_new": replace(FIGURES, truncated_share=1.0, ungraded_share=0.5),
    }
    evaluation = combine(tasks, DrawingConfig(max_tokens=448), 7, 1.0)
    figures = {**evaluation.to_json(), "apart": ["stories_new"], "ordinary_loss": {}, "everyday": []}
    run.evaluation("base").write_text(json.dumps(figures))
    return run


def test_what_was_cut_off_and_what_was_not_graded_stand_beside_the_accuracy(run: RunFolder) -> None:
    report = write_r1_report(run).read_text(encoding="utf-8")
    heads, _, row = [line for line in report.splitlines() if line.startswith("|")][:3]
    assert heads == "| after | greedy | T = 1 | stories_new, greedy | cut off | ungraded |"
    assert row.endswith("| 3.0 % | 1.5 % |")  # means of the two tasks that count
    assert "448 tokens at most, seed 7" in report
    for task in ("| gcd | 2.0 / 3.0 |", "| lcm | 4.0 / 0.0 |", "| stories_new | 100.0 / 50.0 |"):
        assert task in report
    base = r1_json(run)["stages"]["base"]
    assert (base["truncated_share"], base["ungraded_share"]) == (pytest.approx(0.03), pytest.approx(0.015))
    table = r1_table(r1_json(run))
    assert [next(iter(column.cells)) for column in table.columns][3:] == ["3.0 %", "1.5 %"]


def test_the_command_shows_what_was_measured(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    run.config.write_text('kind = "r1"\n')
    assert main(["report", str(run.path)]) == 0
    shown = capsys.readouterr().out
    assert "50.0 %" in shown
    assert f"report: {run.report}" in shown
    run.evaluation("base").unlink()
    assert main(["report", str(run.path)]) == 0
    assert "nothing was evaluated yet" in capsys.readouterr().out


def test_the_report_of_a_distillation_has_both_shares() -> None:
    before, after = (
        combine({"chain": replace(FIGURES, ungraded_share=share)}, DrawingConfig(), 0, 1.0) for share in (0.25, 0.0)
    )
    lines = _figures_table(before, after).splitlines()
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    assert ["truncated", "4.0 %", "4.0 %"] in rows
    assert ["ungraded", "25.0 %", "0.0 %"] in rows
