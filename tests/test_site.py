"""A whole server from its settings: what is open, what is refused to start, and how its parts work together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from moderation_rules import RULES
from ponder.core.config import apply_settings
from ponder.core.errors import ConfigError
from ponder.serve.accounts.accounts import create_account
from ponder.serve.accounts.keys import ApiKeys
from ponder.serve.accounts.secret import Secret, load_secret
from ponder.serve.config import ServeConfig, check_safe
from ponder.serve.moderation.tables import audit
from ponder.serve.scripted import Script, ScriptedBackend, scripted_model
from ponder.serve.site import Site, open_site
from ponder.serve.storage.database import Database

SECRET_BYTES = b"a secret of a test, and of nothing else"
ORIGIN = "http://127.0.0.1:8000"
PRICES = {"models": [{"model": "*", "cache_hit": 1, "cache_miss": 4, "output": 16}], "welcome_grant": 10}
ASK = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}


def config(folder: Path, **settings: object) -> ServeConfig:
    storage = {"url": f"sqlite:///{folder}/ponder.db"}
    accounts = {"secret_file": str(folder / "secret"), **settings.pop("accounts", {})}  # type: ignore[dict-item]
    return apply_settings(ServeConfig(), {"storage": storage, "accounts": accounts, **settings})


def visit(settings: ServeConfig, work: Callable[[Site, httpx.AsyncClient], Awaitable[None]]) -> None:
    """Open the site, do something as its visitor, close it."""

    async def main() -> None:
        backend = ScriptedBackend(lambda ask: Script(thought="two words", answer="Hello you"))
        async with asyncio.timeout(60), open_site(settings, [backend]) as site:
            transport = httpx.ASGITransport(site.app, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
                await work(site, client)
        assert (site.service.running, backend.running, backend.is_ready) == (0, 0, False)

    asyncio.run(main())


def test_an_open_server_speaks_every_dialect_and_shows_its_state(tmp_path: Path) -> None:
    async def work(site: Site, client: httpx.AsyncClient) -> None:
        for path, body in (
            ("/v1/chat/completions", ASK),
            ("/chat/completions", ASK),
            ("/v1/completions", {"model": "scripted", "prompt": "Hi"}),
            ("/v1/responses", {"model": "scripted", "input": "Hi"}),
            ("/v1/messages", {**ASK, "max_tokens": 100}),
            ("/anthropic/v1/messages", {**ASK, "max_tokens": 100}),
        ):
            answer = await client.post(path, json=body)
            assert answer.status_code == 200, path
            assert "Hello you" in answer.text, path
        for path in ("/health", "/ready", "/metrics", "/status", "/v1/models", "/openapi.json", "/app/api/session"):
            assert (await client.get(path)).status_code == 200, path
        metrics = (await client.get("/metrics")).text
        assert 'ponder_http_responses_total{code="200"} 13.0' in metrics
        assert 'ponder_request_success_total{finished_reason="stop",model_name="scripted"} 6.0' in metrics
        paths = set((await client.get("/openapi.json")).json()["paths"])
        assert {"/v1/chat/completions", "/v1/responses", "/v1/messages"} <= paths

    visit(config(tmp_path), work)


def test_a_name_that_is_not_the_servers_is_refused(tmp_path: Path) -> None:
    async def work(site: Site, client: httpx.AsyncClient) -> None:
        answer = await client.get("/v1/models", headers={"host": "evil.example"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (421, "unknown_host")
        for host in ("localhost:8000", "[::1]:8000", "Ponder.example"):
            assert (await client.get("/v1/models", headers={"host": host})).status_code == 200

    visit(config(tmp_path, hosts=["ponder.example"]), work)


@pytest.mark.parametrize("host", ["evil.example:8000", "localhost.evil.example"])
def test_a_foreign_name_that_points_here_neither_reads_nor_changes_anything_in_the_app(
    tmp_path: Path, host: str
) -> None:
    async def work(site: Site, client: httpx.AsyncClient) -> None:
        session = await client.get("/app/api/session")
        own = {"x-ponder-csrf": session.json()["csrf"], "origin": f"http://{host}", "host": host}
        assert (await client.get("/app/api/session", headers={"host": host})).status_code == 421
        assert (await client.post("/app/api/conversations", json={}, headers=own)).status_code == 421
        assert (await client.get("/app/api/conversations")).json()["data"] == []

    visit(config(tmp_path), work)


def test_figures_and_the_brake_are_for_administrators_keys_too(tmp_path: Path) -> None:
    settings = config(tmp_path, accounts={"mode": "accounts", "registration": "open"})

    async def key_of(name: str, *, admin: bool) -> dict[str, str]:
        secret = load_secret(settings.accounts.secret_file, create=True)
        database = await asyncio.to_thread(Database.open, settings.storage)
        account = await database.write(lambda c: create_account(c, name, None, now_ms=0, admin=admin))
        made = await ApiKeys(database, settings.accounts, secret).create(account.id, "laptop")
        await asyncio.to_thread(database.close)
        return {"authorization": f"Bearer {made.key}"}

    async def work(site: Site, client: httpx.AsyncClient) -> None:
        admin = await key_of("ada", admin=True)
        other = await key_of("bob", admin=False)
        far = httpx.ASGITransport(site.app, client=("192.0.2.1", 1))
        brake = "/operations/registration-brake"
        async with httpx.AsyncClient(transport=far, base_url=ORIGIN) as visitor:
            for headers, status in (({}, 401), (other, 401), ({"authorization": "Bearer x"}, 401), (admin, 200)):
                assert (await visitor.get("/metrics", headers=headers)).status_code == status
                assert (await visitor.put(brake, json={"setting": "on"}, headers=headers)).status_code == status
                seen = (await visitor.get("/status.json", headers=headers)).json()
                assert ("minutes" in seen, seen["registration_brake"]) == (status == 200, status == 200)
            tried = await visitor.post("/app/api/register", json={})
            assert (tried.status_code, tried.json()["error"]["code"]) == (503, "registration_busy")

    visit(settings, work)


def test_an_open_servers_figures_are_not_for_everybody(tmp_path: Path) -> None:
    async def work(site: Site, client: httpx.AsyncClient) -> None:
        far = httpx.ASGITransport(site.app, client=("192.0.2.1", 1))
        async with httpx.AsyncClient(transport=far, base_url=ORIGIN) as visitor:
            answer = await visitor.get("/metrics", headers={"authorization": "Bearer anything"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "operators_only")

    visit(config(tmp_path), work)


def test_one_backend_that_is_gone_leaves_the_server_ready_and_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        here = ScriptedBackend(lambda ask: Script(answer="Hello"))
        gone = ScriptedBackend(lambda ask: Script(answer="Hello"), models=[scripted_model("gone")])
        gone.is_ready = False
        async with open_site(config(tmp_path), [here, gone]) as site:
            transport = httpx.ASGITransport(site.app, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
                ready = await client.get("/ready")
                assert (ready.status_code, ready.json()) == (
                    200,
                    {"status": "ready", "failed": [], "unready_models": ["gone"]},
                )
                status = (await client.get("/status.json")).json()
                assert status["unready_models"] == ["gone"]
                assert [(i["kind"], i["detail"], i["ended"]) for i in status["incidents"]] == [
                    ("models_not_ready", "gone", None)
                ]
                assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 200

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "status"), [("/nothing", 404), ("/v1/chat/completions/", 404), ("/v1/models?x=%ff", 200)]
)
def test_what_is_not_there_is_told_in_json(tmp_path: Path, path: str, status: int) -> None:
    async def work(site: Site, client: httpx.AsyncClient) -> None:
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")

    visit(config(tmp_path), work)


def test_from_signing_up_to_what_an_answer_cost(tmp_path: Path) -> None:
    async def work(site: Site, client: httpx.AsyncClient) -> None:
        assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 401
        csrf = (await client.get("/app/api/session")).json()["csrf"]
        credentials = {"name": "ada", "password": "correct horse battery"}
        signed_up = await client.post("/app/api/register", json=credentials, headers={"x-ponder-csrf": csrf})
        assert signed_up.status_code == 201, signed_up.text
        csrf = signed_up.json()["csrf"]
        made = await client.post("/app/api/keys", json={"name": "laptop"}, headers={"x-ponder-csrf": csrf})
        bearer = {"authorization": f"Bearer {made.json()['key']}"}
        assert await balance(client, bearer) == "10.00"
        answer = await client.post("/v1/chat/completions", json=ASK, headers=bearer)
        usage = answer.json()["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (2, 4)
        days = (await client.get("/app/api/usage")).json()
        assert days["days"][0]["micro_units"] == 2 * 4 + 4 * 16
        assert days["balance"]["total"] == 10_000_000 - 72
        key_id = made.json()["id"]
        gone = await client.delete(f"/app/api/keys/{key_id}", headers={"x-ponder-csrf": csrf})
        assert gone.status_code == 204
        assert (await client.post("/v1/chat/completions", json=ASK, headers=bearer)).status_code == 401

    visit(config(tmp_path, accounts={"mode": "accounts", "registration": "open"}, prices=PRICES), work)


async def balance(client: httpx.AsyncClient, headers: dict[str, str]) -> str:
    found: Any = (await client.get("/user/balance", headers=headers)).json()
    return str(found["balance_infos"][0]["total_balance"])


def test_an_empty_purse_is_402_and_nothing_is_made(tmp_path: Path) -> None:
    poor = {**PRICES, "welcome_grant": 0}

    async def work(site: Site, client: httpx.AsyncClient) -> None:
        csrf = (await client.get("/app/api/session")).json()["csrf"]
        credentials = {"name": "ada", "password": "correct horse battery"}
        csrf = (await client.post("/app/api/register", json=credentials, headers={"x-ponder-csrf": csrf})).json()[
            "csrf"
        ]
        made = await client.post("/app/api/keys", json={"name": "k"}, headers={"x-ponder-csrf": csrf})
        answer = await client.post(
            "/v1/chat/completions", json=ASK, headers={"authorization": f"Bearer {made.json()['key']}"}
        )
        assert (answer.status_code, answer.json()["error"]["message"]) == (402, "Insufficient Balance")
        assert answer.headers["x-should-retry"] == "false"
        (backend,) = site.service.backends
        assert isinstance(backend, ScriptedBackend)
        assert backend.started == 0

    visit(config(tmp_path, accounts={"mode": "accounts", "registration": "open"}, prices=poor), work)


def test_a_database_that_was_moved_away_is_not_ready_and_costs_nothing(tmp_path: Path) -> None:
    async def work(site: Site, client: httpx.AsyncClient) -> None:
        assert (await client.get("/ready")).status_code == 200
        (tmp_path / "ponder.db").rename(tmp_path / "elsewhere.db")
        while (ready := await client.get("/ready")).status_code == 200:  # what was found is good for a second
            await asyncio.sleep(0.05)
        assert ready.status_code == 503
        csrf = (await client.get("/app/api/session")).json()["csrf"]
        credentials = {"name": "ada", "password": "correct horse battery"}
        refused = await client.post("/app/api/register", json=credentials, headers={"x-ponder-csrf": csrf})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "database_unavailable")
        (tmp_path / "elsewhere.db").rename(tmp_path / "ponder.db")

    visit(config(tmp_path, accounts={"mode": "accounts", "registration": "open"}, prices=PRICES), work)


def test_the_audits_digests_can_be_compared_over_restarts(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(RULES)
    settings = config(
        tmp_path,
        accounts={"mode": "accounts", "registration": "open"},
        moderation={"rules": str(tmp_path / "rules.toml")},
    )
    (tmp_path / "secret").write_bytes(SECRET_BYTES)
    (tmp_path / "secret").chmod(0o600)
    expected = Secret(SECRET_BYTES).digest("audit", "lottery")

    async def ask(site: Site, client: httpx.AsyncClient, name: str) -> None:
        csrf = (await client.get("/app/api/session")).json()["csrf"]
        credentials = {"name": name, "password": "correct horse battery"}
        signed_up = await client.post("/app/api/register", json=credentials, headers={"x-ponder-csrf": csrf})
        fresh = {"x-ponder-csrf": signed_up.json()["csrf"]}
        key = (await client.post("/app/api/keys", json={"name": "k"}, headers=fresh)).json()["key"]
        flagged = {"model": "scripted", "messages": [{"role": "user", "content": "a lottery"}]}
        answer = await client.post("/v1/chat/completions", json=flagged, headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 200

    for name in ("ada", "ben"):
        visit(settings, partial(ask, name=name))
    database = Database.open(settings.storage)
    digests = database.read_now(lambda connection: connection.execute(select(audit.c.digest)).scalars().all())
    database.close()
    assert digests == [expected] * 2


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_refused_in_the_words_of_its_dialect(announced: bool, tmp_path: Path) -> None:
    large = b"x" * 2000

    async def in_pieces() -> AsyncIterator[bytes]:
        yield large

    async def work(site: Site, client: httpx.AsyncClient) -> None:
        for path in ("/v1/messages", "/anthropic/v1/messages/count_tokens", "/v1/chat/completions"):
            content = large if announced else in_pieces()
            answer = await client.post(path, content=content, headers={"content-type": "application/json"})
            kind = "request_too_large" if "messages" in path else "invalid_request_error"
            assert (answer.status_code, answer.json()["error"]["type"]) == (413, kind)
            assert answer.json().get("type") == ("error" if "messages" in path else None)
        elsewhere = {"host": "evil.example"}
        assert (await client.post("/v1/messages", json=ASK, headers=elsewhere)).json()["type"] == "error"
        assert "code" in (await client.post("/v1/responses", json=ASK, headers=elsewhere)).json()["error"]

    visit(config(tmp_path, api={"max_body_bytes": 1000}), work)


def test_draining_is_told_at_once(tmp_path: Path) -> None:
    async def work(site: Site, client: httpx.AsyncClient) -> None:
        site.drain.begin()
        assert (await client.get("/ready")).status_code == 503
        answer = await client.post("/v1/chat/completions", json=ASK)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
        assert 5 <= int(answer.headers["retry-after"]) <= 8

    visit(config(tmp_path), work)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"server": {"host": "0.0.0.0"}}, "would answer everybody who reaches 0.0.0.0"),
        ({"public_url": "https://chat.example.org"}, "would answer everybody who reaches https://chat.example.org"),
        ({"prices": PRICES}, "prices need somebody who pays"),
        ({"accounts": {"mode": "accounts"}, "server": {"host": "::"}}, "would cross the network unencrypted"),
        (
            {"accounts": {"mode": "accounts"}, "public_url": "http://chat.example.org"},
            "would cross the network unencrypted",
        ),
        (
            {
                "accounts": {"mode": "accounts", "registration": "open"},
                "public_url": "https://chat.example.org",
                "lanes": {"registration": {"address_per_minute": "none"}},
            },
            "registration is open to everybody who reaches the server, without a limit",
        ),
        ({"public_url": "chat.example.org"}, "expected an address such as https://"),
    ],
)
def test_unsafe_settings_do_not_start(tmp_path: Path, settings: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_safe(config(tmp_path, **settings))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"server": {"host": "::1"}},
        {"server": {"host": "0.0.0.0"}, "open_to_network": True},
        {"server": {"host": "0.0.0.0"}, "public_url": "http://127.0.0.1:8000", "accounts": {"mode": "accounts"}},
        {"public_url": "https://chat.example.org", "accounts": {"mode": "accounts", "registration": "open"}},
    ],
)
def test_safe_settings_start(tmp_path: Path, settings: dict[str, object]) -> None:
    check_safe(config(tmp_path, **settings))
