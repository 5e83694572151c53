"""`ponder bench`: how fast a model runs here, next to the machine's limits and to other libraries."""

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.text import Text

from ponder.cli.arguments import MODEL_HELP, add_json, add_runs, count
from ponder.cli.output import byte_size, err, out, parameter_count, percent, print_json, shown_path
from ponder.cli.tables import FigureTable
from ponder.core.errors import ConfigError
from ponder.core.files import atomic_write_bytes
from ponder.core.workers import available_cores
from ponder.engine.formats import FORMATS
from ponder.recipes.bench.contexts import STOPPED, ContextsConfig, run_contexts
from ponder.recipes.bench.contexts_figures import contexts_figures, plot_contexts, short_count
from ponder.recipes.bench.figures import figures
from ponder.recipes.bench.models import benched_model
from ponder.recipes.bench.peers import PEERS
from ponder.recipes.bench.plot import plot_bench
from ponder.recipes.bench.quality import measure_quality, read_quality_text
from ponder.recipes.bench.run import BUSY, BenchConfig, run_bench

DEFAULT = BenchConfig()
DEFAULT_MODEL = "smollm2-135m-instruct"
EPILOG = "What is timed, and what was chosen to be fair: benchmarks/README.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", default=DEFAULT_MODEL, help=f"{MODEL_HELP}; or a preset ({DEFAULT_MODEL})"
    )
    add_runs(parser)
    parser.add_argument(
        "--weights",
        type=_formats,
        metavar="FORMAT,…",
        help=f"{', '.join(FORMATS)} (bf16,q8,q4; with --contexts bf16)",
    )
    parser.add_argument("--batch", type=_counts, metavar="N,…", help="sequences continued at once (1,8,32)")
    parser.add_argument(
        "--prompt-tokens",
        type=count,
        metavar="N",
        help="length of the prompt read (512)",
    )
    parser.add_argument(
        "--context",
        type=count,
        metavar="N",
        help="what a sequence holds before it is continued (64)",
    )
    parser.add_argument(
        "--contexts",
        type=_contexts,
        metavar="N,…",
        help="instead: what a text of each of these lengths costs, such as 1K,4K,16K,64K,128K",
    )
    parser.add_argument(
        "--tokens", type=count, default=DEFAULT.tokens, metavar="N", help="by which it is continued (64)"
    )
    parser.add_argument(
        "--threads", type=count, default=available_cores(), metavar="N", help="of every side (all cores)"
    )
    parser.add_argument("--rounds", type=count, default=DEFAULT.rounds, metavar="N", help="turns of every side (5)")
    parser.add_argument("--against", type=_names, metavar="LIBRARY,…", help=f"run beside: {', '.join(PEERS)} (none)")
    parser.add_argument(
        "--files", type=Path, metavar="DIR", help="keep the files made for the libraries here, and use them"
    )
    parser.add_argument(
        "--quality", type=Path, metavar="FILE", help="a text on which each format is compared with fp32"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the speeds")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.plot is not None and arguments.plot.suffix.lower() != ".png":
        raise ConfigError(f"--plot {arguments.plot}: plots are PNG; give a name that ends in .png")
    if arguments.contexts is not None:
        return _run_contexts(arguments)
    config = BenchConfig(
        weights=arguments.weights or DEFAULT.weights,
        batch=arguments.batch or DEFAULT.batch,
        prompt_tokens=arguments.prompt_tokens or DEFAULT.prompt_tokens,
        context=arguments.context or DEFAULT.context,
        tokens=arguments.tokens,
        threads=arguments.threads,
        rounds=arguments.rounds,
        against=arguments.against or (),
    )
    text = None if arguments.quality is None else read_quality_text(arguments.quality)  # before hours of timing
    with _progress(err()) as tell, benched_model(arguments.model, arguments.runs) as path:
        found = figures(run_bench(path, config, arguments.files, tell), arguments.model)
        if text is not None:
            found["quality"] = measure_quality(path, text, config.weights, config.threads, tell)
    _show(arguments, found, plot_bench, print_bench)
    return 0


def _run_contexts(arguments: argparse.Namespace) -> int:
    """Prints what was measured also where it ended early, with what that means for the exit code."""
    for option in ("batch", "prompt_tokens", "context", "against", "files", "quality"):
        if getattr(arguments, option) is not None:
            raise ConfigError(f"--{option.replace('_', '-')} does not go with --contexts; leave one of them out")
    config = ContextsConfig(
        contexts=arguments.contexts,
        weights=arguments.weights or ("bf16",),
        tokens=arguments.tokens,
        rounds=arguments.rounds,
        threads=arguments.threads,
    )
    with _progress(err()) as tell, benched_model(arguments.model, arguments.runs) as path:
        found = contexts_figures(run_contexts(path, config, tell), arguments.model)
    _show(arguments, found, plot_contexts, print_contexts)
    if found["ended"] is None:
        return 0
    err().print(f"ended before everything was measured: {found['ended']}", soft_wrap=True)
    return 130 if found["ended"] == STOPPED else 1


def _show(
    arguments: argparse.Namespace,
    found: dict[str, Any],
    plot: Callable[[dict[str, Any]], bytes],
    tell: Callable[[Console, dict[str, Any]], None],
) -> None:
    if arguments.plot is not None:
        atomic_write_bytes(arguments.plot, plot(found))
    if arguments.json:
        print_json(found)
    else:
        tell(out(), found)
    if arguments.plot is not None:
        err().print(f"plot: {shown_path(arguments.plot)}")


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], None]]:
    """What goes on: one line that changes; nothing where nobody watches."""
    with console.status("starting") as status:
        yield status.update


