"""`ponder usage`: what was used, and what it cost."""

import argparse
from datetime import UTC, date, datetime, timedelta
from typing import Any

from rich.box import SIMPLE

from ponder.cli.administration import add_database, open_administration
from ponder.cli.output import out, print_json, printable
from ponder.cli.tables import FigureTable
from ponder.cli.values import count
from ponder.core.errors import ConfigError
from ponder.serve.accounts.accounts import find_by_name, list_accounts
from ponder.serve.ledger.amounts import exact_amount
from ponder.serve.ledger.usage import By, UsageSum, sum_usage

COLUMNS: dict[str, By] = {"day": "day", "user": "account", "key": "key", "model": "model"}
DAYS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="of one account; a name or an account's id")
    parser.add_argument(
        "--by", default="day,model", metavar="WORDS", help=f"summed by which of {', '.join(COLUMNS)} (day,model)"
    )
    parser.add_argument("--days", type=count, default=DAYS, metavar="N", help=f"the last days, UTC ({DAYS})")
    parser.add_argument("--from", dest="first", type=_day, metavar="DATE", help="from this day, such as 2026-01-31")
    parser.add_argument("--to", dest="last", type=_day, metavar="DATE", help="to this day, with it (today)")
    add_database(parser)


def run(arguments: argparse.Namespace) -> int:
    by = _by(arguments.by)
    last = arguments.last or datetime.now(UTC).date()
    first = arguments.first or last - timedelta(days=arguments.days - 1)
    if first > last:
        raise ConfigError(f"the days from {first} to {last} are none; write the earlier one as --from")
    with open_administration(arguments) as administration:
        database = administration.database
        name = arguments.name
        account = None if name is None else database.read_now(lambda c: find_by_name(c, name)).id
        sums = database.read_now(
            lambda c: sum_usage(c, by, account=account, from_ms=_ms(first), to_ms=_ms(last + timedelta(days=1)))
        )
        names = {user.id: user.name for user in database.read_now(list_accounts)}
    rows = [_row(row, names) for row in sums]
    if arguments.json:
        print_json({"from": first.isoformat(), "to": last.isoformat(), "usage": rows})
    elif not rows:
        out().print(f"nothing was used from {first} to {last} (UTC)", soft_wrap=True)
    else:
        _print(rows, [word for word, column in COLUMNS.items() if column in by])
    return 0


def _by(text: str) -> list[By]:
    words = text.split(",")
    for word in words:
        if word not in COLUMNS:
            raise ConfigError(f"--by {text!r}: {word!r} is nothing to sum by; expected some of {','.join(COLUMNS)}")
    return [column for word, column in COLUMNS.items() if word in words]


def _row(row: UsageSum, names: dict[str, str]) -> dict[str, Any]:
    return {
        "day": None if row.day is None else datetime.fromtimestamp(row.day / 1000, UTC).date().isoformat(),
        "user": None if row.account is None else names.get(row.account, row.account),
        "key": row.key,
        "model": row.model,
        "requests": row.requests,
        "cache_hit_tokens": row.cache_hit_tokens,
        "cache_miss_tokens": row.cache_miss_tokens,
        "completion_tokens": row.completion_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "cost": exact_amount(row.micro_units),
        "currency": row.currency,
    }


def _print(rows: list[dict[str, Any]], by: list[str]) -> None:
    table = FigureTable(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for word in by:
        table.add_column(word, overflow="fold")
    for heading in ("requests", "in: cached", "in: new", "out", "thought", "cost"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            *(printable(row[word] or ("(browser)" if word == "key" else "")) for word in by),
            f"{row['requests']:,}",
            f"{row['cache_hit_tokens']:,}",
            f"{row['cache_miss_tokens']:,}",
            f"{row['completion_tokens']:,}",
            f"{row['reasoning_tokens']:,}",
            f"{row['cost']} {row['currency']}",
        )
    out().print(table)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a day such as 2026-01-31") from None


def _ms(day: date) -> int:
    return int(1000 * datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
