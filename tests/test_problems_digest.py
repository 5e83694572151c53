"""What a run or an evaluation goes on with: the same questions, answers and tests."""

import subprocess
import sys
from dataclasses import replace

import pytest

from ponder.core.code_tests import CallCase
from ponder.core.types import Problem
from ponder.data.problems import problems_digest

PROBLEM = Problem(
    id="own/1",
    prompt="Double n",
    answer=None,
    facts={"tests": [CallCase(function="double", args=[2], expected=4)], "names": {"a", "b"}, (1, 2): 3},
)


@pytest.mark.parametrize(
    "other",
    [
        replace(PROBLEM, prompt="Double it"),
        replace(PROBLEM, answer="4"),
        replace(PROBLEM, facts={**PROBLEM.facts, "tests": [CallCase(function="double", args=[2], expected=5)]}),
        replace(PROBLEM, facts={**PROBLEM.facts, "solution": "n + n"}),
    ],
)
def test_another_problem_has_another_digest(other: Problem) -> None:
    assert problems_digest([other]) != problems_digest([PROBLEM])


def test_the_order_of_facts_does_not_matter() -> None:
    assert problems_digest([replace(PROBLEM, facts=dict(reversed(PROBLEM.facts.items())))]) == problems_digest(
        [PROBLEM]
    )


def test_every_process_finds_the_same() -> None:
    program = "import test_problems_digest as t; print(t.problems_digest([t.PROBLEM]))"
    found = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONPATH": "tests", "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert found == {problems_digest([PROBLEM])}
