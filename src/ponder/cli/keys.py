"""`ponder keys`: API keys of the accounts."""

import argparse
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from ponder.cli.administration import (
    Administration,
    add_database,
    now_ms,
    open_administration,
    required,
    shown_time,
)
from ponder.cli.output import err, out, print_json, printable
from ponder.core.errors import ConfigError
from ponder.serve.accounts.accounts import find_by_name, list_accounts
from ponder.serve.accounts.keys import create_key, list_keys, revoke_key

ACTIONS = ("list", "create", "revoke")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        metavar=f"{{{','.join(ACTIONS)}}}",
        nargs="?",
        default="list",
        help="what to do (list); a NAME alone: list this account's keys",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="whose keys; with revoke: the key's id")
    parser.add_argument("--label", default="", metavar="TEXT", help="with create: what the key is for")
    parser.add_argument("--all", action="store_true", help="with list: the revoked ones too")
    add_database(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.action not in ACTIONS:
        if arguments.name is not None:
            raise ConfigError(f"ponder keys {arguments.action}: expected one of {', '.join(ACTIONS)}, or a name alone")
        arguments.action, arguments.name = "list", arguments.action
    with open_administration(arguments) as administration:
        result = _do(administration, arguments)
    if arguments.json:
        print_json(result)
    elif arguments.action == "list":
        _print_list(result)
    elif arguments.action == "create":
        err().print("This is the only time that the key is shown:", soft_wrap=True)
        print(result["key"])
    else:
        out().print(f"{result['revoked']} is revoked; a running server refuses it within a second", soft_wrap=True)
    return 0


def _do(administration: Administration, arguments: argparse.Namespace) -> dict[str, Any]:
    database = administration.database
    if arguments.action == "list":
        name = arguments.name
        account = None if name is None else database.read_now(lambda c: find_by_name(c, name)).id
        found = database.read_now(lambda c: list_keys(c, account, revoked=arguments.all))
        names = {user.id: user.name for user in database.read_now(list_accounts)}
        return {"keys": [asdict(key) | {"account_name": names.get(key.account, "")} for key in found]}
    if arguments.action == "revoke":
        key = required(arguments.name, "ponder keys revoke", "KEY-ID")
        database.write_now(lambda c: revoke_key(c, None, key, now_ms=now_ms()))
        return {"revoked": key}
    owner = required(arguments.name, "ponder keys create", "NAME")
    secret, most = administration.secret(), administration.config.accounts.max_keys
    new = database.write_now(
        lambda c: create_key(c, secret, find_by_name(c, owner).id, arguments.label, now_ms=now_ms(), most=most)
    )
    return {"key": new.key, **asdict(new.info)}


def _print_list(result: dict[str, Any]) -> None:
    if not result["keys"]:
        out().print("no keys; make one with: ponder keys create NAME", soft_wrap=True)
        return
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("id", "user", "for", "key", "since (UTC)", "last used", "revoked"):
        table.add_column(heading, overflow="fold")
    for key in result["keys"]:
        table.add_row(
            key["id"],
            printable(key["account_name"]),
            printable(key["name"]),
            f"sk-…{key['last4']}",
            shown_time(key["created_ms"]),
            shown_time(key["last_used_ms"]),
            shown_time(key["revoked_ms"]),
        )
    out().print(table)
