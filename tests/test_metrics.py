import json
import math
import os
import time
from pathlib import Path

import pytest

from ponder.core.errors import RunError
from ponder.core.metrics import (
    GLOSSARY,
    JsonLines,
    MetricsLog,
    glossary_markdown,
    read_json_lines,
    read_metrics,
)

DOCS = Path(__file__).parents[1] / "docs"
FULL = Path("/dev/full")  # every write to it fails as on a full disk


def test_the_documentation_is_the_glossary() -> None:
    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == glossary_markdown()


def test_every_name_has_a_part_a_unit_and_a_meaning() -> None:
    for name, metric in GLOSSARY.items():
        assert name.count("/") == 1, name  # so that no metric can take the place of stage, step or time
        assert metric.unit, name
        assert metric.meaning, name


def test_a_step_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.log("zero", 3, {"reward/mean": 0.25, "groups/resampled": 2})
        [line] = path.read_text().splitlines()  # there before the log is closed
    record = json.loads(line)
    assert abs(record.pop("time") - time.time()) < 60
    assert record == {"stage": "zero", "step": 3, "reward/mean": 0.25, "groups/resampled": 2.0}
    assert read_metrics(path)[0]["reward/mean"] == 0.25


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        with pytest.raises(ValueError, match=r"'reward/maen' is not in the glossary.*; did you mean 'reward/mean'"):
            log.log("zero", 1, {"reward/maen": 1.0})
        assert log.offset() == 0


def test_a_number_that_is_not_finite_is_null_in_the_file_and_missing_when_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.log("zero", 1, {"reward/mean": math.nan, "optimizer/gradient_norm": math.inf, "policy/entropy": 0.0})
    assert json.loads(path.read_text())["reward/mean"] is None
    assert set(read_metrics(path)[0]) == {"stage", "step", "time", "policy/entropy"}


def test_resuming_from_an_offset_gives_the_same_lines_as_never_stopping(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with JsonLines(path) as lines:
        lines.append({"step": 1})
        offset = lines.offset()
        lines.append({"step": 2})
    assert offset == len(b'{"step": 1}\n')
    with JsonLines(path) as lines:
        lines.truncate(offset)
        lines.append({"step": 2, "again": True})
    assert read_json_lines(path) == [{"step": 1}, {"step": 2, "again": True}]
    with JsonLines(path) as lines:
        lines.truncate(0)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("offset", [-1, 5, 1000])
def test_a_file_that_was_changed_since_the_checkpoint_is_left_alone(offset: int, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text('{"step": 1}\n')
    with JsonLines(path) as lines, pytest.raises(RunError, match=f"no line that ends at byte {offset}"):
        lines.truncate(offset)
    assert path.read_text() == '{"step": 1}\n'


@pytest.mark.parametrize("cut", range(1, 13))
def test_a_torn_last_line_is_neither_read_nor_appended_to(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + b'{"step": 2}\n'[:-cut])
    assert read_json_lines(path) == [{"step": 1}]
    with JsonLines(path) as lines:
        lines.append({"step": 3})
    assert path.read_bytes() == b'{"step": 1}\n{"step": 3}\n'


def test_a_long_torn_line_is_dropped_whole(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b"{}\n" + b"\0" * 200_000)
    JsonLines(path).close()
    assert path.read_bytes() == b"{}\n"
    path.write_bytes(b"\0" * 200_000)
    JsonLines(path).close()
    assert path.read_bytes() == b""


def test_any_text_survives_a_line(tmp_path: Path) -> None:
    text = 'a\nb\u2028c\x85"\\ 思考 \ud800 \0'
    path = tmp_path / "samples.jsonl"
    with JsonLines(path) as lines:
        lines.append({"text": text})
        lines.append({"text": "next"})
    assert read_json_lines(path) == [{"text": text}, {"text": "next"}]
    assert "思考" in path.read_text(encoding="utf-8")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_has_a_clear_message(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to(FULL)
    with MetricsLog(tmp_path / "metrics.jsonl") as log, pytest.raises(RunError, match="the disk is full"):
        log.log("zero", 1, {"reward/mean": 1.0})


def test_a_disk_that_fills_within_a_line_leaves_no_part_of_it(tmp_path: Path) -> None:
    class FillsUp:
        """Takes three bytes, then no more."""

        def __init__(self, file: object) -> None:
            self.file, self.room = file, 3

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

        def write(self, data: memoryview) -> int:
            if not self.room:
                raise OSError(28, os.strerror(28))
            taken, self.room = self.file.write(data[: self.room]), 0
            return taken

    path = tmp_path / "metrics.jsonl"
    with JsonLines(path) as lines:
        lines.append({"step": 1})
        whole, lines._file = lines._file, FillsUp(lines._file)
        with pytest.raises(RunError, match="the disk is full"):
            lines.append({"step": 2})
        lines._file = whole
        lines.append({"step": 3})
    assert read_json_lines(path) == [{"step": 1}, {"step": 3}]


def test_unwritable_and_unreadable_files_have_messages(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a file stands where a folder is needed, or the reverse"):
        JsonLines(tmp_path)
    with pytest.raises(RunError, match=r"there is no file .*; the run has not logged anything yet"):
        read_metrics(tmp_path / "metrics.jsonl")
    with pytest.raises(RunError, match=r"cannot read .*: Is a directory"):
        read_metrics(tmp_path)


@pytest.mark.parametrize("damage", [b"{oops", b"[1]", b"\xff\xfe", b"", b"[" * 100_000])
def test_a_damaged_line_is_named(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"{}\n" + damage + b"\n{}\n")
    with pytest.raises(RunError, match="line 2 is damaged"):
        read_metrics(path)
