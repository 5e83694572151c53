"""One checker for problems of several tasks: each goes to the checker of its own task."""

import threading
from collections.abc import Callable, Mapping

from ponder.core.types import Problem
from ponder.verify.checkers import AnswerChecker, Finding, fault_of


class CheckerByTask:
    """An `AnswerChecker` that hands a problem to the checker of `problem.task`.

    A task that has none goes to `default`; without a default the answer is ungraded, never wrong.
    """

    def __init__(self, checkers: Mapping[str, AnswerChecker], default: AnswerChecker | None = None) -> None:
        self._checkers = dict(checkers)
        self._default = default

    def __call__(self, problem: Problem, answer: str) -> object:
        checker = self._checkers.get(problem.task, self._default)
        if checker is None:
            known = ", ".join(sorted(self._checkers)) or "none"
            return Finding(None, f"no checker for the task {problem.task!r}; there are checkers for: {known}")
        return checker(problem, answer)

    def fault_of(self, problem: Problem) -> str | None:
        """See `ponder.verify.checkers.ReadsReferences`."""
        checker = self._checkers.get(problem.task, self._default)
        return None if checker is None else fault_of(checker, problem)


class LazyChecker:
    """An `AnswerChecker` that is made when it is first asked: its processes start only where they are needed."""

    def __init__(self, make: Callable[[], AnswerChecker]) -> None:
        self._make = make
        self._made: AnswerChecker | None = None
        self._lock = threading.Lock()

    @property
    def made(self) -> bool:
        """Whether it has been asked."""
        return self._made is not None

    def __call__(self, problem: Problem, answer: str) -> object:
        return self._opened()(problem, answer)

    def fault_of(self, problem: Problem) -> str | None:
        """See `ponder.verify.checkers.ReadsReferences`."""
        return fault_of(self._opened(), problem)

    def _opened(self) -> AnswerChecker:
        with self._lock:
            if self._made is None:
                self._made = self._make()
        return self._made
