"""What was pulled, held against its manifest: are the files still what came?"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ponder.core.files import explain_read_errors
from ponder.core.progress import Transfer
from ponder.weights.pull.download import CHUNK
from ponder.weights.pull.home import Manifest

HASHED_BYTES = 10_000_000_000  # a model up to this size is hashed whenever it is pulled again; half a minute at most

Report = Callable[[Transfer], None]


def damaged_files(folder: Path, manifest: Manifest, report: Report, *, hashes: bool) -> list[str]:
    """The files that are missing, of another size, or, where `hashes`, of another SHA-256."""
    hash_next = Hashing(manifest.size, report)
    damaged = []
    for name, facts in manifest.files.items():
        path = folder / name
        with explain_read_errors(path):
            if not path.is_file() or path.stat().st_size != facts.size:
                damaged.append(name)
            elif hashes:
                with open(path, "rb") as file:
                    if hash_next(name, file) != facts.sha256:
                        damaged.append(name)
    return damaged


class Hashing:
    """SHA-256 of one file after the other, with progress over all of them."""

    def __init__(self, total: int, report: Report) -> None:
        self._total, self._report, self._done = total, report, 0

    def __call__(self, name: str, file: IO[bytes]) -> str:
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            self._done += len(chunk)
            self._report(Transfer(file=f"checking {name}", done=self._done, total=self._total))
        return digest.hexdigest()
