"""Checks an answer that is a program."""

import re

from ponder.core.code_tests import read_tests
from ponder.core.errors import DataError
from ponder.core.types import Problem
from ponder.verify.checkers import Finding
from ponder.verify.code.extraction import program_in
from ponder.verify.code.judge import CodeJudge

_FUTURE = re.compile(  # with a list in brackets, and lines that go on after a backslash
    r"^from[ \t]++__future__[ \t]++import\b(?:[ \t]*+\([^()]*+\))?+[^\n]*+(?:(?<=\\)\n[^\n]*+)*+\n?", re.MULTILINE
)


class CodeChecker:
    """An `AnswerChecker`: right if the program in the answer passes the tests in the problem's facts (`read_tests`).

    `facts["prefix"]`, where there is one, is put before the program (HumanEval's prompt, for a model that only goes
    on). A grader that uses it needs a time limit above the sandbox's.
    """

    def __init__(self, judge: CodeJudge) -> None:
        self._judge = judge

    def __call__(self, problem: Problem, answer: str) -> Finding:
        try:
            tests = read_tests(problem.facts)
        except DataError as error:
            return Finding(None, str(error))
        prefix = problem.facts.get("prefix")
        program = program_in(answer)
        if isinstance(prefix, str):
            program = _continued(prefix, program)
        judgement = self._judge.judge(program, tests)
        return Finding(None if judgement.passed is None else float(judgement.passed), judgement.reason)


def _continued(prefix: str, program: str) -> str:
    """The prefix, then the program; before both its imports of `__future__`, which may stand nowhere else."""
    imports = [line.rstrip("\n") for line in _FUTURE.findall(program)]
    return "\n".join([*imports, prefix, _FUTURE.sub("", program)])
