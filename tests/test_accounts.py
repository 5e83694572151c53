"""Registration and login: what is stored, what is told, and how often a password may be tried."""

import asyncio
import os
import stat
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, select, text, update

from ponder.core.config import apply_settings
from ponder.core.errors import ConfigError
from ponder.serve.accounts.accounts import Accounts, create_account, ensure_account, find_by_name, list_accounts
from ponder.serve.accounts.config import AccountsConfig, HashingConfig
from ponder.serve.accounts.invites import create_invite
from ponder.serve.accounts.names import name_key, shown_name
from ponder.serve.accounts.passwords import AttemptLimit, Passwords
from ponder.serve.accounts.secret import Secret, load_secret
from ponder.serve.accounts.sessions import Sessions
from ponder.serve.accounts.tables import accounts as table
from ponder.serve.accounts.tables import sessions as session_table
from ponder.serve.errors import ApiError
from ponder.serve.storage.config import StorageConfig
from ponder.serve.storage.database import Database

SECRET = Secret(b"s" * 32)
CHEAP = HashingConfig(memory_kib=8, passes=1)
OPEN = AccountsConfig(mode="accounts", registration="open", hashing=CHEAP)
PASSWORD = "correct horse battery staple"
DAY = 86_400.0


class Clock:
    def __init__(self, now: float = 1_740_830_400.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Site:
    """Accounts and sessions on one database and one clock."""

    def __init__(self, database: Database, config: AccountsConfig) -> None:
        self.database, self.clock = database, Clock()
        self.passwords = Passwords(config.hashing, clock=self.clock)
        self.created: list[str] = []
        self.accounts = Accounts(
            database,
            config,
            SECRET,
            passwords=self.passwords,
            on_created=lambda connection, account: self.created.append(account),
            clock=self.clock,
        )
        self.sessions = Sessions(database, config, SECRET, clock=self.clock)


def run(database: Database, work: Callable[[Site], Awaitable[Any]], config: AccountsConfig = OPEN) -> Any:
    async def main() -> Any:
        site = Site(database, config)
        try:
            return await work(site)
        finally:
            site.accounts.close()

    return asyncio.run(main())


def refusal(error: Any) -> tuple[int, str | None]:
    return error.value.status, error.value.code


# --- registration


def test_who_registers_can_log_in(database: Database) -> None:
    async def work(site: Site) -> None:
        account = await site.accounts.register("  Ada@Example.org ", PASSWORD)
        assert (account.name, account.state, account.admin) == ("Ada@Example.org", "active", False)
        assert site.created == [account.id]
        for name in ("Ada@Example.org", "ada@example.ORG", "ａｄａ＠ｅｘａｍｐｌｅ．ｏｒｇ"):
            assert await site.accounts.log_in(name, PASSWORD) == account

    run(database, work)


def test_the_password_is_stored_as_argon2id_only(tmp_path: Path) -> None:
    database = Database.open(StorageConfig(url=f"sqlite:///{tmp_path}/x.db"))

    async def work(site: Site) -> str:
        account = await site.accounts.register("ada", "canary-password")
        session = await site.sessions.open(account.id)
        assert session.token not in repr(session)
        return session.token

    token = run(database, work)
    stored = database.read_now(lambda c: c.execute(select(table.c.password_hash)).scalar_one())
    database.close()
    assert stored.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"canary-password" not in everything
    assert token.encode() not in everything


@pytest.mark.parametrize("again", ["ada", "ADA", " ada ", "ａｄａ"])
def test_a_name_is_taken_once_however_it_is_written(database: Database, again: str) -> None:
    async def work(site: Site) -> None:
        await site.accounts.register("Ada", PASSWORD)
        with pytest.raises(ApiError) as caught:
            await site.accounts.register(again, PASSWORD)
        assert refusal(caught) == (409, "name_taken")

    run(database, work)


def test_of_many_who_want_one_name_at_once_one_gets_it(database: Database) -> None:
    async def work(site: Site) -> list[Any]:
        return list(
            await asyncio.gather(*(site.accounts.register("ada", PASSWORD) for _ in range(8)), return_exceptions=True)
        )

    results = run(database, work, AccountsConfig(registration="open", hashing=HashingConfig(
        memory_kib=8, passes=1, max_waiting_registrations=8, threads=4)))  # fmt: skip
    assert sorted(getattr(result, "status", 200) for result in results if isinstance(result, ApiError)) == [409] * 7


def test_registration_that_is_closed_costs_nothing(database: Database) -> None:
    async def work(site: Site) -> None:
        with pytest.raises(ApiError) as caught:
            await site.accounts.register("ada", PASSWORD)
        assert refusal(caught) == (403, "registration_closed")
        assert site.passwords.hashes == 0

    run(database, work, AccountsConfig(hashing=CHEAP))


def test_an_invitation_is_good_for_its_uses_and_days(database: Database) -> None:
    config = AccountsConfig(registration="invite", hashing=CHEAP)

    async def work(site: Site) -> None:
        now = int(1000 * site.clock.now)
        code = database.write_now(lambda c: create_invite(c, SECRET, uses=1, days=7, now_ms=now))
        old = database.write_now(lambda c: create_invite(c, SECRET, uses=1, days=1, now_ms=now))
        for wrong in (None, "", "wrong", code.lower() + "x"):
            with pytest.raises(ApiError) as caught:
                await site.accounts.register("eve", PASSWORD, invite=wrong)
            assert refusal(caught) == (403, "invalid_invite")
        assert site.passwords.hashes == 0
        await site.accounts.register("ada", PASSWORD, invite=code)
        site.clock.now += 2 * DAY
        for spent in (code, old):
            with pytest.raises(ApiError) as caught:
                await site.accounts.register("eve", PASSWORD, invite=spent)
            assert refusal(caught) == (403, "invalid_invite")

    run(database, work, config)


def test_an_invitation_is_not_spent_on_a_registration_that_fails(database: Database) -> None:
    async def work(site: Site) -> None:
        now = int(1000 * site.clock.now)
        code = database.write_now(lambda c: create_invite(c, SECRET, uses=1, days=7, now_ms=now))
        database.write_now(lambda c: create_account(c, "ada", None, now_ms=now))
        with pytest.raises(ApiError) as caught:
            await site.accounts.register("ada", PASSWORD, invite=code)
        assert refusal(caught) == (409, "name_taken")
        await site.accounts.register("ada2", PASSWORD, invite=code)

    run(database, work, AccountsConfig(registration="invite", hashing=CHEAP))


@pytest.mark.parametrize(
    "name",
    ["", "  ", "a b", "a\nb", "a\0b", "a\u200bb", "a\u202eb", "a\ufeffb", "\ud800", "x" * 255, "a@b", "@b.c", "a@@b.c"],
)
def test_names_that_nobody_could_read_or_type_are_refused(name: str) -> None:
    with pytest.raises(ApiError) as caught:
        shown_name(name)
    assert (caught.value.status, caught.value.param) == (422, "name")


@pytest.mark.parametrize("name", ["alіce", "аlice", "αlice", "ｉvаn", "алиσа", "alіce@example.org", "ann@exаmple.org"])
def test_names_of_letters_that_look_alike_are_refused(name: str) -> None:
    with pytest.raises(ApiError, match="mixes letters of different alphabets") as caught:
        shown_name(name)
    assert (caught.value.status, caught.value.param) == (422, "name")


@pytest.mark.parametrize(
    "name", ["алиса", "αλίκη", "小明", "小明abc", "élise_2", "алиса@example.org", "ann@пример.com"]
)
def test_names_of_one_alphabet_are_kept(name: str) -> None:
    assert shown_name(name) == name


@given(st.text(max_size=300))
def test_any_name_is_kept_or_refused_and_its_key_is_stable(name: str) -> None:
    key = name_key(name)
    assert name_key(key) == key
    try:
        shown = shown_name(name)
    except ApiError:
        return
    assert name_key(shown) == key
    assert 0 < len(shown) <= 254
    assert len(key) <= 508


@pytest.mark.parametrize(
    "password", ["", "short", "x" * 1001, "password", "PASSWORD", "12345678", "aaaaaaaa", "ababababab", "ada.lovelace"]
)
def test_passwords_that_are_easy_to_guess_are_refused(database: Database, password: str) -> None:
    async def work(site: Site) -> None:
        with pytest.raises(ApiError) as caught:
            await site.accounts.register("Ada.Lovelace", password)
        assert (caught.value.status, caught.value.param) == (422, "password")
        assert "ada.lovelace" not in str(caught.value)
        assert site.passwords.hashes == 0

    run(database, work)


def test_two_keyboards_spell_one_password(database: Database) -> None:
    async def work(site: Site) -> None:
        account = await site.accounts.register("ada", "pâtisserie café 深度求索")
        composed = "pa\u0302tisserie cafe\u0301 深度求索"
        assert await site.accounts.log_in("ada", composed) == account

    run(database, work)


# --- login


def test_nobody_learns_whether_there_is_an_account(database: Database) -> None:
    """The same status, code and message, and one hash each; the same 429 after the same number of tries."""

    async def work(site: Site) -> None:
        await site.accounts.register("ada", PASSWORD)
        site.clock.now += 901
        database.write_now(lambda c: create_account(c, "only-keys", None, now_ms=1))
        seen = []
        for name in ("ada", "nobody", "only-keys", "nobody\0", "no\ud800body"):
            before, told = site.passwords.hashes, []
            for _ in range(12):
                with pytest.raises(ApiError) as caught:
                    await site.accounts.log_in(name, "wrong password")
                told.append((*refusal(caught), str(caught.value), caught.value.type, caught.value.should_retry))
            seen.append((told, site.passwords.hashes - before))
        assert seen[0][0][0][:3] == (401, "wrong_credentials", "the name or the password is wrong")
        assert [status for status, *_ in seen[0][0]] == [401] * 10 + [429] * 2
        assert seen[1:] == seen[:1] * 4

    run(database, work, AccountsConfig(registration="open", hashing=CHEAP))


def test_an_unknown_name_takes_as_long_as_a_known_one(database: Database) -> None:
    config = AccountsConfig(registration="open", hashing=HashingConfig(per_account=1000))

    async def work(site: Site) -> None:
        await site.accounts.register("ada", PASSWORD)

        async def fastest(name: str) -> float:
            times = []
            for _ in range(4):
                began = time.perf_counter()
                with pytest.raises(ApiError):
                    await site.accounts.log_in(name, "wrong password")
                times.append(time.perf_counter() - began)
            return min(times)

        known, unknown = await fastest("ada"), await fastest("nobody")
        assert unknown > 0.5 * known

    run(database, work, config)


def test_at_most_ten_hashes_for_a_name_in_a_quarter_of_an_hour(database: Database) -> None:
    async def work(site: Site) -> None:
        account = await site.accounts.register("ada", PASSWORD)  # the first
        for _ in range(4):
            await site.accounts.log_in("ADA", PASSWORD)
        for _ in range(2):
            await site.accounts.change_password(account.id, PASSWORD, PASSWORD)  # two hashes each
        with pytest.raises(ApiError):
            await site.accounts.log_in("ada", "wrong password")  # the tenth
        with pytest.raises(ApiError) as caught:
            await site.accounts.log_in("ada", PASSWORD)
        assert refusal(caught) == (429, "too_many_attempts")
        assert caught.value.retry_after == 900.0
        assert site.passwords.hashes == 10
        await site.accounts.register("bob", PASSWORD)  # others are not held up
        site.clock.now += 900
        await site.accounts.log_in("ada", PASSWORD)

    run(database, work)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 300)), max_size=200))
