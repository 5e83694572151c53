# ruff: noqa: E501
"""Programs that are honest, right or wrong; and what happens where a protection is missing."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark_data import benchmark_rows
from ponder.core.code_tests import CallCase, InputCase, Tests, TestScript, read_tests
from ponder.core.errors import ConfigError, DataError, SandboxError
from ponder.core.types import Problem
from ponder.verify.code import layers
from ponder.verify.code.checker import CodeChecker
from ponder.verify.code.config import SandboxConfig
from ponder.verify.code.extraction import program_in
from ponder.verify.code.guest.values import WireError, decode, encode
from ponder.verify.code.judge import CodeJudge, Judgement, same_output
from ponder.verify.code.layers import Missing, present_layers
from ponder.verify.code.system_calls import seccomp_filter


@pytest.fixture(scope="module")
def judge() -> Iterator[CodeJudge]:
    try:
        judge = CodeJudge(SandboxConfig(seconds=20.0))  # long: these are about right and wrong, on a busy machine
    except SandboxError as error:
        pytest.skip(str(error))
    with judge:
        yield judge


def test_input_and_output(judge: CodeJudge) -> None:
    program = "import sys\nfor line in sys.stdin:\n    a, b = map(int, line.split())\n    print(a + b)\n"
    cases = [InputCase(input="1 2\n3 4\n", output="3\n7"), InputCase(input="-5 5", output="0")]
    assert judge.judge(program, cases).passed is True
    wrong = judge.judge(program, [*cases, InputCase(input="1 1", output="3")])
    assert (wrong.passed, wrong.reason) == (False, "input 3: another output than expected")
    failed = judge.judge(program, [InputCase(input="x y", output="")])
    assert (failed.passed, failed.reason) == (False, "input 1: it exited with code 1")


@pytest.mark.parametrize(
    "program",
    [
        "print(int(input()) * 2)",
        "if __name__ == '__main__':\n    print(int(input()) * 2)",
        "import sys\nsys.stdout.write(str(int(sys.stdin.buffer.read()) * 2))\nsys.exit()",
        "import os\nos.write(1, str(int(os.read(0, 100)) * 2).encode())",
        "print(int(open(0).read()) * 2)\nexit()",
        "import threading, sys\nthreading.stack_size(2**26)\nthreading.Thread(target=lambda: print(int(input()) * 2)).start()",
        "import atexit\nn = int(input())\natexit.register(lambda: print(n * 2))",
        "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return 0 if n == 0 else 2 + f(n - 1)\nprint(f(int(input())))",
        "import asyncio\nasync def main(): print(int(input()) * 2)\nasyncio.run(main())",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nprint(A(int(input())).x * 2)",
        "import numbers, hashlib, json, zoneinfo, uuid\nprint(int(input()) * 2)",
    ],
)
def test_the_ways_to_write_an_honest_program(judge: CodeJudge, program: str) -> None:
    judgement = judge.judge(program, [InputCase(input="21\n", output="42\n")])
    assert judgement.passed is True, judgement


@pytest.mark.parametrize(
    ("result", "expected", "passed"),
    [
        ("[1, (2.5, 'x')]", [1, (2.5, "x")], True),
        ("{1: {2, 3}, 'a': None}", {1: {2, 3}, "a": None}, True),
        ("2**200", 2**200, True),
        ("0.1 + 0.2", 0.3, False),
        ("float('inf')", float("inf"), True),
        ("[1, 2]", (1, 2), False),
        ("1", True, False),
        ("1.0", 1, True),
        ("b'x'", b"x", True),
        ("3 - 4j", 3 - 4j, True),
        ("__import__('collections').Counter('aab')", {"a": 2, "b": 1}, True),
        ("__import__('fractions').Fraction(1, 2)", 0.5, True),
        ("'\\ud800'", "x", False),
        ("None", None, True),
    ],
)
def test_values_arrive_as_they_are(judge: CodeJudge, result: str, expected: object, passed: bool) -> None:
    judgement = judge.judge(f"def f(): return {result}", [CallCase(function="f", expected=expected)])
    assert judgement.passed is passed, judgement


def test_calls_of_functions_and_methods(judge: CodeJudge) -> None:
    program = "class Solution:\n    def add(self, a, b=1): return a + b\n"
    cases = [
        CallCase(function="Solution.add", args=[1], kwargs={"b": 2}, expected=3),
        CallCase(function="Solution.add", args=[0.1, 0.2], expected=0.3, tolerance=1e-9),
    ]
    assert judge.judge(program, cases).passed is True
    missing = judge.judge("x = 1", cases)
    assert (missing.passed, missing.reason) == (False, "the program does not define Solution")


def test_scripts_see_the_program_through_calls(judge: CodeJudge) -> None:
    program = """
