"""A model that lies on this machine: a folder, a GGUF file (of a split model, with its others), or a wheel with one in
it.
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ponder.core.errors import PonderError, PullError
from ponder.core.files import explain_read_errors
from ponder.core.progress import Transfer
from ponder.weights.checkpoint import open_checkpoint
from ponder.weights.gguf.header import split_of
from ponder.weights.pull.check import Hashing, Report
from ponder.weights.pull.choice import choose_files
from ponder.weights.pull.download import CHUNK
from ponder.weights.pull.home import Manifest, require_space
from ponder.weights.pull.pypi import extract, ggufs_in

_BAD_ZIP = (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError)


@dataclass(frozen=True)
class LocalModel:
    """The files of a model on this machine that are worth having."""

    path: Path
    sizes: dict[str, int]  # bytes of each, by the name that it gets
    member: str | None = None  # of a wheel

    @classmethod
    def look(cls, path: Path, pattern: str | None) -> "LocalModel":
        """Raises `PullError` as `choose_files` does, and for a wheel without exactly one GGUF file."""
        if path.suffix == ".whl":
            members = ggufs_in(path)
            if len(members) != 1:
                raise PullError(f"{path} has {len(members)} GGUF files; expected one")
            with zipfile.ZipFile(path) as archive:
                return cls(path, {Path(members[0]).name: archive.getinfo(members[0]).file_size}, members[0])
        root = path if path.is_dir() else path.parent
        split = split_of(path.name)
        with explain_read_errors(path):
            if path.is_dir():
                found = [file for file in root.rglob("*") if file.is_file()]
            elif split is not None:
                found = [file for file in root.iterdir() if split_of(file.name) == split]
            else:
                found = [path]
            sizes = {file.relative_to(root).as_posix(): file.stat().st_size for file in found}
        return cls(path, {name: sizes[name] for name in choose_files(sizes, str(path), pattern)})

    def is_copied(self, manifest: Manifest, report: Report, *, hashes: bool) -> bool:
        """Whether the manifest is of these files as they are now."""
        if self.sizes != {name: facts.size for name, facts in manifest.files.items()}:
            return False
        hash_next = Hashing(manifest.size, report)
        for name, facts in manifest.files.items() if hashes else ():
            try:
                with self._open(name) as file:
                    if hash_next(name, file) != facts.sha256:
                        return False
            except _BAD_ZIP:  # copying it says what is wrong
                return False
        return True

    def copy(self, folder: Path, report: Report) -> None:
        """Copy the files into a folder and have a look at them: nobody has published a hash of these."""
        total = sum(self.sizes.values())
        require_space(folder, total)
        if self.member is not None:
            extract(self.path, self.member, folder / Path(self.member).name)
        else:
            done = 0
            for name in self.sizes:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with self._open(name) as source, open(folder / name, "wb") as target:
                    while chunk := source.read(CHUNK):
                        target.write(chunk)
                        done += len(chunk)
                        report(Transfer(file=name, done=done, total=total))
        try:
            with open_checkpoint(folder):
                pass
        except PonderError as error:  # it speaks of the copy, which goes away
            text = str(error)
            for name in self.sizes if self.member is None else ():
                text = text.replace(str(folder / name), str(self._root / name))
            raise type(error)(text.replace(str(folder), str(self.path))) from error

    @property
    def _root(self) -> Path:
        """The folder of the files."""
        return self.path if self.path.is_dir() else self.path.parent

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        if self.member is not None:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                yield file
            return
        source = self._root / name
        with explain_read_errors(source):
            file = open(source, "rb")  # noqa: SIM115  # what the block that reads it raises is not about this file
        with file:
            yield file
