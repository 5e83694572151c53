"""The browser app's API with a scripted model, and a client that behaves like the page."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.applications import Starlette

from ponder.serve.accounts.accounts import Accounts
from ponder.serve.accounts.config import AccountsConfig, HashingConfig
from ponder.serve.accounts.keys import ApiKeys
from ponder.serve.accounts.secret import Secret
from ponder.serve.accounts.sessions import Sessions
from ponder.serve.accounts.web_accounts import DatabaseAccounts
from ponder.serve.deletion import delete_belongings
from ponder.serve.moderation.appeals import Appeals
from ponder.serve.moderation.enforcement import Enforcement
from ponder.serve.moderation.moderator import RuleModerator
from ponder.serve.moderation.policy import Policy
from ponder.serve.moderation.rules import RuleBook
from ponder.serve.scripted import ScriptedBackend
from ponder.serve.service import Service
from ponder.serve.storage.config import StorageConfig
from ponder.serve.storage.database import Database
from ponder.serve.web_api.conversations import ConversationStore
from ponder.serve.web_api.guard import Guard
from ponder.serve.web_api.routes import web_api_routes
from ponder.serve.web_api.runs import Runs, RunsConfig
from ponder.serve.wire.errors import EXCEPTION_HANDLERS

Event = tuple[int, str, dict[str, Any]]  # its id, name and data
QUICK = HashingConfig(memory_kib=8, passes=1, per_account=1000)


class Page:
    """A browser with the page open."""

    def __init__(self, app: Starlette, base: str = "http://localhost:8000") -> None:
        transport = httpx.ASGITransport(app=app, client=("192.0.2.7", 5000))
        self.client = httpx.AsyncClient(transport=transport, base_url=base)
        self.session: dict[str, Any] = {}

    async def open(self) -> "Page":
        self.session = (await self.client.get("/app/api/session")).json()
        return self

    async def send(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        headers = {
            "x-ponder-csrf": self.session["csrf"],
            "origin": str(self.client.base_url),
            **options.pop("headers", {}),
        }
        response = await self.client.request(method, f"/app/api/{path}", json=body, headers=headers, **options)
        if response.headers.get("content-type", "").startswith("application/json") and "csrf" in (
            value := response.json()
        ):
            self.session = value
        return response

    async def get(self, path: str) -> Any:
        response = await self.client.get(f"/app/api/{path}")
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, body: object = None, status: int = 201) -> Any:
        response = await self.send("POST", path, body or {})
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    async def conversation(self) -> str:
        return (await self.post("conversations"))["id"]

    async def ask(self, conversation: str, content: str | None, parent: str | None = None, **fields: object) -> Any:
        body = {"parent_id": parent, "content": content, "model": "scripted", "thinking": True, **fields}
        return await self.post(f"conversations/{conversation}/messages", body)

    async def events(self, run: str, after: int = 0) -> list[Event]:
        """All events of a run behind one, until it ends."""
        return parse_events((await self.client.get(f"/app/api/runs/{run}/events?after={after}")).text)

    async def answer(self, conversation: str, content: str | None, parent: str | None = None, **fields: object) -> Any:
        """The final message."""
        asked = await self.ask(conversation, content, parent, **fields)
        return (await self.events(asked["run_id"]))[-1][2]["message"]


def parse_events(text: str) -> list[Event]:
    """Of a stream; comments are left out."""
    events = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if lines:
            events.append((int(lines["id"]), lines["event"], json.loads(lines["data"])))
    return events


def text_of(events: list[Event], name: str) -> str:
    return "".join(data["text"] for _, event, data in events if event == name)


class WebApp:
    """What a test may want to reach."""

    def __init__(
        self,
        database: Database,
        backend: ScriptedBackend,
        *,
        config: RunsConfig,
        rules: RuleBook | None,
        accounts: bool,
        **routes: Any,
    ) -> None:
        self.database, self.backend = database, backend
        self.service = Service([backend], moderator=RuleModerator(Enforcement(rules)) if rules else None)
        self.store = ConversationStore(database)
        self.runs = Runs(self.service, self.store, config)
        guard, desk, self.accounts = Guard(), None, None
        if accounts:
            secret, settings = Secret(bytes(32)), AccountsConfig(mode="accounts", registration="open", hashing=QUICK)
            self.accounts = Accounts(database, settings, secret, on_deleted=delete_belongings)
            desk = DatabaseAccounts(
                self.accounts, Sessions(database, settings, secret), ApiKeys(database, settings, secret)
            )
            guard, routes = Guard(), {"registration": "open", **routes}
        self.app = Starlette(
            routes=web_api_routes(
                self.service,
                self.store,
                self.runs,
                guard,
                Appeals(database),
                accounts=desk,
                policy=Policy(rules) if rules else None,
                **routes,
            ),
            exception_handlers=EXCEPTION_HANDLERS,
        )

    async def page(self, base: str = "http://localhost:8000") -> Page:
        return await Page(self.app, base).open()


@asynccontextmanager
async def web_app(
    backend: ScriptedBackend | None = None,
    *,
    url: str = "sqlite://",
    config: RunsConfig | None = None,
    rules: RuleBook | None = None,
    accounts: bool = False,
    **routes: Any,
) -> AsyncIterator[WebApp]:
    """Ends with nothing left over."""
    database = Database.open(StorageConfig(url=url))
    app = WebApp(
        database, backend or ScriptedBackend(), config=config or RunsConfig(), rules=rules, accounts=accounts, **routes
    )
    try:
        yield app
    finally:
        await app.runs.close()
        await app.service.close()
        if app.accounts is not None:
            app.accounts.close()
        database.close()


async def until(true: Callable[[], bool]) -> None:
    """Give the others a chance until something has happened."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.002)
