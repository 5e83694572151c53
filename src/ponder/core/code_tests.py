"""The kinds of tests that a program can be judged by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ponder.core.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class InputCase:
    """A run of the whole program: what it reads and what it should write (Codeforces' form)."""

    input: str
    output: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CallCase:
    """A call with a known result. `function` may be a method: "Solution.twoSum" is called on a fresh object."""

    function: str
    expected: object
    args: Sequence[object] = ()
    kwargs: Mapping[str, object] = field(default_factory=dict)
    tolerance: float = 0.0  # of floats, relative and absolute


@dataclass(frozen=True, kw_only=True, slots=True)
class TestScript:
    """Python code with assertions (HumanEval, MBPP, LeetCode), which runs apart from the program.

    `setup` runs first, beside the tests: imports and helpers of the problem's own. `entry` is the function that
    HumanEval's tests call `candidate`. `interface` names what else belongs to the program; None takes every name that
    the code calls and does not define. With `in_place`, the tests see what a call does to their own lists, dicts and
    sets; without it a program cannot empty the list that its result is compared with.
    """

    __test__ = False  # not a test of pytest's

    code: str
    setup: str = ""
    entry: str | None = None
    interface: tuple[str, ...] | None = None
    in_place: bool = False


Tests = Sequence[InputCase] | Sequence[CallCase] | TestScript

_TEXT = (str, "text")
_TYPES: Mapping[type, Mapping[str, tuple[Any, str]]] = {  # of each field: what it is, and how that is called
    InputCase: {"input": _TEXT, "output": _TEXT},
    CallCase: {
        "function": _TEXT,
        "args": (list | tuple, "a list of arguments"),
        "kwargs": (Mapping, "an object of arguments by name"),
        "tolerance": (int | float, "a number"),
    },
    TestScript: {
        "code": _TEXT,
        "setup": _TEXT,
        "entry": (str | None, "the name of a function"),
        "interface": (tuple | None, "a list of names"),
        "in_place": (bool, "true or false"),
    },
}


def read_tests(facts: Mapping[str, object]) -> Tests:
    """The tests in a problem's facts, under "tests". Raises `DataError` for anything else, and for values of another
    type than a test can have.

    A mapping is a `TestScript`, a list of mappings are cases: those with "input" are `InputCase`, those with
    "function" `CallCase`.
    """
    tests: Any = facts.get("tests")  # a user's; whatever does not fit raises below
    try:
        match tests:
            case TestScript():
                return _checked(tests, "the code with assertions")
            case {"code": _}:
                interface = tests.get("interface")
                names = tuple(interface) if isinstance(interface, list) else interface
                return _checked(TestScript(**{**tests, "interface": names}), "the code with assertions")
            case [InputCase() | CallCase(), *_]:
                return _all_checked(tests)
            case [{"input": _}, *_]:
                return _all_checked([InputCase(**case) for case in tests])
            case [{"function": _}, *_]:
                return _all_checked([CallCase(**case) for case in tests])
    except TypeError as error:
        raise DataError(f"a problem's tests cannot be read: {error}") from None
    raise DataError(
        'a problem has no tests that can be read; expected under "tests" a list of {input, output} or '
        "{function, args, expected}, or {code, entry}"
    )


def _all_checked(cases: Sequence[Any]) -> list[Any]:
    return [_checked(case, f"test {number}") for number, case in enumerate(cases, 1)]


def _checked(case: Any, what: str) -> Any:
    """A case whose values are what they should be. Raises `TypeError` with `what` it is that has another."""
    if type(case) not in _TYPES:
        raise TypeError(f"{what} is a {type(case).__name__}")
    for name, (kind, expected) in _TYPES[type(case)].items():
        value = getattr(case, name)
        if not isinstance(value, kind):
            raise TypeError(f"{what} has as {name!r} a {type(value).__name__}; expected {expected}")
    return case