def test_no_window_holds_more_than_the_limit(tries: list[tuple[str, float]]) -> None:
    clock = Clock(0.0)
    limit = AttemptLimit(10, 900, clock=clock)
    done: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    for name, pause in tries:
        clock.now += pause
        wait = limit.wait(name)
        recent = [then for then in done[name] if then > clock.now - 900]
        assert (wait > 0) == (len(recent) >= 10)
        if wait == 0:
            limit.count(name)
            done[name].append(clock.now)


def test_the_memory_of_tries_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.serve.accounts.passwords.MOST_NAMES", 100)
    clock = Clock(0.0)
    limit = AttemptLimit(1, 900, clock=clock)
    for number in range(1000):
        limit.count(f"{number}")
    assert len(limit) == 100
    clock.now += 1000
    limit.count("later")
    assert len(limit) == 1


def test_a_flood_of_registrations_leaves_room_for_logins(database: Database) -> None:
    config = AccountsConfig(
        registration="open",
        hashing=HashingConfig(memory_kib=20_000, passes=2, max_waiting=8, max_waiting_registrations=4),
    )

    async def work(site: Site) -> None:
        await site.accounts.register("ada", PASSWORD)
        flood = [asyncio.create_task(site.accounts.register(f"bot{i}", PASSWORD)) for i in range(50)]
        await asyncio.sleep(0)
        account = await site.accounts.log_in("ada", PASSWORD)
        assert account.name == "ada"
        results = await asyncio.gather(*flood, return_exceptions=True)
        refused = [result for result in results if isinstance(result, ApiError)]
        assert {(error.status, error.type) for error in refused} == {(503, "overloaded_error")}
        assert len(refused) == 46
        assert site.passwords.hashes == 1 + 4 + 1

    run(database, work, config)


