"""Which protections this machine has, and what to do where one is missing. A missing one refuses, unless allowed."""

import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

from ponder.core.errors import MissingLayerError
from ponder.verify.code.config import Layer, SandboxConfig
from ponder.verify.code.guest.limits import landlock_version
from ponder.verify.code.system_calls import seccomp_filter

PROBE_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Missing:
    """A protection that is not there, why, and how to get it."""

    layer: Layer
    reason: str
    remedy: str


def present_layers(config: SandboxConfig) -> frozenset[Layer]:
    """The protections that will be used. Raises `MissingLayerError` where one is missing that the config does not
    allow.
    """
    missing = missing_layers()
    refused = [lack for lack in missing if lack.layer not in config.allow_missing]
    if refused:
        told = "\n".join(f"  {lack.layer}: {lack.reason}. {lack.remedy}" for lack in refused)
        names = ", ".join(f'"{lack.layer}"' for lack in refused)
        raise MissingLayerError(
            f"programs that a model wrote cannot be run safely on this machine; missing:\n{told}",
            [lack.layer for lack in refused],
            f"sandbox.allow_missing = [{names}]",
        )
    absent = {lack.layer for lack in missing}
    layers: tuple[Layer, ...] = ("namespaces", "seccomp", "landlock")
    return frozenset(layer for layer in layers if layer not in absent)


@functools.cache
def missing_layers() -> tuple[Missing, ...]:
    """Every protection that this machine lacks, found by trying."""
    checks: tuple[tuple[Layer, tuple[str, str] | None], ...] = (
        ("namespaces", _no_namespaces()),
        ("seccomp", _no_seccomp()),
        ("landlock", _no_landlock()),
    )
    return tuple(Missing(layer, *lack) for layer, lack in checks if lack is not None)


def is_root() -> bool:
    """Whether this process has root's user id."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _no_namespaces() -> tuple[str, str] | None:
    if sys.platform != "linux":
        return f"namespaces are Linux's, and this is {sys.platform}", "Use a Linux machine or a virtual one"
    program = shutil.which("bwrap")
    if program is None:
        return "bubblewrap is not installed", "Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap"
    user = [] if is_root() else ["--unshare-user"]
    command = [program, "--unshare-pid", "--unshare-net", "--unshare-ipc", *user, "--ro-bind", "/", "/"]
    command += ["--size", "1048576", "--tmpfs", "/tmp", "--", "/bin/true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} does not start: {error}", "Install bubblewrap again"
    if done.returncode == 0:
        return None
    said = done.stderr.strip()[:200]
    if "--size" in said:
        return "this bubblewrap is too old", "Install version 0.7 or newer"
    remedy = "Let it make namespaces: sysctl kernel.unprivileged_userns_clone=1 (Debian), "
    remedy += "kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu); in a container, run it privileged"
    return f"bubblewrap cannot make namespaces ({said})", remedy


def _no_seccomp() -> tuple[str, str] | None:
    if sys.platform != "linux":
        return f"seccomp is Linux's, and this is {sys.platform}", "Use a Linux machine or a virtual one"
    try:
        seccomp_filter(nursery=False)
    except ImportError:
        remedy = "pip install pyseccomp; Debian, Ubuntu: apt install libseccomp2; Fedora: dnf install libseccomp"
        return "pyseccomp or the library libseccomp is not installed", remedy
    return None


def _no_landlock() -> tuple[str, str] | None:
    if landlock_version() > 0:
        return None
    return "this kernel has no Landlock", "It needs Linux 5.13 or newer, started with landlock among lsm="
