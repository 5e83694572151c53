"""Types and unit tests of the page: `python web/check.py`, or `./scripts/page check`."""

import subprocess
import sys

from build import WEB, NotBuilt, find_node, install


def main() -> int:
    try:
        node, npm = find_node()
        install(npm, tests=True)
    except NotBuilt as error:
        sys.stderr.write(f"The page was not checked. {error}\n")
        return 1
    for command in (["node_modules/typescript/bin/tsc", "--noEmit"], ["node_modules/vitest/vitest.mjs", "run"]):
        status = subprocess.run([node, *command], cwd=WEB, check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
