"""API keys, and telling by them who asks."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ponder.serve.accounts.accounts import Accounts, create_account, set_state
from ponder.serve.accounts.authenticator import AccountAuthenticator
from ponder.serve.accounts.config import AccountsConfig, HashingConfig
from ponder.serve.accounts.keys import ApiKeys, looks_like_a_key, revoke_key
from ponder.serve.accounts.secret import Secret
from ponder.serve.accounts.sessions import Sessions
from ponder.serve.accounts.web_accounts import DatabaseAccounts
from ponder.serve.errors import ApiError
from ponder.serve.records import Caller
from ponder.serve.storage.config import StorageConfig
from ponder.serve.storage.database import Database

SECRET = Secret(b"s" * 32)
CONFIG = AccountsConfig(registration="open", max_keys=3, hashing=HashingConfig(memory_kib=8, passes=1))
ADDRESS = "203.0.113.5"


class Clock:
    now = 1_740_830_400.0

    def __call__(self) -> float:
        return self.now


class Site:
    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, Clock()
        self.accounts = Accounts(database, CONFIG, SECRET, clock=self.clock)
        self.keys = ApiKeys(database, CONFIG, SECRET, clock=self.clock)
        self.authenticator = AccountAuthenticator(database, CONFIG, SECRET, clock=self.clock, wall_clock=self.clock)
        self.authenticator.follow(self.accounts, self.keys)
        self.sessions = Sessions(database, CONFIG, SECRET, clock=self.clock)
        self.web = DatabaseAccounts(self.accounts, self.sessions, self.keys)

    async def ask(self, key: str) -> Caller:
        return await self.authenticator.authenticate({"authorization": f"Bearer {key}"}, ADDRESS)


def run(database: Database, work: Callable[[Site], Awaitable[Any]]) -> Any:
    for name in ("alice", "bob"):
        database.write_now(lambda c, name=name: create_account(c, name, None, now_ms=1, id=name, admin=name == "bob"))

    async def main() -> Any:
        site = Site(database)
        try:
            return await work(site)
        finally:
            site.accounts.close()

    return asyncio.run(main())


async def refused(asked: Awaitable[Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await asked
    return caught.value


def test_a_key_tells_who_asks(database: Database) -> None:
    async def work(site: Site) -> None:
        new = await site.keys.create("alice", " laptop ")
        assert looks_like_a_key(new.key)
        assert (new.info.name, new.info.last4) == ("laptop", new.key[-4:])
        expected = Caller(account="alice", key=new.info.id, admin=False, address=ADDRESS)
        assert await site.ask(new.key) == expected
        for headers in (
            {"authorization": f"bearer   {new.key} "},
            {"x-api-key": new.key},
            {"authorization": "Basic abc", "x-api-key": new.key},
        ):
            assert await site.authenticator.authenticate(headers, ADDRESS) == expected
        assert (await site.ask((await site.keys.create("bob", "")).key)).admin is True

    run(database, work)


def test_a_key_is_shown_once_and_stored_nowhere(tmp_path: Path) -> None:
    database = Database.open(StorageConfig(url=f"sqlite:///{tmp_path}/x.db"))

    async def work(site: Site) -> str:
        new = await site.keys.create("alice", "laptop")
        await site.ask(new.key)
        assert new.key not in repr(new) + repr(await site.keys.list("alice"))
        return new.key

    key = run(database, work)
    database.close()
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key[-4:].encode() in everything
    assert key[3:20].encode() not in everything
    assert key[-20:].encode() not in everything


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({}, "no API key was given"),
        ({"authorization": ""}, "no API key was given"),
        ({"authorization": "Bearer"}, "no API key was given"),
        ({"authorization": "Bearer "}, "no API key was given"),
        ({"authorization": "Basic c2stY2FuYXJ5"}, "no API key was given"),
        ({"authorization": "Bearer sk-canarycanarycanarycanary1234"}, "Your api key: ****1234 is invalid"),
        ({"authorization": "Bearer sk-" + "x" * 39 + "9876"}, "Your api key: ****9876 is invalid"),
        ({"x-api-key": "canary"}, "Your api key: **** is invalid"),
        ({"authorization": "Bearer " + "canary" * 10_000}, "Your api key: ****nary is invalid"),
        ({"authorization": "Bearer " + "x" * 40 + "\x1b[2J"}, "Your api key: **** is invalid"),
        ({"authorization": "Bearer ' OR 1=1 --"}, "Your api key: **** is invalid"),
    ],
)
def test_a_refusal_tells_at_most_the_last_four_characters(
    database: Database, headers: dict[str, str], shown: str
) -> None:
    error = run(database, lambda site: refused(site.authenticator.authenticate(headers, ADDRESS)))
    assert (error.status, error.type, error.should_retry) == (401, "authentication_error", False)
    assert shown in error.message
    assert "canary" not in error.message


def test_junk_costs_no_query(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(site: Site) -> None:
        monkeypatch.setattr(Database, "read", None)
        assert (await refused(site.ask("sk-nonsense"))).status == 401

    run(database, work)


def test_a_revoked_key_is_refused_at_once(database: Database) -> None:
    async def work(site: Site) -> None:
        first, second = await site.keys.create("alice", "1"), await site.keys.create("alice", "2")
        await asyncio.gather(site.ask(first.key), site.ask(second.key))
        await site.keys.revoke("alice", first.info.id)
        assert (await refused(site.ask(first.key))).status == 401
        await site.ask(second.key)
        assert [key.name for key in await site.keys.list("alice")] == ["2"]
        assert (await refused(site.keys.revoke("alice", first.info.id))).status == 404

    run(database, work)


def test_nobody_revokes_the_key_of_another(database: Database) -> None:
    async def work(site: Site) -> None:
        new = await site.keys.create("alice", "1")
        assert (await refused(site.keys.revoke("bob", new.info.id))).code == "no_key"
        await site.ask(new.key)

    run(database, work)


def test_suspending_and_deleting_refuse_the_keys_at_once(database: Database) -> None:
    async def work(site: Site) -> None:
        new = await site.keys.create("alice", "1")
        await site.ask(new.key)
        await site.accounts.set_state("alice", "suspended")
        assert (await refused(site.ask(new.key))).status == 401
        await site.accounts.set_state("alice", "active")
        await site.ask(new.key)
        await site.accounts.delete("alice")
        assert (await refused(site.ask(new.key))).status == 401
        assert (await refused(site.keys.create("alice", "2"))).code == "no_account"

    run(database, work)


def test_what_another_process_does_is_noticed_after_a_second(database: Database) -> None:
    async def work(site: Site) -> None:
        first, second = await site.keys.create("alice", "1"), await site.keys.create("bob", "2")
        await site.ask(first.key)
        await site.ask(second.key)
        database.write_now(lambda c: revoke_key(c, None, first.info.id, now_ms=1))
        database.write_now(lambda c: set_state(c, "bob", "suspended"))
        site.clock.now += 0.99
        await site.ask(first.key)
        await site.ask(second.key)
        site.clock.now += 0.01
        assert (await refused(site.ask(first.key))).status == 401
        assert (await refused(site.ask(second.key))).status == 401

    run(database, work)


def test_what_was_read_before_a_revocation_is_not_remembered_after_it(database: Database) -> None:
    async def work(site: Site) -> None:
        new = await site.keys.create("alice", "1")
        asking = asyncio.create_task(site.ask(new.key))
        await asyncio.sleep(0)  # its question is on the way
        site.authenticator.forget("alice")
        await asking
        database.write_now(lambda c: revoke_key(c, None, new.info.id, now_ms=1))
        assert (await refused(site.ask(new.key))).status == 401

    run(database, work)


def test_a_good_key_is_not_looked_up_every_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(site: Site) -> None:
        new = await site.keys.create("alice", "1")
        await site.ask(new.key)
        monkeypatch.setattr(Database, "read", None)
        for _ in range(100):
            await site.ask(new.key)

    run(database, work)


def test_last_use_is_noted_now_and_then(database: Database) -> None:
    async def work(site: Site) -> None:
        new = await site.keys.create("alice", "1")
        seen = []
        for step in (0, 200, 200, 200):
            site.clock.now += step
            await site.ask(new.key)
            await database.write(lambda connection: None)  # after what nobody waits for
            await asyncio.sleep(0.02)
            (key,) = await site.keys.list("alice")
            seen.append(round((key.last_used_ms or 0) / 1000 - Clock.now))
        assert seen == [0, 0, 400, 400]

    run(database, work)


def test_an_account_has_so_many_keys_and_no_more(database: Database) -> None:
    async def work(site: Site) -> None:
        results = await asyncio.gather(*(site.keys.create("alice", f"{i}") for i in range(6)), return_exceptions=True)
        assert sorted(error.code or "" for error in results if isinstance(error, ApiError)) == ["too_many_keys"] * 3
        keys = await site.keys.list("alice")
        await site.keys.revoke("alice", keys[0].id)
        await site.keys.create("alice", "again")
        for name in ("x" * 101, "a\nb", "a\0b"):
            assert (await refused(site.keys.create("bob", name))).param == "name"

    run(database, work)


def test_the_browser_app_signs_in_and_out(database: Database) -> None:
    async def work(site: Site) -> None:
        made = await site.web.register("Carol", "correct horse battery", address=ADDRESS, invite=None)
        assert await site.web.find_session(made.token) == made.account
        again = await site.web.login("carol", "correct horse battery", address=ADDRESS)
        assert (again.account, again.seconds) == (made.account, 30 * 86_400)
        info, key = await site.web.create_key(made.account.id, "app")
        assert (await site.ask(key)).key == info.id
        assert (info.last4, info.name) == (key[-4:], "app")
        assert [key.id for key in await site.web.list_keys(made.account.id)] == [info.id]
        await site.web.change_password(
            made.account.id, again.token, current="correct horse battery", new="something else"
        )
        assert await site.web.find_session(made.token) is None
        assert await site.web.find_session(again.token) is not None
        await site.web.revoke_key(made.account.id, info.id)
        assert await site.web.list_keys(made.account.id) == []
        await site.web.logout(again.token)
        assert await site.web.find_session(again.token) is None

    run(database, work)
