"""`ponder compare`: two evaluations on the same problems, pairwise."""

import argparse

from rich.box import SIMPLE

from ponder.cli.arguments import add_json, add_runs, count
from ponder.cli.output import err, out, percent, print_json, shown_path
from ponder.cli.tables import FigureTable
from ponder.cli.values import seed
from ponder.core.files import what_is
from ponder.evals.compare import FEW, RESAMPLES, Comparison, Difference, KindComparison, compare
from ponder.evals.sample_files import SavedSamples, find_samples
from ponder.evals.suites.folder import EvaluationFolder

_SAMPLING = ("temperature", "top_p", "max_tokens", "max_thought_tokens")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ("a", "b"):
        parser.add_argument(
            name,
            metavar=name.upper(),
            help="an evaluation's name or folder, a samples file, or a run (RUN:base, RUN:trained for one of several)",
        )
    parser.add_argument("--common", action="store_true", help="compare the problems that both have, where they differ")
    parser.add_argument(
        "--resamples", type=count, default=RESAMPLES, metavar="N", help=f"of the bootstrap ({RESAMPLES})"
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of the bootstrap (0)")
    parser.epilog = (
        "Differences are B - A, with 95 % intervals of a paired bootstrap over problems, and its two-sided p. Greedy "
        "answers get McNemar's exact test besides."
    )
    add_runs(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    a, b = (find_samples(name, arguments.runs) for name in (arguments.a, arguments.b))
    for side, saved in (("A", a), ("B", b)):
        if not saved.whole:
            err().print(
                f"note: {side}, {shown_path(saved.path)}, is of an evaluation that is not whole; it goes on by the "
                "command that began it",
                soft_wrap=True,
            )
    for name, first, second in differing(a, b):
        err().print(f"note: {name} is {first} in A and {second} in B", soft_wrap=True)
    comparison = compare(
        a.samples, b.samples, common=arguments.common, seed=arguments.seed, resamples=arguments.resamples
    )
    if arguments.json:
        print_json({"a": str(a.path), "b": str(b.path), **comparison.to_json()})
        return 0
    print_comparison(comparison, arguments.a, arguments.b)
    return 0


def differing(a: SavedSamples, b: SavedSamples) -> list[tuple[str, object, object]]:
    """Settings of sampling in which two evaluations differ, where their folders tell them."""
    folders = [EvaluationFolder(saved.path.parent) for saved in (a, b)]
    if any(what_is(folder.settings) != "file" for folder in folders):
        return []
    first, second = (folder.read_settings() for folder in folders)
    return [(name, first.get(name), second.get(name)) for name in _SAMPLING if first.get(name) != second.get(name)]


def print_comparison(comparison: Comparison, a: str, b: str) -> None:
    console = out()
    console.print(f"A: {a}\nB: {b}", soft_wrap=True)
    if comparison.only_a or comparison.only_b:
        console.print(
            f"left out, since only one of them has it: {comparison.only_a} problems of A, {comparison.only_b} of B"
        )
    for title, found in (("greedy", comparison.greedy), ("sampled, pass@1", comparison.pass_at_1)):
        if found is not None:
            console.print(comparison_table(title, found))
            if found.mcnemar is not None:
                test = found.mcnemar
                p = _p(test.p) if test.p < 0.001 else f"= {_p(test.p)}"
                console.print(f"McNemar: {test.only_a} right in A alone, {test.only_b} in B alone, p {p}")
    if comparison.greedy is None and comparison.pass_at_1 is None:
        console.print("nothing to compare: no kind of completion was graded in both")
    if comparison.few:
        console.print(
            f"intervals and p of {comparison.few} problems are not to be trusted: a bootstrap of fewer than {FEW} "
            "makes differences look surer than they are",
            soft_wrap=True,
        )


def comparison_table(title: str, found: KindComparison) -> FigureTable:
    table = FigureTable(title=f"{title}: B - A in points, 95 % intervals", box=SIMPLE)
    table.add_column("")
    for name in ("problems", "A", "B", "difference", "paired error", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, task in found.tasks.items():
        table.add_row(name or "all", *_cells(task))
    if len(found.tasks) > 1:
        table.add_section()
        table.add_row("mean over tasks", *_cells(found.macro))
    return table


def _cells(d: Difference) -> list[str]:
    return [
        f"{d.problems:,}",
        percent(d.a),
        percent(d.b),
        f"{100 * d.difference:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]",
        "–" if d.standard_error is None else f"{100 * d.standard_error:.1f}",
        _p(d.p),
    ]


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
