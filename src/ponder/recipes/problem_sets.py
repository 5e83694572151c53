"""Problem sets with the checkers that judge them, whose processes and sandboxes start when they are first used."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from ponder.core.errors import MissingLayerError
from ponder.core.types import Problem
from ponder.data.library.library import LoadedSet
from ponder.data.library.records import Kind
from ponder.verify.by_task import CheckerByTask, LazyChecker
from ponder.verify.checkers import AnswerChecker, check_exact
from ponder.verify.choice import check_choice
from ponder.verify.code.checker import CodeChecker
from ponder.verify.code.config import SandboxConfig
from ponder.verify.code.judge import CodeJudge
from ponder.verify.gym import GymChecker, GymConfig, GymPool
from ponder.verify.instructions.checker import InstructionChecker
from ponder.verify.knights import check_knights
from ponder.verify.math.checker import MathChecker
from ponder.verify.math.pool import MathConfig, MathPool
from ponder.verify.trial import require_working


@dataclass(frozen=True, kw_only=True)
class CheckerConfig:
    """What the checkers may use."""

    math: MathConfig = field(default_factory=MathConfig)
    gym: GymConfig = field(default_factory=GymConfig)
    code: SandboxConfig = field(default_factory=SandboxConfig)
    loose_instructions: bool = False  # IFEval's loose count; the R1 paper reports the strict one

    @property
    def seconds(self) -> float:
        """A grader's time limit that lets every checker come to its own end: three tries of the slowest, or all inputs
        of a program.
        """
        tries = 3 * max(self.math.seconds, self.gym.seconds, self.code.seconds)
        return max(tries, self.code.inputs_seconds) + 5.0


class Checkers:
    """A checker for each kind of problem set. Close it at the end; a checker that was handed out ends with it."""

    def __init__(self, config: CheckerConfig | None = None) -> None:
        self.config = config or CheckerConfig()
        self._open = contextlib.ExitStack()
        make: Mapping[Kind, Callable[[], AnswerChecker]] = {
            "math": lambda: MathChecker(self._open.enter_context(MathPool(self.config.math))),
            "gym": lambda: GymChecker(self._open.enter_context(GymPool(self.config.gym))),
            "code": lambda: CodeChecker(self._open.enter_context(CodeJudge(self.config.code))),
            "choice": lambda: check_choice,
            "logic": lambda: check_knights,
            "instructions": lambda: InstructionChecker(loose=self.config.loose_instructions),
            "exact": lambda: check_exact,
        }
        self._checkers: dict[Kind, LazyChecker] = {kind: LazyChecker(each) for kind, each in make.items()}

    def of(self, kind: Kind) -> AnswerChecker:
        """The checker of a kind."""
        return self._checkers[kind]

    def of_sets(self, sets: Sequence[LoadedSet], added: Mapping[str, AnswerChecker] | None = None) -> CheckerByTask:
        """One checker for all problems of these sets, by their task's name. `added` are further tasks' own."""
        own: dict[str, AnswerChecker] = {loaded.name: self.of(loaded.kind) for loaded in sets}
        return CheckerByTask({**own, **(added or {})})

    @property
    def open_kinds(self) -> tuple[Kind, ...]:
        """The kinds whose checker has been used: these may have processes."""
        return tuple(kind for kind, checker in self._checkers.items() if checker.made)

    def of_gym(self) -> AnswerChecker:
        """The checker for any problem that reasoning-gym made, whatever its task is called here."""
        return self.of("gym")

    def close(self) -> None:
        """End the processes that were started."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def require_judged(name: str, problems: Sequence[Problem], check: AnswerChecker, sandbox: SandboxConfig) -> None:
    """`require_working` for a recipe, whose setting `sandbox` can do without a protection. Raises what that does."""
    try:
        require_working(name, problems, check)
    except MissingLayerError as error:
        names = ", ".join(f'"{layer}"' for layer in (*sandbox.allow_missing, *error.layers))
        raise error.with_setting(f"--sandbox.allow_missing='[{names}]'") from error
