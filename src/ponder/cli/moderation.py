"""`ponder moderation`: try a site's rules, read what they decided, and answer appeals."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE
from rich.table import Table

from ponder.cli.administration import Administration, add_database, now_ms, open_administration, required, shown_time
from ponder.cli.arguments import count
from ponder.cli.output import out, print_json, printable
from ponder.core.errors import ConfigError
from ponder.serve.moderation.appeals import decide_appeal, list_appeals
from ponder.serve.moderation.audit import list_entries
from ponder.serve.moderation.matcher import Matcher, scan
from ponder.serve.moderation.rules import STAGES, load_rules

ACTIONS = ("check", "audit", "appeals", "uphold", "reverse")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=ACTIONS,
        help="check: try a file of rules; audit: what was decided; appeals: who objects; uphold, reverse: answer one",
    )
    parser.add_argument("name", metavar="RULES|APPEAL", nargs="?", help="with check: the file; else an appeal's id")
    parser.add_argument("--text", metavar="TEXT", help="with check: what to look at (standard input)")
    parser.add_argument("--stage", choices=STAGES, default="output", help="with check: what the text is (output)")
    parser.add_argument("--answer", metavar="TEXT", help="with uphold and reverse: what its author is told")
    parser.add_argument("--last", type=count, default=50, metavar="N", help="with audit: how many to show (50)")
    add_database(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "check":
        result = _check(arguments)
    else:
        with open_administration(arguments) as administration:
            result = _do(administration, arguments)
    if arguments.json:
        print_json(result)
    else:
        _print(result)
    return 0


def _check(arguments: argparse.Namespace) -> dict[str, Any]:
    book = load_rules(Path(required(arguments.name, "ponder moderation check", "RULES")))
    matcher = Matcher([rule for rule in book.rules if arguments.stage in rule.stages])
    text = sys.stdin.read() if arguments.text is None else arguments.text
    matches = [
        {
            "rule": match.rule.number,
            "title": match.rule.title["en"],
            "action": match.rule.action,
            "review": match.rule.review,
            "begin": match.begin,
            "end": match.end,
            "matched": match.text,
        }
        for match in scan(matcher, text)
    ]
    return {"rules": len(matcher.rules), "stage": arguments.stage, "held_back": matcher.window, "matches": matches}


def _do(administration: Administration, arguments: argparse.Namespace) -> dict[str, Any]:
    database = administration.database
    if arguments.action == "audit":
        return {"audit": database.read_now(lambda connection: list_entries(connection, arguments.last))}
    if arguments.action == "appeals":
        return {"appeals": [asdict(appeal) for appeal in database.read_now(list_appeals)]}
    command = f"ponder moderation {arguments.action}"
    appeal = required(arguments.name, command, "APPEAL")
    answer = arguments.answer
    if not answer:
        raise ConfigError(f"{command}: its author gets an answer; write --answer TEXT")
    state: Literal["upheld", "reversed"] = "upheld" if arguments.action == "uphold" else "reversed"
    database.write_now(lambda connection: decide_appeal(connection, appeal, state, answer, now_ms=now_ms()))
    return {"appeal": appeal, "done": f"the decision is {state}"}


def _print(result: dict[str, Any]) -> None:
    if "done" in result:
        out().print(f"{result['appeal']}: {result['done']}", soft_wrap=True)
    elif "appeals" in result:
        for appeal in result["appeals"]:
            when = shown_time(appeal["created_ms"])
            out().print(f"{appeal['id']}  {when}  {appeal['state']}  request {appeal['request_id']}", soft_wrap=True)
            out().print(f"    {printable(appeal['text'])}", soft_wrap=True)
        if not result["appeals"]:
            out().print("no appeals")
    elif "audit" in result:
        _print_table(
            ["when (UTC)", "rule", "action", "part", "account", "request", "review"],
            [
                [
                    shown_time(entry["created_ms"]),
                    str(entry["rule"]),
                    entry["action"],
                    entry["part"],
                    entry["account_id"],
                    entry["request_id"],
                    entry["review"],
                ]
                for entry in result["audit"]
            ],
        )
    else:
        out().print(
            f"{result['rules']} rules for {result['stage']}, which hold back at most {result['held_back']} characters"
        )
        _print_table(
            ["rule", "title", "action", "from", "to", "matched"],
            [
                [
                    str(match["rule"]),
                    printable(match["title"]),
                    f"review, then {match['action']}" if match["review"] else match["action"],
                    str(match["begin"]),
                    str(match["end"]),
                    printable(match["matched"]),
                ]
                for match in result["matches"]
            ],
        )


def _print_table(headings: list[str], rows: list[list[str]]) -> None:
    if not rows:
        out().print("nothing was found")
        return
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    out().print(table)
