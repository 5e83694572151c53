"""Arguments that several commands share. What needs no model is in `ponder.cli.values`, which loads at once."""

import argparse
import math
from pathlib import Path

from ponder.cli.folders import DEFAULT_ROOT
from ponder.cli.values import add_json as add_json
from ponder.cli.values import count as count
from ponder.cli.values import whole_number as whole_number
from ponder.core.errors import ConfigError
from ponder.engine.formats import FORMATS

MODEL_HELP = "a run (its last finished stage), a model's folder or .gguf file, or the name of a pulled model"


def add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, default=DEFAULT_ROOT, metavar="DIR", help="where runs are kept (runs)")


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    add_runs(parser)


def single_name(option: str, name: str) -> str:
    """A name that becomes that of a file or folder. Raises `ConfigError` for a path, and for what no one can type."""
    if not name.strip() or name in (".", "..") or any(c in "/\\" or not c.isprintable() for c in name):
        raise ConfigError(f"{option} {name!r} is no name; expected a single name, such as first-try, and no path")
    return name


def minutes(text: str) -> float:
    """A length of time above zero."""
    number = _number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected minutes above 0, such as 3 or 0.5")
    return number


def temperature(text: str) -> float:
    """A sampling temperature, 0 for greedy."""
    number = _number(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected 0 (greedy) or more, such as 0.6")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a number") from None


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        choices=FORMATS,
        default="fp32",
        help="how they are held: smaller is faster and less exact; stored: a GGUF file's own blocks (default: fp32)",
    )
