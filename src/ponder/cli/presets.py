"""`ponder presets`: the model shapes that come with Ponder."""

import argparse

from rich.box import SIMPLE

from ponder.cli.arguments import add_json, count
from ponder.cli.output import out, print_json
from ponder.cli.tables import FigureTable
from ponder.models.config import MlaConfig, ModelConfig
from ponder.models.presets import PRESETS, count_parameters
from ponder.text.tokenizer import Tokenizer

PUBLISHED_VOCABULARIES = {"deepseek-v3": 129_280, "deepseek-v3-mini": 129_280}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--vocab-size",
        type=count,
        metavar="N",
        help="entries of the vocabulary (default: that of the preset's tokenizer)",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    own = Tokenizer.for_arithmetic().vocab_size
    rows = []
    for name, build in PRESETS.items():
        config = build(arguments.vocab_size or PUBLISHED_VOCABULARIES.get(name, own))
        counted = count_parameters(config)
        rows.append(
            {
                "name": name,
                "parameters_total": counted.total,
                "parameters_active": counted.active,
                "parameters_per_token": counted.per_token,
                "parameters_embedding": counted.embedding,
                "parameters_mtp": counted.mtp,
                "vocab_size": config.vocab_size,
                "shape": describe(config),
            }
        )
    if arguments.json:
        print_json({"presets": rows})
        return 0
    table = FigureTable("preset", box=SIMPLE)
    for heading in ("parameters", "active", "MTP besides", "vocabulary"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("shape")
    for row in rows:
        figures = ("parameters_total", "parameters_active", "parameters_mtp", "vocab_size")
        table.add_row(str(row["name"]), *(f"{row[figure]:,}" for figure in figures), str(row["shape"]))
    out().print(table)
    return 0


def describe(config: ModelConfig) -> str:
    """A shape in a few words."""
    attention = "MLA" if isinstance(config.attention, MlaConfig) else f"GQA with {config.attention.kv_heads} KV heads"
    words = [f"{config.layers} layers of {config.hidden_size}", f"{attention}, {config.heads} heads"]
    if config.moe is not None:
        moe = config.moe
        words.append(f"{moe.experts_per_token} of {moe.routed_experts} experts + {moe.shared_experts} shared")
    if config.mtp_depth:
        words.append(f"MTP depth {config.mtp_depth}")
    return "; ".join(words)
