"""Whether a checker works on this machine: tried before hours of completions are drawn that nobody could judge."""

import time
from collections.abc import Sequence

from ponder.core.errors import DataError
from ponder.core.types import Problem
from ponder.verify.checkers import AnswerChecker, fault_of, finding_of

TRIED = 3  # problems on which a checker is tried first
# Answers that it is tried on. They hold letters: for a number alone, no library is asked whether it is another number.
PROBES = ("x + 1", "X + 1")
READING_SECONDS = 30.0  # after which no more reference answers are read; a completion of theirs may be ungraded
FAULTS = 3  # shown of them


def require_working(name: str, problems: Sequence[Problem], check: AnswerChecker) -> None:
    """Raises `DataError` with its reason where a checker judges none of the first of these problems, or lacks a
    library that one of them needs, and what the checker itself raises for the machine (`SandboxError`). Of a file of
    one's own also where it cannot read a reference answer, with the places.

    `name`: what the problems are called.
    """
    reason = ""
    try:
        if faults := _unreadable(problems, check):
            more = f"; and {len(faults) - FAULTS:,} more" if len(faults) > FAULTS else ""
            raise DataError(
                f"{'; '.join(faults[:FAULTS])}{more}. Write such answers as a number, a formula (LaTeX) or words, take "
                "another kind (exact compares them letter by letter), or leave the rows out"
            )
        for problem in problems[:TRIED]:
            finding = finding_of(check(problem, PROBES[0]))
            if finding.score is not None:
                break
            reason = finding.reason
        else:
            raise DataError(reason)
        for problem in _of_each_rule(problems):
            for probe in PROBES:
                check(problem, probe)
    except DataError as error:
        raise DataError(f"answers to {name} cannot be judged here: {error}") from error


def _unreadable(problems: Sequence[Problem], check: AnswerChecker) -> list[str]:
    """What cannot be judged of files of one's own, each with its place. The few of published sets are known."""
    ends, faults = time.monotonic() + READING_SECONDS, []
    for problem in problems:
        if problem.place and (fault := fault_of(check, problem)) is not None:
            faults.append(f"{problem.place}: {fault}")
        if time.monotonic() > ends:
            break
    return faults


def _of_each_rule(problems: Sequence[Problem]) -> list[Problem]:
    """A problem with each rule of IFEval that these hold: a rule may need a library that the others do not."""
    found: dict[str, Problem] = {}
    for problem in problems:
        rules = problem.facts.get("instructions")
        for rule in rules if isinstance(rules, list | tuple) else ():
            found.setdefault(str(rule), problem)
    return list({id(problem): problem for problem in found.values()}.values())
