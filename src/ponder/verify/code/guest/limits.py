"""What a process gives up before it runs a program: resources, files, system calls. None of it can be taken back."""

import ctypes
import os
import resource
import struct
import sys

# The numbers are the same on every architecture (Linux 5.13; uapi/linux/landlock.h).
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = 1, 2, 4, 8, 16, 32
MAKE_DIR, MAKE_REG, TRUNCATE = 1 << 7, 1 << 8, 1 << 14
FILE_RIGHTS_BY_ABI = ((1, 13), (2, 14), (3, 15), (5, 16))  # the first so many bits are known from this version on
BIND_AND_CONNECT_TCP = 3  # ABI 4
ABSTRACT_SOCKETS_AND_SIGNALS = 3  # ABI 6
STACK_BYTES = 1 << 28  # of the first thread: recursion through C code, such as a cached function, takes a lot
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def landlock_version() -> int:
    """The kernel's Landlock ABI; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, _libc().syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION))


def set_resource_limits(
    *, cpu_seconds: int, memory_bytes: int, file_bytes: int, open_files: int, processes: int
) -> None:
    """Hard limits of this process. `processes` counts threads, those of all processes of the same user here."""
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_NPROC, processes),
    ):
        hard = resource.getrlimit(kind)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))
    deepest = resource.getrlimit(resource.RLIMIT_STACK)[1]
    stack = STACK_BYTES if deepest == resource.RLIM_INFINITY else min(STACK_BYTES, deepest)
    resource.setrlimit(resource.RLIMIT_STACK, (stack, deepest))


def restrict_files(readable: tuple[str, ...], writable: tuple[str, ...]) -> None:
    """Landlock: only these folders may be read or written, no TCP, and signals reach this process only.

    Raises `OSError` where the kernel refuses. What a kernel does not know yet is left out.
    """
    version = landlock_version()
    rights = (1 << max(count for abi, count in FILE_RIGHTS_BY_ABI if abi <= max(version, 1))) - 1
    attributes = struct.pack(
        "=QQQ",
        rights,
        BIND_AND_CONNECT_TCP if version >= 4 else 0,
        ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0,
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    libc = _libc()
    ruleset = _checked(libc.syscall(LANDLOCK_CREATE_RULESET, attributes[:size], size, 0), "landlock_create_ruleset")
    reading = READ_FILE | READ_DIR
    writing = reading | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | TRUNCATE
    for folders, wanted in ((readable, reading), (writable, writing)):
        for folder in folders:
            try:
                descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            allowed = wanted & rights if os.path.isdir(folder) else wanted & rights & (READ_FILE | WRITE_FILE)
            rule = struct.pack("=Qi", allowed, descriptor)
            added = libc.syscall(LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, rule, 0)
            _checked(added, f"landlock_add_rule {folder}")
            os.close(descriptor)
    no_new_privileges()
    _checked(libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


def no_new_privileges() -> None:
    """No program started from here on gains rights by its file's owner or capabilities."""
    _checked(_libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def restrict_system_calls(program: bytes) -> None:
    """Load a seccomp filter: instructions of 8 bytes each, as libseccomp exports them. Raises `OSError`."""

    class Filter(ctypes.Structure):
        _fields_ = (("count", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    no_new_privileges()
    loaded = Filter(len(program) // 8, program)
    result = _libc().prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(loaded), 0, 0)
    _checked(result, "prctl(PR_SET_SECCOMP)")


def become(user: int) -> None:
    """Give up root for a user and group id of that number, with every capability."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
