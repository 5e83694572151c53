"""`ponder samples`: look at what a model wrote, in the terminal or as one page."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from ponder.cli.arguments import add_json, add_runs, count
from ponder.cli.output import out, print_json, printable, shown_path
from ponder.core.errors import RunError
from ponder.core.files import atomic_write_text, what_is
from ponder.evals.graded import GradedSample
from ponder.evals.sample_files import SavedSamples, find_samples
from ponder.evals.samples_page import samples_page
from ponder.evals.suites.folder import EvaluationFolder

SHOWN = 10
_MARKS = {True: ("right", "green"), False: ("wrong", "red"), None: ("ungraded", "yellow")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        metavar="RUN|EVALUATION",
        help="an evaluation's name or folder, a samples file, or a run (RUN:base, RUN:training for one of several)",
    )
    parser.add_argument("--right", action="store_true", help="right ones; several of these choices add up")
    parser.add_argument("--wrong", action="store_true", help="wrong ones")
    parser.add_argument("--ungraded", action="store_true", help="those that could not be judged")
    parser.add_argument("--truncated", action="store_true", help="only those that were cut off")
    parser.add_argument("--problem", metavar="ID", help="only of this problem")
    parser.add_argument("--task", metavar="NAME", help="only of this task or set")
    parser.add_argument("--search", metavar="TEXT", help="only where the question or the reply holds this")
    parser.add_argument("--limit", type=count, default=SHOWN, metavar="N", help=f"show so many ({SHOWN})")
    parser.add_argument("--page", type=Path, metavar="OUT.html", help="write them all as one page to open in a browser")
    add_json(parser)
    add_runs(parser)


def run(arguments: argparse.Namespace) -> int:
    saved = find_samples(arguments.name, arguments.runs)
    chosen = list(choose(saved.samples, arguments))
    if not chosen:
        raise RunError(f"none of the {len(saved.samples):,} samples in {shown_path(saved.path)} is like that")
    if arguments.page is not None:
        atomic_write_text(arguments.page, samples_page(chosen, title=arguments.name, about=about(saved)))
    if arguments.json:
        page = None if arguments.page is None else str(arguments.page)
        shown = [sample.row() for sample in chosen[: arguments.limit]]
        print_json({"file": str(saved.path), "found": len(chosen), "page": page, "samples": shown})
        return 0
    if arguments.page is not None:
        out().print(f"{len(chosen):,} samples: {shown_path(arguments.page)}", soft_wrap=True)
        return 0
    show(out(), chosen[: arguments.limit])
    left = len(chosen) - arguments.limit
    if left > 0:
        out().print(f"{left:,} more; show them with --limit N, or all with --page OUT.html", style="dim")
    return 0


def choose(samples: Iterable[GradedSample], arguments: argparse.Namespace) -> Iterable[GradedSample]:
    """The samples that the arguments ask for."""
    wanted = {True: arguments.right, False: arguments.wrong, None: arguments.ungraded}
    search = (arguments.search or "").casefold()
    for sample in samples:
        if any(wanted.values()) and not wanted[sample.correct]:
            continue
        if arguments.truncated and not sample.truncated:
            continue
        if arguments.problem is not None and sample.problem_id != arguments.problem:
            continue
        if arguments.task is not None and sample.task != arguments.task:
            continue
        if search and search not in f"{sample.prompt}\n{sample.text}".casefold():
            continue
        yield sample


def show(console: Console, samples: Sequence[GradedSample]) -> None:
    """Each with its question, its thought dim, its answer, and what was said of it."""
    for sample in samples:
        word, style = _MARKS[sample.correct]
        title = Text.assemble((word, f"bold {style}"))
        if sample.truncated:
            title.append(", cut off", "yellow")
        for part in (sample.task, sample.problem_id):
            if part:
                title.append(f" · {printable(part)[:60]}".replace("\n", " "), "dim")
        number = f"sample {sample.sample + 1}" if sample.drawn == "sampled" else sample.drawn
        title.append(f" · {number} · {sample.length:,} tokens", "dim")
        console.print(Rule(title, align="left", style="dim"))
        console.print(Text(printable(sample.prompt), "cyan"))
        if sample.thought:
            console.print(Padding(Text(printable(sample.thought), "dim"), (0, 0, 0, 2)))
        answer = sample.answer if sample.answer is not None or sample.thought else sample.text
        console.print(Text(printable(answer), "bold") if answer else Text("no answer", "dim italic"))
        if sample.reason:
            console.print(Text(f"→ {printable(sample.reason)}", style))


def about(saved: SavedSamples) -> str:
    """What a page says of where its samples come from."""
    folder = EvaluationFolder(saved.path.parent)
    if what_is(folder.settings) != "file":
        return f"From {saved.path.name}."
    settings = folder.read_settings()
    model = settings.get("model", {}).get("name", "a model")
    return (
        f"{model}, temperature {settings.get('temperature')}, top-p {settings.get('top_p')}, at most "
        f"{settings.get('max_tokens')} tokens, seed {settings.get('seed')}."
    )
