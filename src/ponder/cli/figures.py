"""The table of a report: the base model against the trained one."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.text import Text

from ponder.cli.output import duration, percent
from ponder.cli.tables import FigureTable

Figures = Mapping[str, Any]  # one evaluation, as JSON


def _with_interval(value: float, bounds: tuple[float, float] | None) -> str:
    if bounds is None:
        return percent(value)
    return f"{percent(value)} [{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"


def _share(name: str) -> Callable[[Figures], str | None]:
    def show(figures: Figures) -> str | None:
        value = figures.get(name)
        if value is None:
            return None
        interval = name.removesuffix("_accuracy") if name.endswith("_accuracy") else name
        return _with_interval(value, figures.get(f"{interval}_interval"))

    return show


def _number(name: str, decimals: int) -> Callable[[Figures], str | None]:
    def show(figures: Figures) -> str | None:
        value = figures.get(name)
        return None if value is None else f"{value:.{decimals}f}"

    return show


ROWS: tuple[tuple[str, Callable[[Figures], str | None]], ...] = (
    ("accuracy, greedy", _share("greedy_accuracy")),
    ("accuracy, greedy, made to think", _share("forced_accuracy")),
    ("pass@1, sampled", _share("pass_at_1")),
    ("length, tokens", _number("mean_length", 1)),
    ("self-corrections per completion", _number("self_corrections", 2)),
    ("completions that check themselves", _share("checking_share")),
    ("cut off", _share("truncated_share")),
)


def evaluation_table(columns: Mapping[str, Figures]) -> FigureTable:
    """One column per evaluation; a row that no evaluation has is left out."""
    first = next(iter(columns.values()))
    table = FigureTable(title=f"{first['n']:,} held-out problems, 95 % intervals", box=SIMPLE)
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for label, show in ROWS:
        cells = [show(figures) for figures in columns.values()]
        if any(cell is not None for cell in cells):
            table.add_row(label, *(cell or "not measured" for cell in cells))
    return table


def print_report(console: Console, report: Mapping[str, Any]) -> None:
    """The table of a run, and what it cost; of an unfinished one, what there is."""
    columns = {name: report[name] for name in ("base", "trained") if report[name] is not None}
    console.print(evaluation_table(columns) if columns else Text("nothing was evaluated yet"))
    if report["seconds"] is not None:
        line = Text(f"{duration(report['seconds'])} in all, {report['core_seconds'] / 3600:.3f} core-hours; ")
        line.append(f"{report['parameters_total']:,} parameters, {report['parameters_active']:,} active for a token")
        console.print(line)


def print_r1(console: Console, figures: Mapping[str, Any]) -> None:
    """What was measured of an R1 run so far."""
    console.print(r1_table(figures) if figures["stages"] else Text("nothing was evaluated yet"))


def print_distillation(console: Console, figures: Mapping[str, Any]) -> None:
    """What a distillation gained; of an unfinished one, what there is."""
    for name in ("before", "after"):
        if figures[name] is None:
            console.print(f"{name:<8}not measured yet")
            continue
        measured = figures[name]["macro_greedy"] or figures[name]["macro_pass_at_1"]
        console.print(f"{name:<8}{percent(measured['mean']):>8}  of {figures[name]['n']:,} held-out problems")
    if traces := figures["traces"]:
        kept = traces["outcomes"].get("kept", 0)
        console.print(f"learned from {kept:,} of the teacher's {traces['asked']:,} answers")


def print_conclusion(console: Console, figures: Mapping[str, Any]) -> None:
    """What a comparison of distillation with RL allows to be said."""
    for sentence in figures["conclusion"] or ["nothing can be said yet"]:
        console.print(f"- {sentence.replace('**', '')}", soft_wrap=True)


def r1_table(figures: Mapping[str, Any]) -> FigureTable:
    """One row per stage of an R1 run: the mean accuracy over its tasks."""
    table = FigureTable("after", title="mean accuracy over the tasks, 95 % intervals", box=SIMPLE)
    for heading in ("greedy", "sampled", "cut off", "ungraded"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, stage in figures["stages"].items():
        means = [stage["macro_greedy"], stage["macro_pass_at_1"]]
        cells = ["–" if c is None else _with_interval(c["mean"], (c["low"], c["high"])) for c in means]
        shares = [stage["truncated_share"], stage["ungraded_share"]]
        table.add_row(name, *cells, *("–" if share is None else percent(share) for share in shares))
    return table