def test_a_hash_of_older_settings_is_replaced_at_login(database: Database) -> None:
    run(database, lambda site: site.accounts.register("ada", PASSWORD))
    dearer = AccountsConfig(hashing=HashingConfig(memory_kib=16, passes=2))
    run(database, lambda site: site.accounts.log_in("ada", PASSWORD), dearer)
    stored = database.read_now(lambda c: c.execute(select(table.c.password_hash)).scalar_one())
    assert "m=16,t=2" in stored
    run(database, lambda site: site.accounts.log_in("ada", PASSWORD), dearer)


def test_a_suspended_account_hears_so_after_its_password_only(database: Database) -> None:
    async def work(site: Site) -> None:
        account = await site.accounts.register("ada", PASSWORD)
        session = await site.sessions.open(account.id)
        changed: list[str] = []
        site.accounts.on_change(changed.append)
        await site.accounts.set_state(account.id, "suspended")
        assert changed == [account.id]
        assert await site.sessions.find(session.token) is None
        for password, expected in ((PASSWORD, (403, "account_suspended")), ("wrong", (401, "wrong_credentials"))):
            with pytest.raises(ApiError) as caught:
                await site.accounts.log_in("ada", password)
            assert refusal(caught) == expected
        await site.accounts.set_state(account.id, "active")
        await site.accounts.log_in("ada", PASSWORD)

    run(database, work)


