"""An API key, alone in a file: read in one way by all who ask other servers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ponder.cli import chat
from ponder.core.errors import ConfigError, RunError
from ponder.core.keys import read_key
from ponder.recipes import endpoint
from ponder.serve.upstream.settings import UpstreamSettings

NONE = [b"", b"\n", b"two words", b"one\ntwo", "naïve".encode(), b"sk-\xff", "sk-1234".encode("utf-16")]


def of_upstream(path: Path) -> str | None:
    key = replace(UpstreamSettings(url="https://api.test/v1"), key_file=path).read_key()
    return None if key is None else key.reveal()


READERS: list[Callable[[Path], object]] = [chat.read_key, endpoint.read_key, of_upstream]


@pytest.mark.parametrize("read", READERS)
def test_a_key_is_read_from_a_file(read: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-1234\n")
    assert read(tmp_path / "key") == "sk-1234"


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("content", NONE)
def test_a_file_without_a_key_is_refused(read: Callable[[Path], object], content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigError, match=r"key holds no API key; expected one line of ASCII text") as caught:
        read(tmp_path / "key")
    assert "sk-" not in str(caught.value)
    assert "words" not in str(caught.value)


def test_a_key_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot read"):
        read_key(tmp_path / "missing")
    with pytest.raises(ConfigError, match=r"upstream at api\.test cannot be read: .*missing: No such file"):
        of_upstream(tmp_path / "missing")


def test_all_read_it_in_the_same_way() -> None:
    assert chat.read_key is endpoint.read_key is read_key
