"""API keys of other people's servers, as an operator gives them."""

from pathlib import Path

from ponder.core.errors import ConfigError
from ponder.core.files import explain_read_errors


def read_key(path: Path) -> str:
    """The key that is alone in a file. Raises `RunError` for a file that cannot be read, `ConfigError` where it holds
    none. No message quotes it.
    """
    with explain_read_errors(path):
        text = path.read_bytes().decode("utf-8-sig", "replace")  # what is not UTF-8 is not ASCII, and is refused
    return plain_key(text, str(path))


def plain_key(text: str, where: str) -> str:
    """The key that a text is but for white space around it. Raises `ConfigError`, which names `where` it stands."""
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{where} holds no API key; expected one line of ASCII text, the key and nothing else")
    return key
