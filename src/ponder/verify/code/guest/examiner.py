"""Runs the tests of a problem against a program in another sandbox, and says what was found."""

import ast
import builtins
import importlib
import json
import math
import socket
import sys
import traceback
import types

from ponder.verify.code.guest.remote import Link, ProgramGone, Remote, Unusable
from ponder.verify.code.guest.values import Channel, decode

LONGEST_REASON = 300  # characters


def examine(paper: str, program: socket.socket, desk: socket.socket) -> None:
    """Do the tests of `paper` (JSON) and send what was found: `passed` (None where it cannot be told), `reason`."""
    link = Link(Channel(program))
    passed, reason = _finding(json.loads(paper), link)
    Channel(desk).send({"passed": passed, "reason": reason[:LONGEST_REASON]})


def _finding(paper: dict[str, object], link: Link) -> tuple[bool | None, str]:
    try:
        started = link.reply()
    except ProgramGone as gone:
        return False, str(gone)
    if "raised" in started:
        return False, f"the program raised {started.get('kind')}: {started.get('message')}"
    failure = None
    try:
        _run(paper, link)
    except Unusable as error:
        return None, f"the tests cannot be run: {error}"
    except ProgramGone as gone:
        failure = str(gone)
    except AssertionError as error:
        failure = f"a test failed: {_where(error)}"
    except BaseException as error:  # noqa: BLE001 - the tests' code may raise anything
        if link.asked == 0:
            return None, f"the tests cannot be run: {type(error).__name__}: {_text(error)}"
        failure = f"{type(error).__name__}: {_text(error)}"
    if link.unusable is not None:  # even where a test swallowed it
        return None, f"the tests cannot be run: {link.unusable}"
    if link.lost is not None:
        return False, link.lost
    if failure is not None:
        return False, failure
    if link.asked == 0:
        return None, "the tests never called the program"
    return True, "all tests passed"


def _run(paper: dict[str, object], link: Link) -> None:
    if isinstance(cases := paper.get("cases"), list):
        for number, case in enumerate(cases):
            _check_case(case, number, link)
        return
    main = types.ModuleType("__main__")
    names = main.__dict__
    link.in_place = paper["in_place"] is True
    tests = compile(str(paper["tests"]), "tests.py", "exec")
    exec(compile(str(paper["setup"]), "setup.py", "exec"), names)
    entry, interface = paper.get("entry"), paper.get("interface")
    _fill_in(str(paper["tests"]), names, set(interface) if isinstance(interface, list) else None, link)
    if isinstance(entry, str):
        names[entry] = names["candidate"] = Remote(link, None, (entry,), entry)
    exec(tests, names)
    if isinstance(entry, str) and callable(check := names.get("check")):
        check(names["candidate"])


def _check_case(case: dict[str, object], number: int, link: Link) -> None:
    """One call with a known result. Integers and floats compare by value, floats within the case's tolerance."""
    owner, _, method = str(case["function"]).rpartition(".")
    function = Remote(link, None, (method,), "function")
    if owner:
        made = Remote(link, None, (owner,), owner)()
        if not isinstance(made, Remote):
            raise AssertionError(f"case {number + 1}: {owner}() is {_abbreviated(made)}, which has no {method}")
        function = made.method(method)
    args, kwargs = decode(case["args"], link.remote), decode(case["kwargs"], link.remote)
    expected = decode(case["expected"], link.remote)
    assert isinstance(args, list)
    assert isinstance(kwargs, dict)
    value = function(*args, **kwargs)
    tolerance = float(str(case["tolerance"]))
    if not _same(value, expected, tolerance):
        raise AssertionError(f"case {number + 1}: {_abbreviated(value)}, expected {_abbreviated(expected)}")


def _same(value: object, expected: object, tolerance: float) -> bool:
    if isinstance(value, Remote):
        return bool(value)  # which refuses
    if isinstance(value, bool) or isinstance(expected, bool):
        return type(value) is type(expected) and value == expected
    if isinstance(value, int | float) and isinstance(expected, int | float) and tolerance:
        return math.isclose(value, expected, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(value, list | tuple) and isinstance(expected, list | tuple):
        if type(value) is not type(expected) or len(value) != len(expected):
            return False
        return all(_same(one, other, tolerance) for one, other in zip(value, expected, strict=True))
    if isinstance(value, dict) and isinstance(expected, dict):
        return value.keys() == expected.keys() and all(_same(value[k], expected[k], tolerance) for k in expected)
    return bool(value == expected)


def _fill_in(tests: str, names: dict[str, object], interface: set[str] | None, link: Link) -> None:
    """Give the tests the names that they use and do not define: modules of the standard library, and the program's.

    A name that is only ever followed by a dot is a module, and is never taken from the program: else a program could
    bring its own `math.isclose`. Where `interface` is given, no other name is the program's.
    """
    tree = ast.parse(tests)
    followed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used: dict[str, bool] = {}  # whether it also stands without a dot
    bound: set[str] = {"candidate"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                used[node.id] = used.get(node.id, False) or id(node) not in followed
            else:
                bound.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    known = bound | names.keys() | set(dir(builtins)) - (interface or set())
    for name in sorted(used.keys() - known):
        if used[name] if interface is None else name in interface:
            names[name] = Remote(link, None, (name,), name)
        elif name in sys.stdlib_module_names and not used[name]:
            names[name] = importlib.import_module(name)
        else:
            raise link.refuse(f"they use {name}, which neither they nor the standard library define")


def _where(error: AssertionError) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "tests.py"]
    return _text(error) or (f"line {frames[-1].lineno} of the tests" if frames else "an assertion")


def _text(error: BaseException) -> str:
    try:
        return str(error)[:LONGEST_REASON]
    except Exception:  # noqa: BLE001 - an integer too long to write
        return type(error).__name__


def _abbreviated(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - as above
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:79] + "…"
