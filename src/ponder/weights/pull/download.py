"""One file over HTTP: continued where it broke off, and checked against what was published."""

import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

from ponder import __version__
from ponder.core.errors import PullError
from ponder.core.files import explain_os_errors

CHUNK = 1 << 20  # bytes
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers that may be better in a moment
_BROKEN = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError)
_MEANINGS = {
    401: "the server wants to know who asks: set HF_TOKEN (or the index's user and password)",
    403: "access is refused: check that the account behind the token may read it, and that its terms are accepted",
    404: "there is no such file: check the name and the revision",
}


@dataclass(frozen=True)
class Patience:
    """How long a broken connection is tried again before the person is asked to."""

    attempts: int = 5  # in a row that bring nothing
    wait: float = 1.0  # seconds before the second attempt; doubled each time
    timeout: float = 30.0  # seconds without a byte


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file to fetch, with what its publisher says of it."""

    name: str  # relative to the model's folder
    url: str
    size: int | None = None  # bytes
    sha256: str | None = None
    git_sha1: str | None = None  # git's name for the content, which the Hub gives for small files
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # for its own host only


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How the network is reached, where that differs from the environment's settings."""

    proxy: str | None = None
    certificates: str | None = None  # a file of certificate authorities to trust as well


PATIENCE = Patience()
DIRECT = Connection()


def fetch(
    remote: RemoteFile,
    target: Path,
    report: Callable[[int], None],
    *,
    patience: Patience = PATIENCE,
    connection: Connection = DIRECT,
) -> str:
    """Write `remote` to `target`, which appears only when it is whole and right; returns its SHA-256.

    What has come stays in `<target>.part` when the transfer breaks, and the next call asks for the rest only.
    `report` hears how many bytes of the file are there. Raises `PullError`, and `RunError` where the disk refuses;
    a file of another size or hash is deleted.
    """
    part = target.with_name(f"{target.name}.part")
    failures, wait = 0, patience.wait
    while True:
        before = _size(part)
        try:
            _stream(remote, part, report, patience.timeout, connection)
            break
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                part.unlink()  # the file there is another one by now
            elif error.code not in _PASSING:
                meaning = _MEANINGS.get(error.code, "check the address and try again")
                raise PullError(f"{shown(remote.url)} answers {error.code} {error.reason}; {meaning}") from None
            trouble: Exception = error
        except _BROKEN as error:
            trouble = error
        came = _size(part) > before
        failures, wait = (1, patience.wait) if came else (failures + 1, wait)
        if failures >= patience.attempts:
            raise _broken(remote, part, trouble) from trouble
        time.sleep(wait)
        wait = min(2 * wait, 30.0)
    digest = _checked(remote, part)
    with explain_os_errors(target):
        os.replace(part, target)
    return digest


def read_page(url: str, headers: Mapping[str, str], connection: Connection, limit: int = 64 << 20) -> tuple[bytes, str]:
    """The body and content type of a page. Raises `OSError` (`URLError` is one) or `http.client.HTTPException`."""
    with _open(url, headers, Patience.timeout, connection) as response:
        return response.read(limit), response.headers.get("Content-Type", "")