# ---------------------------------------------------------------- arguments


def _parts(text: str) -> list[str]:
    return [part for part in (part.strip() for part in text.split(",")) if part]


def _formats(text: str) -> tuple[str, ...]:
    parts = tuple(_parts(text))
    if not parts or any(part not in FORMATS for part in parts):
        raise argparse.ArgumentTypeError(f"got {text!r}; expected some of {', '.join(FORMATS)}, with commas between")
    return parts


def _counts(text: str) -> tuple[int, ...]:
    if not _parts(text):
        raise argparse.ArgumentTypeError(f"got {text!r}; expected numbers with commas between, such as 1,8,32")
    return tuple(count(part) for part in _parts(text))


def _contexts(text: str) -> tuple[int, ...]:
    """Lengths that grow, in tokens; K stands for 1,024."""
    words = f"got {text!r}; expected lengths in tokens that grow, such as 1K,4K,16K,64K,128K (K: 1,024)"
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"([1-9][0-9]{0,8})([kK]?)", part.strip())
        if match is None:
            raise argparse.ArgumentTypeError(words)
        found.append(int(match[1]) * (1024 if match[2] else 1))
    if found != sorted(set(found)):
        raise argparse.ArgumentTypeError(words)
    return tuple(found)


def _names(text: str) -> tuple[str, ...]:
    if unknown := [part for part in _parts(text) if part not in PEERS]:
        raise argparse.ArgumentTypeError(
            f"got {unknown[0]!r}; expected some of {', '.join(PEERS)}, with commas between"
        )
    return tuple(_parts(text))


# ---------------------------------------------------------------- the report


def print_bench(console: Console, found: dict[str, Any]) -> None:
    """The figures for a person."""
    machine, limits, settings = found["machine"], found["limits"], found["settings"]
    console.print(Text(f"{found['model']}: {parameter_count(found['parameters_total'])} parameters", "bold"))
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    peaks = limits["operations_per_second"]
    products = ", ".join(f"{kind} {spread['highest'] / 1e9:,.0f}" for kind, spread in peaks.items())
    read = limits["bytes_per_second"]
    console.print(
        f"{machine['cores']} cores, {threads}; reads {read['highest'] / 1e9:.1f} GB/s (median "
        f"{read['median'] / 1e9:.1f}); matrix products in GFLOPS: {products}"
    )
    console.print(
        f"medians of {settings['rounds']} rounds, lowest and highest in brackets; {settings['tokens']} tokens after "
        f"{settings['context']}, or a prompt of {settings['prompt_tokens']}\n"
    )
    console.print(_speeds(found))
    console.print(_loading(found))
    if "quality" in found:
        console.print(_quality(found["quality"]))
    for side in found["sides"]:
        if side["unsupported"]:
            console.print(f"{side['weights']} without {side['name']}: {side['unsupported']}", soft_wrap=True)
    versions = {k: v for side in found["sides"] for k, v in (side["versions"] or {}).items()}
    console.print(Text(", ".join(f"{name} {number}" for name, number in versions.items()), "dim"))
    _say_if_unfair(console, found)


