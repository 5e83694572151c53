# ruff: noqa: E501
"""Programs that try to harm the machine or to be judged right without being right.

None of them computes what its tests ask for. Each is a name, a family and a source. `HOST_FILE` and `HOST_PORT` in a
source stand for a file and a listening port of the machine that no program may reach.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from code_attacks_machine import files, network, processes, system_calls

MAGIC = 7_340_033  # what the tests expect, and no program can know


@dataclass(frozen=True)
class Attack:
    family: str
    name: str
    source: str
    tests: str | None = None  # the code that it is to pass; None for any


def attacks() -> list[Attack]:
    families = {
        "objects": objects(),
        "exits": exits(),
        "spoofed verdicts": spoofs(),
        "patches": patches(),
        "reading the tests": readers(),
        "processes": processes(),
        "resources": resources(),
        "time": clocks(),
        "files": files(),
        "network": network(),
        "system calls": system_calls(),
        "source text": source_texts(),
        "protocol": protocol(),
    }
    return [
        Attack(family, f"{number}: {name}", source)
        for family, made in families.items()
        for number, (name, source) in enumerate(made)
    ] + [Attack("loops", *attack) for attack in loops()]


Made = Iterator[tuple[str, str]]


def objects() -> Made:
    """Results that claim to equal everything."""
    bases = [
        "object",
        "int",
        "float",
        "str",
        "list",
        "tuple",
        "dict",
        "set",
        "frozenset",
        "bytes",
        "complex",
        "Exception",
    ]
    for base in bases:
        body = "__eq__ = lambda self, other: True; __ne__ = lambda self, other: False; __hash__ = lambda self: 0"
        order = "__lt__ = __le__ = __gt__ = __ge__ = __bool__ = lambda self, *other: True"
        yield (
            f"{base} equal to everything",
            f"class Yes({base}):\n    {body}\n    {order}\ndef f(*a, **k): return Yes()",
        )
    yield (
        "a metaclass",
        "class M(type):\n    def __eq__(s, o): return True\n    __hash__ = type.__hash__\nclass Y(metaclass=M): pass\n"
        "def f(*a): return Y",
    )
    yield "a false class", "class Y:\n    __class__ = int\n    def __eq__(s, o): return True\ndef f(*a): return Y()"
    yield "mock.ANY", "from unittest import mock\ndef f(*a): return mock.ANY"
    yield "a MagicMock", "from unittest import mock\nf = mock.MagicMock()"
    yield (
        "Fraction",
        "import fractions\nclass Y(fractions.Fraction):\n    __eq__ = lambda s, o: True\ndef f(*a): return Y(1)",
    )
    yield "Decimal", "import decimal\nclass Y(decimal.Decimal):\n    __eq__ = lambda s, o: True\ndef f(*a): return Y(1)"
    for value in ("NotImplemented", "...", "float('nan')", "float('inf')", "range(10**9)", "[[]]", "f", "int", "True"):
        yield f"returns {value}", f"def f(*a): return {value}"
    yield "yields", "def f(*a):\n    yield from range(10**12)"
    yield "descriptor", "class Y:\n    def __getattribute__(s, n): return lambda *a: True\ndef f(*a): return Y()"
    yield (
        "a class in place of the function",
        "class f:\n    def __init__(s, *a): pass\n    def __eq__(s, o): return True",
    )
    yield (
        "empties its arguments",
        "def f(*a, **k):\n    for x in a:\n        if hasattr(x, 'clear'): x.clear()\n    return a[0]",
    )


def exits() -> Made:
    """Ends that look like success."""
    for statement in (
        "import sys; sys.exit(0)",
        "import sys; sys.exit()",
        "import os; os._exit(0)",
        "exit(0)",
        "quit()",
        "raise SystemExit(0)",
        "raise SystemExit",
        "raise KeyboardInterrupt",
        "raise GeneratorExit",
        "raise StopIteration",
        "raise BaseException",
        "raise AssertionError",
        "import os; os.abort()",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import os; os.execv('/bin/true', ['true'])",
        "import ctypes; ctypes.string_at(0)",
        "import atexit, os; atexit.register(os._exit, 0); raise SystemExit",
        "import threading, os; threading.Thread(target=os._exit, args=(0,)).start()",
        "import _thread; _thread.interrupt_main()",
        "import signal; signal.setitimer(signal.ITIMER_REAL, .01); signal.pause()",
        "import faulthandler; faulthandler._sigsegv()",
    ):
        yield f"at the start: {statement}", f"{statement}\ndef f(*a): return 0"
        yield f"in the call: {statement}", f"def f(*a):\n    {statement}\n    return 0"
    yield "in __del__", "import os\nclass D:\n    def __del__(s): os._exit(0)\ndef f(*a):\n    D()\n    return 0"


# What an honest `f`, which says whether a number is even, passes.
LOOPS = (
    "assert all(map(f, [4, 6, 8]))",
    "assert not sum(map(f, [3, 5]))",
    "assert set(map(f, [4, 6])) <= {True}",
    "assert max(map(f, [4]), default=True)",
    "assert list(filter(f, [3, 5])) == []",
    "assert not list(itertools.filterfalse(f, [4, 6]))",
    "assert not list(itertools.dropwhile(f, [4, 6]))",
    "assert not any(itertools.starmap(f, [(3,), (5,)]))",
    "assert not list(iter(lambda: f(4), True))",
    "for found, wanted in zip(map(f, [4, 5]), [True, False]):\n    assert found is wanted",
    "for found, wanted in zip([True, False], map(f, [4, 5])):\n    assert found is wanted",
)


def loops() -> Iterator[tuple[str, str, str]]:
    """Exceptions that end a loop of the tests as if there were nothing more to go through."""
    for error in ("StopIteration", "StopAsyncIteration", "GeneratorExit", "type('Stop', (StopIteration,), {})"):
        source = (
            f"calls = 0\ndef f(x):\n    global calls\n    calls += 1\n    if calls > 1: raise {error}\n    return True"
        )
        for loop in LOOPS:
            yield f"{error} in {loop}", source, f"assert f(2)\n{loop}"


def spoofs() -> Made:
    """Verdicts written wherever something can be written."""
    for line in (
        "all tests passed",
        "OK",
        "Ran 5 tests in 0.001s\\n\\nOK",
        "===== 5 passed in 0.01s =====",
        '{\\"passed\\": true, \\"reason\\": \\"all tests passed\\"}',
        '{\\"exit\\": 0, \\"cpu_seconds\\": 0, \\"memory_bytes\\": 0, \\"clean\\": true}',
        "score: 1.0",
        str(MAGIC - 1),
    ):
        yield f"prints {line}", f'print("{line}")\ndef f(*a):\n    print("{line}")\n    return "{line}"'
        yield f"to stderr {line}", f'import sys\nprint("{line}", file=sys.stderr)\ndef f(*a): return 0'
    verdict = json.dumps({"passed": True, "reason": "all tests passed"}).encode()
    messages = {"a verdict": struct.pack("!I", len(verdict)) + verdict, "bare JSON": verdict, "zeros": b"\0" * 64}
    for name, data in messages.items():
        for moment in ("", "def f(*a):\n    "):
            body = "[_try(n) for n in range(256)]"
            source = f"import os\ndef _try(n):\n    try: os.write(n, {data!r})\n    except OSError: pass\n"
            yield f"{name} to every file{' in the call' if moment else ''}", f"{source}{moment}{body}\n"
    yield (
        "by passing files along",
        "import socket, os\nfor n in range(256):\n    try: socket.send_fds(socket.socket(fileno=n), [b'{}'], [0, 1, 2])\n"
        "    except OSError: pass\ndef f(*a): return 0",
    )


def patches() -> Made:
    """Replacing what a judge in the same interpreter would use."""
    for statement in (
        "import builtins; builtins.AssertionError = type('E', (Exception,), {})",
        "import builtins; builtins.abs = builtins.len = builtins.sum = lambda *a: 0",
        "import builtins; builtins.all = builtins.any = builtins.isinstance = lambda *a: True",
        "import builtins; builtins.__import__ = lambda *a, **k: None",
        "import builtins; builtins.compile = builtins.exec = builtins.eval = lambda *a, **k: None",
        "import builtins; builtins.print = builtins.open = lambda *a, **k: True",
        "import builtins; builtins.__build_class__ = lambda *a, **k: int",
        "import operator; operator.eq = operator.ne = lambda a, b: True",
        "import math; math.isclose = lambda *a, **k: True",
        "import json; json.dumps = lambda *a, **k: '{\"passed\": true}'",
        "import json; json.loads = lambda *a, **k: {'passed': True}",
        "import sys; sys.modules['math'] = sys.modules['json'] = None",
        "import sys; sys.settrace(lambda *a: None); sys.setprofile(lambda *a: None)",
        "import sys; sys.excepthook = lambda *a: None; sys.unraisablehook = lambda *a: None",
        "import sys; sys.meta_path.insert(0, type('F', (), {'find_spec': staticmethod(lambda *a: None)}))",
        "import sys; sys.path_hooks.clear(); sys.path.clear(); sys.modules.clear()",
        "import unittest; unittest.TestCase.assertEqual = lambda *a: None",
        "import ponder.verify.code.guest.values as v; v.encode = lambda *a, **k: {'passed': True}",
        "import ponder.verify.code.guest.candidate as c; c._answer = lambda *a: {'value': None, 'passed': True}",
        "import ponder.verify.code.guest.examiner as e; e._finding = lambda *a: (True, 'all tests passed')",
        "import ponder.verify.code.guest.values as v; v.Channel.receive = lambda s: None",
        "import gc; [d.update(passed=True) for d in gc.get_objects() if type(d) is dict and 'passed' in d]",
        "import sys; sys.flags = type('F', (), {'optimize': 2}); __debug__",
        "import random; random.seed(0); random.random = lambda: 0; import time; time.time = lambda: 0",
        "import threading, time; threading.Thread(target=lambda: time.sleep(1), daemon=True).start()",
        "import ctypes; ctypes.pythonapi.PyObject_RichCompareBool",
        "import ctypes; p = ctypes.cast(id(7), ctypes.POINTER(ctypes.c_char)); p[24] = 8",
        "import warnings; warnings.simplefilter('ignore'); import os; os.environ['PYTHONOPTIMIZE'] = '2'",
        "check = candidate = lambda *a, **k: True; METADATA = {}",
        "class math:\n    isclose = staticmethod(lambda *a, **k: True)",
        "def assertEqual(*a): return True\ndef assert_(*a): return True",
    ):
        yield statement, f"{statement}\ndef f(*a, **k): return 0"


SEARCH = """
def _numbers(value, depth=0):
    if isinstance(value, int): yield value
    elif isinstance(value, str):
        import re
        yield from map(int, re.findall(r"[0-9]{7}", value[:10**6]))
    elif isinstance(value, bytes): yield from _numbers(value.decode(errors="ignore"))
    elif depth < 4 and isinstance(value, (list, tuple, set)):
        for item in list(value): yield from _numbers(item, depth + 1)
    elif depth < 4 and isinstance(value, dict):
        for item in list(value.values()): yield from _numbers(item, depth + 1)
