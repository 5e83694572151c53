"""Files that a person writes may begin with a byte order mark, as Windows' programs write it: they read the same."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from moderation_rules import RULES
from ponder.cli import chat
from ponder.core.config import read_toml
from ponder.data.conversations import read_rows as read_objects
from ponder.data.library.contamination import texts_of
from ponder.data.library.rows import read_rows
from ponder.data.task_file import load_task_file
from ponder.recipes import endpoint
from ponder.recipes.r1_measure import read_ordinary
from ponder.serve.moderation.rules import load_rules
from ponder.serve.upstream.settings import UpstreamSettings

BOM = b"\xef\xbb\xbf"


def upstream_key(path: Path) -> str:
    key = UpstreamSettings(url="https://api.test/v1", key_file=path).read_key()
    return "" if key is None else key.reveal()


READERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a.toml": (read_toml, 'seed = 1\nname = "a"\n'),
    "a.txt": (texts_of, "one\n\ntwo\n"),
    "ordinary": (read_ordinary, "Once upon a time.\n"),
    "a.csv": (lambda path: [row.values for row in read_rows(path)], "question,answer\n1+1,2\n"),
    "a.json": (lambda path: [row.values for row in read_rows(path)], '[{"question": "1+1"}]'),
    "a.jsonl": (lambda path: [row.values for row in read_rows(path)], '{"question": "1+1"}\n'),
    "pairs.jsonl": (lambda path: [row for _, row in read_objects(path)], '{"prompt": "1+1"}\n'),
    "task.py": (
        lambda path: load_task_file(path).name,
        "NAME = 'a'\nPROBLEMS = [dict(prompt=str(i), answer=i) for i in range(99)]",
    ),
    "teacher.key": (endpoint.read_key, "sk-1234\n"),
    "server.key": (chat.read_key, "sk-1234\n"),
    "upstream.key": (upstream_key, "sk-1234\n"),
    "rules.toml": (lambda path: load_rules(path).digest, RULES),
}


@pytest.mark.parametrize("name", READERS)
def test_a_mark_at_the_beginning_changes_nothing(name: str, tmp_path: Path) -> None:
    read, text = READERS[name]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    without = read(path)
    path.write_bytes(BOM + text.encode())
    assert read(path) == without
    assert without


def test_the_guides_task_reads_a_table_that_a_spreadsheet_wrote(tmp_path: Path) -> None:
    folder = tmp_path / "reasoner"
    shutil.copytree(Path(__file__).parents[1] / "examples" / "reasoner", folder)
    subprocess.run([sys.executable, "questions.py"], cwd=folder, check=True)
    task = load_task_file(folder / "delivery.py")
    for name in ("train.csv", "test.csv"):
        (folder / name).write_bytes(BOM + (folder / name).read_bytes())
    assert load_task_file(folder / "delivery.py").fingerprint == task.fingerprint
