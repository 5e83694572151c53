"""The first process of a sandbox: an interpreter that forks one child for each job and never runs a program itself.

It hears of jobs over a socket (`CONTROL`), with the job's files and sockets passed along, and tells how each ended. The
child gives up everything that it does not need, then runs what the job says:

    program   files: source, standard input, standard output    a program as a user would start it
    candidate files: source, socket                             a program whose functions another process calls
    tests     files: source, socket, socket                     tests that call a candidate, and say what they found
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import shutil
import site
import socket
import sys
import threading
from collections.abc import Callable

import ponder.verify.code.guest.candidate as candidate
import ponder.verify.code.guest.examiner as examiner
from ponder.verify.code.guest import limits

CONTROL = 0  # the file that the sandbox is started with
# What programs import most, so that each child finds it loaded already.
COMMON = """
    bisect cmath collections copy datetime decimal fractions hashlib heapq itertools math operator random re statistics
    string time typing
"""
LARGEST_JOB = 2**16  # bytes
TROUBLE, FIRST_FILE = 50, 51  # where a child keeps them, above all that it was forked with


def main() -> None:
    """Say that the sandbox is up, then do jobs until the other side is gone."""
    control = socket.socket(fileno=os.dup(CONTROL))
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    settings = json.loads(control.recv(LARGEST_JOB))
    try:
        _prepare(settings)
    except (OSError, ValueError) as error:
        control.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
        return
    control.send(json.dumps({"ready": True}).encode())
    while True:
        data, files, _, _ = socket.recv_fds(control, LARGEST_JOB, 8)
        if not data:
            return
        status = _run_child(json.loads(data), files, control, settings)
        status["clean"] = _clear(settings["folder"])
        control.send(json.dumps(status).encode())


def _prepare(settings: dict[str, object]) -> None:
    user = settings["user"]
    if isinstance(user, int):
        limits.become(user)
    for name in COMMON.split():
        importlib.import_module(name)
    site.setquit()  # exit() and quit(), which the interpreter's start without `site` leaves out
    os.umask(0o077)
    os.environ.clear()
    os.environ.update({"HOME": str(settings["folder"]), "LANG": "C.UTF-8", "PATH": "/nonexistent"})
    os.chdir(str(settings["folder"]))
    gc.collect()
    gc.freeze()  # a child's collector does not copy the pages of what is loaded here


def _run_child(
    job: dict[str, object], files: list[int], control: socket.socket, settings: dict[str, object]
) -> dict[str, object]:
    trouble, told = os.pipe()  # what went wrong before the program began; closed by then
    child = os.fork()
    if child == 0:
        try:
            control.close()
            work = _made_ready(job, files, settings, told)
            work()
            os._exit(0)
        finally:  # whatever happened, a child never goes on as the nursery
            os._exit(70)
    for file in (*files, told):
        os.close(file)
    with open(trouble, encoding="utf-8") as reader:
        failure = reader.read()
    _watch(child, control)
    _, status, usage = os.wait4(child, 0)
    if failure:
        return {"failed": failure}
    code = os.waitstatus_to_exitcode(status)
    return {"exit": code, "cpu_seconds": usage.ru_utime + usage.ru_stime, "memory_bytes": usage.ru_maxrss * 1024}


def _watch(child: int, control: socket.socket) -> None:
    """Return once the child has ended. Where whoever gave the job is gone, end, and the sandbox with it."""
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(control, select.POLLHUP)
    if ended not in [file for file, _ in poll.poll()]:
        os._exit(71)
    os.close(ended)


def _made_ready(job: dict[str, object], files: list[int], settings: dict[str, object], told: int) -> Callable[[], None]:
    """Take the job's files and give up everything else; what is left to do. What fails is written to `told`."""
    try:
        os.dup2(told, TROUBLE, inheritable=False)
        source = _read(files[0])
        for at, file in enumerate(files[1:]):
            os.dup2(file, FIRST_FILE + at)
        last = FIRST_FILE + len(files) - 1
        os.closerange(3, TROUBLE)
        os.closerange(last, 1024)
        work: Callable[[], None]
        if job["kind"] == "program":
            os.dup2(FIRST_FILE, 0)
            os.dup2(FIRST_FILE + 1, 1)
            os.closerange(FIRST_FILE, last)
            work = functools.partial(_program, source)
        else:
            streams = [socket.socket(fileno=file) for file in range(FIRST_FILE, last)]
            judged = candidate.serve if job["kind"] == "candidate" else examiner.examine
            work = functools.partial(judged, source, *streams)
        _give_up(settings)
        os.close(TROUBLE)
    except BaseException as error:
        os.write(TROUBLE, f"{type(error).__name__}: {error}".encode(errors="replace"))
        raise
    return work


def _program(source: str) -> None:
    """Run as the interpreter would, to its end: threads are waited for, what was registered for the exit is called,
    and files that are left open are written.
    """
    output = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = output  # type: ignore[misc]
    code = 0
    try:
        candidate.run_program(source)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - the program's own failure
        code = 1
    end_threads = threading._shutdown  # type: ignore[attr-defined]  # pools of threads too
    for step in (end_threads, atexit._run_exitfuncs, _forget_main, lambda: sys.stdout.flush(), output.flush):
        with contextlib.suppress(BaseException):
            step()
    os._exit(code & 0xFF)


def _forget_main() -> None:
    """Let go of the program's names, so that files that it left open are written and its `__del__` are called."""
    sys.modules["__main__"].__dict__.clear()
    gc.collect()


def _give_up(settings: dict[str, object]) -> None:
    """In this order: each step needs what the next one takes away."""
    limits.set_resource_limits(**settings["limits"])  # type: ignore[arg-type]
    if settings["landlock"]:
        readable = tuple(str(folder) for folder in settings["readable"])  # type: ignore[attr-defined]
        limits.restrict_files(readable, tuple(str(folder) for folder in settings["writable"]))  # type: ignore[attr-defined]
    if isinstance(filter_hex := settings["seccomp"], str):
        limits.restrict_system_calls(bytes.fromhex(filter_hex))


def _read(file: int) -> str:
    with open(file, encoding="utf-8-sig", errors="surrogatepass") as source:
        return source.read()


def _clear(folder: object) -> bool:
    """Empty the folder that the child may have written to; whether that worked."""
    try:
        for entry in list(os.scandir(str(folder))):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    except (OSError, RecursionError):
        return False
    return True


if __name__ == "__main__":
    main()
