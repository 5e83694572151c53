"""What the commands share that measure a model on problem sets: their arguments, the sets, and the model's identity."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder.cli.arguments import count, temperature, whole_number
from ponder.cli.output import err, printable
from ponder.core.errors import ConfigError, DataError, MissingLayerError
from ponder.core.files import what_is
from ponder.core.progress import Transfer
from ponder.core.types import Grade
from ponder.data.library.fields import Fields, read_fields
from ponder.data.library.generated import STORY_SETS
from ponder.data.library.library import LoadedSet, is_own, is_published, problem_set
from ponder.data.library.records import KINDS, Kind
from ponder.data.library.sets import ALIASES, PROBLEM_SETS
from ponder.evals.suites.registry import MAX_TOKENS, SUITES, samples_of, suite_sets
from ponder.evals.suites.run import SuiteSet
from ponder.evals.voting import CHOICE, EXACT, Ballot, math_ballot
from ponder.recipes.opening import OpenModel, model_folder
from ponder.recipes.problem_sets import CheckerConfig, Checkers
from ponder.text.tokenizer import Tokenizer
from ponder.verify.checkers import AnswerChecker
from ponder.verify.code.config import LAYERS, SandboxConfig
from ponder.verify.grader import Grader
from ponder.verify.math.pool import MathPool
from ponder.verify.rewards import RewardConfig

# folders of published data sets that are not named as the sets are
FOLDERS = {"leetcode": ("leetcode_contest",), "math500": ("MATH-500",)}


@dataclass(frozen=True, kw_only=True)
class OwnSets:
    """What is told of the sets that Ponder has no record of: files of one's own, and sets of the Hub."""

    kind: Kind | None = None  # how answers are judged; None: exact
    fields: Fields | None = None  # which column is what; None: the usual names
    split: str | None = None  # of a set of the Hub; None: train

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "OwnSets":
        """What the arguments say."""
        fields = None if arguments.fields is None else read_fields(arguments.fields)
        return cls(kind=arguments.kind, fields=fields, split=arguments.split)


def add_suite(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--suite",
        metavar="NAME[,NAME]",
        required=required,
        help=f"suites ({', '.join(SUITES)}) or problem sets, gym/TASK, hub:OWNER/NAME or files",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="take sets from DIR/gsm8k, DIR/math500, …; those that are not there, from the Hub",
    )
    parser.add_argument("--kind", choices=KINDS, help="of files and hub: sets: how answers are judged (exact)")
    parser.add_argument(
        "--fields", metavar="LIST", help="of files and hub: sets: question=…,answer=…,id=…,choices=…,tests=…"
    )
    parser.add_argument("--split", metavar="S", help="of hub: sets (train)")
    parser.add_argument(
        "--drop-unanswered", action="store_true", help="leave rows without an answer out, where they would be refused"
    )
    parser.add_argument(
        "--allow-missing",
        action="append",
        choices=LAYERS,
        help="run programs without this protection of the sandbox, where the machine lacks it; may be given again",
    )
    parser.add_argument("--top-p", type=share, metavar="P", help="of the samples of a suite (0.95)")
    parser.add_argument("--into", type=Path, metavar="DIR", help="the evaluation's folder (evaluations/MODEL-SUITE)")
    parser.add_argument(
        "--batch-tokens", type=count, metavar="N", help="tokens at once: memory only, never changes the result (65536)"
    )


def add_drawing(parser: argparse.ArgumentParser) -> None:
    """How completions are drawn."""
    parser.add_argument("--count", type=count, metavar="N", help="how many problems of each set, file or named task")
    parser.add_argument("--samples", type=count, metavar="K", help="completions of each problem")
    parser.add_argument("--temperature", type=temperature, metavar="T", help="of the samples")
    parser.add_argument("--max-tokens", type=count, metavar="N", help="longest completion")
    parser.add_argument("--seed", type=whole_number, metavar="S", help="of the samples")


