"""`ponder credit`: what an account can spend, and money for it."""

import argparse
import secrets
from typing import Any

from ponder.cli.administration import add_database, now_ms, open_administration
from ponder.cli.output import out, print_json, printable
from ponder.serve.accounts.accounts import find_by_name
from ponder.serve.ledger.amounts import exact_amount, parse_amount
from ponder.serve.ledger.ledger import add_money, wallet_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="whose account; a name or an account's id")
    parser.add_argument(
        "amount",
        metavar="AMOUNT",
        nargs="?",
        help="what was paid, such as 10.50; below 0, such as -10.50: taken back (nothing: show)",
    )
    parser.add_argument("--grant", action="store_true", help="a gift: spent first, and told apart from what was paid")
    parser.add_argument(
        "--reference", metavar="TEXT", help="a payment's own number: the same one twice is booked once (a random one)"
    )
    parser.add_argument("--note", default="", metavar="TEXT", help="kept with the entry")
    add_database(parser)


def run(arguments: argparse.Namespace) -> int:
    amount = None if arguments.amount is None else parse_amount(arguments.amount)
    with open_administration(arguments) as administration:
        database, currency = administration.database, administration.config.prices.currency
        account = database.read_now(lambda c: find_by_name(c, arguments.name))
        booked = None
        if amount is not None:
            reference = arguments.reference or f"cli-{secrets.token_hex(8)}"
            booked = database.write_now(
                lambda c: add_money(
                    c,
                    "grant" if arguments.grant else "credit",
                    account.id,
                    currency,
                    amount,
                    reference=reference,
                    now_ms=now_ms(),
                    note=arguments.note,
                )
            )
        wallet = database.read_now(lambda c: wallet_of(c, account.id, currency))
    result: dict[str, Any] = {
        "user": {"id": account.id, "name": account.name},
        "currency": currency,
        "granted": exact_amount(wallet.granted),
        "topped_up": exact_amount(wallet.topped_up),
        "reserved": exact_amount(wallet.reserved),
        "booked": booked,
    }
    if arguments.json:
        print_json(result)
    else:
        _print(result)
    return 0


def _print(result: dict[str, Any]) -> None:
    if result["booked"] is False:
        out().print("this reference was booked before; nothing was changed", soft_wrap=True)
    out().print(
        f"{printable(result['user']['name'])}: {result['topped_up']} {result['currency']} topped up, "
        f"{result['granted']} granted, {result['reserved']} held back for requests under way",
        soft_wrap=True,
    )
