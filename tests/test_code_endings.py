"""Right programs that are easily judged wrong, and wrong ones that would rather not be judged."""

from collections.abc import Iterator

import pytest

from ponder.core.code_tests import CallCase, InputCase, TestScript
from ponder.core.errors import SandboxError
from ponder.core.types import Problem
from ponder.data.library.layouts import LEETCODE_NAMES
from ponder.verify.code.checker import CodeChecker
from ponder.verify.code.config import SandboxConfig
from ponder.verify.code.judge import CodeJudge, same_output

CASE = InputCase(input="21\n", output="42\n")
TO_TESTS = """import os, socket, struct
def peer():
    for number in range(3, 256):
        try:
            found = socket.socket(fileno=os.dup(number))
            found.getpeername()
            return found
        except OSError:
            pass
def send(data):
    peer().sendall(struct.pack("!I", len(data)) + data)
"""


@pytest.fixture(scope="module")
def judge() -> Iterator[CodeJudge]:
    try:
        judge = CodeJudge(SandboxConfig(seconds=30.0))  # long: nothing here is about time
    except SandboxError as error:
        pytest.skip(str(error))
    with judge:
        yield judge


@pytest.mark.parametrize(
    "program",
    [
        "import sys, io, atexit\nsys.stdout = io.StringIO()\n@atexit.register\n"
        "def write(): sys.__stdout__.write(sys.stdout.getvalue())\nprint(int(input()) * 2)",
        "out = open(1, 'w')\nout.write(str(int(input()) * 2))",
        "import os\nout = os.fdopen(1, 'w')\nout.write(str(int(input()) * 2))",
        "import os\nout = open(os.dup(1), 'w')\nout.write(str(int(input()) * 2))",
        "class Last:\n    def __del__(self): print(42)\nlast = Last()",
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(4)\n"
        "print(sum(pool.map(int, [input()] * 2)))",
        "import threading, time\ndef late():\n    time.sleep(0.1); print(42)\nthreading.Thread(target=late).start()",
        "import sys\nfrom functools import lru_cache\nsys.setrecursionlimit(10**6)\n@lru_cache(None)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\nf(20_000)\nprint(42)",
        "assert __file__\nprint(42)",
        "\ufeffprint(42)",
        "import fcntl, os\nr, w = os.pipe()\n"
        "fcntl.fcntl(r, fcntl.F_SETFL, fcntl.fcntl(r, fcntl.F_GETFL) | os.O_NONBLOCK)\nprint(42)",
    ],
)
def test_a_program_ends_as_the_interpreter_would_end_it(judge: CodeJudge, program: str) -> None:
    assert judge.judge(program, [CASE]).passed is True


@pytest.mark.parametrize(
    "command",
    [
        "fcntl.fcntl(r, fcntl.F_SETOWN, os.getpid())",
        "fcntl.fcntl(r, 10, 9)",  # F_SETSIG
        "fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)",
        "fcntl.flock(open(__import__('json').__file__), fcntl.LOCK_SH)",
        "fcntl.lockf(open(__import__('json').__file__), fcntl.LOCK_SH)",
    ],
)
def test_no_program_sends_signals_or_locks_files_by_fcntl(judge: CodeJudge, command: str) -> None:
    tried = (
        f"import fcntl, os\nr, w = os.pipe()\ntry:\n    {command}\nexcept PermissionError:\n    print(42)\n"
        "else:\n    print('done')\n"
    )
    assert judge.judge(tried, [CASE]).passed is True


@pytest.mark.parametrize(
    "result",
    [
        "pow(a, 3, 5)", "pow(a, 3) - 5", "deepcopy(3)", "copy.deepcopy(3)", "xor(a, 1)", "abs(-3)",
        "3 if sys.maxsize else 0", "len(ascii_lowercase) - 23", "datetime.date(3, 1, 1).year", "int(sqrt(9))",
    ],
)  # fmt: skip
def test_what_leetcode_has_loaded_is_there(judge: CodeJudge, result: str) -> None:
    tests = {"code": "my_solution = Solution()\nassert my_solution.f(2) == 3\n"}
    answer = f"```python\nclass Solution:\n    def f(self, a): return {result}\n```"
    problem = Problem(id="x", prompt="?", facts={"tests": tests, "prefix": LEETCODE_NAMES})
    assert CodeChecker(judge)(problem, answer).score == 1.0


def test_a_program_does_not_leave_its_tests_undecided(judge: CodeJudge) -> None:
    """A wrong program that sends what the tests cannot hold, or cannot hand back, is wrong and not ungraded."""
    nested = TO_TESTS + (
        "unit = b'{\"\":' * 50 + b'0' + b'}' * 50\n"
        "def f(*a):\n    send(b'{\"value\":[' + b','.join([unit] * (8_000_000 // (len(unit) + 1))) + b']}')\n"
    )
    with CodeJudge(SandboxConfig(seconds=30.0, memory_mb=128)) as small:
        for tests in (
            [CallCase(function="f", args=[1], expected=5)],
            TestScript(code="assert f(2) == 2", interface=("f",)),
        ):
            judged = small.judge(nested, tests)
            assert (judged.passed, "MemoryError" in judged.reason) == (False, True), judged
    odd = TO_TESTS + 'def f(*a):\n    send(b\'{"value": {"type": "__loader__"}}\')\n    import time; time.sleep(99)\n'
    judged = judge.judge(odd, TestScript(code="assert f(f(2)) == 2", interface=("f",)))
    assert (judged.passed, judged.reason) == (False, "the program broke the protocol: a type of no known name")


def test_inputs_and_outputs_beyond_the_usual(judge: CodeJudge) -> None:
    long = "x\n" * 2_200_000  # more than the limit of output
    assert judge.judge("print('x\\n' * 2_200_000, end='')", [InputCase(input="", output=long)]).passed is True
    assert judge.judge("while True: print('x')", [InputCase(input="", output="x")]).passed is False
    unwritable = judge.judge("print(1)", [InputCase(input="\ud83d", output="1")])
    assert (unwritable.passed, unwritable.reason[:32]) == (None, "an input is no text that can be ")
    near = CallCase(function="f", args=[3], expected=3, tolerance=1e-6)
    assert judge.judge("def f(x): return 3.000000000001", [near]).passed is True
    assert judge.judge("def f(x): return 3.1", [near]).passed is False


def test_windows_line_ends_close_a_fence(judge: CodeJudge) -> None:
    problem = Problem(id="x", prompt="?", facts={"tests": [{"function": "f", "args": [3], "expected": 4}]})
    answer = "Here:\r\n```python\r\ndef f(x):\r\n    return x + 1\r\n```\r\nDone.\r\n"
    assert CodeChecker(judge)(problem, answer).score == 1.0


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        ("1  2\n", "1 2", True), (" 1", "1", True), ("1\t2", "1 2", True), ("1 2\r\n3", "1 2\n3\n\n", True),
        ("12", "1 2", False), ("1\n2", "1 2", False), ("\n1", "1", False), ("1\u20282", "1\n2", False),
    ],
)  # fmt: skip
def test_space_between_words_does_not_count(found: str, expected: str, same: bool) -> None:
    assert same_output(found, expected) is same
