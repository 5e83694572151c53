"""Tables on terminals of any width: their figures stay whole."""

from dataclasses import replace

import pytest
from rich.box import SIMPLE
from rich.console import Console

from ponder.algo.pass_at_k import Interval
from ponder.cli.compare import comparison_table
from ponder.cli.evaluate import suite_table
from ponder.cli.figures import evaluation_table, r1_table
from ponder.cli.scaling import tables
from ponder.cli.tables import FigureTable
from ponder.evals.by_task import TaskFigures, combine
from ponder.evals.compare import Difference, KindComparison
from ponder.evals.drawing import DrawingConfig
from ponder.evals.scaling import BudgetPoint, Scaling, VotePoint

INTERVAL = Interval(0.8731, 0.8512, 0.8924)
TASK = TaskFigures(
    n=1319,
    samples=64,
    greedy=INTERVAL,
    pass_at_1=INTERVAL,
    pass_at_k={},
    consensus=INTERVAL,
    mean_length=12_345.0,
    mean_thought_length=20.0,
    truncated_share=0.123,
    well_formed_share=0.9,
    ungraded_share=0.045,
)
DIFFERENCE = Difference(
    problems=1319, a=0.8731, b=0.9042, difference=0.0311, low=-0.0104, high=0.0525, standard_error=0.0107, p=0.0234
)
SUITE = ("1,319", "64", "87.3 %", "[85.1, 89.2]", "12,345", "12.3 %", "4.5 %")
COMPARISON = ("1,319", "87.3 %", "90.4 %", "+3.1", "[-1.0, +5.2]", "1.1", "0.023")
SCALING = ("1,024", "900", "12.3 %", "87.3 %", "[85.1, 89.2]")


def _tables() -> dict[str, tuple[FigureTable, tuple[str, ...]]]:
    """Tables of several commands, each with figures that it has to show."""
    names = ("math-500", "aime-2024", "a-task-of-my-own-with-a-long-name")
    evaluation = combine(dict.fromkeys(names, TASK), DrawingConfig(), 0, 1.0)
    difference = KindComparison(tasks=dict.fromkeys(names, DIFFERENCE), macro=DIFFERENCE, mcnemar=None)
    by_task = dict.fromkeys(names, INTERVAL)
    budget = BudgetPoint(budget=1024, macro=INTERVAL, tasks=by_task, mean_thought_length=900, closed_share=0.123)
    scaling = Scaling(budgets=[budget], votes=[VotePoint(votes=64, macro=INTERVAL, tasks=by_task)])
    figures = {"n": 1000, "greedy_accuracy": INTERVAL.mean, "greedy_interval": INTERVAL[1:], "mean_length": 123.4}
    stage = {"truncated_share": 0.123, "ungraded_share": 0.045}
    stage |= {name: INTERVAL._asdict() for name in ("macro_greedy", "macro_pass_at_1")}
    paths = ("/home/somebody/models/a-model-of-my-own-in-a-folder", "runs/another-model-of-my-own")
    budgets, votes = tables(scaling)
    return {
        "eval": (evaluation_table(dict.fromkeys(paths, figures)), ("87.3 %", "[85.1, 89.2]", "123.4")),
        "eval --suite": (suite_table(evaluation, "my-model"), SUITE),
        "compare": (comparison_table("greedy", difference), COMPARISON),
        "scaling, budgets": (budgets, SCALING),
        "scaling, votes": (votes, ("64", "87.3 %", "[85.1, 89.2]")),
        "train r1": (r1_table({"stages": {"base": stage}}), ("87.3 %", "[85.1, 89.2]", "12.3 %", "4.5 %")),
    }


def _shown(table: FigureTable, width: int) -> str:
    with (console := Console(width=width)).capture() as captured:
        console.print(table)
    return captured.get()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("command", _tables())
def test_no_figure_is_cut(command: str, width: int) -> None:
    table, figures = _tables()[command]
    text = _shown(table, width)
    assert "…" not in text
    assert [figure for figure in figures if figure not in text] == []
    assert max(map(len, text.splitlines())) <= width


def _small() -> FigureTable:
    table = FigureTable("set", title="Title", box=SIMPLE)
    table.add_column("pass@1", justify="right", no_wrap=True)
    table.add_row("a-name-that-is-longer-than-it-need-be", "87.3 % [85.1, 89.2]")
    table.add_section()
    table.add_row("mean", "100.0 %")
    return table


def test_names_fold_first_then_intervals_go_below_then_rows_become_lists() -> None:
    lines = {width: [line.strip() for line in _shown(_small(), width).splitlines()] for width in (70, 50, 30, 20)}
    assert "a-name-that-is-longer-than-it-need-be   87.3 % [85.1, 89.2]" in lines[70]
    assert lines[50][4:6] == ["a-name-that-is-longer-th   87.3 % [85.1, 89.2]", "an-it-need-be"]
    assert lines[30] == [
        "Title",
        "set                     pass@1",
        "─" * 30,
        "a-name-that-is-lo       87.3 %",
        "nger-than-it-need [85.1, 89.2]",
        "-be",
        "",
        "mean                   100.0 %",
        "",
    ]
    assert lines[20] == [
        "Title",
        "",
        "set",
        "a-name-that-is-longe",
        "r-than-it-need-be",
        "pass@1  87.3 %",
        "[85.1, 89.2]",
        "",
        "set mean",
        "pass@1  100.0 %",
        "",
    ]


def test_a_title_is_not_wrapped_to_the_width_of_its_table() -> None:
    table = suite_table(combine({"a": replace(TASK, consensus=None, greedy=None)}, DrawingConfig(), 0, 1.0), "m")
    assert "m: temperature 1, top-p 1, at most 256 tokens, seed 0; 95 % intervals" in _shown(table, 120)
