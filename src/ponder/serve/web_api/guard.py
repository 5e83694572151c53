"""Keeps other sites' pages from using a visitor's session, or a server that listens on this machine only.

A request that changes something has to come from our own page (`Origin`, `Sec-Fetch-Site`) and to carry a token that
only our own page can read. A foreign name that points here (DNS rebinding) would make a foreign page ours:
`ponder.serve.limits.doors.HostDoor` has refused those before. See OWASP's cheat sheet "Cross-Site Request Forgery
Prevention".
"""

import hmac
import secrets
from collections.abc import Callable
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from ponder.serve.errors import ApiError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER = "x-ponder-csrf"
SESSION_COOKIE = "ponder_session"
MAX_TOKEN = 200  # characters


class Guard:
    """Looks at the headers of every request to the API of the browser app."""

    def __init__(
        self,
        *,
        sign: Callable[[str], str] | None = None,
        public_url: str | None = None,
    ) -> None:
        """`sign` makes a token of a session's: with a random key by default, so that it ends with the process.
        `public_url`: where visitors find this server, if a proxy stands between.
        """
        self._sign = sign or _signer(secrets.token_bytes(32))
        parts = urlsplit(public_url) if public_url else None
        self._public_host = parts.netloc.lower() if parts else None
        self._public_https = parts is not None and parts.scheme == "https"

    def csrf_token(self, session: str | None) -> str:
        """The token of a session; that of nobody's session for None."""
        return self._sign(session or "")

    def check(self, method: str, headers: Headers, session: str | None) -> None:
        """Raises `ApiError` 403."""
        site = headers.get("sec-fetch-site")
        if site is not None and site not in ("same-origin", "none"):
            raise _refused("this request comes from another site's page", "origin")
        if method in SAFE_METHODS:
            return
        origin = headers.get("origin")
        own = self._public_host or headers.get("host", "").lower()
        # scheme://host:port (RFC 6454, section 6.2), and any bytes from who is no browser
        if origin is not None and origin.lower().partition("://")[2] != own:
            raise _refused("this request comes from another site's page", "origin")
        token = headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.csrf_token(session).encode()):
            raise _refused(f"the header {CSRF_HEADER} is missing or old; read it from /app/api/session", "csrf")

    def read_session(self, headers: Headers, scheme: str) -> str | None:
        """The token in the session's cookie."""
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return None
        morsel = cookies.get(self._cookie_name(scheme))
        return morsel.value if morsel is not None and 0 < len(morsel.value) <= MAX_TOKEN else None

    def session_cookie(self, token: str | None, seconds: int, scheme: str) -> str:
        """The `Set-Cookie` header of a session; None takes it away. With https the name has the prefix `__Host-`: no
        subdomain and no plain page can set it (RFC 6265bis, section 4.1.3).
        """
        secure = "; Secure" if self._is_https(scheme) else ""
        age = seconds if token is not None else 0
        value = token or ""
        return f"{self._cookie_name(scheme)}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"

    def _cookie_name(self, scheme: str) -> str:
        return f"__Host-{SESSION_COOKIE}" if self._is_https(scheme) else SESSION_COOKIE

    def _is_https(self, scheme: str) -> bool:
        return scheme == "https" or self._public_https


def _signer(key: bytes) -> Callable[[str], str]:
    return lambda value: hmac.new(key, value.encode("utf-8", "replace"), sha256).hexdigest()


def _refused(message: str, code: str) -> ApiError:
    return ApiError(403, message, type="permission_error", code=code)
