"""Whether a program passes its tests. What is compared is compared where the program does not run.

Programs with input are judged by their output, here. Functions are called by tests that run in a second sandbox: only
plain values pass between the two, over a socket of which the program holds one end, and the finding comes over another
that it does not hold.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ponder.core.code_tests import CallCase, InputCase, Tests, TestScript
from ponder.core.errors import DataError
from ponder.core.workers import available_cores
from ponder.verify.code.config import MEGABYTE, SandboxConfig
from ponder.verify.code.guest.values import Channel, WireError, encode
from ponder.verify.code.pool import SandboxPool
from ponder.verify.code.sandbox import Ending, Sandbox, memory_file

LONGEST_PROGRAM = 200_000  # characters
GRACE_SECONDS = 0.5  # for a program to end once its tests are done


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether all tests passed, None where that cannot be told; and why."""

    passed: bool | None
    reason: str


class CodeJudge:
    """Judges programs in sandboxes that it keeps ready. Safe to use from several threads; close it at the end."""

    def __init__(self, config: SandboxConfig | None = None) -> None:
        """Raises `SandboxError` where a protection is missing that the config does not allow to be missing."""
        self._config = config or SandboxConfig()
        self._pool = SandboxPool(self._config)

    def judge(self, program: str, tests: Tests) -> Judgement:
        """Run the program against its tests. Never raises for what a program does; `SandboxError` for the machine."""
        if len(program) > LONGEST_PROGRAM:
            return Judgement(False, f"a program of {len(program)} characters; at most {LONGEST_PROGRAM} are run")
        try:
            source = program.encode()
        except UnicodeEncodeError:
            return Judgement(False, "the program holds half of a surrogate pair, which is no text")
        if isinstance(tests, TestScript):
            return self._judge_by_tests(source, _script(tests))
        if not tests:
            return Judgement(None, "the problem has no tests")
        if all(isinstance(case, InputCase) for case in tests):
            return self._judge_by_output(source, [case for case in tests if isinstance(case, InputCase)])
        if all(isinstance(case, CallCase) for case in tests):
            return self._judge_by_tests(source, _cases([case for case in tests if isinstance(case, CallCase)]))
        return Judgement(None, "the problem mixes kinds of tests")

    def judge_all(self, jobs: Sequence[tuple[str, Tests]]) -> list[Judgement]:
        """The judgements of programs, in their order, as many at once as there are cores."""
        with ThreadPoolExecutor(available_cores(), thread_name_prefix="ponder-judge") as threads:
            return list(threads.map(lambda job: self.judge(*job), jobs))

    def close(self) -> None:
        """End all sandboxes."""
        self._pool.close()

    def __enter__(self) -> "CodeJudge":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _judge_by_output(self, source: bytes, cases: Sequence[InputCase]) -> Judgement:
        limit = int(self._config.output_mb * MEGABYTE)
        try:
            inputs = [case.input.encode() for case in cases]
        except UnicodeEncodeError as error:
            return Judgement(None, f"an input is no text that can be written: {error}")
        limit = max([limit, *(4 * (len(case.output) + 1) for case in cases)])  # what is expected fits
        with self._pool.borrow("candidate") as sandbox:
            deadline = time.monotonic() + self._config.inputs_seconds
            for number, (case, given) in enumerate(zip(cases, inputs, strict=True), 1):
                left = deadline - time.monotonic()
                output, ending = self._run(sandbox, source, given, limit, min(left, self._config.seconds))
                if output is None or ending is None:
                    sandbox.broken = True
                    return Judgement(False, f"input {number}: {self._out_of_time(left)}")
                if len(output) > limit:
                    sandbox.broken = True
                    return Judgement(False, f"input {number}: more than {limit / MEGABYTE:g} MB of output")
                if ending.code != 0:
                    return Judgement(False, f"input {number}: {ending}")
                if not same_output(output.decode(errors="replace"), case.output):
                    return Judgement(False, f"input {number}: another output than expected")
        return Judgement(True, f"{len(cases)} of {len(cases)} outputs as expected")

    def _out_of_time(self, left: float) -> str:
        """Which limit an input met that began with so many seconds left for all of them."""
        if left < self._config.seconds:
            return f"all inputs together took more than {self._config.inputs_seconds:g} seconds"
        return _late(self._config)

    def _run(
        self, sandbox: Sandbox, source: bytes, given: bytes, limit: int, seconds: float
    ) -> tuple[bytes | None, Ending | None]:
        deadline = time.monotonic() + seconds
        reading, writing = os.pipe()
        with _files(memory_file("source", source), memory_file("input", given), writing) as files:
            sandbox.start("program", files)
        try:
            output = sandbox.read_output(reading, limit, deadline - time.monotonic())
        finally:
            os.close(reading)
        if output is None or len(output) > limit:
            return output, None if output is None else Ending(0, 0.0, 0)
        return output, sandbox.wait(deadline - time.monotonic() + GRACE_SECONDS)

    def _judge_by_tests(self, source: bytes, paper: bytes) -> Judgement:
        with self._pool.borrow("candidate") as program, self._pool.borrow("examiner") as examiner:
            desk, finding = self._examine(program, examiner, source, paper)
            with desk:
                if finding is None:
                    examiner.broken = program.broken = True
                    return Judgement(False, f"the tests did not end: {_late(self._config)}")
                over = examiner.wait(GRACE_SECONDS)
            ending = program.wait(GRACE_SECONDS)
            examiner.broken |= over is None
            program.broken |= ending is None
            if not finding:
                return Judgement(False, f"the tests were cut short: {over or 'they were killed'}")
            passed, reason = finding.get("passed"), str(finding.get("reason"))
            if passed is False and ending is not None and ending.code != 0:
                reason += f" ({ending})"
            return Judgement(passed if isinstance(passed, bool) else None, reason)

    def _examine(
        self, program: Sandbox, examiner: Sandbox, source: bytes, paper: bytes
    ) -> tuple[socket.socket, dict[str, object] | None]:
        """Start both sides; what the tests found. Empty where they died, None where they take too long."""
        asked, asking = socket.socketpair()
        desk, telling = socket.socketpair()
        with _files(memory_file("source", source), asked.detach()) as files:
            program.start("candidate", files)
        with _files(memory_file("tests", paper), asking.detach(), telling.detach()) as files:
            examiner.start("tests", files)
        desk.settimeout(self._config.seconds)
        try:
            return desk, Channel(desk).receive() or {}
        except TimeoutError:
            return desk, None
        except WireError:
            return desk, {}


