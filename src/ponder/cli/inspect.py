"""`ponder inspect`: what a model on disk is, from its headers alone."""

import argparse

from rich.table import Table

from ponder.cli.arguments import add_json, add_model
from ponder.cli.output import byte_size, out, parameter_count, print_json, printable
from ponder.recipes.opening import find_model, model_folder
from ponder.weights.checkpoint import open_checkpoint
from ponder.weights.inspect import Inspection, inspect_checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    with open_checkpoint(model_folder(find_model(arguments.model, arguments.runs))) as opened:
        inspection = inspect_checkpoint(opened)
    if arguments.json:
        print_json(inspection.to_json())
    else:
        _show(inspection)
    return 0


def _show(found: Inspection) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column()
    for name, value in _rows(found):
        table.add_row(name, printable(value))
    out().print(table)
    for problem in found.problems:
        out().print(f"Problem: it {printable(problem)}", soft_wrap=True)


def _rows(found: Inspection) -> list[tuple[str, str]]:
    counts = found.parameters
    tokens = f"{found.tokenizer:,} tokens" if found.tokenizer is not None else "none"
    rows = [("model", found.metadata.get("name", found.path.name)), ("format", f"{found.format}, {found.architecture}")]
    rows += [("shape" if i == 0 else "", line) for i, line in enumerate(found.shape)]
    rows += [
        ("parameters", f"{parameter_count(counts.total)} in all, {parameter_count(counts.active)} active"),
        *([("", f"{parameter_count(counts.mtp)} more for multi-token prediction")] if counts.mtp else []),
        *(
            ("stored" if i == 0 else "", f"{name}: {part.tensors:,} tensors, {byte_size(part.bytes)}")
            for i, (name, part) in enumerate(found.stored.items())
        ),
        ("files", f"{len(found.files):,}, {byte_size(sum(found.files.values()))}"),
        ("context", f"{found.context:,} tokens"),
        ("vocabulary", f"{found.vocabulary:,} rows; tokenizer: {tokens}"),
        ("chat template", "yes" if found.chat_template else "none"),
    ]
    return rows + [(name, value) for name, value in found.metadata.items() if name != "name"]
