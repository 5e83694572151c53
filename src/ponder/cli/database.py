"""`ponder database`: the server's database itself."""

import argparse
from pathlib import Path
from typing import Any

from ponder.cli.administration import Administration, add_database, open_administration, required
from ponder.cli.output import out, print_json
from ponder.serve.ledger.ledger import audit
from ponder.serve.storage.backup import back_up, integrity_faults
from ponder.serve.storage.migrate import newest_revision

ACTIONS = ("check", "upgrade", "backup")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS, nargs="?", default="check", help="what to do (check)")
    parser.add_argument("file", metavar="FILE", nargs="?", help="with backup: where to, a file that is not there yet")
    add_database(parser)


def run(arguments: argparse.Namespace) -> int:
    upgrades = arguments.action == "upgrade"
    with open_administration(arguments, migrate=upgrades, create=upgrades) as administration:
        result = _do(administration, arguments)
    if arguments.json:
        print_json(result)
    else:
        for line in result["faults"] or [result["done"]]:
            out().print(line, soft_wrap=True)
    return 1 if result["faults"] else 0


def _do(administration: Administration, arguments: argparse.Namespace) -> dict[str, Any]:
    database = administration.database
    facts = {"database": database.name, "revision": newest_revision(), "faults": []}
    if arguments.action == "upgrade":
        return facts | {"done": f"{database.name} is at revision {facts['revision']}"}
    if arguments.action == "backup":
        path = Path(required(arguments.file, "ponder database backup", "FILE"))
        back_up(database, path)
        return facts | {
            "done": f"{path} is a backup of {database.name}. The server's secret is not in it: keep a copy of "
            f"{administration.config.accounts.secret_file} in another place"
        }
    faults = integrity_faults(database) + database.read_now(audit)
    whole = "the file is whole and the ledger's sums are right" if database.is_sqlite else "the ledger's sums are right"
    return facts | {"faults": faults, "done": f"{database.name}: {whole}"}
