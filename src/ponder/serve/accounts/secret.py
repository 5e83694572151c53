"""The server's secret, and the digests under which tokens and keys are stored."""

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from ponder.core.errors import ConfigError
from ponder.core.files import explain_os_errors

LEAST_BYTES = 32


class Secret:
    """A key for HMAC-SHA256 (RFC 2104). Its value is shown nowhere."""

    def __init__(self, key: bytes) -> None:
        if len(key) < LEAST_BYTES:
            raise ConfigError(f"the server's secret has {len(key)} bytes; expected {LEAST_BYTES} or more")
        self._key = key

    def digest(self, purpose: str, value: str) -> str:
        """64 hexadecimal digits. Two purposes give digests that say nothing about each other."""
        message = f"{purpose}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()

    def __repr__(self) -> str:
        return "Secret(…)"


def load_secret(path: Path, *, create: bool) -> Secret:
    """The secret in `path`; where there is no file and `create`, a new one that only its owner may read.

    Raises `ConfigError` for one that is missing, too short, or that other users could read.
    """
    if create:
        _create(path)
    with explain_os_errors(path):
        try:
            mode, content = path.stat().st_mode, path.read_bytes().strip()
        except FileNotFoundError:
            raise ConfigError(
                f"there is no file {path} with the server's secret; make one with: "
                f"(umask 077; head -c 48 /dev/urandom | base64 > {path})"
            ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"other users can read the server's secret; forbid it with: chmod 600 {path}")
    if len(content) < LEAST_BYTES:
        raise ConfigError(f"{path} holds {len(content)} bytes; expected a secret of {LEAST_BYTES} or more")
    return Secret(content)


def _create(path: Path) -> None:
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(48) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)  # never over one that is there: another process may have been faster
        except FileExistsError:
            return
        finally:
            temporary.unlink(missing_ok=True)