def print_contexts(console: Console, found: dict[str, Any]) -> None:
    """What a text costs as it grows, for a person."""
    cache, settings, machine = found["cache"], found["settings"], found["machine"]
    console.print(Text(f"{found['model']}: {parameter_count(found['parameters_total'])} parameters", "bold"))
    stretched = ""
    if found["original_positions"] != found["positions"]:
        stretched = f", by YaRN from {found['original_positions']:,}"
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    console.print(f"{found['positions']:,} positions{stretched}; {machine['cores']} cores, {threads}")
    console.print(
        f"cache: {cache['numbers_per_token_and_layer']:,} numbers a token in each of {cache['layers']} layers\n"
    )
    table = _table(
        "A growing text",
        1,
        "weights",
        "context",
        "first token",
        "tokens/s read",
        "ms a token",
        "cache",
        "memory",
        "others",
    )
    for of_format in found["formats"]:
        for number, m in enumerate(of_format["measured"]):
            milliseconds = {k: 1e3 * m["decode_seconds"][k] for k in ("median", "lowest", "highest")}
            table.add_row(
                of_format["weights"] if number == 0 else "",
                short_count(m["context"]),
                f"{m['prefill_seconds']:,.2f} s",
                f"{m['prefill_tokens_per_second']:,.0f}",
                _range(milliseconds, ",.2f"),
                byte_size(m["cache_bytes"]),
                byte_size(m["peak_bytes"]),
                f"{m['others']:.2f}",
            )
    console.print(table)
    console.print(
        f"first token: the text is read once, {settings['chunk']} tokens a call. ms a token: median of "
        f"{settings['rounds']} rounds of {settings['tokens']} tokens, lowest and highest in brackets",
        soft_wrap=True,
    )
    _say_if_unfair(console, found)


def _say_if_unfair(console: Console, found: dict[str, Any]) -> None:
    if not found["fair"]:
        warning = (
            f"NOT A FAIR RUN: other processes kept up to {found['most_others']:.2f} cores busy (more than {BUSY}); "
            "repeat it when the machine is quiet"
        )
        console.print(Text(warning, "yellow"), soft_wrap=True)


def _table(title: str, left: int, *columns: str) -> FigureTable:
    table = FigureTable(title=title, title_style="bold", box=SIMPLE)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right", no_wrap=number >= left)
    return table


def _range(spread: dict[str, float], form: str) -> str:
    return f"{spread['median']:{form}} [{spread['lowest']:{form}}, {spread['highest']:{form}}]"


def _speeds(found: dict[str, Any]) -> FigureTable:
    compared = any("ratio" in side for m in found["measured"] for side in m["sides"])
    ratio = ("Ponder is faster by",) if compared else ()
    table = _table("Speed", 3, "weights", "", "side", "tokens/s", *ratio, "of limit", "others")
    for measured in found["measured"]:
        case = "prompt" if measured["what"] == "prefill" else f"batch {measured['batch']}"
        for side in measured["sides"]:
            ours = "ratio" not in side
            share = side["share_of_limit"]
            ratios = () if not compared else ("",) if ours else (f"{_range(side['ratio'], '.2f')} ×",)
            table.add_row(
                measured["weights"] if ours else "",
                case if ours else "",
                side["name"],
                _range(side["tokens_per_second"], ",.0f"),
                *ratios,
                "" if share is None else percent(share),
                f"{side['others']:.2f}",
                style=None if ours or not compared else "dim",
            )
    return table


def _loading(found: dict[str, Any]) -> FigureTable:
    first = {
        (measured["weights"], side["name"]): side["first_token_seconds"]
        for measured in found["measured"]
        if measured["what"] == "prefill"
        for side in measured["sides"]
    }
    table = _table(
        "Start and memory", 2, "weights", "side", "weights held", "load", "process start", "first token", "memory"
    )
    for side in found["sides"]:
        if side["unsupported"]:
            continue
        table.add_row(
            side["weights"],
            side["name"],
            "" if side["weight_bytes"] is None else byte_size(side["weight_bytes"]),
            f"{side['load_seconds']:.2f} s",
            f"{side['start_seconds']:.2f} s",
            f"{first[side['weights'], side['name']]['median']:.3f} s",
            byte_size(side["peak_bytes"]),
        )
    return table


def _quality(rows: list[dict[str, Any]]) -> FigureTable:
    table = _table(
        f"Against fp32, on {rows[0]['tokens']:,} tokens", 1, "weights", "same best token", "cross-entropy", "rise, nats"
    )
    for row in rows:
        table.add_row(
            row["weights"],
            f"{100 * row['top1_agreement']:.2f} %",
            f"{row['cross_entropy']:.4f}",
            f"{row['cross_entropy_rise']:+.5f}",
        )
    return table
