"""One request of the browser app: where it comes from, who is signed in, and the answer, which no cache keeps."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ponder.serve.errors import ApiError
from ponder.serve.open_mode import LOCAL
from ponder.serve.records import Caller
from ponder.serve.web_api.guard import Guard
from ponder.serve.web_api.seams import SignedIn, WebAccount, WebAccounts
from ponder.serve.wire.errors import from_unforeseen, log_unforeseen, request_id, send_error
from ponder.serve.wire.exchange import JSON, Exchange
from ponder.serve.wire.json_text import compact
from ponder.serve.wire.settings import WireSettings

LOCAL_ACCOUNT = WebAccount(id=LOCAL, name=LOCAL, admin=True, created_ms=0)
NO_STORE = (b"cache-control", b"no-store")


class WebExchange(Exchange):
    """What a handler gets to see of a request."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        settings: WireSettings,
        *,
        account: WebAccount | None,
        token: str | None,
    ) -> None:
        client = scope.get("client")
        self.address: str = client[0] if client else ""
        caller = Caller(
            account=account.id if account else "", admin=account is not None and account.admin, address=self.address
        )
        super().__init__(scope, receive, send, caller, settings)
        self.signed_in = account
        self.token = token  # of the session
        self.query = QueryParams(scope.get("query_string", b""))
        self.scheme: str = scope.get("scheme", "http")

    @property
    def account(self) -> str:
        """The id of who is signed in."""
        return self.caller.account

    async def reply(self, value: object, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """A whole answer in JSON."""
        await self.reply_bytes(compact(value).encode("utf-8", "replace"), status, (JSON, *headers))

    async def reply_bytes(self, body: bytes, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        await self.start(status, [NO_STORE, (b"content-length", str(len(body)).encode()), *headers])
        await self.write(body, more=False)

    async def reply_nothing(self) -> None:
        """204."""
        await self.start(204, [NO_STORE])
        await self.write(b"", more=False)


Handler = Callable[[WebExchange], Awaitable[None]]


class Door:
    """Makes routes of handlers: each request passes the guard and is told who is signed in."""

    def __init__(self, guard: Guard, accounts: WebAccounts | None, settings: WireSettings) -> None:
        """`accounts` None: nobody signs in, and everybody is the one local account."""
        self.guard, self.accounts, self.settings = guard, accounts, settings

    def route(self, method: str, path: str, handler: Handler, *, public: bool = False) -> Route:
        """`public`: it answers also who is not signed in."""
        return Route(path, _Endpoint(self, handler, public), methods=[method])

    async def open(self, scope: Scope, receive: Receive, send: Send, *, public: bool) -> WebExchange:
        """Raises `ApiError` 401, 403."""
        headers = Headers(scope=scope)
        scheme = scope.get("scheme", "http")
        token = self.guard.read_session(headers, scheme) if self.accounts is not None else None
        self.guard.check(scope["method"], headers, token)
        account: WebAccount | None = LOCAL_ACCOUNT
        if self.accounts is not None:
            account = await self.accounts.find_session(token) if token is not None else None
        if account is None and not public:
            raise ApiError(401, "sign in first", type="authentication_error", code="login_required")
        return WebExchange(scope, receive, send, self.settings, account=account, token=token)

    def require_accounts(self) -> WebAccounts:
        """Raises `ApiError` 404 where nobody signs in."""
        if self.accounts is None:
            raise ApiError(404, "this server has no accounts", type="not_found_error", code="not_found")
        return self.accounts

    def session_header(self, signed_in: SignedIn | None, scheme: str) -> tuple[bytes, bytes]:
        """What begins a session in the browser, or ends it."""
        token, seconds = (signed_in.token, signed_in.seconds) if signed_in else (None, 0)
        return b"set-cookie", self.guard.session_cookie(token, seconds, scheme).encode()


class _Endpoint:
    """The ASGI application of one route."""

    def __init__(self, door: Door, handler: Handler, public: bool) -> None:
        self._door, self._handler, self._public = door, handler, public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = None
        try:
            exchange = await self._door.open(scope, receive, send, public=self._public)
            await self._handler(exchange)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  # every failure has an answer
            known = from_unforeseen(error)
            if known.status == 500 and not isinstance(error, ApiError):
                log_unforeseen(error, request_id(scope))
            if exchange is None or not exchange.started:
                await send_error(known, send, (NO_STORE,))
