"""Who is here, what the server offers, and how to come in."""

from collections.abc import Callable
from typing import get_args

from starlette.routing import Route

from ponder.serve.limits.brake import NOTICE
from ponder.serve.records import Effort, ModelInfo, PriceList
from ponder.serve.service import Service
from ponder.serve.web_api.endpoint import Door, WebExchange
from ponder.serve.web_api.fields import MAX_CONTENT, MAX_TITLE, Credentials, Nothing, PasswordChange, SignUp
from ponder.serve.web_api.runs import Runs
from ponder.serve.web_api.seams import Billing, Registration, SignedIn, WebAccount
from ponder.serve.wire.fields import read_fields


class SessionRoutes:
    """`/session`, `/register`, `/login`, `/logout`, `/password`."""

    def __init__(
        self,
        door: Door,
        service: Service,
        runs: Runs,
        *,
        registration: Registration,
        is_braked: Callable[[], bool],
        billing: Billing | None,
        moderated: bool,
    ) -> None:
        self._door, self._service, self._runs = door, service, runs
        self._registration = registration
        self._is_braked, self._billing, self._moderated = is_braked, billing, moderated

    def routes(self) -> list[Route]:
        route = self._door.route
        return [
            route("GET", "/app/api/session", self._session, public=True),
            route("POST", "/app/api/register", self._register, public=True),
            route("POST", "/app/api/login", self._login, public=True),
            route("POST", "/app/api/logout", self._logout, public=True),
            route("POST", "/app/api/password", self._password),
        ]

    async def _session(self, exchange: WebExchange) -> None:
        await exchange.reply(self._describe(exchange.signed_in, exchange.token))

    async def _register(self, exchange: WebExchange) -> None:
        fields = read_fields(SignUp, await exchange.read_object())
        accounts = self._door.require_accounts()
        signed_in = await accounts.register(
            fields.name, fields.password, address=exchange.address, invite=fields.invite
        )
        await self._reply_signed_in(exchange, signed_in, 201)

    async def _login(self, exchange: WebExchange) -> None:
        fields = read_fields(Credentials, await exchange.read_object())
        accounts = self._door.require_accounts()
        signed_in = await accounts.login(
            fields.name, fields.password, address=exchange.address, instead_of=exchange.token
        )
        await self._reply_signed_in(exchange, signed_in, 200)

    async def _logout(self, exchange: WebExchange) -> None:
        read_fields(Nothing, await exchange.read_object())
        accounts = self._door.require_accounts()
        if exchange.token is not None:
            await accounts.logout(exchange.token)
        await self._reply_signed_in(exchange, None, 200)

    async def _password(self, exchange: WebExchange) -> None:
        fields = read_fields(PasswordChange, await exchange.read_object())
        accounts = self._door.require_accounts()
        assert exchange.token is not None
        await accounts.change_password(exchange.account, exchange.token, current=fields.current, new=fields.new)
        await exchange.reply_nothing()

    async def _reply_signed_in(self, exchange: WebExchange, signed_in: SignedIn | None, status: int) -> None:
        cookie = self._door.session_header(signed_in, exchange.scheme)
        account, token = (signed_in.account, signed_in.token) if signed_in else (None, None)
        await exchange.reply(self._describe(account, token), status, (cookie,))

    def _describe(self, account: WebAccount | None, token: str | None) -> dict[str, object]:
        accounts = self._door.accounts
        registration: str = "closed" if accounts is None else self._registration
        notices = []
        if registration != "closed" and self._is_braked():
            registration = "braked"
            notices.append({"id": "registration_brake", "level": "warning", "text": NOTICE})
        prices = None if self._billing is None else self._billing.prices()
        return {
            "mode": "open" if accounts is None else "accounts",
            "account": None
            if account is None
            else {
                "id": account.id,
                "name": account.name,
                "admin": account.admin,
                "created": account.created_ms / 1000,
            },
            "csrf": self._door.guard.csrf_token(token),
            "registration": registration,
            "notices": notices,
            "models": [_describe_model(model, first=not number) for number, model in enumerate(self._service.models)],
            "efforts": list(get_args(Effort)),
            "prices": None if prices is None else _describe_prices(prices),
            "moderation": self._moderated,
            "limits": {
                "max_content_characters": MAX_CONTENT,
                "max_runs": self._runs.max_per_account,
                "max_title_characters": MAX_TITLE,
                "min_password_characters": None if accounts is None else accounts.min_password_characters,
            },
        }


def _describe_model(model: ModelInfo, *, first: bool) -> dict[str, object]:
    return {
        "id": model.id,
        "context": model.context,
        "thinks": model.thinks,
        "tools": model.tools,
        "recommended": first,
        "examples": list(model.examples),
    }


def _describe_prices(prices: PriceList) -> dict[str, object]:
    return {
        "currency": prices.currency,
        "models": {
            name: {"cache_hit": price.cache_hit, "cache_miss": price.cache_miss, "output": price.output}
            for name, price in prices.models.items()
        },
        "until": prices.until,
    }
