"""`python -m ponder` is the command `ponder`."""

import sys

from ponder.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