class Node:
    def __init__(self, value): self.value, self.next = value, None
def total(node): return node.value + (total(node.next) if node.next else 0)
def below(n):
    yield from range(n)
def fail(): raise ValueError("no")
def sort(items): items.sort()
"""
    tests = """
import math
head = Node(1)
head.next = Node(2)
assert total(head) == 3
assert head.next.value == 2
assert list(below(3)) == [0, 1, 2]
try:
    fail()
    assert False
except ValueError as error:
    assert str(error) == "no"
items = [3, 1, 2]
sort(items)
assert items == [1, 2, 3]
"""
    assert judge.judge(program, TestScript(code=tests, in_place=True)).passed is True
    apart = judge.judge(program, TestScript(code=tests))
    assert (apart.passed, apart.reason) == (False, "a test failed: line 15 of the tests")


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        (TestScript(code="assert f(1) == np.array([1])"), "they use np, which neither they nor"),
        (TestScript(code="assert f(1) == g(1)", interface=("f",)), "they use g, which neither they nor"),
        (TestScript(code="assert f(lambda: 1) == 1"), "hands the program a function, which is no plain data"),
        (TestScript(code="assert 1 == 1"), "the tests never called the program"),
        (TestScript(code="assert f(1 =="), "the tests cannot be run: SyntaxError"),
        (TestScript(code="f(1)", setup="1/0"), "the tests cannot be run: ZeroDivisionError"),
        ([], "the problem has no tests"),
    ],
)
def test_tests_that_cannot_be_run_leave_the_program_ungraded(judge: CodeJudge, tests: Tests, reason: str) -> None:
    judgement = judge.judge("def f(x): return x", tests)
    assert judgement.passed is None
    assert reason in judgement.reason


@pytest.mark.parametrize(
    ("program", "passed", "reason"),
    [
        ("def f(x):\n    if x < 0: raise ValueError(x)\n    return x", True, "all tests passed"),
        ("def f(x): return x", False, "a test failed: no error"),
        ("def f(x): raise TypeError(x)", False, "TypeError: -1"),
        ("x = 1", False, "the program does not define f"),
    ],
)
def test_a_test_may_ask_for_nothing_but_exceptions(judge: CodeJudge, program: str, passed: bool, reason: str) -> None:
    tests = "try:\n    f(-1)\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError('no error')"
    done = judge.judge(program, TestScript(code=tests))
    assert (done.passed, done.reason) == (passed, reason)


def test_an_expected_exception_says_nothing_of_other_tests(judge: CodeJudge) -> None:
    any_error = "try:\n    f(-1)\nexcept Exception:\n    pass\nelse:\n    raise AssertionError"
    raises = "def f(x): raise ValueError(x)"
    assert judge.judge(raises, TestScript(code=any_error)).passed is True
    assert judge.judge(raises, TestScript(code=f"{any_error}\nassert f(1) == 1")).passed is False
    nothing = judge.judge("x = 1", TestScript(code=any_error))
    assert (nothing.passed, nothing.reason) == (False, "the program does not define f")
    unasked = judge.judge(raises, TestScript(code="try:\n    int('x')\nexcept ValueError:\n    pass"))
    assert (unasked.passed, unasked.reason) == (None, "the tests never called the program")


def test_limits_of_time_memory_and_output() -> None:
    try:
        judge = CodeJudge(SandboxConfig(seconds=0.5, memory_mb=128, output_mb=0.5))
    except SandboxError as error:
        pytest.skip(str(error))
    with judge:
        started = time.monotonic()
        late = judge.judge("import time\ntime.sleep(60)", [InputCase(input="", output="")])
        assert (late.passed, late.reason) == (False, "input 1: it took more than 0.5 seconds")
        large = judge.judge("print(len(bytearray(200 * 2**20)))", [InputCase(input="", output="209715200")])
        assert (large.passed, large.reason) == (False, "input 1: it exited with code 1")
        loud = judge.judge("while True: print('x' * 1000)", [InputCase(input="", output="")])
        assert (loud.passed, loud.reason) == (False, "input 1: more than 0.5 MB of output")
        assert time.monotonic() - started < 15


def test_all_inputs_together_have_a_limit_too() -> None:
    try:
        judge = CodeJudge(SandboxConfig(seconds=5.0, inputs_seconds=1.5))
    except SandboxError as error:
        pytest.skip(str(error))
    with judge:
        started = time.monotonic()
        slow = judge.judge("import time\ntime.sleep(0.5)\nprint(1)", [InputCase(input="", output="1")] * 20)
        assert slow.passed is False
        assert re.fullmatch(r"input [1-3]: all inputs together took more than 1\.5 seconds", slow.reason)
        assert time.monotonic() - started < 5


def test_files_only_where_they_are_allowed(judge: CodeJudge) -> None:
    program = "open('x', 'w').write('1')\nprint(open('x').read())"
    cases = [InputCase(input="", output="1")]
    assert judge.judge(program, cases).passed is False
    with CodeJudge(SandboxConfig(seconds=20.0, disk_mb=2)) as roomy:
        assert roomy.judge(program, cases).passed is True
        look = "import os\nprint(os.listdir('.'))"
        assert roomy.judge(look, [InputCase(input="", output="[]")]).passed is True  # the same sandbox, emptied
        fill = "with open('x', 'wb') as f:\n    for _ in range(64): f.write(bytes(2**20))"
        assert roomy.judge(fill, [InputCase(input="", output="")]).passed is False


def test_a_sandbox_ends_with_the_process_that_uses_it(tmp_path: Path) -> None:
    script = tmp_path / "use.py"
    script.write_text(
        textwrap.dedent("""
            from ponder.verify.code.judge import CodeJudge
            from ponder.core.code_tests import InputCase
            judge = CodeJudge()
            judge.judge("print(1)", [InputCase(input="", output="1")])
            pid = judge._pool._idle["candidate"][0]._process.pid
            print(pid, flush=True)
            judge.judge("import time; time.sleep(60)", [InputCase(input="", output="")])
        """)
    )
    try:
        present_layers(SandboxConfig())
    except SandboxError as error:
        pytest.skip(str(error))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        sandbox = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _runs(sandbox) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(sandbox)


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_a_missing_protection_refuses_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = (
        Missing("namespaces", "bubblewrap is not installed", "apt install bubblewrap"),
        Missing("landlock", "this kernel has no Landlock", "It needs Linux 5.13 or newer"),
    )
    monkeypatch.setattr(layers, "missing_layers", lambda: lacks)
    with pytest.raises(SandboxError) as refused:
        present_layers(SandboxConfig(allow_missing=("landlock",)))
    message = str(refused.value)
    assert "namespaces: bubblewrap is not installed. apt install bubblewrap" in message
    assert 'sandbox.allow_missing = ["namespaces"]' in message
    assert "Landlock" not in message
    assert present_layers(SandboxConfig(allow_missing=("landlock", "namespaces"))) == {"seccomp"}


def test_bubblewrap_that_is_not_there_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    layers.missing_layers.cache_clear()
    try:
        assert "namespaces" in {lack.layer for lack in layers.missing_layers()}
    finally:
        monkeypatch.undo()
        layers.missing_layers.cache_clear()


def test_without_namespaces_the_other_layers_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if layers.missing_layers():
        pytest.skip("this machine lacks a protection")
    monkeypatch.setattr(layers, "missing_layers", lambda: (Missing("namespaces", "gone", "bring it back"),))
    with CodeJudge(SandboxConfig(seconds=20.0, allow_missing=("namespaces",))) as judge:
        assert judge.judge("def f(x): return x + 1", [CallCase(function="f", args=[1], expected=2)]).passed is True
        target = tmp_path / "x"
        for attempt in (f"open({str(target)!r}, 'w')", "__import__('os').fork()", "__import__('socket').socket()"):
            assert judge.judge(f"{attempt}\nprint(1)", [InputCase(input="", output="1")]).passed is False
        assert not target.exists()


def test_the_filter_lets_through_no_process_and_no_trace() -> None:
    try:
        strict, nursery = seccomp_filter(nursery=False), seccomp_filter(nursery=True)
    except ImportError as error:
        pytest.skip(str(error))
    assert len(strict) % 8 == len(nursery) % 8 == 0
    assert 100 < len(strict) // 8 < 1000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": 0}, "sandbox.seconds is 0"),
        ({"memory_mb": 8}, "the interpreter alone needs 64"),
        ({"disk_mb": -1}, "sandbox.disk_mb is -1"),
        ({"allow_missing": ("selinux",)}, "allow_missing names 'selinux'"),
    ],
)
def test_settings_without_sense_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SandboxConfig(**settings)  # type: ignore[arg-type]


def test_outputs_are_compared_by_line() -> None:
    assert same_output("1 \n2\n\n", "1\n2")
    assert not same_output("1\n\n2", "1\n2")
    assert not same_output("1 2", "12")


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("x = 1", "x = 1"),
        ("Here:\n```python\nx = 1\n```\ndone", "x = 1\n"),
        ("```\nx = 1\n```\nor\n```py\ny = 2\n```\n```bash\nls\n```", "y = 2\n"),
        ("```python\nx = 1\n```\nIt prints:\n```\n1\n```", "x = 1\n"),
        ("```\nx = 1\n```\nor\n```\ny = 2\n```", "y = 2\n"),
        ("```python\nx = 1\n", "x = 1\n"),
        ("Title\n~~~~~\n```Python\nx = 1\n```", "x = 1\n"),
        ("````python\nx = 1\n```\n````", "x = 1\n```\n"),
        ("````python\nx = 1\n```", "x = 1\n"),
        ("~~~py\nx = 1\n~~~\n", "x = 1\n"),
        ("  ```python title=a\n  x = 1\n  ```  \n", "  x = 1\n"),
        ("```bash\nls\n```\nthen\n``` python\nx = 1\n", "x = 1\n"),
        ("```\n```", ""),
        ("```", "```"),
    ],
)
def test_the_program_in_an_answer(answer: str, program: str) -> None:
    assert program_in(answer) == program


@pytest.mark.parametrize(
    "answer",
    [
        "```python\nx = 1\n" * 6_000,
        "```\n" * 25_000,
        "~~~\n```a\n" * 12_500,
        ("`" * 200 + "a\n") * 500,
        "`" * 100_000,
        "```" + " " * 100_000 + "x\n",
        (" " * 99 + "\n") * 1_000,
        "\n".join("`" * length for length in range(3, 440)),
        "from __future__ import (\n" * 4_000,
    ],
)
def test_the_program_in_a_long_answer_is_found_at_once(answer: str) -> None:
    checker = CodeChecker(Unasked())  # type: ignore[arg-type]
    began = time.process_time()
    checker(Problem(id="x", prompt="?", facts={"tests": [{"input": "", "output": ""}], "prefix": ""}), answer)
    assert time.process_time() - began < 2


class Unasked:
    """A judge that runs nothing."""

    def judge(self, program: str, tests: Tests) -> Judgement:
        return Judgement(None, "not run")


@pytest.mark.parametrize(
    "answer",
    [
        "from __future__ import annotations\ndef f(x: Unknown): return x * two",
        "# mine\nfrom __future__ import (\n    annotations,  # all\n)\ndef f(x: Unknown): return x * two",
        "import os\nfrom __future__ import annotations, \\\n    division  # (of :)\ndef f(x: Unknown): return x * two",
        "def f(x): return x * two\nfrom __future__ import annotations",
    ],
)
def test_imports_of_the_future_come_before_the_problems_prefix(judge: CodeJudge, answer: str) -> None:
    facts: dict[str, object] = {
        "tests": [{"function": "f", "args": [2], "expected": 4}],
        "prefix": "import sys\ntwo = 2",
    }
    finding = CodeChecker(judge)(Problem(id="x", prompt="?", facts=facts), f"```python\n{answer}\n```")
    assert finding.score == 1.0, finding


def test_the_checker_reads_tests_from_a_problem(judge: CodeJudge) -> None:
    check = CodeChecker(judge)
    answer = "```python\ndef f(x):\n    return x * 2\n```"

    def problem(**facts: object) -> Problem:
        return Problem(id="x", prompt="?", facts=facts)

    assert check(problem(tests=[{"function": "f", "args": [2], "expected": 4}]), answer).score == 1.0
    assert check(problem(tests=[{"function": "f", "args": [2], "expected": 5}]), answer).score == 0.0
    assert check(problem(tests={"code": "assert f(3) == 6", "interface": ["f"]}), answer).score == 1.0
    assert check(problem(tests=[{"input": "1", "output": "1"}], prefix="print(input())"), answer).score == 1.0
    assert check(problem(), answer).score is None
    assert check(problem(tests=[{"function": "f", "result": 4}]), answer).score is None
    assert read_tests({"tests": TestScript(code="f()")}) == TestScript(code="f()")


def test_a_test_too_deep_to_be_sent_says_so(judge: CodeJudge) -> None:
    nested: list[object] = []
    for _ in range(200):
        nested = [nested]
    with pytest.raises(DataError, match="a test holds a value with more than 100 containers inside one another"):
        judge.judge("def f(): return 1", [CallCase(function="f", expected=nested)])


def test_values_that_are_no_values_are_refused() -> None:
    def none(*what: object) -> int:
        raise AssertionError(what)

    nested: list[object] = []
    for _ in range(200):
        nested = [nested]
    with pytest.raises(WireError, match="100 containers"):
        encode(nested, none)
    for data in ({"pickle": ""}, {"a": 1, "b": 2}, {"int": "zz"}, {"dict": [1]}, {"set": [[1]]}, {"type": "eval"}, {}):
        with pytest.raises(WireError):
            decode(data, none)


def test_human_eval_and_mbpp_references_pass(judge: CodeJudge) -> None:
    jobs: list[tuple[str, Tests]] = []
    for row in benchmark_rows("humaneval/HumanEval.jsonl"):
        script = TestScript(code=str(row["test"]), setup=str(row["prompt"]), entry=str(row["entry_point"]))
        jobs.append((f"{row['prompt']}{row['canonical_solution']}", script))
    for row in benchmark_rows("mbpp/mbpp.jsonl")[10:110]:
        tests = row["test_list"]
        assert isinstance(tests, list)
        jobs.append((str(row["code"]), TestScript(code="\n".join([str(row["test_setup_code"]), *tests]))))
    started = time.monotonic()
    judgements = judge.judge_all(jobs)
    took = time.monotonic() - started
    assert [judgement for judgement in judgements if judgement.passed is not True] == []
    assert len(jobs) == 264
    assert len(jobs) / took > 10  # verdicts a second, on a machine that may be busy; 20 and more on an idle one
    empty = [(f"{tests.setup}    return None\n", tests) for _, tests in jobs[:40] if isinstance(tests, TestScript)]
    assert [done.passed for done in judge.judge_all(empty)] == [False] * 40


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux alone")
def test_several_threads_share_a_judge(judge: CodeJudge) -> None:
    jobs: list[tuple[str, Tests]] = [
        (f"def f(): return {n}", [CallCase(function="f", expected=n - n % 2)]) for n in range(40)
    ]
    assert [done.passed for done in judge.judge_all(jobs)] == [n % 2 == 0 for n in range(40)]