def shown(url: str) -> str:
    """An address without the password in it."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def reason(error: BaseException) -> str:
    """What went wrong on the network, in few words."""
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        return reason(inner)
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"HTTP {error.code} {text}" if isinstance(error, urllib.error.HTTPError) else str(text)


def _stream(
    remote: RemoteFile, part: Path, report: Callable[[int], None], timeout: float, connection: Connection
) -> None:
    """Append what is missing to `part`."""
    have = _size(part)
    if remote.size is not None and have > remote.size:
        part.unlink()
        have = 0
    if remote.size is not None and have == remote.size and (have or part.exists()):
        report(have)
        return
    headers = dict(remote.headers) | ({"Range": f"bytes={have}-"} if have else {})
    with _open(remote.url, headers, timeout, connection) as response:
        if have and not _continues(response, have):
            have = 0  # the server sends the whole file again
        length = response.headers.get("Content-Length")
        end = have + int(length) if length and length.isdigit() else None
        read = getattr(response, "read1", response.read)
        with _writer(part, append=have > 0) as write:
            report(have)
            while chunk := read(CHUNK):
                write(chunk)
                have += len(chunk)
                report(have)
                if remote.size is not None and have > remote.size:
                    return  # too long: the check of the size says so
    if end is not None and have < end:
        raise ConnectionError(f"the connection ended after {have:,} of {end:,} bytes")


@contextmanager
def _writer(path: Path, *, append: bool) -> Iterator[Callable[[bytes], None]]:
    """A function that appends to a file. What the disk refuses becomes a `RunError`."""
    with explain_os_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC), 0o666)

    def write(data: bytes) -> None:
        view = memoryview(data)
        with explain_os_errors(path):
            while view:
                view = view[os.write(descriptor, view) :]

    try:
        yield write
        with explain_os_errors(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _continues(response: Any, start: int) -> bool:
    return response.status == HTTPStatus.PARTIAL_CONTENT and response.headers.get("Content-Range", "").startswith(
        f"bytes {start}-"
    )


def _checked(remote: RemoteFile, part: Path) -> str:
    """The SHA-256 of the file; one that is not what was published is deleted and raises `PullError`."""
    size = part.stat().st_size
    sha256, git = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with explain_os_errors(part), open(part, "rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
            if remote.git_sha1 is not None:
                git.update(chunk)
    for what, got, expected in (
        ("bytes", f"{size:,}", None if remote.size is None else f"{remote.size:,}"),
        ("SHA-256", sha256.hexdigest(), remote.sha256),
        ("git hash", git.hexdigest(), remote.git_sha1),
    ):
        if expected is not None and got != expected:
            part.unlink()
            raise PullError(
                f"{remote.name} from {shown(remote.url)} is not what was published: {what} {got}; expected "
                f"{expected}. It has been deleted; pull again, and if it stays so, choose another source"
            )
    return sha256.hexdigest()


def _broken(remote: RemoteFile, part: Path, trouble: Exception) -> PullError:
    host = urllib.parse.urlsplit(remote.url).hostname or shown(remote.url)
    total = "" if remote.size is None else f" of {remote.size:,}"
    return PullError(
        f"{remote.name}: the connection to {host} broke ({reason(trouble)}); {_size(part):,}{total} bytes are kept. "
        "Give the same command again when the network is back: it fetches only what is missing"
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; what proves who asks stays with the host that it was meant for."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and urllib.parse.urlsplit(newurl)[:2] != urllib.parse.urlsplit(req.full_url)[:2]:
            new.remove_header("Authorization")
        return new


def _open(url: str, headers: Mapping[str, str], timeout: float, connection: Connection) -> Any:
    parts = urllib.parse.urlsplit(url)
    request = urllib.request.Request(shown(url), headers={"User-Agent": f"ponder/{__version__}", **headers})
    if parts.username and not request.has_header("Authorization"):
        user = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {b64encode(user.encode()).decode('ascii')}")
    secure = urllib.request.HTTPSHandler(context=_context(connection.certificates))
    handlers: list[urllib.request.BaseHandler] = [_Redirects(), secure]
    if connection.proxy:
        handlers.append(urllib.request.ProxyHandler({"http": connection.proxy, "https": connection.proxy}))
    return urllib.request.build_opener(*handlers).open(request, timeout=timeout)


@cache  # reading them takes a tenth of a second
def _context(certificates: str | None) -> ssl.SSLContext:
    """The system's certificate authorities and those that the usual settings name."""
    context = ssl.create_default_context()
    extra = [os.environ.get("REQUESTS_CA_BUNDLE"), os.environ.get("CURL_CA_BUNDLE"), certificates]
    with suppress(ImportError):
        import certifi  # a Python without a system store (macOS) has no others

        extra.append(certifi.where())
    for bundle in filter(None, extra):
        with suppress(OSError):  # a setting that names a missing file: what is left decides
            context.load_verify_locations(bundle)
    return context
