"""The seccomp filter: which system calls a tested program may make. All that is not listed fails with EPERM."""

import errno
import functools
import tempfile
from types import ModuleType

try:
    import pyseccomp  # type: ignore[import-untyped]
except (ImportError, RuntimeError, OSError):  # it looks for libseccomp as it is imported
    pyseccomp: ModuleType | None = None  # type: ignore[no-redef]

CLONE_THREAD = 0x10000
# of fcntl: descriptors, their flags, and the size of a pipe. Not the others: some send signals, or lock a file for all
FILE_COMMANDS = (0, 1, 2, 3, 1030, 1031, 1032)  # DUPFD, GETFD, SETFD, GETFL, DUPFD_CLOEXEC, SETPIPE_SZ, GETPIPE_SZ
F_SETFL, O_ASYNC = 4, 0x2000
TERMINAL_QUERIES = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # of files

_ALLOWED = """
    read write readv writev pread64 pwrite64 preadv pwritev lseek close close_range dup dup2 dup3 pipe pipe2
    open openat stat lstat fstat newfstatat statx statfs fstatfs access faccessat faccessat2 getdents getdents64 getcwd
    chdir fchdir
    readlink readlinkat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 truncate ftruncate fsync fdatasync
    umask copy_file_range sendfile
    poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2
    socketpair sendto recvfrom sendmsg recvmsg shutdown getsockname getpeername getsockopt setsockopt
    mmap mprotect munmap mremap madvise msync brk membarrier
    futex futex_waitv set_robust_list get_robust_list set_tid_address rseq sched_yield sched_getaffinity
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait sigaltstack pause
    restart_syscall
    alarm setitimer getitimer nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times
    getpid gettid getppid getpgrp getpgid getsid getuid geteuid getgid getegid getgroups getresuid getresgid uname
    getrlimit getrusage sysinfo getrandom getcpu arch_prctl exit exit_group
"""

# What the interpreter that forks the children needs beyond it. A child gives these up before it runs a program.
_FOR_THE_NURSERY = """
    execve clone fork vfork wait4 waitid pidfd_open prctl seccomp landlock_create_ruleset landlock_add_rule
    landlock_restrict_self setresuid setresgid setgroups prlimit64 setrlimit ioctl fcntl
"""


@functools.cache
def seccomp_filter(*, nursery: bool) -> bytes:
    """The filter as the kernel's instructions, 8 bytes each. Raises `ImportError` where libseccomp is missing.

    A call by another architecture's numbers (32 bits on a 64-bit machine) kills the process.
    """
    if pyseccomp is None:
        raise ImportError("pyseccomp or libseccomp is missing")
    rules = pyseccomp.SyscallFilter(defaction=pyseccomp.ERRNO(errno.EPERM))
    _allow(rules, _ALLOWED)
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags lie in memory, where no filter sees them
    if nursery:
        _allow(rules, _FOR_THE_NURSERY)
    else:
        threads_only = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, CLONE_THREAD, CLONE_THREAD)
        rules.add_rule(pyseccomp.ALLOW, "clone", threads_only)
        rules.add_rule(pyseccomp.ALLOW, "prlimit64", pyseccomp.Arg(0, pyseccomp.EQ, 0))
        for command in FILE_COMMANDS:
            rules.add_rule(pyseccomp.ALLOW, "fcntl", pyseccomp.Arg(1, pyseccomp.EQ, command))
        no_signals = pyseccomp.Arg(2, pyseccomp.MASKED_EQ, O_ASYNC, 0)
        rules.add_rule(pyseccomp.ALLOW, "fcntl", pyseccomp.Arg(1, pyseccomp.EQ, F_SETFL), no_signals)
        for request in TERMINAL_QUERIES:
            rules.add_rule(pyseccomp.ALLOW, "ioctl", pyseccomp.Arg(1, pyseccomp.EQ, request))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _allow(rules: "pyseccomp.SyscallFilter", names: str) -> None:
    assert pyseccomp is not None
    for name in names.split():
        try:
            number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
        except ValueError:  # this library or machine does not know it
            continue
        if number >= 0:  # a call that this architecture lacks has a negative one
            rules.add_rule(pyseccomp.ALLOW, name)