def share(text: str) -> float:
    """A share above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number <= 1.0:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a number above 0 and up to 1, such as 0.95")
    return number


@contextmanager
def open_suite(arguments: argparse.Namespace, *, samples: int | None) -> Iterator[list[SuiteSet]]:
    """`open_sets` with what the arguments of `add_suite` and `add_drawing` say."""
    checkers = CheckerConfig(code=SandboxConfig(allow_missing=tuple(arguments.allow_missing or ())))
    with open_sets(
        arguments.suite,
        arguments.data,
        count=arguments.count,
        samples=samples,
        own=OwnSets.of(arguments),
        drop_unanswered=arguments.drop_unanswered,
        checkers=checkers,
    ) as sets:
        yield sets


@contextmanager
def open_sets(
    names: str,
    data: Path | None,
    *,
    count: int | None,
    samples: int | None,
    own: OwnSets = OwnSets(),
    drop_unanswered: bool = False,
    checkers: CheckerConfig | None = None,
) -> Iterator[list[SuiteSet]]:
    """The sets of a list of suites and sets, with checkers that hold processes until the block ends.

    What cannot be found is told before anything is fetched; rows that are no problems here, on standard error. A
    protection that the block finds missing is told with the argument that does without it.
    """
    wanted = suite_sets(names, [*PROBLEM_SETS, *ALIASES, *STORY_SETS])
    if own != OwnSets() and not any(is_own(name) or _of_hub(name) for name in wanted):
        raise ConfigError(
            f"--kind, --fields and --split are for files of one's own and hub: sets, and {names} names none; leave "
            "them out"
        )
    if data is not None and what_is(data) != "folder":
        raise ConfigError(f"--data {data}: there is no such folder; expected one that holds the sets' folders")
    places = [place_of(name, data) for name in wanted]
    loaded = [_loaded(name, place, count, own, drop_unanswered) for name, place in zip(wanted, places, strict=True)]
    for note in (note for of in loaded for note in of.notes):
        err().print(f"note: {printable(note)}", soft_wrap=True)
    with ExitStack() as stack:
        stack.enter_context(_missing_layers_explained())
        opened = stack.enter_context(Checkers(checkers))
        ballots: dict[str, Ballot] = {"exact": EXACT, "gym": EXACT, "choice": CHOICE}
        if any(of.kind == "math" for of in loaded):
            ballots["math"] = math_ballot(stack.enter_context(MathPool()))
        yield [
            SuiteSet(
                name=of.name,
                problems=of.problems,
                checker=opened.of(of.kind),
                samples=samples or samples_of(of.name),
                ballot=ballots.get(of.kind),
                duplicates=len(of.duplicates),
                left_out=len(of.left_out),
            )
            for of in loaded
        ]


@contextmanager
def _missing_layers_explained() -> Iterator[None]:
    try:
        yield
    except MissingLayerError as error:
        raise error.with_setting(" ".join(f"--allow-missing {layer}" for layer in error.layers)) from error


def _of_hub(name: str) -> bool:
    return name.startswith("hub:")


def _loaded(name: str, place: Path | None, count: int | None, own: OwnSets, drop_unanswered: bool) -> LoadedSet:
    if not is_own(name) and not _of_hub(name):
        own = OwnSets()
    split = own.split if _of_hub(name) else None
    return problem_set(
        name,
        place,
        count=count,
        kind=own.kind,
        fields=own.fields,
        split=split,
        drop_unanswered=drop_unanswered,
        report=_told,
    )


def _told(transfer: Transfer) -> None:
    """A word where a set has been fetched."""
    if transfer.total is not None and transfer.done == transfer.total:
        err().print(f"fetched {transfer.file}", style="dim", soft_wrap=True)


def place_of(name: str, data: Path | None) -> Path | None:
    """The folder of a published set within `data`; None for what is fetched, generated, or itself a file.

    Raises `DataError` where the set is neither there nor on the Hub.
    """
    if not is_published(name):
        return None
    usual = ALIASES.get(name, name)
    names = [name, usual, *(alias for alias, of in ALIASES.items() if of == name), *FOLDERS.get(usual, ())]
    if data is not None:
        for folder in names:
            if what_is(data / folder) == "folder":
                return data / folder
    record = PROBLEM_SETS[usual]
    if record.hub and next(iter(record.splits.values())).hub:
        return None
    lacks = "" if data is None else f"{data} has no folder {name}, and "
    raise DataError(
        f"{lacks}{name} is not on the Hub; get it from {record.home} into a folder of that name, and say where it is: "
        f"--data DIR for DIR/{name}"
    )


def grader(tokenizer: Tokenizer) -> Callable[[AnswerChecker], Grade]:
    """Grades strictly: the form counts as well as the answer."""
    rewards = RewardConfig(accuracy=1.0, format=0.0)
    return lambda checker: Grader(tokenizer, checker, rewards, time_limit_seconds=CheckerConfig().seconds)


def longest_completion(model: OpenModel, sets: list[SuiteSet], wanted: int | None) -> int:
    """What is wanted; without it the protocol's 32,768 tokens, or what the context leaves after the longest prompt.

    Raises `ConfigError` where more is wanted than that leaves.
    """
    room = room_after_prompts(model, sets)
    if wanted is not None and wanted > room:
        raise ConfigError(
            f"--max-tokens {wanted:,}: the longest prompt leaves {room:,} of the model's "
            f"{model.config.max_positions:,} positions; give that or fewer"
        )
    if wanted is None and room < MAX_TOKENS:
        err().print(f"max tokens: {room:,}, what the model's context leaves (the protocol's: {MAX_TOKENS:,})")
    return wanted or min(room, MAX_TOKENS)


def room_after_prompts(model: OpenModel, sets: list[SuiteSet]) -> int:
    """Positions that the longest prompt leaves. Raises `DataError` where that is none."""
    encoded = model.prompter.encode_batch([problem.prompt for tasks in sets for problem in tasks.problems])
    longest = max(len(ids) for ids in encoded)
    room = model.config.max_positions - longest
    if room < 1:
        raise DataError(
            f"the longest prompt has {longest} tokens and the model's context {model.config.max_positions} positions; "
            "leave its set out, or take a model with a longer context"
        )
    return room


def identity(name: str, path: Path) -> dict[str, Any]:
    """Which weights these are, so that an evaluation does not go on with others."""
    folder = model_folder(path)
    files = sorted(folder.iterdir()) if what_is(folder) == "folder" else [folder]
    stats = [file.stat() for file in files if file.suffix in (".safetensors", ".gguf")]
    return {
        "name": name,
        "path": str(folder.resolve()),
        "bytes": sum(stat.st_size for stat in stats),
        "modified": max((stat.st_mtime_ns for stat in stats), default=0),
    }


def default_name(model: str, suite: str) -> str:
    """A folder's name for an evaluation."""
    text = f"{Path(model).stem if Path(model).suffix == '.gguf' else Path(model).name}-{suite}"
    return "".join(c if c.isalnum() or c in "-._" else "-" for c in text)[:120]
