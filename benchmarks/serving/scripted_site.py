"""A whole server in front of a scripted engine of fixed speed, for the measurements beside this file.

    python benchmarks/serving/scripted_site.py [--tokens-per-second 50] [--answer 50] [--running 32] [--queue 64] …

Prints one line of JSON when it serves: its address, and the keys of `--users N` accounts (0: open mode). Everything it
keeps is in `--folder`; a second start with the same folder goes on with it. Its log goes to the error stream.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path

import uvloop
from obliging_model import oblige
from sqlalchemy import Connection

from ponder.serve.accounts.accounts import Accounts
from ponder.serve.accounts.config import AccountsConfig
from ponder.serve.accounts.keys import ApiKeys
from ponder.serve.accounts.secret import load_secret
from ponder.serve.config import ServeConfig
from ponder.serve.connection import ConnectionLimits
from ponder.serve.ledger.prices import ModelPrice, PricesConfig
from ponder.serve.ledger.welcome import welcome
from ponder.serve.limits.settings import AccountLimits, BrakeSettings, GateSettings
from ponder.serve.operations.logs import configure_logs
from ponder.serve.operations.settings import OperationsSettings
from ponder.serve.scripted import Script, ScriptedBackend
from ponder.serve.server import Server, ServerSettings, bind, keep_what_is_loaded
from ponder.serve.site import open_site
from ponder.serve.storage.config import StorageConfig
from ponder.serve.storage.database import Database

PRICES = PricesConfig(
    models=(ModelPrice(model="*", cache_hit=0.5, cache_miss=2.0, output=8.0),), welcome_grant=1_000_000.0
)
PASSWORD = "a long enough password"  # of every user that is made here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens-per-second", type=float, default=50.0, help="of each stream; 0: all at once")
    parser.add_argument("--answer", type=int, default=50, help="tokens of an answer")
    parser.add_argument("--token-bytes", type=int, default=5)
    parser.add_argument("--obliging", action="store_true", help="not words: the model of obliging_model.py")
    parser.add_argument("--running", type=int, default=32, help="places of the gate")
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--account-running", type=int, help="places that one account may have")
    parser.add_argument("--users", type=int, default=0)
    parser.add_argument("--prices", action="store_true", help="every token costs, and the users have money")
    parser.add_argument("--drain", type=float, default=5.0, help="seconds")
    parser.add_argument("--write-seconds", type=float, default=20.0, help="that a reader may leave unread")
    parser.add_argument("--brake-hold", type=float, default=30.0, help="seconds until the registration brake goes off")
    parser.add_argument("--behind-proxy", action="store_true", help="believe X-Forwarded-For: many addresses in one")
    parser.add_argument("--log-level", default="info")
    arguments = parser.parse_args()
    settings = settings_of(arguments)
    configure_logs(settings.operations)
    with bind(settings.server) as listening, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, arguments, listening))


def settings_of(arguments: argparse.Namespace) -> ServeConfig:
    folder: Path = arguments.folder
    account = AccountLimits(running_samples=arguments.account_running)
    return ServeConfig(
        server=ServerSettings(
            port=arguments.port,
            drain_seconds=arguments.drain,
            proxies=("127.0.0.1",) if arguments.behind_proxy else (),
            limits=ConnectionLimits(write_seconds=arguments.write_seconds),
        ),
        brake=BrakeSettings(hold=arguments.brake_hold),
        limits=GateSettings(running_samples=arguments.running, queue=arguments.queue, account=account),
        accounts=AccountsConfig(
            mode="accounts" if arguments.users else "open", registration="open", secret_file=folder / "secret"
        ),
        storage=StorageConfig(url=f"sqlite:///{folder / 'ponder.db'}"),
        prices=PRICES if arguments.prices else PricesConfig(),
        operations=OperationsSettings(log_level=arguments.log_level),
    )


async def make_users(settings: ServeConfig, count: int) -> list[str]:
    """The keys of new accounts `user0`, `user1`, …"""
    secret = load_secret(settings.accounts.secret_file, create=True)
    database = await asyncio.to_thread(Database.open, settings.storage)

    def give_money(connection: Connection, account: str) -> None:
        welcome(connection, account, settings.prices, now_ms=int(1000 * time.time()))

    accounts = Accounts(database, settings.accounts, secret, on_created=give_money)
    keys = ApiKeys(database, settings.accounts, secret)
    made = []
    for number in range(count):
        account = await accounts.register(f"user{number}", PASSWORD)
        made.append((await keys.create(account.id, "benchmark")).key)
    accounts.close()
    await asyncio.to_thread(database.close)
    return made


async def serve(settings: ServeConfig, arguments: argparse.Namespace, listening: object) -> None:
    keys_file: Path = arguments.folder / "keys.json"
    if not keys_file.exists():
        keys_file.write_text(json.dumps(await make_users(settings, arguments.users) if arguments.users else []))
    words = Script(answer=("w" * (arguments.token_bytes - 1) + " ") * arguments.answer)
    script = oblige if arguments.obliging else lambda ask: words
    backend = ScriptedBackend(script, tokens_per_second=arguments.tokens_per_second)
    async with open_site(settings, [backend]) as site:

        def tell(address: str) -> None:
            print(json.dumps({"address": address, "keys": json.loads(keys_file.read_text())}), flush=True)

        dropped = site.operations.connection_dropped
        server = Server(site.app, settings.server, drain=site.drain, dropped=dropped, started=tell)
        keep_what_is_loaded()
        await server.serve([listening])  # type: ignore[list-item]


if __name__ == "__main__":
    main()
