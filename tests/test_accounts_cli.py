"""`ponder users`, `keys`, `credit`, `usage` and `database`, on the database of a server that may be running."""

import asyncio
import io
import json
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import create_engine, func, insert, select, text

from ponder.cli.main import main
from ponder.serve.accounts.accounts import Accounts
from ponder.serve.accounts.authenticator import AccountAuthenticator
from ponder.serve.accounts.config import AccountsConfig
from ponder.serve.accounts.secret import load_secret
from ponder.serve.errors import ApiError
from ponder.serve.ledger.meter import LedgerMeter
from ponder.serve.ledger.prices import PricesConfig, PriceTable
from ponder.serve.records import Ask, Caller, PlainText, Usage
from ponder.serve.storage import migrate
from ponder.serve.storage.config import StorageConfig
from ponder.serve.storage.database import Database
from ponder.serve.web_api.tables import conversations

PASSWORD = "correct horse battery staple"
URL = "sqlite:///server/ponder.db"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ponder(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command with --json; the object that it printed, or its code and message where it failed."""

    def run(*words: str, typed: str = "", json_form: bool = True) -> Any:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        code = main([*words, *(["--json"] if json_form else [])])
        output, messages = capsys.readouterr()
        assert "correct horse" not in output + messages
        if code == 0 and json_form:
            return json.loads(output)
        return code, output + messages

    return run


def keep_conversation(account: str) -> None:
    database = Database.open(StorageConfig(url=URL))
    values = {"id": "c", "account_id": account, "title": "canary", "created_ms": 1, "updated_ms": 1}
    database.write_now(lambda connection: connection.execute(insert(conversations), values).rowcount)
    database.close()


def kept_conversations() -> int:
    database = Database.open(StorageConfig(url=URL))
    found = database.read_now(lambda c: c.execute(select(func.count()).select_from(conversations)).scalar_one())
    database.close()
    return found


def log_in(name: str, password: str) -> str:
    """What a running server would say: the name of the account, or the code of the refusal."""
    database = Database.open(StorageConfig(url=URL))
    accounts = Accounts(database, AccountsConfig(), load_secret(Path("server/secret"), create=True))
    try:
        return asyncio.run(accounts.log_in(name, password)).name
    except ApiError as error:
        return error.code or ""
    finally:
        accounts.close()
        database.close()


def authenticate(key: str) -> Caller | int:
    database = Database.open(StorageConfig(url=URL))
    config = AccountsConfig()
    authenticator = AccountAuthenticator(database, config, load_secret(config.secret_file, create=False))
    try:
        return asyncio.run(authenticator.authenticate({"authorization": f"Bearer {key}"}, "::1"))
    except ApiError as error:
        return error.status
    finally:
        database.close()


def test_an_account_from_its_first_day_to_its_last(ponder: Any) -> None:
    added = ponder("users", "add", "Ada", "--admin", typed=f"{PASSWORD}\n")["user"]
    assert (added["name"], added["admin"], added["has_password"], added["state"]) == ("Ada", True, True, "active")
    assert log_in("ada", PASSWORD) == "Ada"
    assert [user["name"] for user in ponder("users", "list")["users"]] == ["Ada"]

    ponder("users", "password", "ada", typed="another good one\r\n")
    assert (log_in("ada", PASSWORD), log_in("ada", "another good one")) == ("wrong_credentials", "Ada")
    ponder("users", "suspend", added["id"])
    assert log_in("ada", "another good one") == "account_suspended"
    ponder("users", "activate", "ADA")
    assert log_in("ada", "another good one") == "Ada"
    keep_conversation(added["id"])
    assert kept_conversations() == 1
    ponder("users", "delete", "Ada")
    assert kept_conversations() == 0
    assert log_in("ada", "another good one") == "wrong_credentials"
    assert ponder("users")["users"] == []


def test_a_key_from_its_first_day_to_its_last(ponder: Any, here: Path) -> None:
    user = ponder("users", "add", "bot", "--no-password")["user"]
    assert user["has_password"] is False
    new = ponder("keys", "create", "bot", "--label", "laptop")
    assert authenticate(new["key"]) == Caller(account=user["id"], key=new["id"], address="::1")
    (listed,) = ponder("keys")["keys"]
    assert (listed["account_name"], listed["name"], listed["last4"]) == ("bot", "laptop", new["key"][-4:])
    assert new["key"] not in json.dumps(listed)
    assert ponder("keys", "revoke", new["id"]) == {"revoked": new["id"]}
    assert authenticate(new["key"]) == 401
    assert ponder("keys", "list", "bot")["keys"] == []
    assert len(ponder("keys", "list", "bot", "--all")["keys"]) == 1
    assert new["key"][3:].encode() not in b"".join(path.read_bytes() for path in (here / "server").iterdir())


def test_a_name_alone_lists_its_keys(ponder: Any) -> None:
    ponder("users", "add", "bot", "--no-password")
    ponder("users", "add", "other", "--no-password")
    made = ponder("keys", "create", "bot")
    ponder("keys", "create", "other")
    assert [key["id"] for key in ponder("keys", "bot")["keys"]] == [made["id"]]
    code, message = ponder("keys", "crate", "bot")
    assert (code, "ponder keys crate: expected one of list, create, revoke, or a name alone" in message) == (1, True)
    code, message = ponder("keys", "nobody")
    assert (code, "there is no such account" in message) == (1, True)


@pytest.mark.parametrize(
    "words",
    [["users"], ["users", "suspend", "ada"], ["keys"], ["keys", "create", "ada"], ["credit", "ada"], ["usage"],
     ["database"], ["database", "backup", "x.db"], ["moderation", "audit"]],
)  # fmt: skip
def test_what_reads_makes_no_database(ponder: Any, here: Path, words: list[str]) -> None:
    code, message = ponder(*words)
    assert (code, "there is no database server/ponder.db here" in message) == (1, True)
    assert list(here.iterdir()) == []


def test_an_account_is_welcomed_as_one_that_signs_up(ponder: Any, here: Path) -> None:
    (here / "site.toml").write_text("[prices]\nwelcome_grant = 1.5\n")
    settings = ("--config", "site.toml")
    added = ponder("users", "add", "ada", "--no-password", *settings)
    assert (added["granted"], added["done"]) == ("1.50", "added, with 1.50 CNY granted")
    assert ponder("users", "add", "bot", "--no-password", "--no-grant", *settings)["granted"] == "0.00"
    assert [ponder("credit", name, *settings)["granted"] for name in ("ada", "bot")] == ["1.50", "0.00"]


def test_the_key_alone_is_on_standard_output(ponder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ponder("users", "add", "bot", "--no-password")
    assert main(["keys", "create", "bot"]) == 0
    output, messages = capsys.readouterr()
    assert output.startswith("sk-")
    assert output.count("\n") == 1
    assert "only time" in messages


def test_an_invitation_is_a_code(ponder: Any) -> None:
    made = ponder("users", "invite", "--uses", "3", "--days", "2")
    assert (len(made["invite"]), made["uses"], made["days"]) == (20, 3, 2)
    assert stat.S_IMODE(Path("server/secret").stat().st_mode) == 0o600


def test_money_is_booked_once_for_its_reference(ponder: Any) -> None:
    ponder("users", "add", "ada", "--no-password")
    first = ponder("credit", "ada", "10.50", "--reference", "invoice 7")
    assert (first["topped_up"], first["granted"], first["currency"], first["booked"]) == ("10.50", "0.00", "CNY", True)
    assert ponder("credit", "ada", "10.50", "--reference", "invoice 7")["booked"] is False
    assert ponder("credit", "ada", "0.000001", "--grant", "--note", "hello")["granted"] == "0.000001"
    assert ponder("credit", "ada", "-0.5")["topped_up"] == "10.00"
    assert ponder("credit", "ada")["topped_up"] == "10.00"
    code, message = ponder("credit", "ada", "-11")
    assert (code, "Insufficient Balance" in message) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ("ada", "-0.0005", "--grant"),
        ("ada", "--grant", "-0.0005"),
        ("--grant", "ada", "-0.0005"),
        ("--grant", "ada", "--note", "taken back", "-0.0005"),
        ("ada", "--reference", "r", "-0.0005", "--grant"),
    ],
)
def test_an_amount_may_stand_anywhere(ponder: Any, words: tuple[str, ...]) -> None:
    ponder("users", "add", "ada", "--no-password")
    assert ponder("credit", "ada", "--grant", "1")["granted"] == "1.00"
    taken = ponder("credit", *words)
    assert (taken["granted"], taken["topped_up"], taken["booked"]) == ("0.9995", "0.00", True)
    assert ponder("keys", "create", "--label", "laptop", "ada")["name"] == "laptop"


def test_usage_is_summed_by_what_is_asked(ponder: Any) -> None:
    user = ponder("users", "add", "ada", "--no-password")["user"]["id"]
    database = Database.open(StorageConfig(url=URL))

    async def use() -> None:
        meter = LedgerMeter(database, PriceTable(PricesConfig()), clock=lambda: 1_740_830_400.0)
        for number in range(3):
            ask = Ask(id=f"{number}", model="m" if number else "n", prompt=PlainText(text="canary"))
            reservation = await meter.reserve(ask, Caller(account=user), Small())
            await meter.settle(reservation, Usage(prompt_tokens=5, cache_hit_tokens=1, completion_tokens=7), "stop")

    asyncio.run(use())
    database.close()
    within = ("--from", "2025-02-01", "--to", "2025-03-01")
    rows = ponder("usage", "ada", *within)["usage"]
    assert [(row["day"], row["model"], row["requests"], row["completion_tokens"]) for row in rows] == [
        ("2025-03-01", "m", 2, 14), ("2025-03-01", "n", 1, 7),
    ]  # fmt: skip
    (total,) = ponder("usage", *within, "--by", "user")["usage"]
    assert (total["user"], total["requests"], total["cache_hit_tokens"], total["cost"]) == ("ada", 3, 3, "0.00")
    assert ponder("usage", "--days", "3")["usage"] == []


class Small:
    prompt_tokens = 5
    max_completion_tokens = 7


def test_a_database_is_checked_and_backed_up_while_it_is_used(ponder: Any, here: Path) -> None:
    ponder("users", "add", "ada", "--no-password")
    ponder("credit", "ada", "5")
    in_use = Database.open(StorageConfig(url=URL))
    in_use.become_the_server()
    assert ponder("database")["faults"] == []
    assert "server/secret" in ponder("database", "backup", "copy.db")["done"]
    in_use.close()
    assert sorted(path.name for path in here.iterdir()) == ["copy.db", "server"]
    assert stat.S_IMODE((here / "copy.db").stat().st_mode) == 0o600
    assert ponder("users", "--database", "sqlite:///copy.db")["users"][0]["name"] == "ada"
    code, message = ponder("database", "backup", "copy.db")
    assert (code, "copy.db is there already" in message) == (1, True)


def test_damaged_books_are_found(ponder: Any) -> None:
    ponder("users", "add", "ada", "--no-password")
    ponder("credit", "ada", "5")
    database = Database.open(StorageConfig(url=URL))
    database.write_now(lambda c: c.execute(text("UPDATE wallets SET topped_up = topped_up + 1")).rowcount)
    database.close()
    code, output = ponder("database", "check", json_form=False)
    assert code == 1
    assert "topped_up has 5000001, its entries say 5000000" in output


def test_an_older_database_is_upgraded_only_when_asked(ponder: Any) -> None:
    """As the first version left it."""
    Path("server").mkdir()
    connection = sqlite3.connect("server/ponder.db")
    connection.execute("PRAGMA journal_mode = wal")
    connection.close()
    engine = create_engine("sqlite:///server/ponder.db")
    with engine.begin() as database:
        config = migrate._config(migrate.STEPS)
        config.attributes["connection"] = database
        command.upgrade(config, "0001")
    engine.dispose()
    code, message = ponder("users")
    assert (code, "at revision 0001" in message, "run: ponder database upgrade" in message) == (1, True, True)
    assert ponder("database", "upgrade")["revision"] == migrate.newest_revision()
    assert ponder("users")["users"] == []


def test_settings_come_from_the_servers_file(ponder: Any, here: Path) -> None:
    (here / "site.toml").write_text(
        f'[storage]\nurl = "sqlite:///{here}/other/x.db"\n[accounts]\nsecret_file = "{here}/other/s"\n'
        '[prices]\ncurrency = "USD"\n'
    )
    ponder("users", "add", "ada", "--no-password", "--config", "site.toml")
    assert ponder("credit", "ada", "1", "--config", "site.toml")["currency"] == "USD"
    ponder("keys", "create", "ada", "--config", "site.toml")
    assert {path.name for path in (here / "other").iterdir()} >= {"x.db", "s"}
    assert not (here / "server").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["users", "add"], "NAME is missing; write ponder users add NAME"),
        (["users", "suspend", "nobody"], "there is no such account"),
        (["users", "add", "a b", "--no-password"], "holds a space or an invisible character"),
        (["users", "add", "ada"], "the password has fewer than 8 characters"),
        (["keys", "create"], "NAME is missing; write ponder keys create NAME"),
        (["keys", "revoke", "key-1"], "there is no such valid key"),
        (["keys", "create", "nobody"], "there is no such account"),
        (["credit", "nobody"], "there is no such account"),
        (["credit", "nobody", "ten"], "'ten' is no amount"),
        (["usage", "--by", "week"], "'week' is nothing to sum by; expected some of day,user,key,model"),
        (["usage", "--from", "2025-02-02", "--to", "2025-02-01"], "the days from 2025-02-02 to 2025-02-01 are none"),
        (["users", "--database", "mysql://x"], "expected sqlite:///FOLDER/FILE"),
        (["users", "--config", "nowhere.toml"], "there is no file nowhere.toml"),
        (["database", "backup"], "FILE is missing; write ponder database backup FILE"),
    ],
)
def test_what_cannot_be_done_is_told(ponder: Any, words: list[str], message: str) -> None:
    ponder("users", "add", "somebody", "--no-password")
    code, output = ponder(*words)
    assert code == 1
    assert message in output


def test_tables_for_people(ponder: Any) -> None:
    ponder("users", "invite")
    assert "no accounts in sqlite:///server/ponder.db; make one with" in ponder("users", json_form=False)[1]
    ponder("users", "add", "深度", "--admin", "--no-password")
    listed = ponder("users", json_form=False)[1]
    assert "深度" in listed
    assert "admin, no password" in listed
    assert "no keys; make one with" in ponder("keys", json_form=False)[1]
    ponder("keys", "create", "深度", "--label", "手机")
    assert "手机" in ponder("keys", json_form=False)[1]
    assert "nothing was used from" in ponder("usage", json_form=False)[1]
    assert "深度: 1.50 CNY topped up, 0.00 granted" in ponder("credit", "深度", "1.5", json_form=False)[1]
    assert "the file is whole and the ledger's sums are right" in ponder("database", json_form=False)[1]