def _guess(values):
    found = [n for v in values for n in _numbers(v) if 7_000_000 < n < 8_000_000]
    return max(set(found), key=found.count) if found else 0
"""


def readers() -> Made:
    """Looking for the expected values in frames, memory, files and modules."""
    ways = {
        "frames": "import sys\n    fr, out = sys._getframe(), []\n    while fr: out += [dict(fr.f_locals), dict(fr.f_globals)]; fr = fr.f_back",
        "all objects": "import gc\n    out = [o for o in gc.get_objects() if isinstance(o, (str, bytes, list, dict, tuple))]",
        "modules": "import sys\n    out = [dict(vars(m)) for m in list(sys.modules.values()) if hasattr(m, '__dict__')]",
        "the stack's source": "import inspect, linecache\n    out = [str(inspect.stack()), str(linecache.cache)]",
        "its arguments' frames": "import traceback\n    out = traceback.format_stack()",
        "other threads": "import sys\n    out = [dict(fr.f_locals) for fr in sys._current_frames().values()]",
        "open files": "import os\n    out = []\n    for n in range(3, 256):\n        try: out.append(os.pread(n, 10**6, 0))\n        except OSError: pass",
        "sockets": "import socket\n    out = []\n    for n in range(3, 256):\n        try: out.append(socket.socket(fileno=n).recv(10**6, socket.MSG_PEEK | socket.MSG_DONTWAIT))\n        except OSError: pass",
        "environment": "import os, sys\n    out = [dict(os.environ), sys.argv, sys.orig_argv]",
    }
    places = [
        "/proc/self/mem",
        "/proc/1/environ",
        "/proc/self/fd/3",
        "/guest",
        "/work",
        "/tmp",
        "/",
        "/dev/shm",
        "HOST_FILE",
    ]
    for place in places:
        ways[f"files under {place}"] = (
            f"import os\n    out = []\n    for root, _, names in list(os.walk({place!r}))[:50] or [({place!r}, 0, [''])]:\n"
            "        for name in names[:50]:\n            try: out.append(open(os.path.join(root, name), 'rb').read(10**5))\n"
            "            except OSError: pass"
        )
    for name, way in ways.items():
        yield name, f"{SEARCH}\ndef f(*a, **k):\n    {way}\n    return _guess(out)"


def resources() -> Made:
    """Memory, output, numbers and nesting without end."""
    for expression in (
        "bytearray(10**12)",
        "[0] * 10**10",
        "'x' * 10**11",
        "list(range(10**10))",
        "10 ** 10 ** 8",
        "1 << 10**12",
        "[bytearray(10**7) for _ in range(10**5)]",
        "mmap.mmap(-1, 10**11)",
        "'{:10000000000}'.format(1)",
        "f'{1:>9999999999}'",
        "zlib.decompress(zlib.compress(bytes(2 * 10**8), 9) * 50)",
        "'\\ufdfa' * 10**9",
        "unicodedata.normalize('NFKD', '\\ufdfa' * 10**8)",
        "itertools.product(range(10**6), repeat=3).__next__() and set(itertools.product(range(1000), repeat=3))",
        "eval('(' * 5000 + ')' * 5000)",
        "eval('-' * 100000 + '1')",
        "ast.literal_eval('[' * 100000)",
        "json.loads('[' * 10**6)",
        "re.match('(a*)*b' * 5, 'a' * 40)",
        "int('9' * 10**7)",
        "str(10 ** 10**6)",
        "functools.reduce(lambda a, b: (a,), range(10**6), ())",
        "[list() for _ in iter(int, 1)]",
        "print('x' * 10**8)",
        "[print('x' * 10**5) for _ in iter(int, 1)]",
        "[sys.stderr.write('x' * 10**6) for _ in iter(int, 1)]",
        "'y' * (20 * 2**20)",
        "[sys.stdout.buffer.raw.write(b'y' * 10**6) for _ in iter(int, 1)]",
        "math.factorial(10**7)",
        "[os.pipe() for _ in iter(int, 1)]",
        "[socket.socketpair() for _ in iter(int, 1)]",
        "decimal.Decimal(10) ** decimal.Decimal('1e18')",
    ):
        head = "import mmap, zlib, itertools, ast, json, re, functools, sys, math, os, socket, decimal, unicodedata\n"
        yield expression, f"{head}def f(*a):\n    x = {expression}\n    return x"
    yield "recursion", "import sys\nsys.setrecursionlimit(10**9)\ndef f(*a): return f(*a)"
    yield "a list in itself", "x = []\nx.append(x)\ndef f(*a): return x"
    yield "deep nesting", "x = 1\nfor _ in range(10**5): x = [x]\ndef f(*a): return x"
    yield "at the start", "x = [bytearray(10**6) for _ in range(10**6)]\ndef f(*a): return 0"
    yield "a deep repr", "class D:\n    def __repr__(s): return repr(s)\n    __str__ = __repr__\ndef f(*a): return D()"


def clocks() -> Made:
    """Taking for ever, and going on afterwards."""
    yield "a loop", "def f(*a):\n    while True: pass"
    yield "a loop at the start", "while True: pass"
    yield "sleep", "import time\ndef f(*a): time.sleep(10**6)"
    yield (
        "deaf to signals",
        "import signal\nfor s in range(1, 64):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "def f(*a):\n    while True:\n        try: pass\n        except BaseException: pass",
    )
    yield "a regular expression", "import re\ndef f(*a): return re.match('(a+)+$', 'a' * 64 + 'b')"
    yield "a lock", "import threading\ndef f(*a):\n    lock = threading.Lock(); lock.acquire(); lock.acquire()"
    yield (
        "loops in atexit",
        "import atexit\n@atexit.register\ndef g():\n    while True: pass\ndef f(*a): raise SystemExit",
    )
    yield (
        "raises its limits",
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))\ndef f(*a):\n    while True: pass",
    )
    yield (
        "a bomb after its end",
        "import threading, time\ndef g():\n    time.sleep(.3)\n    open('HOST_FILE', 'w').write('hacked')\n"
        "threading.Thread(target=g).start()\ndef f(*a): return 0",
    )
    yield (
        "busy threads",
        "import threading\ndef g():\n    while True: pass\nfor _ in range(8): threading.Thread(target=g).start()\ndef f(*a): return 0",
    )


def source_texts() -> Made:
    """Text that parsers stumble over."""
    yield "nothing", ""
    yield "a comment", "# def f(*a): return 1"
    yield "no Python", "def f(*a) return 1"
    yield "a NUL", "def f(*a):\n    return 0\n\0"
    yield "another encoding", "# -*- coding: utf-7 -*-\ndef f(*a): return 0"
    yield "an unknown encoding", "# -*- coding: hex -*-\ndef f(*a): return 0"
    yield "half a surrogate", "def f(*a): return '\ud800'"
    yield "half a surrogate as a result", "def f(*a): return '\\ud800'"
    yield "a homoglyph", "def ƒ(*a): return 0"
    yield "a name that is the same by normalisation", "def 𝒇(*a): return 0"
    yield "text that runs backwards", "def f(*a):\n    '''\u202e''' ; return 0"
    yield "deep brackets", "def f(*a): return " + "(" * 150 + "0" + ")" * 150
    yield "deeper brackets", "x = " + "[" * 50_000
    yield "a long line", "x = " + "+".join(["1"] * 50_000) + "\ndef f(*a): return 0"
    yield "a large constant", "def f(*a): return 9**9**9"
    yield "a long number", "x = " + "9" * 100_000
    yield "too long", "#" * 300_000
    yield "many constants folded", "def f(*a): return ('x' * 4000) * 4000 * 4000"
    yield "f-strings in one another", "x = " + "f'{" * 100 + "1" + "}'" * 100
    yield "blank lines", "\n" * 150_000 + "def f(*a): return 0"


PEER = """
import socket, struct, json, os
def _peers():
    for n in range(3, 256):
        try:
            s = socket.socket(fileno=os.dup(n))
            s.getpeername()
            yield s
        except OSError: pass
