"""`ponder export`: write a model as others read it, with its card."""

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ponder.cli.arguments import add_json, add_model, single_name
from ponder.cli.models import note_checkpoint, recipe_of
from ponder.cli.output import byte_size, err, out, print_json, shown_path
from ponder.cli.transfer import transfer_display
from ponder.core.config import read_toml
from ponder.core.errors import ConfigError, PonderError, RunError
from ponder.core.files import atomic_file, explain_os_errors, what_is
from ponder.core.progress import Transfer
from ponder.core.runs import RunFolder
from ponder.evals.card import ModelFacts, model_card
from ponder.models.presets import count_parameters
from ponder.recipes.opening import find_model, model_folder, weights_path
from ponder.weights.adapters.config import is_adapter
from ponder.weights.adapters.files import ADAPTER_DTYPES, write_adapter_folder
from ponder.weights.checkpoint import open_checkpoint
from ponder.weights.gguf.writer import GGUF_DTYPES, write_gguf
from ponder.weights.hf.writer import WRITE_DTYPES, write_hf_folder
from ponder.weights.inspect import describe
from ponder.weights.opened import OpenCheckpoint
from ponder.weights.pull.home import Manifest, read_manifest

DEFAULT_GGUF = "f16"
KEPT = {"F32": "f32", "F64": "f32", "F16": "f16", "BF16": "bf16", "F8_E4M3": "fp8"}  # stored → written unless asked
OWN_LICENCE = "mit"  # of a model that was trained from random weights on Ponder's own problems
CARD = "README.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--format",
        choices=("hf", "gguf", "adapter"),
        required=True,
        help="safetensors in a folder, one file, or of a model that is an adapter over another, the adapter alone",
    )
    parser.add_argument(
        "--dtype",
        metavar="TYPE",
        help=f"hf: {', '.join(WRITE_DTYPES)} (default: as stored); gguf: {', '.join(GGUF_DTYPES)} (default: "
        f"{DEFAULT_GGUF}); adapter: {', '.join(ADAPTER_DTYPES)} (default: f32)",
    )
    parser.add_argument(
        "--output", "-o", type=Path, metavar="PATH", help="a new folder, or a .gguf file (default: in exports/)"
    )
    parser.add_argument("--name", help="the model's name in its card (default: that of the run or model)")
    parser.add_argument("--license", metavar="NAME", help="for the card, such as apache-2.0 (default: as known)")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    path = find_model(arguments.model, arguments.runs)
    training = RunFolder(path) if RunFolder(path).config.is_file() else None
    folder = model_folder(path)
    note_checkpoint(path)
    if arguments.format == "adapter" and not is_adapter(folder):
        raise RunError(f"{folder} is no adapter over another model: it holds all weights; export it with --format hf")
    with open_checkpoint(folder) as opened:
        dtype = choose_dtype(arguments.format, arguments.dtype, opened)
        name = single_name("--name", arguments.name) if arguments.name is not None else name_of(path)
        target = arguments.output or Path("exports") / f"{name}-{arguments.format}-{dtype}"
        facts = model_facts(name, path, opened, dtype, arguments.license)
        card = model_card(facts, training)
        weights, notes = write(arguments.format, target, name, dtype, opened, card)
    written = sum(file.stat().st_size for file in weights)
    if arguments.json:
        print_json(
            {
                "model": arguments.model,
                "format": arguments.format,
                "dtype": dtype,
                "path": str(target),
                "files": [str(file) for file in weights],
                "bytes": written,
                "notes": notes,
            }
        )
        return 0
    out().print(f"{name} as {arguments.format} in {dtype}: {shown_path(target)}, {byte_size(written)}", soft_wrap=True)
    for note in notes:
        out().print(note, soft_wrap=True)
    return 0


def choose_dtype(format: str, wanted: str | None, opened: OpenCheckpoint) -> str:  # noqa: A002  # the option's name
    """What was asked for, where the format has it; else what the file is stored in."""
    offered = {"hf": tuple(WRITE_DTYPES), "gguf": tuple(GGUF_DTYPES), "adapter": tuple(ADAPTER_DTYPES)}[format]
    if wanted is not None:
        if wanted not in offered:
            raise ConfigError(f"--dtype {wanted!r}; --format {format} has {', '.join(offered)}")
        return wanted
    if format != "hf":
        return DEFAULT_GGUF if format == "gguf" else next(iter(ADAPTER_DTYPES))
    numbers: Counter[str] = Counter()
    for info in opened.source.infos.values():
        numbers[info.stored] += info.bytes
    return KEPT.get(numbers.most_common(1)[0][0], "bf16")


