"""One sandbox: an interpreter behind bubblewrap, seccomp, Landlock and resource limits, that runs programs one by one.

    the trainer ── a socket ── nursery (process 1 of its own namespaces; forks, and runs nothing itself)
                                   └── child: gives up files, system calls and resources, then runs the program

The sandbox sees the interpreter and its libraries, read only; a working folder in memory; no network, no /proc, no
other process. Killing it kills all that runs in it: its first process is the init of a PID namespace.
"""

import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ponder.core.errors import SandboxError
from ponder.verify.code.config import MEGABYTE, Layer, SandboxConfig
from ponder.verify.code.layers import is_root
from ponder.verify.code.system_calls import seccomp_filter

GUEST = Path(__file__).parent / "guest"
GUEST_ROOT = "/guest"
WORK = "/job"
START_SECONDS = 30  # on a busy machine
FIRST_SPARE_USER = 1_900_000_000  # user ids that no one has; as root, each sandbox takes one
OPEN_FILES = 64

_spare_users = itertools.count()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended. `code` is its exit code, or minus the number of the signal that killed it."""

    code: int
    cpu_seconds: float
    memory_bytes: int

    def __str__(self) -> str:
        if self.code >= 0:
            return f"it exited with code {self.code}"
        if -self.code == signal.SIGXCPU or -self.code == signal.SIGKILL:
            return "it was killed: out of processor time"
        with contextlib.suppress(ValueError):
            return f"it was killed by {signal.Signals(-self.code).name}"
        return f"it was killed by signal {-self.code}"


class Sandbox:
    """A running sandbox. Not thread-safe: one job at a time."""

    def __init__(self, config: SandboxConfig, layers: frozenset[Layer]) -> None:
        """Start it. Raises `SandboxError` where it does not come up."""
        self.programs = 0  # how many it has run
        self.broken = False  # a job in it may still run: it is of no further use
        self._folder = None if "namespaces" in layers else tempfile.mkdtemp(prefix="ponder-sandbox-")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control = ours
        ours.settimeout(START_SECONDS)
        with theirs, tempfile.TemporaryFile() as complaints, contextlib.ExitStack() as files:
            passed: list[int] = []
            if "seccomp" in layers and "namespaces" in layers:
                rules = files.enter_context(tempfile.TemporaryFile())
                rules.write(seccomp_filter(nursery=True))
                rules.seek(0)
                passed.append(rules.fileno())
            told, telling = os.pipe()
            self._init: int | None = None  # a handle on its first process
            self._process = subprocess.Popen(
                _command(config, layers, passed, telling),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                pass_fds=[*passed, telling] if "namespaces" in layers else [],
                start_new_session=True,
                env={} if "namespaces" in layers else {"PYTHONPATH": str(_import_root())},
                cwd=self._folder,
            )
            theirs.close()
            os.close(telling)
            with open(told, encoding="utf-8") as report:
                information = report.read()
            try:
                if information:
                    self._init = os.pidfd_open(int(json.loads(information)["child-pid"]))
                answer = self._begin(config, layers)
            except OSError as error:
                answer = {"failed": str(error) or "no answer"}
            if answer.get("ready") is not True:
                self.kill()
                complaints.seek(0)
                said = complaints.read(2000).decode(errors="replace").strip().splitlines()
                reason = answer.get("failed") or "it ended"
                raise SandboxError(f"the sandbox does not start: {reason}" + (f" ({said[-1]})" if said else ""))

    def _begin(self, config: SandboxConfig, layers: frozenset[Layer]) -> dict[str, object]:
        settings = {
            "user": FIRST_SPARE_USER + (os.getpid() * 1000 + next(_spare_users)) % 200_000_000
            if is_root() and "namespaces" in layers
            else None,
            "folder": self._folder or WORK,
            "writable": [self._folder or WORK] if config.disk_mb else [],
            "readable": [*_visible(), GUEST_ROOT, "/dev/urandom", "/dev/null"] if self._folder is None else ["/"],
            "landlock": "landlock" in layers,
            "seccomp": seccomp_filter(nursery=False).hex() if "seccomp" in layers else None,
            "limits": {
                "cpu_seconds": int(config.seconds) + 1,
                "memory_bytes": config.memory_mb * MEGABYTE,
                "file_bytes": config.disk_mb * MEGABYTE,
                "open_files": OPEN_FILES,
                "processes": config.threads,
            },
        }
        self.control.send(json.dumps(settings).encode())
        answer = json.loads(self.control.recv(2**16) or b"{}")
        assert isinstance(answer, dict)
        return answer

    def start(self, kind: str, files: list[int]) -> None:
        """Begin a job; the child gets copies of `files`. Raises `OSError` where the sandbox is gone."""
        socket.send_fds(self.control, [json.dumps({"kind": kind}).encode()], files)

    def wait(self, seconds: float) -> Ending | None:
        """How the job ended; None where it has not after so many seconds, or the sandbox is gone.

        Raises `SandboxError` where the process could not give up what it must not have; the program did not run.
        """
        self.control.settimeout(max(seconds, 1e-3))
        try:
            data = self.control.recv(2**16)
        except OSError:  # a time-out is one
            return None
        if not data:
            return None
        told = json.loads(data)
        if "failed" in told:
            raise SandboxError(f"a program's process cannot be confined: {told['failed']}")
        self.broken |= told["clean"] is not True
        return Ending(int(told["exit"]), float(told["cpu_seconds"]), int(told["memory_bytes"]))

    def read_output(self, file: int, limit: int, seconds: float) -> bytes | None:
        """What the job writes to `file` until it closes it: at most `limit` + 1 bytes. None after so many seconds."""
        deadline = time.monotonic() + seconds
        parts = bytearray()
        poll = select.poll()
        poll.register(file, select.POLLIN)
        while len(parts) <= limit:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return None
            part = os.read(file, min(2**16, limit + 1 - len(parts)))
            if not part:
                break
            parts += part
        return bytes(parts)

    def alive(self) -> bool:
        """Whether it waits for a job."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it, with all that runs in it."""
        if self._init is not None:  # bubblewrap may not kill a process of another user, so it is done from here
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
            os.close(self._init)
            self._init = None
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(START_SECONDS)  # it ends once it has seen that
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.control.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def memory_file(name: str, data: bytes) -> int:
    """A file in memory that no one can change any more, read from its beginning."""
    file = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    os.lseek(file, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
    return file


def _command(config: SandboxConfig, layers: frozenset[Layer], passed: list[int], telling: int) -> list[str]:
    python = [os.path.realpath(getattr(sys, "_base_executable", sys.executable)), "-S", "-B"]
    if "namespaces" not in layers:
        return [*python, "-P", "-m", "ponder.verify.code.guest.nursery"]
    command = [shutil.which("bwrap") or "bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--die-with-parent", "--as-pid-1", "--new-session", "--hostname", "sandbox"]
    command += ["--cap-drop", "ALL"]
    if is_root():  # it becomes a user that owns nothing, and by that loses these two
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user"]
    package = f"{GUEST_ROOT}/ponder/verify/code/guest"  # the packages above it are empty folders here
    devices = ("/dev/null", "/dev/urandom")
    parents = {parent for path in (*_visible(), *devices, package) for parent in Path(path).parents}
    for parent in sorted(parents - {Path("/")}):
        command += ["--perms", "0755", "--dir", str(parent)]  # else only root may enter it
    for path in _visible():
        command += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind", path, path]
    for device in devices:
        command += ["--dev-bind", device, device]
    command += ["--ro-bind", str(GUEST), package]
    if config.disk_mb:
        command += ["--perms", "1777", "--size", str(config.disk_mb * MEGABYTE), "--tmpfs", WORK]
    else:
        command += ["--perms", "0755", "--dir", WORK]
    command += ["--chdir", WORK, "--remount-ro", "/"]
    command += ["--setenv", "PYTHONPATH", GUEST_ROOT, "--setenv", "LC_ALL", "C.UTF-8"]
    command += ["--info-fd", str(telling)]
    for file in passed:
        command += ["--seccomp", str(file)]
    return [*command, "--", *python, "-P", "-m", "ponder.verify.code.guest.nursery"]


def _visible() -> list[str]:
    """What of the machine a sandbox sees: the interpreter, and the libraries that it is linked with."""
    prefix = os.path.realpath(sys.base_prefix)
    paths = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"]
    if prefix == "/usr":
        paths.append(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    else:
        paths += [f"{prefix}/bin", f"{prefix}/lib"]
    return [path for path in paths if os.path.lexists(path)]


def _import_root() -> Path:
    return GUEST.parents[3]