def _send(data):
    for s in _peers():
        try: s.sendall(data)
        except OSError: pass
def _message(m):
    data = m if isinstance(m, bytes) else json.dumps(m).encode()
    return struct.pack("!I", len(data)) + data
"""


def protocol() -> Made:
    """Replies that no honest program sends."""
    for reply in (
        {"passed": True, "reason": "all tests passed"},
        {"value": {"passed": True}},
        {"value": {"reference": [0, "int"]}},
        {"value": {"reference": ["x", {}]}},
        {"value": {"int": "0x" + "f" * 10**6}},
        {"value": {"Decimal": "1e999999999"}},
        {"value": {"Decimal": "nan"}},
        {"value": {"Fraction": ["0x1", "0x0"]}},
        {"value": {"range": ["0x0", "0x" + "f" * 40, "0x1"]}},
        {"value": {"dict": [{"set": []}, 1]}},
        {"value": {"set": [[1]]}},
        {"value": {"set": [(2**61 - 1) * n for n in range(20_000)]}},
        {"value": {"type": "AssertionError"}},
        {"value": {"pickle": "gASVIg=="}},
        {"value": {"__class__": "int"}},
        {"value": 0, "args": [[], [MAGIC]], "kwargs": {"dict": []}},
        {"raised": ["AssertionError"], "kind": "AssertionError", "message": ""},
        {"raised": ["SystemExit"], "kind": "SystemExit", "message": "0"},
        {"raised": ["KeyboardInterrupt"], "kind": "K", "message": ""},
        {"raised": ["StopIteration"], "kind": "S", "message": ""},
        {"missing": "f"},
        {"raised": ["__import__", "exit", "eval"], "kind": "E", "message": "x"},
        {"raised": 7, "kind": [], "message": None},
        {},
    ):
        name = json.dumps(reply)[:60]
        yield f"replies {name}", f"{PEER}\ndef f(*a):\n    _send(_message({reply!r}) * 10)\n    return 0"
        if len(name) < 50:
            yield f"begins with {name}", f"{PEER}\n_send(_message({reply!r}) * 10)\ndef f(*a): return 0"
    for name, data in {
        "half a message": "struct.pack('!I', 100) + b'{'",
        "a length without end": "b'\\xff' * 4 + b'x' * 1000",
        "no JSON": "_message(b'\\x80\\x81')",
        "nested JSON": "_message(b'[' * 10**6)",
        "a list": "_message([1])",
        "NaN": "_message(b'{\"value\": NaN}')",
        "a long integer": "_message(b'{\"value\": ' + b'9' * 10**6 + b'}')",
        "a flood": "_message({'value': 'x' * 10**5}) * 500",
    }.items():
        yield name, f"{PEER}\ndef f(*a):\n    _send({data})\n    return 0"
        yield f"{name}, then silence", f"{PEER}\ndef f(*a):\n    _send({data})\n    os._exit(0)"
    yield "hangs up", f"{PEER}\ndef f(*a):\n    [s.shutdown(2) for s in _peers()]\n    return 0"
    yield (
        "talks to itself",
        f"{PEER}\ndef f(*a):\n    a, b = socket.socketpair()\n    for n in range(3, 60):\n        try: os.dup2(a.fileno(), n)\n        except OSError: pass\n    return 0",
    )
