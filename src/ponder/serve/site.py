"""A whole server, put together from its settings. What its parts know of each other is decided here."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from ponder.serve.accounts.accounts import Accounts, ensure_account
from ponder.serve.accounts.authenticator import AccountAuthenticator
from ponder.serve.accounts.keys import ApiKeys
from ponder.serve.accounts.secret import Secret, load_secret
from ponder.serve.accounts.sessions import Sessions
from ponder.serve.accounts.web_accounts import DatabaseAccounts
from ponder.serve.anthropic import routes as anthropic
from ponder.serve.anthropic.errors import error_body as anthropic_error
from ponder.serve.config import ServeConfig, check_safe
from ponder.serve.deletion import delete_belongings
from ponder.serve.dispatch import Dispatch
from ponder.serve.errors import ApiError
from ponder.serve.ledger.billing import LedgerBilling
from ponder.serve.ledger.meter import LedgerMeter
from ponder.serve.ledger.prices import PriceTable
from ponder.serve.ledger.welcome import welcome
from ponder.serve.limits.brake import RegistrationBrake
from ponder.serve.limits.doors import LOOPBACK_HOSTS, BodyDoor, HostDoor, LaneDoor
from ponder.serve.limits.gate import FairGate
from ponder.serve.limits.lanes import LaneName, Lanes
from ponder.serve.moderation.appeals import Appeals
from ponder.serve.moderation.moderation import open_moderation
from ponder.serve.open_mode import LOCAL, OpenAuthenticator
from ponder.serve.operations.access import AccessDoor
from ponder.serve.operations.drain import Drain
from ponder.serve.operations.operations import Operations
from ponder.serve.page import AppPage
from ponder.serve.responses import routes as responses
from ponder.serve.seams import Authenticator, Backend
from ponder.serve.service import Service
from ponder.serve.storage.database import Database
from ponder.serve.upstream.backend import UpstreamBackend
from ponder.serve.web_api.conversations import ConversationStore
from ponder.serve.web_api.guard import Guard
from ponder.serve.web_api.routes import web_api_routes
from ponder.serve.web_api.runs import Runs
from ponder.serve.wire.balance import Balances
from ponder.serve.wire.errors import EXCEPTION_HANDLERS, ErrorBoundary, from_http_exception
from ponder.serve.wire.openapi import openapi_document
from ponder.serve.wire.routes import document_route, wire_operations, wire_routes

LANES: dict[str, LaneName] = {"/app/api/register": "registration", "/app/api/login": "login"}


@dataclass(frozen=True, kw_only=True)
class Site:
    """A server that is ready to be run: `ponder.serve.server.Server` takes `app` and `drain`."""

    app: ASGIApp
    service: Service
    drain: Drain
    operations: Operations


@asynccontextmanager
async def open_site(config: ServeConfig, backends: Sequence[Backend] = ()) -> AsyncIterator[Site]:
    """A site that serves these backends, which it closes at its end, and the upstreams of its settings.

    Raises `ConfigError` for settings that are not safe or do not fit together, `StorageError` for a database that
    cannot be used.
    """
    check_safe(config)
    async with AsyncExitStack() as stack:
        served = [*backends]
        for settings in config.upstreams.values():
            upstream = await UpstreamBackend.open(settings)
            stack.push_async_callback(upstream.close)
            served.append(upstream)
        database = await asyncio.to_thread(Database.open, config.storage)
        stack.push_async_callback(asyncio.to_thread, database.close)
        await asyncio.to_thread(database.become_the_server)
        yield await _Builder(config, database, stack).build(served)


class _Builder:
    """Makes the parts in the order in which they need each other; what is entered into the stack ends in reverse."""

    def __init__(self, config: ServeConfig, database: Database, stack: AsyncExitStack) -> None:
        self.config, self.database, self.stack = config, database, stack
        self.drain = Drain()
        self.clock: Callable[[], float] = time.monotonic
        self.prices = PriceTable(config.prices)
        self.gate = FairGate(config.limits, clock=self.clock)
        self.lanes = Lanes(config.lanes, self.clock)
        self.brake = RegistrationBrake(config.brake, self.clock, changed=lambda on, why: self.brake_changed(on, why))
        self.brake_changed: Callable[[bool, str], None] = lambda on, why: None

    async def build(self, backends: Sequence[Backend]) -> Site:
        config = self.config
        meter = await self._meter() if config.has_accounts else None
        secret = await asyncio.to_thread(self._secret) if config.has_accounts else None
        known = None if secret is None else AccountAuthenticator(self.database, config.accounts, secret)
        self.operations = Operations(
            config.operations,
            drain=self.drain,
            checks={"database": self.database.answers},
            backends=backends,
            queue=self.gate,
            brake=self.brake,
            authenticator=known,
            clock=self.clock,
        )
        self.brake_changed = self.operations.brake_changed
        digest = None if secret is None else partial(secret.digest, "audit")
        rules = await asyncio.to_thread(open_moderation, config.moderation, self.database, backends, digest=digest)
        self.policy = rules.policy if rules else None
        self.service = Service(
            backends,
            gate=self.gate,
            meter=meter,
            moderator=rules.moderator if rules else None,
            observer=self.operations.observer,
            clock=self.clock,
        )
        self.prices.require(model.id for model in self.service.models)
        self.stack.push_async_callback(self.service.close)
        self.drain.when_begun(self._let_nobody_in)
        store = ConversationStore(self.database)
        self.runs = Runs(self.service, store, clock=self.clock)
        self.stack.push_async_callback(self.runs.close)
        self.drain.wait_for(lambda: self.service.running)
        self.drain.when_over(self.service.cancel_all)
        await self.stack.enter_async_context(self.operations.running())
        if secret is not None and known is not None:
            routes = self._routes_with_accounts(store, secret, known)
        else:
            routes = await self._open_routes(store)
        page = AppPage()
        routes += [*self.operations.routes, *page.routes, document_route(self._document)]
        handlers = EXCEPTION_HANDLERS | {HTTPException: page.before(from_http_exception)}
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False  # a path with a slash too many is 404 in JSON, not a redirect
        return Site(
            app=self._behind_doors(Dispatch(app, routes)),
            service=self.service,
            drain=self.drain,
            operations=self.operations,
        )

    async def _meter(self) -> LedgerMeter:
        meter = LedgerMeter(self.database, self.prices)
        self.stack.push_async_callback(meter.close)
        await asyncio.to_thread(meter.recover)
        return meter

    async def _open_routes(self, store: ConversationStore) -> list[BaseRoute]:
        await self.database.write(
            lambda connection: ensure_account(connection, LOCAL, LOCAL, now_ms=int(1000 * time.time()), admin=True)
        )
        guard = Guard(public_url=self.config.public_url)
        web = web_api_routes(
            self.service,
            store,
            self.runs,
            guard,
            Appeals(self.database),
            policy=self.policy,
            settings=self.config.api,
        )
        return [*self._api_routes(OpenAuthenticator(), None), *web]

    def _secret(self) -> Secret:
        return load_secret(self.config.accounts.secret_file, create=self.config.is_local)

    def _routes_with_accounts(
        self, store: ConversationStore, secret: Secret, authenticator: AccountAuthenticator
    ) -> list[BaseRoute]:
        config, database = self.config, self.database
        billing = LedgerBilling(database, self.prices, lambda: (model.id for model in self.service.models))
        accounts = Accounts(database, config.accounts, secret, on_created=self._welcome, on_deleted=delete_belongings)
        self.stack.callback(accounts.close)
        sessions, keys = Sessions(database, config.accounts, secret), ApiKeys(database, config.accounts, secret)
        authenticator.follow(accounts, keys)
        guard = Guard(sign=lambda session: secret.digest("csrf", session), public_url=config.public_url)
        web = web_api_routes(
            self.service,
            store,
            self.runs,
            guard,
            Appeals(database),
            accounts=DatabaseAccounts(accounts, sessions, keys),
            registration=config.accounts.registration,
            is_braked=lambda: self.brake.on,
            billing=billing,
            policy=self.policy,
            settings=config.api,
        )
        return [*self._api_routes(authenticator, billing), *web]

    def _api_routes(self, authenticator: Authenticator, balances: Balances | None) -> list[BaseRoute]:
        settings = self.config.api
        return [
            *wire_routes(self.service, authenticator, settings, balances=balances),
            *responses.routes(self.service, authenticator, settings),
            *anthropic.routes(self.service, authenticator, settings),
        ]

    def _document(self) -> bytes:
        return openapi_document([wire_operations(), responses.operations(), anthropic.operations()])

    @property
    def hosts(self) -> set[str]:
        """The names by which the server may be asked for; "*" is any."""
        config = self.config
        if config.open_to_network and not config.hosts:
            return {"*"}
        public = urlsplit(config.public_url or "").hostname
        return {*LOOPBACK_HOSTS, config.server.host, *config.hosts, *([public] if public else [])}

    def _behind_doors(self, app: ASGIApp) -> ASGIApp:
        doors: ASGIApp = LaneDoor(app, self.lanes, self.brake, LANES, rejected=self._count_rejection)
        doors = BodyDoor(doors, self.config.api.max_body_bytes)
        doors = HostDoor(doors, sorted(self.hosts))
        doors = ErrorBoundary(doors, dict.fromkeys(anthropic.PATHS, anthropic_error))
        return AccessDoor(doors, self.operations.metrics, log=self.config.operations.access_log)

    def _count_rejection(self, error: ApiError) -> None:
        self.operations.metrics.rejected.labels(self.operations.metrics.rejections(error.code or error.type)).inc()

    def _let_nobody_in(self) -> None:
        self.service.drain()
        self.gate.drain()

    def _welcome(self, connection: Connection, account: str) -> None:
        """What every new account is given, in the transaction that makes it."""
        welcome(connection, account, self.config.prices, now_ms=int(1000 * time.time()))