def test_what_others_keep_of_a_deleted_account_goes_in_the_same_transaction(database: Database) -> None:
    def refuse(connection: Connection, account: str) -> None:
        assert connection.execute(text("SELECT COUNT(*) FROM sessions")).scalar_one() == 0
        raise RuntimeError(f"cannot delete what {account} had")

    async def work(site: Site) -> None:
        account = await site.accounts.register("ada", PASSWORD)
        session = await site.sessions.open(account.id)
        careful = Accounts(database, OPEN, SECRET, passwords=site.passwords, on_deleted=refuse)
        with pytest.raises(RuntimeError, match=f"cannot delete what {account.id} had"):
            await careful.delete(account.id)
        assert await site.sessions.find(session.token) is not None

    run(database, work)


def test_a_deleted_account_leaves_its_name_to_others(database: Database) -> None:
    async def work(site: Site) -> None:
        first = await site.accounts.register("ada", PASSWORD)
        await site.accounts.delete(first.id)
        with pytest.raises(ApiError) as caught:
            await site.accounts.log_in("ada", PASSWORD)
        assert caught.value.status == 401
        with pytest.raises(ApiError) as caught:
            await site.accounts.find(first.id)
        assert refusal(caught) == (404, "no_account")
        second = await site.accounts.register("ada", PASSWORD)
        assert second.id != first.id
        assert database.read_now(list_accounts) == [second]
        rows = database.read_now(lambda c: c.execute(text("SELECT name, password_hash FROM accounts")).all())
        assert ("", None) in [tuple(row) for row in rows]

    run(database, work)


def test_an_account_is_found_by_name_or_id(database: Database) -> None:
    account = database.write_now(lambda c: create_account(c, "深度求索", None, now_ms=1))
    for name in ("深度求索", account.id):
        assert database.read_now(lambda c, name=name: find_by_name(c, name)) == account


def test_the_open_account_is_made_once(database: Database) -> None:
    for _ in range(2):
        database.write_now(lambda c: ensure_account(c, "local", "local", now_ms=1, admin=True))
    (account,) = database.read_now(list_accounts)
    assert (account.id, account.admin, account.has_password) == ("local", True, False)


# --- sessions


