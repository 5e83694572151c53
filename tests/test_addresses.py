"""Addresses of servers: where an API begins, and what is refused."""

import pytest

from ponder.core.addresses import api_base
from ponder.core.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/"),
        ("https://host/", "https://host/v1/"),
        ("https://host/api/v3", "https://host/api/v3/"),
        ("https://host/beta/", "https://host/beta/"),
    ],
)
def test_the_base_of_an_address(url: str, base: str) -> None:
    assert api_base(url, "--url") == base


@pytest.mark.parametrize(
    "url", ["", "x", "127.0.0.1:8000", "ftp://x", "http://", "http://x:0", "http://x:99999", "http://[::1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^the address .* is no address; expected one such as"):
        api_base(url, "the address")


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match=r"^--url holds a name or password; give the key in a file") as raised:
        api_base("http://me:word@host/v1", "--url")
    assert "word@" not in str(raised.value)
