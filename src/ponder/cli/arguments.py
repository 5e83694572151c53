"""Arguments that several commands share. What needs no model is in `ponder.cli.values`, which loads at once."""

import argparse
import math
from pathlib import Path
from typing import Any

from ponder.cli.folders import DEFAULT_ROOT
from ponder.cli.values import add_json as add_json
from ponder.cli.values import count as count
from ponder.cli.values import whole_number as whole_number
from ponder.core.errors import ConfigError
from ponder.data.library.records import KINDS
from ponder.engine.formats import FORMATS

TOLD = ("kind", "fields", "test", "drop_unanswered")  # arguments that tell of what --problems names
MODEL_HELP = "a run (its last finished stage), a model's folder or .gguf file, or the name of a pulled model"


def add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, default=DEFAULT_ROOT, metavar="DIR", help="where runs are kept (runs)")


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    add_runs(parser)


def add_problems(parser: argparse.ArgumentParser, names: str) -> None:
    """Arguments that name problems to learn from: a task of one's own, or a set or file with what is told of it."""
    parser.add_argument("--task", type=Path, metavar="FILE", help="a Python file that defines a task of your own")
    parser.add_argument("--problems", metavar="NAME", help=names)
    parser.add_argument("--test", metavar="NAME", help="of --problems: a set or file to measure with")
    parser.add_argument("--kind", choices=KINDS, help="of a file or hub: set: how answers are judged (exact)")
    parser.add_argument(
        "--fields", metavar="LIST", help="of the same: question=…,answer=…,id=…,choices=…,tests=…,solution=…"
    )
    parser.add_argument(
        "--drop-unanswered",
        action="store_true",
        default=None,
        help="of --problems: leave rows without an answer out, where they would be refused",
    )


def told_of_problems(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the arguments of `add_problems` tell of the set or file that `--problems` names, by its name as a setting.

    Raises `ConfigError` where they name problems twice, and where they tell of none.
    """
    told = {name: value for name in TOLD if (value := getattr(arguments, name)) is not None}
    if arguments.problems is None:
        for name in told:
            raise ConfigError(f"--{name.replace('_', '-')} belongs to --problems; name a set or file, or leave it out")
    elif arguments.task is not None:
        raise ConfigError("--task and --problems both name problems; give one of them")
    return told


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
