"""Who comes in, and from where: cookies, other sites' pages, foreign names, registration, keys, usage."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, select
from starlette.datastructures import Headers

from moderation_rules import rules
from ponder.serve.errors import ApiError
from ponder.serve.moderation.tables import appeals
from ponder.serve.records import Balance, Price, PriceList, UsageOfDay
from ponder.serve.scripted import ScriptedBackend
from ponder.serve.web_api.guard import Guard
from ponder.serve.web_api.tables import conversations, messages
from web_app import Page, WebApp, web_app

PASSWORD = "four words of it"


def run(work: Callable[[WebApp, Page], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with web_app(**options) as app:
            await work(app, await app.page())

    asyncio.run(main())


class FixedBilling:
    """Money that does not change."""

    async def usage(self, account_id: str, *, from_ms: int, to_ms: int) -> Sequence[UsageOfDay]:
        self.asked = from_ms, to_ms
        day = UsageOfDay(
            date="2025-01-20",
            model="scripted",
            requests=2,
            prompt_tokens=100,
            cache_hit_tokens=64,
            completion_tokens=50,
            reasoning_tokens=30,
            micro_units=123,
        )
        return [day]

    async def balance(self, account_id: str) -> Balance:
        return Balance(granted=10, topped_up=5, currency="CNY")

    def prices(self) -> PriceList:
        return PriceList(
            currency="CNY", models={"scripted": Price(cache_hit=1, cache_miss=4, output=16)}, until=1_737_331_200.0
        )


def test_the_page_is_told_how_long_a_password_must_be() -> None:
    async def limits(**options: Any) -> Any:
        async with web_app(**options) as app:
            return (await app.page()).session["limits"]

    assert asyncio.run(limits(accounts=True))["min_password_characters"] == 8
    assert asyncio.run(limits())["min_password_characters"] is None


def test_open_mode_is_one_account_without_a_login() -> None:
    async def work(app: WebApp, page: Page) -> None:
        session = page.session
        assert (session["mode"], session["account"]["id"], session["registration"]) == ("open", "local", "closed")
        assert session["models"] == [
            {"id": "scripted", "context": 65536, "thinks": True, "tools": True, "recommended": True, "examples": []}
        ]
        assert session["prices"] is None
        assert not page.client.cookies
        for path, body in (
            ("register", {"name": "a", "password": "b"}),
            ("login", {"name": "a", "password": "b"}),
            ("logout", {}),
            ("password", {"current": "a", "new": "b"}),
            ("keys", {"name": "a"}),
        ):
            response = await page.send("POST", path, body)
            assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
        assert await page.get("usage") == {"days": [], "currency": None, "balance": None}

    run(work)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"origin": "http://evil.example"}, "origin"),
        ({"origin": "http://localhost:9000"}, "origin"),  # another server on this machine
        ({"origin": "null"}, "origin"),
        ({"origin": "http://["}, "origin"),
        ({"origin": "http://[::1"}, "origin"),
        ({"sec-fetch-site": "cross-site"}, "origin"),
        ({"sec-fetch-site": "same-site"}, "origin"),
        ({"x-ponder-csrf": ""}, "csrf"),
        ({"x-ponder-csrf": "é"}, "csrf"),
    ],
)
def test_other_sites_pages_change_nothing(headers: dict[str, str], code: str) -> None:
    async def work(app: WebApp, page: Page) -> None:
        encoded = {name: value.encode() for name, value in headers.items()}
        response = await page.send("POST", "conversations", {}, headers=encoded)
        assert (response.status_code, response.json()["error"]["code"]) == (403, code)
        assert (await page.get("conversations"))["data"] == []

    run(work)


def test_other_sites_pages_read_nothing() -> None:
    async def work(app: WebApp, page: Page) -> None:
        headers = {"sec-fetch-site": "cross-site"}
        assert (await page.client.get("/app/api/session", headers=headers)).status_code == 403
        response = await page.client.get("/app/api/session", headers={"origin": "http://evil.example"})
        assert "access-control-allow-origin" not in response.headers
        assert response.headers["cache-control"] == "no-store"

    run(work)


def test_a_form_of_another_site_is_not_read() -> None:
    async def work(app: WebApp, page: Page) -> None:
        headers = {"x-ponder-csrf": page.session["csrf"]}
        response = await page.client.post("/app/api/conversations", data={"title": "x"}, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")

    run(work)


def test_behind_a_proxy_the_public_address_counts() -> None:
    guard = Guard(public_url="https://chat.example.org")
    token = guard.csrf_token("session")

    def check(origin: str, session: str = "session") -> None:
        headers = Headers({"host": "10.0.0.5:8000", "origin": origin, "x-ponder-csrf": token})
        guard.check("POST", headers, session)

    check("https://chat.example.org")
    for origin, session in (("http://10.0.0.5:8000", "session"), ("https://chat.example.org", "other")):
        with pytest.raises(ApiError):
            check(origin, session)
    assert guard.session_cookie("abc", 60, "http") == (
        "__Host-ponder_session=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"
    )


def test_registration_login_and_logout() -> None:
    async def work(app: WebApp, page: Page) -> None:
        assert (page.session["account"], page.session["registration"]) == (None, "open")
        anonymous = page.session["csrf"]
        response = await page.send("POST", "register", {"name": "Anna", "password": PASSWORD})
        assert response.status_code == 201
        cookie = response.headers["set-cookie"]
        assert cookie.startswith("ponder_session=")
        assert cookie.endswith("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict")
        assert page.session["account"]["name"] == "Anna"
        assert page.session["csrf"] != anonymous
        token = page.client.cookies["ponder_session"]
        assert token not in response.text

        await page.post("logout", status=200)
        assert page.session["account"] is None
        assert (await page.client.get("/app/api/conversations")).status_code == 401
        page.client.cookies.set("ponder_session", token)  # the old session is over
        response = await page.client.get("/app/api/conversations")
        assert (response.status_code, response.json()["error"]["code"]) == (401, "login_required")
        page.client.cookies.clear()

        await page.open()
        wrong = await page.send("POST", "login", {"name": "anna", "password": "wrong words of it"})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "wrong_credentials")
        nobody = await page.send("POST", "login", {"name": "nobody", "password": PASSWORD})
        assert nobody.json() == wrong.json()
        await page.post("login", {"name": "anna", "password": PASSWORD}, status=200)
        first = page.client.cookies["ponder_session"]
        await page.post("login", {"name": "anna", "password": PASSWORD}, status=200)
        assert await app_session_is_over(app, first)

    async def app_session_is_over(app: WebApp, token: str) -> bool:
        other = await app.page()
        other.client.cookies.set("ponder_session", token)
        return (await other.client.get("/app/api/conversations")).status_code == 401

    run(work, accounts=True)


def test_a_login_ends_the_browsers_old_session_in_the_same_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(app: WebApp, page: Page) -> None:
        await page.post("register", {"name": "anna", "password": PASSWORD})
        first, write, writes = page.client.cookies["ponder_session"], app.database.write, 0

        async def counted(work: Callable[[Connection], Any]) -> Any:
            nonlocal writes
            writes += 1
            return await write(work)

        monkeypatch.setattr(app.database, "write", counted)
        wrong = await page.send("POST", "login", {"name": "anna", "password": "wrong words of it"})
        assert (wrong.status_code, writes) == (401, 0)
        assert (await page.client.get("/app/api/keys")).status_code == 200  # the session goes on
        await page.post("login", {"name": "anna", "password": PASSWORD}, status=200)
        assert (page.client.cookies["ponder_session"] != first, writes) == (True, 1)
        assert (await page.client.get("/app/api/keys")).status_code == 200
        other = await app.page()
        other.client.cookies.set("ponder_session", first)
        assert (await other.client.get("/app/api/keys")).status_code == 401

    run(work, accounts=True)


def test_who_comes_with_a_session_that_is_over_can_log_in() -> None:
    async def work(app: WebApp, page: Page) -> None:
        await page.post("register", {"name": "anna", "password": PASSWORD})
        stale = await app.page()
        stale.client.cookies.set("ponder_session", "x" * 43)
        await stale.open()
        assert stale.session["account"] is None
        await stale.post("login", {"name": "anna", "password": PASSWORD}, status=200)
        assert stale.session["account"]["name"] == "anna"

    run(work, accounts=True)


def test_a_token_belongs_to_its_session() -> None:
    async def work(app: WebApp, anna: Page) -> None:
        await anna.post("register", {"name": "anna", "password": PASSWORD})
        ben = await app.page()
        await ben.post("register", {"name": "ben", "password": PASSWORD})
        response = await ben.send("POST", "conversations", {}, headers={"x-ponder-csrf": anna.session["csrf"]})
        assert (response.status_code, response.json()["error"]["code"]) == (403, "csrf")

    run(work, accounts=True)


def test_with_https_the_cookie_belongs_to_this_host_alone() -> None:
    async def work(app: WebApp, page: Page) -> None:
        page = await app.page("https://chat.example.org")
        response = await page.send("POST", "register", {"name": "anna", "password": PASSWORD})
        cookie = response.headers["set-cookie"]
        assert cookie.startswith("__Host-ponder_session=")
        assert cookie.endswith("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict; Secure")
        token = cookie.split(";")[0].split("=", 1)[1]
        page.client.cookies.clear()
        plain = await page.client.get("/app/api/keys", headers={"cookie": f"ponder_session={token}"})
        own = await page.client.get("/app/api/keys", headers={"cookie": f"a=b; __Host-ponder_session={token}"})
        assert (plain.status_code, own.status_code) == (401, 200)

    run(work, accounts=True)


@pytest.mark.parametrize(
    "cookie", ["ponder_session=", "ponder_session=" + "x" * 500, "=;=,\x01", "a" * 5000, "ponder_session"]
)
def test_cookies_that_nobody_made(cookie: str) -> None:
    async def work(app: WebApp, page: Page) -> None:
        response = await page.client.get("/app/api/keys", headers={"cookie": cookie})
        assert response.status_code == 401

    run(work, accounts=True)


def test_everything_but_the_way_in_needs_a_login() -> None:
    async def work(app: WebApp, page: Page) -> None:
        for route in app.app.routes:
            path = route.path.replace("{id}", "x").removeprefix("/app/api/")  # type: ignore[attr-defined]
            for method in route.methods - {"HEAD"}:  # type: ignore[attr-defined]
                response = await page.send(method, path, {} if method != "GET" else None)
                expected = path not in ("session", "register", "login", "logout", "policy")
                assert (response.status_code == 401) is expected, (method, path)

    run(work, accounts=True)


def test_the_brake_is_shown_to_visitors() -> None:
    async def work(app: WebApp, page: Page) -> None:
        assert page.session["registration"] == "braked"
        (notice,) = page.session["notices"]
        assert notice["text"] == {
            "en": "Registration may be busy, please wait and try again. Registered users can log in normally.",
            "zh": "注册可能繁忙，请稍等重试。已注册用户可以正常登录",
        }

    run(work, accounts=True, is_braked=lambda: True)


def test_keys_are_shown_once_and_revoked_at_once() -> None:
    async def work(app: WebApp, page: Page) -> None:
        await page.post("register", {"name": "anna", "password": PASSWORD})
        made = await page.post("keys", {"name": " laptop "})
        assert made["key"].startswith("sk-")
        assert (made["name"], made["last4"]) == ("laptop", made["key"][-4:])
        listed = await page.client.get("/app/api/keys")
        assert made["key"] not in listed.text
        assert [key["id"] for key in listed.json()["data"]] == [made["id"]]
        ben = await app.page()
        await ben.post("register", {"name": "ben", "password": PASSWORD})
        assert (await ben.send("DELETE", f"keys/{made['id']}")).status_code == 404
        assert (await page.send("DELETE", f"keys/{made['id']}")).status_code == 204
        assert (await page.get("keys"))["data"] == []

    run(work, accounts=True)


def test_a_new_password_ends_the_other_sessions() -> None:
    async def work(app: WebApp, page: Page) -> None:
        await page.post("register", {"name": "anna", "password": PASSWORD})
        other = await app.page()
        await other.post("login", {"name": "anna", "password": PASSWORD}, status=200)
        wrong = await page.send("POST", "password", {"current": "no", "new": "five words or even more"})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "wrong_credentials")
        await page.post("password", {"current": PASSWORD, "new": "five words or even more"}, status=204)
        assert (await page.client.get("/app/api/keys")).status_code == 200
        assert (await other.client.get("/app/api/keys")).status_code == 401

    run(work, accounts=True)


def test_a_deleted_account_leaves_no_conversation() -> None:
    async def work(app: WebApp, page: Page) -> None:
        await page.post("register", {"name": "anna", "password": PASSWORD})
        account = page.session["account"]["id"]
        ben = await app.page()
        await ben.post("register", {"name": "ben", "password": PASSWORD})
        for owner in (page, ben):
            refused = await owner.answer(await owner.conversation(), "a pipe bomb")
            await owner.post("appeals", {"message_id": refused["id"], "text": "Why?"})
        assert app.accounts is not None
        await app.accounts.delete(account)

        def owners(connection: Connection) -> list[object]:
            rows = [
                connection.execute(select(table.c.account_id)).scalars().all() for table in (conversations, appeals)
            ]
            return [*rows, connection.execute(select(messages.c.id)).scalars().all()]

        owning = ben.session["account"]["id"]
        left = await app.database.read(owners)
        assert (left[0], left[1], len(left[2])) == ([owning], [owning], 2)  # type: ignore[arg-type]

    run(work, accounts=True, rules=rules())


def test_usage_and_prices() -> None:
    billing = FixedBilling()

    async def work(app: WebApp, page: Page) -> None:
        await page.post("register", {"name": "anna", "password": PASSWORD})
        assert page.session["prices"] == {
            "currency": "CNY",
            "models": {"scripted": {"cache_hit": 1, "cache_miss": 4, "output": 16}},
            "until": 1_737_331_200.0,
        }
        usage = await page.get("usage?from=2025-01-20&to=2025-01-21")
        assert billing.asked == (1_737_331_200_000, 1_737_504_000_000)
        assert usage["balance"] == {"granted": 10, "topped_up": 5, "total": 15}
        assert (usage["currency"], usage["days"][0]["micro_units"]) == ("CNY", 123)
        for query in ("from=2025-01-22&to=2025-01-21", "from=x", "to=20250121", "from=2020-01-01", "to=9999-12-31"):
            assert (await page.client.get(f"/app/api/usage?{query}")).status_code == 422, query

    run(work, accounts=True, billing=billing)


def test_the_policy_can_be_read_by_everybody() -> None:
    async def work(app: WebApp, page: Page) -> None:
        policy = await page.get("policy?language=zh")
        assert (policy["enabled"], policy["title"]) == (True, "本站规则")
        assert policy["rules"][0] == {
            "number": 1,
            "title": "武器",
            "description": "不提供武器制作方法。",
            "action": "retract",
        }
        assert "## 7. Watched words" in (await page.get("policy"))["markdown"]
        assert page.session["moderation"] is True

    run(work, accounts=True, rules=rules())


def test_a_site_without_rules_says_so() -> None:
    async def work(app: WebApp, page: Page) -> None:
        assert await page.get("policy") == {"enabled": False, "title": "", "markdown": "", "rules": []}
        assert page.session["moderation"] is False

    run(work)


def test_a_database_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(app: WebApp, page: Page) -> None:
        async def gone(work: object) -> None:
            raise ApiError(503, "the server cannot use its database now", code="database_unavailable")

        monkeypatch.setattr(app.database, "read", gone)
        response = await page.client.get("/app/api/conversations")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "database_unavailable")
        assert (await page.client.get("/app/api/session")).status_code == 200

    run(work, backend=ScriptedBackend())
