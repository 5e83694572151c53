"""`ponder plan`: what a model costs to train and to serve, before a machine is rented."""

import argparse
import difflib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ponder.cli.arguments import add_json, count
from ponder.cli.output import err, out, print_json, shown_path
from ponder.cli.presets import PUBLISHED_VOCABULARIES, describe
from ponder.cli.tables import FigureTable
from ponder.cli.teaching import run_teaching
from ponder.core.errors import ConfigError
from ponder.core.files import user_path, what_is
from ponder.models.config import ModelConfig
from ponder.models.presets import PRESETS, ParameterCount
from ponder.plan.hardware import CPU, HARDWARE, find_hardware
from ponder.plan.memory import WEIGHT_BYTES
from ponder.plan.numbers import dollars, parse_count, short
from ponder.plan.plan import MOST_TOKENS, Plan, PlanRequest, make_plan
from ponder.plan.plots import plot_cost
from ponder.plan.report import plan_to_json
from ponder.text.tokenizer import Tokenizer
from ponder.weights.catalogue import find_model, known_models
from ponder.weights.checkpoint import open_checkpoint
from ponder.weights.hf.config import config_from_json
from ponder.weights.hf.safetensors import read_json

EPILOG = (
    "ponder plan deepseek-v3, deepseek-v2, deepseek-llm-67b and deepseek-r1 plan the published runs and print the "
    "published figures beside. Every formula, assumption and source: docs/plan.md"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", help="a name of `ponder models` or `ponder presets`, a config.json, a "
        "model's folder or a GGUF file; with --teach several",
    )  # fmt: skip
    parser.add_argument(
        "--teach", action="store_true", help="instead: memory and time of fine-tuning and GRPO, as a Markdown table"
    )
    parser.add_argument("--rank", type=count, metavar="N", help="with --teach: of the adapter (32)")
    parser.add_argument("--tokens", type=token_count, metavar="N", help="tokens to train on, such as 14.8T or 50M")
    parser.add_argument(
        "--context", type=length, metavar="N", help="tokens of a training sequence, and of a served conversation (4096)"
    )
    parser.add_argument("--batch", type=count, metavar="N", help="conversations served at a time (all that fit)")
    parser.add_argument("--gpus", type=count, metavar="N", help="devices to train on, and to serve on")
    parser.add_argument(
        "--hardware", metavar="NAME", help=f"{', '.join([*HARDWARE, CPU])} (h800); with --teach several, with commas"
    )
    parser.add_argument("--gpu-price", type=dollars_an_hour, metavar="USD", help="dollars an hour and device")
    parser.add_argument(
        "--utilization", type=share, metavar="SHARE", help="share of the peak (what V3's pre-training implies: 0.252)"
    )
    parser.add_argument("--precision", choices=("fp8", "bf16", "fp32"), help="of the linear maps in training (bf16)")
    parser.add_argument(
        "--recompute",
        choices=("none", "expansion", "blocks"),
        help="what the backward pass computes again: nothing, MLA's expansions, or every block",
    )
    parser.add_argument("--weights", choices=tuple(WEIGHT_BYTES), help="format of the served weights (bf16)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw cost against training tokens")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.plot is not None and arguments.plot.suffix.lower() != ".png":
        raise ConfigError(f"--plot {arguments.plot}: plots are PNG; give a name that ends in .png")
    if arguments.teach:
        return run_teaching(arguments, {name: find_shape(name).config for name in arguments.models})
    if len(arguments.models) > 1 or arguments.rank is not None:
        raise ConfigError("several models, and --rank, belong to --teach; name one model, or add it")
    shape = find_shape(arguments.models[0])
    plan = make_plan(
        PlanRequest(
            name=shape.name,
            title=shape.title,
            config=shape.config,
            count=shape.count,
            tokens=arguments.tokens,
            context=arguments.context,
            batch=arguments.batch,
            gpus=arguments.gpus,
            hardware=find_hardware(arguments.hardware or "h800", arguments.gpu_price),
            utilization=arguments.utilization,
            precision=arguments.precision,
            recompute=arguments.recompute,
            weights=arguments.weights,
        )
    )
    if arguments.plot is not None:
        _write(arguments.plot, plot_cost(plan))
    if arguments.json:
        print_json(plan_to_json(plan))
    else:
        print_plan(out(), plan)
    if arguments.plot is not None:
        err().print(f"plot: {shown_path(arguments.plot)}")
    return 0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What is planned."""

    name: str
    title: str
    config: ModelConfig
    count: ParameterCount | None = None  # as the publishers of a catalogue model count


def find_shape(model: str) -> Shape:
    """The shape of a catalogue name, a preset, a config.json, a folder or a GGUF file.

    Raises `ConfigError` for a name that is none of these and for models with parts that no plan covers, and
    `CheckpointError` for files that hold no shape.
    """
    if not model.strip():
        raise ConfigError("the name of the model is empty; expected a name of `ponder models` or a path")
    path = user_path(model)
    if what_is(path) is not None:
        return Shape(name=model, title=path.resolve().name, config=_config_of(path))
    named = ((known, entry.name) for entry in known_models() for known in (entry.name, *entry.aliases, entry.hub))
    names = {known: name for known, name in named if known}
    wanted = model.lower()
    if wanted in PRESETS and wanted not in names:
        vocabulary = PUBLISHED_VOCABULARIES.get(wanted) or Tokenizer.for_arithmetic().vocab_size
        return Shape(name=wanted, title=wanted, config=PRESETS[wanted](vocabulary))
    if wanted in {known.lower() for known in names}:
        found = find_model(model)
        if found.unsupported is not None:
            raise ConfigError(f"{found.name} cannot be planned: {found.unsupported}")
        return Shape(name=found.name, title=found.title, config=found.config, count=found.parameters)
    close = difflib.get_close_matches(wanted, [*names, *PRESETS], n=4, cutoff=0.5)
    hint = f"did you mean {' or '.join(dict.fromkeys(names.get(one, one) for one in close))}? " if close else ""
    raise ConfigError(
        f"{model!r} is no model that can be planned; {hint}Expected a name of `ponder models` or `ponder presets`, a "
        "config.json, a folder with one, or a GGUF file"
    )


def _config_of(path: Path) -> ModelConfig:
    if path.is_dir() and what_is(path / "config.json") == "file":
        path = path / "config.json"
    if path.suffix != ".json":
        with open_checkpoint(path) as opened:
            return opened.config
    return config_from_json(read_json(path), str(path))


def _write(path: Path, png: bytes) -> None:
    try:
        path.write_bytes(png)
    except OSError as error:
        raise ConfigError(f"--plot {path}: cannot be written: {error.strerror}") from error


# ---------------------------------------------------------------- arguments


def token_count(text: str) -> float:
    """Tokens: 14.8T, 500B, 50M, 1e9."""
    try:
        number = parse_count(text)
    except ValueError:
        number = math.nan
    if not 1 <= number <= MOST_TOKENS:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a number of tokens such as 14.8T, 500B, 50M or 1e9")
    return number


def length(text: str) -> int:
    """A number of tokens in a sequence: 4096, 32K (of 1,024)."""
    digits, scale = (text[:-1], 1024) if text[-1:] in ("K", "k") else (text, 1)
    if not digits.isdecimal() or int(digits) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a number of tokens from 1, such as 4096 or 32K")
    return int(digits) * scale


def share(text: str) -> float:
    number = _number(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a share of the peak above 0, at most 1, such as 0.4")
    return number


def dollars_an_hour(text: str) -> float:
    number = _number(text.removeprefix("$"))
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected dollars an hour, 0 or more, such as 2 or 1.49")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


# ---------------------------------------------------------------- the report


def print_plan(console: Console, plan: Plan) -> None:
    """The plan for a person: training, memory, serving, published figures, assumptions."""
    report = plan_to_json(plan)
    hardware = report["hardware"]
    console.print(Text(plan.title, "bold"))
    mtp = f", and {short(plan.count.mtp)} of MTP" if plan.count.mtp else ""
    console.print(f"{short(plan.count.total)} parameters, {short(plan.count.active)} active{mtp}")
    console.print(Text(describe(plan.config), "dim"))
    price = "no price" if hardware["usd_per_hour"] is None else f"${hardware['usd_per_hour']:g} an hour each"
    console.print(f"{hardware['gpus']:,} × {hardware['title']}, {price}; {report['utilization']:.1%} of peak\n")
    tables = [
        _training(report),
        _published(report) if report["published"] else None,
        _variants(report) if report["other_assumptions"] else None,
        _costs(report),
        _serving(report) if report["serving"]["fits"] else None,
        _prices(report["serving"]) if report["serving"]["api_prices"] else None,
    ]
    for table in tables:
        if table is not None:
            console.print(table)
            if table.caption:
                console.print()
    console.print(Text("Assumptions", "bold"))
    own = report["utilization_implied_by_published_hours"]
    more = [f"its own hours imply {own:.1%} of peak: with --utilization {own:.3f} they come out"] if own else []
    bullets = Table.grid(padding=(0, 1))
    for assumption in [*report["assumptions"], *more]:
        bullets.add_row(" ·", Text(assumption))
    console.print(bullets)
    console.print(Text("Formulas: docs/plan.md, and `formulas` with --json", "dim"))


def _table(title: str, *columns: str, left: int = 1) -> FigureTable:
    """A table whose first `left` columns stand left and the others right."""
    table = FigureTable(title=title, title_style="bold", box=SIMPLE)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right", no_wrap=number >= left)
    return table


def _training(report: dict[str, Any]) -> FigureTable:
    published = any(stage["published_gpu_hours"] for stage in report["stages"])
    hours = "hours" if report["hardware"]["name"] == CPU else "GPU hours"
    columns = ["stage", "tokens", hours, "days", "cost", *(("published", "deviation") if published else ())]
    table = _table("Training", *columns)
    for stage in report["stages"]:
        borrowed = " *" if stage["borrowed_inputs"] and published else ""
        cells = [f"{stage['name']}{borrowed}", short(stage["tokens"]), *_cost_cells(stage)]
        if published:
            calibrated = "calibrated" if stage["calibrated_on"] else _deviation(stage["deviation"])
            cells += [_hours(stage["published_gpu_hours"]), calibrated]
        table.add_row(*cells)
    if len(report["stages"]) > 1:
        table.add_section()
        known = [stage["published_gpu_hours"] for stage in report["stages"]]
        whole = sum(known) if all(known) else None
        cells = ["in all", short(sum(stage["tokens"] for stage in report["stages"])), *_cost_cells(report)]
        if published:
            cells += [_hours(whole), _deviation(report["gpu_hours"] / whole - 1 if whole else None)]
        table.add_row(*cells, style="bold")
    if any(stage["borrowed_inputs"] for stage in report["stages"]) and published:
        table.caption = "* with inputs that its report does not give: see the assumptions"
        table.caption_justify = "left"
    return table


def _cost_cells(figures: dict[str, Any]) -> tuple[str, str, str]:
    days = figures["days"]
    clock = f"{days:,.1f}" if days >= 0.1 else f"{24 * days:.2g} h"
    cost = "-" if figures["cost_usd"] is None else dollars(figures["cost_usd"])
    return _hours(figures["gpu_hours"]), clock, cost


def _costs(report: dict[str, Any]) -> FigureTable:
    """FLOPs and memory in one table."""
    flops, memory, context = report["flops_per_token"], report["memory"], report["context"]
    table = _table("FLOPs and memory", "", "", "", left=1)
    table.show_header = False
    table.columns[0].no_wrap = True
    table.columns[2].justify, table.columns[2].no_wrap = "left", False
    mtp = f", {flops['training_mtp_share']:.1%} of it MTP" if report["parameters_mtp"] else ""
    attention = flops["prefill_parts"]["attention_scores"] + flops["prefill_parts"]["attention_values"]
    rows = [
        ("FLOPs per token, training", short(flops["training"]), f"at {context:,} tokens{mtp}"),
        ("FLOPs per token, prefill", short(flops["prefill"]), f"{attention / flops['prefill']:.1%} attention"),
        ("FLOPs per token, decode", short(flops["decode"]), _decode_note(flops)),
        ("weights", _bytes(memory["weights_bytes"]["bf16"]), _weight_formats(memory)),
        ("training state", _bytes(memory["training_state_bytes"]), "weights, gradients, master copy, AdamW's moments"),
        (
            "activations per sequence",
            _bytes(memory["activation_bytes_per_token"] * context),
            f"{_bytes(memory['activation_bytes_per_token_checkpointed'] * context)} with every block recomputed",
        ),
        (
            "training, per device",
            _bytes(memory["training_bytes_per_gpu"]),
            f"of {_bytes(report['hardware']['memory_bytes'])}, state spread over {report['hardware']['gpus']:,}"
            + ("" if memory["fits"] else ": too much without recomputing"),
        ),
        (
            "cache per token",
            _bytes(report["kv_bytes_per_token"]),
            f"{report['kv_numbers_per_token']:,} numbers of {report['serving']['cache_bits']:g} bits",
        ),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _decode_note(flops: dict[str, Any]) -> str:
    note = f"against {flops['decode_context']:,} cached tokens"
    if flops["decode_naive"] > flops["decode"]:
        note += f"; {short(flops['decode_naive'])} without MLA's absorption"
    return note


def _weight_formats(memory: dict[str, Any]) -> str:
    return "in BF16; " + ", ".join(f"{k} {_bytes(memory['weights_bytes'][k])}" for k in ("fp8", "q8_0", "q4_k"))


def _serving(report: dict[str, Any]) -> FigureTable:
    serving = report["serving"]
    table = _table(
        f"Serving on {serving['gpus']:,} × {report['hardware']['name']}: {serving['weights']} weights, "
        f"{serving['batch']:,} conversations of {serving['context']:,} tokens",
        "",
        "tokens/s",
        "per device",
        "$ per 1M tokens",
    )
    for name, rate, price in (
        (
            f"decode (waits for {serving['bound']})",
            serving["decode_tokens_per_second_per_gpu"],
            serving["usd_per_million_output_tokens"],
        ),
        ("prefill", serving["prefill_tokens_per_second_per_gpu"], serving["usd_per_million_input_tokens"]),
    ):
        table.add_row(name, short(rate * serving["gpus"]), short(rate), "-" if price is None else dollars(price))
    return table


def _prices(serving: dict[str, Any]) -> FigureTable:
    table = _table("Public prices, $ per 1M tokens", "service", "source", "input", "output", "output saved", left=2)
    if serving["fits"] and serving["usd_per_million_output_tokens"] is not None:
        own = (serving["usd_per_million_input_tokens"], serving["usd_per_million_output_tokens"])
        table.add_row("this plan", "rent of the hardware alone", *(f"{value:.2f}" for value in own), "")
    for price in serving["api_prices"]:
        source = price["source"] if price["verified"] else Text(price["source"], "yellow")
        given = price["usd_per_million_input_tokens"]
        table.add_row(
            price["name"],
            source,
            "-" if given is None else f"{given:.2f}",
            f"{price['usd_per_million_output_tokens']:.2f}",
            "" if price["output_saved_by_first"] is None else f"{price['output_saved_by_first']:.1%}",
        )
    if serving["news_claim"]:
        table.caption = f"the news said: {serving['news_claim']}"
        table.caption_justify = "left"
    return table


def _published(report: dict[str, Any]) -> FigureTable:
    table = _table("Beside what was published", "figure", "source", "planned", "published", "deviation", left=2)
    for row in report["published"]:
        table.add_row(
            row["figure"],
            row["source"],
            _value(row["planned"], row["unit"]),
            _value(row["published"], row["unit"]),
            _points(row) if row["unit"] == "%" else _deviation(row["deviation"]),
        )
    return table


def _points(row: dict[str, Any]) -> str:
    """The difference of two percentages."""
    return f"{row['planned'] - row['published']:+.1f} points"


def _variants(report: dict[str, Any]) -> FigureTable:
    figure = report["other_assumptions"][0]["figure"]
    table = _table(f"{figure}, under other assumptions", "assumption", "planned", "published", "deviation")
    for row in report["other_assumptions"]:
        cells = (_hours(row["planned"]), _hours(row["published"]), _deviation(row["deviation"]))
        table.add_row(row["assumption"], *cells)
    return table


def _value(number: float, unit: str) -> str:
    if unit == "$":
        return f"${number / 1e6:,.3f}M" if number >= 1e6 else f"${number / 1e3:,.0f}K"
    if unit == "h":
        return _hours(number)
    if unit in ("%", "days"):
        return f"{number:.1f}{' %' if unit == '%' else ' days'}"
    return short(number)  # the figure's name tells the unit


def _hours(hours: float | None) -> str:
    if hours is None:
        return "-"
    if hours < 1000:
        return f"{hours:,.3g}"
    return f"{hours / 1e3:,.{0 if hours >= 99_950 else 1 if hours >= 9_995 else 2}f}K"


def _deviation(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1%}"


def _bytes(number: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:,.3g} {unit}" if number < 100 * size else f"{number / size:,.0f} {unit}"
    return f"{number:,.0f} B"
