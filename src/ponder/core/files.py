"""Files and folders that are there whole or not at all, and what to tell a person when the disk refuses."""

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from ponder.core.errors import ConfigError, RunError

_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<kind>new|old)-[0-9a-f]{12}")
_RUST_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how safetensors reports a failed write
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP, errno.ENAMETOOLONG)


def what_is(path: Path) -> Literal["file", "folder"] | None:
    """What stands at `path`; None for nothing, also where no file could have that name. Raises `RunError` where a
    folder on the way must not be entered.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return None
        raise _unreadable(path, error) from error
    except ValueError:  # a null byte
        return None
    return "folder" if stat.S_ISDIR(mode) else "file"


def user_path(text: str) -> Path:
    """A path as a person wrote it, `~` replaced. Raises `ConfigError` for the home of nobody."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{text}: there is no such home folder; write the path without ~") from error


def require_room(path: Path, needed: int, advice: str) -> None:
    """Raises `RunError` that ends in `advice` where the disk that `path` will be on has less than `needed` bytes."""
    free = _free_bytes(path)
    if free is not None and needed > free:
        raise RunError(
            f"cannot write {path}: it takes {needed / 1e9:,.1f} GB and the disk has {free / 1e9:,.1f} GB left; {advice}"
        )


def atomic_write_text(path: Path, text: str) -> None:
    """Replace `path` by a file that holds `text` as UTF-8. Raises `RunError`; then the old file is still there."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by a file that holds `data`. Raises `RunError`; then the old file is still there."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` when the block ends well and vanishes when it does not. Raises
    `RunError`; then the old file is still there.
    """
    temporary = _sibling(path, "new")
    with explain_os_errors(path), _parents_of(path):
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `path` when the block ends well and vanishes when it does not.

    A folder that stood at `path` is there until then, and again if the change fails. Raises `RunError`.
    """
    temporary = _sibling(path, "new")
    with explain_os_errors(path), _parents_of(path):
        try:
            temporary.mkdir()
            yield temporary
            _sync_tree(temporary)
            _swap_in(temporary, path)
            _sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def clean_leftovers(folder: Path) -> None:
    """Undo what a killed process left half done, in `folder` and below. Call it only where nobody else writes.

    A folder that was moved aside to be replaced goes back to its place; everything unfinished is deleted.
    """
    for leftover in list(folder.rglob(".*")):
        match = _LEFTOVER.fullmatch(leftover.name)
        if match is None:
            continue
        place = leftover.with_name(match["name"])
        with explain_os_errors(leftover):
            if match["kind"] == "old" and not place.exists():
                leftover.rename(place)
            elif leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Whether this is a name that an unfinished write has, never a finished one."""
    return _LEFTOVER.fullmatch(path.name) is not None


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn an error of the operating system in the block, which writes `path`, into a `RunError` that says what to
    do.
    """
    try:
        yield
    except OSError as error:
        text = error.strerror or str(error)
        other = f" ({error.filename})" if error.filename not in (None, str(path), path) else ""
        raise _explanation(path, error.errno, text + other) from error
    except Exception as error:
        found = _RUST_OS_ERROR.search(str(error))
        if found is None:
            raise
        raise _explanation(path, int(found[1]), str(error)) from error


@contextmanager
def explain_read_errors(path: Path) -> Iterator[None]:
    """Turn an error of the operating system in the block, which reads `path`, into a `RunError`."""
    try:
        yield
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> RunError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return RunError(f"cannot read {path}: permission denied; make it and its folders readable for this user")
    return RunError(f"cannot read {path}: {error.strerror or error}; check the path and the disk")


def _explanation(path: Path, code: int | None, text: str) -> RunError:
    if code in (errno.ENOSPC, errno.EDQUOT):
        left = (_free_bytes(path) or 0) // 2**20
        what = f"the disk is full ({left} MB left); make room or choose a folder on another disk"
    elif code == errno.EROFS:
        what = "the file system is read-only; choose a folder on one that can be written"
    elif code in (errno.EACCES, errno.EPERM):
        what = f"permission denied; make {path.parent} writable for this user or choose another folder"
    elif code == errno.ENAMETOOLONG:
        what = "the name is too long for this file system; choose a shorter one"
    elif code == errno.ENOENT:
        what = f"{text}: the folder is not there and cannot be made; choose another one"
    elif code in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        what = f"{text[:1].lower()}{text[1:]}: a file stands where a folder is needed, or the reverse; move it away"
    else:
        what = f"{text}; check the path and the disk, or choose another folder"
    return RunError(f"cannot write {path}: {what}. What was saved before is unharmed.")


def _free_bytes(path: Path) -> int | None:
    """Of the disk that the nearest folder above `path` is on; None where that is none, such as /proc."""
    for folder in (path, *path.absolute().parents):
        with suppress(OSError):
            usage = shutil.disk_usage(folder)
            return usage.free if usage.free or usage.total else None
    return None


@contextmanager
def _parents_of(path: Path) -> Iterator[None]:
    """Make the folders above `path` that are missing. If the block fails, those go again that it left empty."""
    missing = [folder for folder in path.absolute().parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise


def _sibling(path: Path, kind: str) -> Path:
    if path.name in ("", ".."):
        raise RunError(f"cannot write {path}: it is a folder; expected the name of a file, or of a folder to make")
    return path.with_name(f".{path.name}.{kind}-{secrets.token_hex(6)}")


def _swap_in(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`. A folder there is moved aside first: a rename replaces only an empty one."""
    if not path.is_dir():
        temporary.rename(path)
        return
    aside = _sibling(path, "old")
    path.rename(aside)
    try:
        temporary.rename(path)
    except BaseException:
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    """Have everything in `folder` on the disk before its name says that it is complete."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(Path(parent, name), "rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(parent))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)
