"""`ponder users`: who has an account."""

import argparse
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from sqlalchemy import Connection

from ponder.cli.administration import (
    Administration,
    add_database,
    now_ms,
    open_administration,
    read_password,
    required,
    shown_time,
)
from ponder.cli.output import out, print_json, printable
from ponder.cli.values import count
from ponder.serve.accounts import accounts
from ponder.serve.accounts.invites import create_invite
from ponder.serve.accounts.names import checked_password
from ponder.serve.accounts.passwords import Passwords
from ponder.serve.deletion import delete_belongings
from ponder.serve.ledger.welcome import welcome

ACTIONS = ("list", "add", "password", "suspend", "activate", "delete", "invite")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS, nargs="?", default="list", help="what to do (list)")
    parser.add_argument("name", metavar="NAME", nargs="?", help="whose account; a name or an account's id")
    parser.add_argument(
        "--admin", action="store_true", help="with add: its keys see the server's figures, and set its brake"
    )
    parser.add_argument("--no-password", action="store_true", help="with add: may use keys, and not log in")
    parser.add_argument("--no-grant", action="store_true", help="with add: without the settings' welcome_grant")
    parser.add_argument("--uses", type=count, default=1, metavar="N", help="with invite: how many may use it (1)")
    parser.add_argument("--days", type=count, default=7, metavar="N", help="with invite: how long it is good for (7)")
    add_database(parser)


def run(arguments: argparse.Namespace) -> int:
    with open_administration(arguments, create=arguments.action in ("add", "invite")) as administration:
        result = _do(administration, arguments)
    if arguments.json:
        print_json(result)
    elif arguments.action == "list":
        _print_list(result)
    elif arguments.action == "invite":
        out().print(result["invite"], soft_wrap=True)
    else:
        user = result["user"]
        out().print(f"{printable(user['name'])}: {result['done']} (id {user['id']})", soft_wrap=True)
    return 0


def _do(administration: Administration, arguments: argparse.Namespace) -> dict[str, Any]:
    database = administration.database
    if arguments.action == "list":
        found = database.read_now(accounts.list_accounts)
        return {"users": [asdict(account) for account in found], "database": database.name}
    if arguments.action == "invite":
        secret, uses, days = administration.secret(), arguments.uses, arguments.days
        code = database.write_now(lambda c: create_invite(c, secret, uses=uses, days=days, now_ms=now_ms()))
        return {"invite": code, "uses": uses, "days": days}
    name = required(arguments.name, f"ponder users {arguments.action}", "NAME")
    if arguments.action == "add":
        return _add(administration, name, arguments)
    account = database.read_now(lambda c: accounts.find_by_name(c, name))
    if arguments.action == "password":
        password_hash = _new_password_hash(administration, account.name)
        database.write_now(lambda c: accounts.set_password_hash(c, account.id, password_hash))
        return {"user": asdict(account), "done": "has a new password, and is logged out everywhere"}
    if arguments.action == "delete":
        database.write_now(lambda c: accounts.delete_account(c, account.id, delete_belongings))
        return {"user": asdict(account), "done": "deleted, with all keys; what it used and paid stays on the books"}
    suspended = arguments.action == "suspend"
    database.write_now(lambda c: accounts.set_state(c, account.id, "suspended" if suspended else "active"))
    done = "suspended: keys are refused and logins have ended" if suspended else "active"
    return {"user": asdict(account), "done": done}


def _add(administration: Administration, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    password_hash = None if arguments.no_password else _new_password_hash(administration, name)
    prices = administration.config.prices

    def add(connection: Connection) -> tuple[accounts.Account, str]:
        account = accounts.create_account(connection, name, password_hash, now_ms=now_ms(), admin=arguments.admin)
        granted = "" if arguments.no_grant else welcome(connection, account.id, prices, now_ms=now_ms())
        return account, granted

    account, granted = administration.database.write_now(add)
    done = f"added, with {granted} {prices.currency} granted" if granted else "added"
    return {"user": asdict(account), "granted": granted or "0.00", "currency": prices.currency, "done": done}


def _new_password_hash(administration: Administration, name: str) -> str:
    config = administration.config.accounts
    password = checked_password(read_password(), name, config.min_password)
    passwords = Passwords(config.hashing)
    try:
        return passwords.hash_now(password)
    finally:
        passwords.close()


def _print_list(result: dict[str, Any]) -> None:
    if not result["users"]:
        out().print(f"no accounts in {result['database']}; make one with: ponder users add NAME", soft_wrap=True)
        return
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("name", "id", "state", "", "since (UTC)"):
        table.add_column(heading, overflow="fold")
    for user in result["users"]:
        notes = ", ".join(
            word for word, holds in (("admin", user["admin"]), ("no password", not user["has_password"])) if holds
        )
        table.add_row(printable(user["name"]), user["id"], user["state"], notes, shown_time(user["created_ms"]))
    out().print(table)
