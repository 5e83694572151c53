import errno
import os
from pathlib import Path

import pytest

from ponder.core.errors import ConfigError, RunError
from ponder.core.files import (
    atomic_directory,
    atomic_file,
    atomic_write_bytes,
    atomic_write_text,
    clean_leftovers,
    explain_os_errors,
    is_leftover,
    user_path,
    what_is,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_with(code: int, monkeypatch: pytest.MonkeyPatch, function: str = "fsync") -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, function, fail)


def test_a_file_is_written_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    atomic_write_text(path, "思考 1")
    assert path.read_bytes() == b"\xe6\x80\x9d\xe8\x80\x83 1"
    atomic_write_bytes(path, b"2")
    assert path.read_bytes() == b"2"
    assert names(path.parent) == ["b.json"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "MB left); make room or choose a folder on another disk"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "the file system is read-only; choose a folder on one that can be written"),
        (errno.EACCES, "permission denied; make {parent} writable for this user or choose another folder"),
        (errno.EIO, "Input/output error; check the path and the disk"),
    ],
)
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_refused_write_says_what_to_do_and_leaves_the_old_file(
    code: int, words: str, function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.json"
    atomic_write_text(path, "old")
    fail_with(code, monkeypatch, function)
    with pytest.raises(RunError) as caught:
        atomic_write_text(path, "new")
    assert str(caught.value).startswith(f"cannot write {path}: ")
    assert words.format(parent=tmp_path) in str(caught.value)
    assert (path.read_text(), names(tmp_path)) == ("old", ["summary.json"])


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "step-000001"
    with atomic_directory(path) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "a").write_text("1")
        assert not path.exists()
        assert is_leftover(folder)
    assert (path / "part" / "a").read_text() == "1"
    assert names(path.parent) == ["step-000001"]


def test_a_folder_replaces_another_whole(tmp_path: Path) -> None:
    path = tmp_path / "step"
    for text in ("old", "new"):
        with atomic_directory(path) as folder:
            (folder / text).write_text(text)
    assert (names(path), names(tmp_path)) == (["new"], ["step"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug"), RunError("refused")])
def test_whatever_stops_the_writer_leaves_nothing_half_written(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "step"
    with atomic_directory(path) as folder:
        (folder / "a").write_text("old")

    def write_and_stop() -> None:
        with atomic_directory(path) as folder:
            (folder / "a").write_text("new")
            raise error

    with pytest.raises(type(error)):
        write_and_stop()
    assert ((path / "a").read_text(), names(tmp_path)) == ("old", ["step"])


def test_a_full_disk_while_a_folder_is_written_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "step"
    with atomic_directory(path) as folder:
        (folder / "a").write_text("old")
    fail_with(errno.ENOSPC, monkeypatch)
    with pytest.raises(RunError, match="the disk is full"), atomic_directory(path) as folder:
        (folder / "a").write_text("new")
    assert ((path / "a").read_text(), names(tmp_path)) == ("old", ["step"])


def test_a_failed_rename_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "step"
    with atomic_directory(path) as folder:
        (folder / "a").write_text("old")
    rename = os.rename

    def refuse_new(source: Path, target: Path) -> None:
        if ".new-" in str(source):
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(RunError, match="Input/output error"), atomic_directory(path) as folder:
        (folder / "a").write_text("new")
    assert ((path / "a").read_text(), names(tmp_path)) == ("old", ["step"])


def test_what_a_killed_process_left_is_undone(tmp_path: Path) -> None:
    kept = ["checkpoints/step-000001/a", ".hidden", ".note.new-xyz"]
    unfinished = [".summary.json.new-0123456789ab", "checkpoints/.step-000002.new-0123456789ab/a"]
    replaced = "checkpoints/.step-000001.old-0123456789ab/a"  # its successor is in place
    moved_aside = "checkpoints/.step-000003.old-0123456789ab/a"  # its successor is not
    for name in [*kept, *unfinished, replaced, moved_aside]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    clean_leftovers(tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {*kept, "checkpoints/step-000003/a"}
    assert (tmp_path / "checkpoints/step-000003/a").read_text() == moved_aside


def test_what_stands_at_a_path(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    names = (".", "a", "b", "a/b", "x" * 300, "a\0b")
    assert [what_is(tmp_path / name) for name in names] == ["folder", "file", None, None, None, None]
    with pytest.raises(ConfigError, match="~nosuchuser/x: there is no such home folder; write the path without ~"):
        user_path("~nosuchuser/x")


@pytest.mark.parametrize("place", [".", "/", "..", "there", "a/.."])
def test_a_folder_where_a_file_is_to_be_is_told_of(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(RunError, match=f"cannot write {place}: "):
        atomic_write_text(Path(place), "text")
    assert list(tmp_path.iterdir()) == [tmp_path / "there"]


def test_folders_made_for_a_file_go_when_it_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match="the name is too long for this file system"),
        atomic_file(tmp_path / ("x" * 300)),
    ):
        pass
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "a" / "b" / "c"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match="a file stands where a folder is needed"):
        atomic_write_text(tmp_path / "runs" / "zero" / "config.toml", "")
    with pytest.raises(RunError, match="a file stands where a folder is needed"), atomic_directory(tmp_path / "runs"):
        pass
    assert (tmp_path / "runs").is_file()


def test_errors_of_safetensors_are_explained_and_bugs_are_not(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the disk is full"), explain_os_errors(tmp_path / "a"):
        raise Exception("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(ZeroDivisionError), explain_os_errors(tmp_path / "a"):
        raise ZeroDivisionError