def test_a_session_ends_by_age_by_idleness_and_by_logout(database: Database) -> None:
    async def work(site: Site) -> None:
        account = await site.accounts.register("ada", PASSWORD)
        session = await site.sessions.open(account.id)
        assert session.max_age == 30 * DAY
        for _ in range(9):  # used every three days
            site.clock.now += 3 * DAY
            found = await site.sessions.find(session.token)
            assert found is not None
            assert (found.id, found.name, found.admin) == (account.id, "ada", False)
        site.clock.now += 3 * DAY - 1
        assert await site.sessions.find(session.token) is not None
        site.clock.now += 1
        assert await site.sessions.find(session.token) is None

        idle = await site.sessions.open(account.id)
        site.clock.now += 7 * DAY
        assert await site.sessions.find(idle.token) is None

        ended = await site.sessions.open(account.id)
        await site.sessions.close(ended.token)
        assert await site.sessions.find(ended.token) is None

    run(database, work)


@pytest.mark.parametrize(("jump", "valid"), [(-3600, True), (-2 * DAY, False), (8 * DAY, False), (400 * DAY, False)])
def test_a_clock_that_jumps_ends_sessions_early_never_late(database: Database, jump: float, valid: bool) -> None:
    async def work(site: Site) -> None:
        session = await site.sessions.open((await site.accounts.register("ada", PASSWORD)).id)
        site.clock.now += jump
        assert (await site.sessions.find(session.token) is not None) is valid

    run(database, work)


def test_a_token_is_replaced_at_login_and_others_end_with_the_password(database: Database) -> None:
    async def work(site: Site) -> None:
        account = await site.accounts.register("ada", PASSWORD)
        first = await site.sessions.open(account.id)
        second = await site.sessions.open(account.id, instead_of=first.token)
        assert await site.sessions.find(first.token) is None
        third = await site.sessions.open(account.id)
        await site.accounts.change_password(
            account.id, PASSWORD, "another good one", keep=site.sessions.digest(third.token)
        )
        assert await site.sessions.find(second.token) is None
        assert await site.sessions.find(third.token) is not None
        with pytest.raises(ApiError) as caught:
            await site.accounts.change_password(account.id, PASSWORD, "another good one")
        assert refusal(caught) == (401, "wrong_credentials")
        await site.accounts.change_password(account.id, "another good one", PASSWORD)  # keeps none
        assert await site.sessions.find(third.token) is None

    run(database, work)


def test_old_sessions_are_cleared_away(database: Database) -> None:
    async def work(site: Site) -> None:
        account = await site.accounts.register("ada", PASSWORD)
        for _ in range(3):
            await site.sessions.open(account.id)
        site.clock.now += 31 * DAY
        await site.sessions.open(account.id)

    run(database, work)
    assert len(database.read_now(lambda c: c.execute(select(session_table)).all())) == 1


@pytest.mark.parametrize("token", ["", "x", "x" * 101, "\0", "\ud800", "'; DROP TABLE sessions; --"])
def test_made_up_tokens_find_nothing(database: Database, token: str) -> None:
    assert run(database, lambda site: site.sessions.find(token)) is None


def test_seen_is_not_written_at_every_request(database: Database) -> None:
    async def work(site: Site) -> None:
        session = await site.sessions.open((await site.accounts.register("ada", PASSWORD)).id)
        database.write_now(
            lambda c: c.execute(update(session_table).values(seen_ms=session_table.c.seen_ms - 1)).rowcount
        )
        site.clock.now += 100
        await site.sessions.find(session.token)

    run(database, work)
    row = database.read_now(lambda c: c.execute(select(session_table)).one())
    assert row.seen_ms == row.created_ms - 1


# --- the secret


def test_a_secret_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "secret"
    first = load_secret(path, create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_secret(path, create=True).digest("p", "v") == first.digest("p", "v")
    assert first.digest("p", "v") != first.digest("q", "v") != Secret(b"t" * 32).digest("q", "v")
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]
    assert path.read_text().strip() not in repr(first)


def test_secrets_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(ConfigError, match=r"there is no file .*make one with"):
        load_secret(path, create=False)
    path.write_text("short\n")
    os.chmod(path, 0o600)
    with pytest.raises(ConfigError, match="holds 5 bytes; expected a secret of 32 or more"):
        load_secret(path, create=False)
    os.chmod(path, 0o640)
    with pytest.raises(ConfigError, match="other users can read the server's secret; forbid it with: chmod 600"):
        load_secret(path, create=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"session_days": 0.0}, "'session_days' of the accounts is 0"),
        ({"hashing": {"passes": 0}}, "'passes' of the password hashing is 0"),
        ({"hashing": {"memory_kib": 8, "lanes": 2}}, "2 lanes need 16"),
        ({"registration": "maybe"}, "one of"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        apply_settings(AccountsConfig(), changes)
