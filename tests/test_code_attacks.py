"""Attempts to break out of the sandbox or to be judged right: no effect on the machine, no false reward."""

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from code_attacks import LOOPS, MAGIC, attacks
from ponder.core.code_tests import CallCase, InputCase, Tests, TestScript
from ponder.core.errors import SandboxError
from ponder.verify.code.config import SandboxConfig
from ponder.verify.code.judge import CodeJudge

SCRIPT = TestScript(
    code=f"""
import math
def check(candidate):
    given = [3, 1, 2]
    assert candidate(given, 1) == sorted(given) + [{MAGIC}]
    assert math.isclose(candidate(2, 3), {MAGIC})
    try:
        assert candidate(0) == {MAGIC}
    except Exception as error:
        assert False, error
""",
    entry="f",
)
CALLS = [CallCase(function="f", args=[[3, 1], 2], expected=MAGIC), CallCase(function="f", args=[1], expected=True)]
INPUTS = [InputCase(input="3 1\n", output=f"{MAGIC}\n")]


@pytest.fixture(scope="module")
def threads_before() -> int:
    """How many threads there were when the judge began: other tests of the process may have left some."""
    return threading.active_count()


@pytest.fixture(scope="module")
def judge(threads_before: int) -> Iterator[CodeJudge]:
    try:
        judge = CodeJudge(SandboxConfig(seconds=0.6, memory_mb=256, output_mb=1.0))
    except SandboxError as error:
        pytest.skip(str(error))
    with judge:
        yield judge


class Host:
    """What of this machine the attacks aim at."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "host.txt"
        self.file.write_text("untouched")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.1)
        self.port = self.listener.getsockname()[1]
        self.before = self._state(folder)
        self._folder = folder

    def effects(self) -> list[str]:
        """What the attacks left behind."""
        found = [] if self._state(self._folder) == self.before else ["files have changed"]
        try:
            self.listener.accept()
            found.append("a connection came")
        except TimeoutError:
            pass
        self.listener.close()
        return found + [f"a process is left: {name}" for name in strays()]

    def _state(self, folder: Path) -> object:
        folders = (folder, Path("/tmp"), Path("/"))
        mine = [sorted(p.name for p in f.iterdir() if "ponder-attack" in p.name or f == folder) for f in folders]
        return mine, self.file.read_text(), self.file.stat().st_mode


def strays() -> list[str]:
    """Processes of the sandboxes' users whose sandbox is gone."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if int(lines["Uid"].split()[0]) >= 1_900_000_000 and int(lines["PPid"]) <= 1:
            found.append(lines["Name"].strip())
    return found


def test_no_attack_has_an_effect_or_a_reward(judge: CodeJudge, tmp_path: Path) -> None:
    host = Host(tmp_path)
    corpus = attacks()
    jobs: list[tuple[str, Tests]] = []
    for number, attack in enumerate(corpus):
        source = attack.source.replace("HOST_FILE", str(host.file)).replace("HOST_PORT", str(host.port))
        if attack.tests is not None:
            jobs.append((source, TestScript(code=attack.tests, interface=("f",))))
        elif attack.family == "time" or number % 3 != 2:
            jobs.append((source, SCRIPT if number % 3 == 0 else CALLS))
        else:
            jobs.append((f"{source}\nf([3, 1], 2)\nprint(f(1))\n", INPUTS))
    started = time.monotonic()
    judgements = judge.judge_all(jobs)
    took = time.monotonic() - started
    rewarded = [(attack, done) for attack, done in zip(corpus, judgements, strict=True) if done.passed is not False]
    reached = [(attack, done) for attack, done in zip(corpus, judgements, strict=True) if "kernel did" in done.reason]
    assert rewarded == []
    assert reached == []
    assert host.effects() == []
    assert len(corpus) >= 200
    assert len(Counter(attack.family for attack in corpus)) == 14
    assert took < 120


def test_loops_that_attacks_cut_short_are_passed_by_an_honest_program(judge: CodeJudge) -> None:
    done = judge.judge("def f(x): return x % 2 == 0", TestScript(code="\n".join(LOOPS), interface=("f",)))
    assert done.passed is True, done


def test_a_judge_still_works_after_the_attacks(judge: CodeJudge, threads_before: int) -> None:
    honest = f"def f(*a):\n    return {MAGIC} if len(a) == 2 else True"
    assert judge.judge(honest, CALLS).passed is True
    assert threading.active_count() - threads_before < 17
    assert os.getpid() > 1
