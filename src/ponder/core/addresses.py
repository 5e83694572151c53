"""Addresses of other people's servers."""

from urllib.parse import urlsplit

from ponder.core.errors import ConfigError


def api_base(url: str, what: str) -> str:
    """Where the paths of an OpenAI-compatible API begin: `/v1` is added to an address that has no path of its own.

    Raises `ConfigError`, which names `what`, for what is no address, and for one that holds a name or password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigError(f"{what} {url!r} is no address; expected one such as http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise ConfigError(f"{what} holds a name or password; give the key in a file: --key-file FILE")
    return f"{url.rstrip('/')}/v1/" if parts.path in ("", "/") else f"{url.rstrip('/')}/"