def same_output(found: str, expected: str) -> bool:
    """Equal line by line, whatever space stands between and around the words of a line; empty lines at the end are
    dropped.
    """
    lines, wanted = ([line.split() for line in text.rstrip().split("\n")] for text in (found, expected))
    return lines == wanted


def _late(config: SandboxConfig) -> str:
    return f"it took more than {config.seconds:g} seconds"


def _script(tests: TestScript) -> bytes:
    interface = None if tests.interface is None else list(tests.interface)
    return json.dumps(
        {
            "setup": tests.setup,
            "tests": tests.code,
            "entry": tests.entry,
            "interface": interface,
            "in_place": tests.in_place,
        }
    ).encode()


def _cases(cases: Sequence[CallCase]) -> bytes:
    def refuse(value: object) -> int:
        raise DataError(f"a test holds a {type(value).__name__}; expected plain data")

    try:
        written = [
            {
                "function": case.function,
                "args": encode(list(case.args), refuse),
                "kwargs": encode(dict(case.kwargs), refuse),
                "expected": encode(case.expected, refuse),
                "tolerance": case.tolerance,
            }
            for case in cases
        ]
    except WireError as error:
        raise DataError(f"a test holds {error}; expected flatter data") from None
    return json.dumps({"cases": written}).encode()


@contextlib.contextmanager
def _files(*files: int) -> Iterator[list[int]]:
    """These files, closed afterwards: the sandbox has its copies by then."""
    try:
        yield list(files)
    finally:
        for file in files:
            os.close(file)