def write(
    format: str,  # noqa: A002
    target: Path,
    name: str,
    dtype: str,
    opened: OpenCheckpoint,
    card: str,
) -> tuple[list[Path], list[str]]:
    """Write weights and card, both or neither; the files that hold weights, and what a person should know."""
    with transfer_display(err()) as report:

        def on_progress(done: int, total: int) -> None:
            report(Transfer(file=target.name, done=done, total=total))

        if format == "adapter":
            with explain_os_errors(target):
                return [write_adapter_folder(target, opened.path, dtype, {CARD: card})], []
        if format == "hf":
            with explain_os_errors(target):
                write_hf_folder(target, opened, dtype=dtype, extra_files={CARD: card}, on_progress=on_progress)  # type: ignore[arg-type]  # checked by choose_dtype
            return sorted(target.glob("*.safetensors")), []
        file, card_file = gguf_files(target, name, dtype)
        with atomic_file(card_file) as unfinished:  # it is put in place after the weights
            unfinished.write_text(card, encoding="utf-8")
            written = write_gguf(file, opened, dtype=dtype, on_progress=on_progress)  # type: ignore[arg-type]
    notes = []
    if written.not_quantized:
        notes.append(f"{len(written.not_quantized)} tensors stay in f16: their rows do not divide into blocks of 32.")
    if written.without_mtp:
        notes.append("The multi-token prediction modules are left out, as in llama.cpp's files.")
    return [file], notes


def gguf_files(target: Path, name: str, dtype: str) -> tuple[Path, Path]:
    """Where weights and card go. Raises `RunError` where one of them would replace a file."""
    single = target.suffix == ".gguf"
    files = (target, target.with_suffix(".md")) if single else (target / f"{name}-{dtype}.gguf", target / CARD)
    for file in files:
        if what_is(file) is not None:
            raise RunError(f"{file} exists already; choose another place with --output, or move it away")
    return files


def name_of(path: Path) -> str:
    """The name of a run, of a pulled model, or of a folder or file."""
    manifest = read_manifest(path)
    if manifest is not None:
        return manifest.name.replace("/", "--")
    return path.resolve().stem if path.is_file() else path.resolve().name


def model_facts(name: str, path: Path, opened: OpenCheckpoint, dtype: str, licence: str | None) -> ModelFacts:
    """What the card says of the model itself."""
    recipe = recipe_of(path)
    began = _start(path) if recipe is None else Path(recipe.start_from) if recipe.start_from else None
    manifest = None if began is None else read_manifest(began)
    counted = count_parameters(opened.config)
    trained = RunFolder(path).config.is_file()
    files = opened.metadata if not trained or began is None else _files_say(began)
    known = licence or (manifest.licence if manifest else None) or files.get("license")
    if known is None and recipe is not None and not recipe.start_from:
        known = OWN_LICENCE
    return ModelFacts(
        name=name,
        shape="; ".join(describe(opened.config)),
        parameters_total=counted.total,
        parameters_active=counted.active,
        context=opened.config.max_positions,
        vocabulary=opened.config.vocab_size,
        stored=dtype,
        licence=known,
        licence_link=files.get("license_link") if known == files.get("license") else None,
        base=_base(began, manifest, opened, trained=trained),
        origin=_origin(manifest),
    )


def _files_say(began: Path) -> Mapping[str, str]:
    """What the files of the model say that the training began from; nothing where they are gone by now."""
    try:
        with open_checkpoint(began) as opened:
            return opened.metadata
    except PonderError:
        return {}


def _start(path: Path) -> Path:
    """The model itself, or the one that a run of R1 or of distillation taught."""
    config = RunFolder(path).config
    if not config.is_file():
        return path
    settings = read_toml(config)
    kept = settings.get("start_from")
    return weights_path(kept) if kept else Path(settings.get("student") or path)


def _base(began: Path | None, manifest: Manifest | None, opened: OpenCheckpoint, *, trained: bool) -> str | None:
    if manifest is not None:
        return manifest.name
    if not trained:
        return opened.metadata.get("name")
    return None if began is None else began.name


def _origin(manifest: Manifest | None) -> dict[str, str]:
    if manifest is None:
        return {}
    revision = f", revision {manifest.revision}" if manifest.revision else ""
    return {"from": f"{manifest.source}{revision}, pulled on {manifest.date[:10]}"}
