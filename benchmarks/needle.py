#!/usr/bin/env python3
"""The needle test: a small model of DeepSeek-V3's form is taught to find needles in short texts, stretched by YaRN, and
asked for them in texts up to 32 times as long as those of its original context (V3: from 4K to 128K).

    .venv/bin/python benchmarks/needle.py [--original 256] [--count 16] [--plot needle.png] [--json needle.json]

The same weights are asked with YaRN, and with its frequencies and softmax scale taken away again. How the texts look:
src/ponder/data/needle.py. `--plot` draws both as heat maps, length against depth.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from ponder.core.files import atomic_write_bytes, atomic_write_text
from ponder.core.workers import ComputeConfig, Workers
from ponder.recipes.needle import NeedleRecipe, find_needles, teach, with_context
from ponder.recipes.needle_plot import plot_needles
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import save_model

STRETCH = 32  # the longest texts asked about, in original contexts


def tell(what: str) -> None:
    print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--original", type=int, default=256, help="tokens of the context before it is stretched (256)")
    parser.add_argument("--depths", type=int, default=11, help="depths, from 0 to 100 %% (11)")
    parser.add_argument("--count", type=int, default=16, help="texts of each length and depth (16)")
    parser.add_argument("--threads", type=int, default=0, help="of the engine (all cores)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="draw the heat maps (PNG)")
    parser.add_argument("--json", type=Path, help="write the figures")
    parser.add_argument("--save", type=Path, help="keep the taught model in this folder")
    arguments = parser.parse_args()

    tokenizer, began = Tokenizer.for_arithmetic(), time.monotonic()
    recipe = NeedleRecipe.of(tokenizer, arguments.original, arguments.seed)
    with Workers(ComputeConfig()) as workers:
        model = teach(recipe, tokenizer, workers, tell)
    taught = time.monotonic() - began
    if arguments.save is not None:
        save_model(arguments.save, model, tokenizer)
    lengths = [arguments.original * 2**power // 4 for power in range(STRETCH.bit_length() + 2)]
    depths = [number / max(1, arguments.depths - 1) for number in range(arguments.depths)]
    began, panels = time.monotonic(), {}
    for name, yarn in (("with YaRN", recipe.yarn), ("the same weights without", None)):
        asked = with_context(model, recipe.positions, yarn)
        panels[name] = find_needles(
            asked,
            tokenizer,
            lengths,
            depths,
            arguments.count,
            seed=arguments.seed,
            threads=arguments.threads,
            on_progress=lambda what, name=name: tell(f"{name}: {what}"),
        )
    tell("")
    parameters = sum(p.numel() for p in model.parameters())
    found = {
        "parameters": parameters,
        "original_positions": arguments.original,
        "positions": recipe.positions,
        "recipe": asdict(recipe),
        "taught_seconds": taught,
        "asked_seconds": time.monotonic() - began,
        "cells": {name: [asdict(cell) for cell in cells] for name, cells in panels.items()},
    }
    if arguments.json is not None:
        atomic_write_text(arguments.json, json.dumps(found, indent=2) + "\n")
    if arguments.plot is not None:
        title = (
            f"needles in a haystack: {parameters:,} parameters, stretched from {arguments.original:,} positions by 40"
        )
        learned = recipe.stretched.lengths[1]
        atomic_write_bytes(arguments.plot, plot_needles(panels, title, original=arguments.original, learned=learned))
    print(f"{parameters:,} parameters; taught in {taught:.0f} s, asked in {found['asked_seconds']:.0f} s")
    print(f"{'tokens':>9}" + "".join(f"{name:>28}" for name in panels))
    for length in lengths:
        row = []
        for cells in panels.values():
            here = [cell for cell in cells if cell.length == length]
            row.append(f"{sum(cell.right for cell in here)} of {sum(cell.count for cell in here)}")
        print(f"{length:>9,}" + "".join(f"{text:>28}" for text in row))


if __name__ == "__main__":
    main()
