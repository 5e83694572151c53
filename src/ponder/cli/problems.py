"""`ponder problems`: the problem sets, what is in them, and whether training text holds any of them."""

import argparse
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from ponder.cli.output import err, out, print_json, printable
from ponder.cli.transfer import transfer_display
from ponder.cli.values import add_json, count, whole_number
from ponder.core.errors import ConfigError
from ponder.core.files import what_is
from ponder.core.progress import Transfer
from ponder.core.types import Problem
from ponder.data.gym import gym_tasks
from ponder.data.library.contamination import RUN, Contamination, contaminated, texts_of
from ponder.data.library.fields import read_fields
from ponder.data.library.generated import STORY_SETS, generated_set
from ponder.data.library.library import LoadedSet, problem_set
from ponder.data.library.records import KINDS, ProblemSet
from ponder.data.library.sets import ALIASES, PROBLEM_SETS

ACTIONS = ("list", "show", "check")
SHOWN = 3  # problems, where no number is asked for
OVERLAPS = 10  # shown of a contamination check; --json has them all
_SET = re.compile(r"(?P<name>(?:hub:)?[^:=]+)(?::(?P<split>[^=]+))?(?:=(?P<path>.+))?")

Report = Callable[[Transfer], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS, nargs="?", default="list", help="what to do (list)")
    parser.add_argument(
        "sets",
        metavar="SET",
        nargs="*",
        help="with show: one; with check: the training text, then the evaluation sets. NAME, NAME:SPLIT, "
        "NAME:SPLIT=PATH, gym/TASK, hub:OWNER/NAME or a file",
    )
    parser.add_argument("--path", metavar="PATH", help="with show: a file or folder that stands in for the Hub")
    parser.add_argument("--split", metavar="S", help="with show: which split (the set's first)")
    parser.add_argument(
        "--count", type=count, metavar="N", help=f"with show: how many ({SHOWN}); of gym/TASK: how many are made"
    )
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="with show: which of them (0)")
    parser.add_argument("--kind", choices=KINDS, help="how answers of a file of one's own are judged (exact)")
    parser.add_argument(
        "--fields", metavar="LIST", help="which column is what: question=…,answer=…,id=…,choices=…,tests=…,solution=…"
    )
    parser.add_argument(
        "--drop-unanswered", action="store_true", help="leave rows without an answer out, where they would be refused"
    )
    parser.add_argument(
        "--words", type=count, default=RUN, metavar="N", help=f"with check: words in a row that count ({RUN})"
    )
    parser.add_argument(
        "--common", type=count, metavar="N", help="with check: leave out runs that more than N of the problems hold"
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="with check: only texts that hold a whole problem; those of a generated task share runs with one another",
    )
    parser.epilog = (
        "check ends with exit code 1 where something overlaps. A training file may have any columns: all of its text "
        "is looked at. Data sets come from the Hub (HF_ENDPOINT chooses a mirror) and are kept in PONDER_HOME."
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "list":
        return _list(arguments)
    if arguments.action == "show":
        return _show(arguments)
    return _check(arguments)


def _list(arguments: argparse.Namespace) -> int:
    if arguments.sets:
        raise ConfigError(f"ponder problems list takes no set; see one with: ponder problems show {arguments.sets[0]}")
    records = [*PROBLEM_SETS.values(), *STORY_SETS.values()]
    if arguments.json:
        print_json({"sets": [_facts(record) for record in records], "gym": list(gym_tasks())})
        return 0
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("set", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("splits (rows)")
    table.add_column("licence", overflow="fold")
    table.add_column("from", overflow="fold")
    for record in records:
        splits = [
            f"{name} {f'({files.rows:,})' if files.rows else ''}".strip() for name, files in record.splits.items()
        ]
        table.add_row(record.name, record.kind, ", ".join(splits), record.licence, record.hub or _origin(record))
    console = out()
    console.print(table)
    console.print(
        "gym/TASK: a task of reasoning-gym (Apache-2.0), generated; their names: ponder problems --json. "
        "Also hub:OWNER/NAME, and files of your own.",
        soft_wrap=True,
    )
    return 0


def _origin(record: ProblemSet) -> str:
    return "generated" if record.name in STORY_SETS else "a folder"


def _facts(record: ProblemSet) -> dict[str, Any]:
    return {
        "name": record.name,
        "title": record.title,
        "kind": record.kind,
        "licence": record.licence,
        "hub": record.hub or None,
        "revision": record.revision or None,
        "home": record.home or None,
        "splits": {name: files.rows for name, files in record.splits.items()},
        "prompt": record.prompt,
        "note": record.note,
        "also_named": [alias for alias, name in ALIASES.items() if name == record.name],
    }


def _show(arguments: argparse.Namespace) -> int:
    if len(arguments.sets) != 1:
        raise ConfigError("ponder problems show SET: one set is shown; for their names: ponder problems")
    with transfer_display(err()) as report:
        loaded = _loaded(arguments.sets[0], arguments, report, path=arguments.path, split=arguments.split)
    order = loaded.draw(arguments.count or SHOWN, arguments.seed)
    dropped = {
        "duplicates": [asdict(each) for each in loaded.duplicates],
        "left_out": [asdict(each) for each in loaded.left_out],
    }
    if arguments.json:
        shown = [_problem(problem) for problem in order]
        facts = {**_facts(loaded.record), "split": loaded.split, "problems_in_split": len(loaded.problems)}
        print_json({**facts, **dropped, "problems": shown})
        return 0
    console, record = out(), loaded.record
    console.print(f"{record.name}: {record.title}", soft_wrap=True)
    console.print(f"  kind {record.kind}; licence: {record.licence}; from {record.source or 'a file'}", soft_wrap=True)
    console.print(f"  split {loaded.split}: {len(loaded.problems):,} problems", soft_wrap=True)
    for word, each in dropped.items():
        for entry in each[:SHOWN]:
            console.print(f"  {word.replace('_', ' ')}: {entry['place']}: {printable(entry['reason'])}", soft_wrap=True)
        if len(each) > SHOWN:
            console.print(f"  {word.replace('_', ' ')}: {len(each):,} in all", soft_wrap=True)
    for problem in order:
        console.rule(printable(problem.id), align="left")
        console.print(printable(problem.prompt), soft_wrap=True)
        if problem.answer is not None:
            console.print(f"→ {printable(problem.answer)}", style="bold", soft_wrap=True)
    return 0


def _problem(problem: Problem) -> dict[str, Any]:
    return {"id": problem.id, "prompt": problem.prompt, "answer": problem.answer, "facts": dict(problem.facts)}


def _check(arguments: argparse.Namespace) -> int:
    if len(arguments.sets) < 2:
        raise ConfigError("ponder problems check TRAIN EVAL…: a training text and at least one evaluation set")
    train, *evaluations = arguments.sets
    with transfer_display(err()) as report:
        texts = _texts(train, arguments, report)
        found = {}
        for each in evaluations:
            problems = _loaded(each, arguments, report).problems
            found[each] = contaminated(
                texts, problems, run=arguments.words, common=arguments.common, wholes=arguments.whole
            )
    if arguments.json:
        checks = {name: _found(contamination) for name, contamination in found.items()}
        print_json({"train": train, "texts": len(texts), "words": arguments.words, "checks": checks})
    else:
        for name, contamination in found.items():
            _print_found(train, name, contamination)
    return int(any(found.values()))


def _texts(name: str, arguments: argparse.Namespace, report: Report) -> list[str | Problem]:
    if what_is(Path(name)) == "file":
        return list(texts_of(Path(name)))
    return list(_loaded(name, arguments, report).problems)


def _loaded(
    text: str, arguments: argparse.Namespace, report: Report, path: str | None = None, split: str | None = None
) -> LoadedSet:
    if what_is(Path(text)) == "file":
        name = text
    else:
        found = _SET.fullmatch(text)
        if found is None:
            raise ConfigError(f"{text!r} names no set; expected NAME, NAME:SPLIT or NAME:SPLIT=PATH")
        name, split, path = found["name"], split or found["split"], path or found["path"]
    generated = generated_set(name) is not None
    own = name not in PROBLEM_SETS and name not in ALIASES and not generated
    return problem_set(
        name,
        path,
        split=split,
        kind=arguments.kind if own else None,
        fields=read_fields(arguments.fields) if own and arguments.fields is not None else None,
        drop_unanswered=arguments.drop_unanswered,
        count=arguments.count if generated else None,
        seed=arguments.seed,
        report=report,
    )


def _found(contamination: Contamination) -> dict[str, Any]:
    return {
        "problems": contamination.problems,
        "contaminated": len(contamination.problem_ids),
        "too_short_for_runs": contamination.too_short,
        "overlaps": [asdict(overlap) for overlap in contamination.overlaps],
    }


def _print_found(train: str, name: str, contamination: Contamination) -> None:
    console = out()
    of = f"{contamination.texts:,} texts of {train} against {contamination.problems:,} problems of {name}"
    if not contamination:
        console.print(f"{of}: nothing in common (runs of {contamination.run} words)", soft_wrap=True)
    else:
        many = f"{len(contamination.problem_ids):,} problems overlap with {len(contamination.train_indices):,} texts"
        console.print(f"{of}: {many}", soft_wrap=True)
    for overlap in contamination.overlaps[:OVERLAPS]:
        kind = {"same": "the same", "whole": "all of it"}.get(overlap.kind, f"{100 * overlap.share:.0f} % of its runs")
        console.print(
            f"  {overlap.problem}: {kind} in text {overlap.train + 1}: {printable(overlap.shared)}", soft_wrap=True
        )
    if len(contamination.overlaps) > OVERLAPS:
        console.print(f"  … {len(contamination.overlaps):,} in all; --json lists them", soft_wrap=True)
    if contamination.too_short:
        console.print(
            f"  {contamination.too_short} problems are shorter than a run: looked for as a whole", soft_wrap=True
        )
