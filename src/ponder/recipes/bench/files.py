"""One model in the files that the sides read, made when they are first asked for."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ponder.engine.native import WeightFormat
from ponder.recipes.bench.peers import PEERS
from ponder.weights.checkpoint import open_checkpoint
from ponder.weights.gguf.writer import write_gguf
from ponder.weights.hf.writer import write_hf_folder

OUR_TYPES = {"fp32": "f32", "bf16": "bf16", "q8": "q8_0", "q4": "q4_0"}  # GGUF's names of our formats


@dataclass(frozen=True)
class ModelFiles:
    """`model` is what the user named; other files are written into `folder`."""

    model: Path
    folder: Path
    is_gguf: bool

    def ours(self, weights: WeightFormat, *, compared: bool) -> tuple[Path, WeightFormat]:
        """What Ponder opens, and how. Beside others, its int8 and int4 weights are the same blocks as theirs."""
        if not compared or weights == "stored":
            return self.model, weights
        return self._gguf(OUR_TYPES[weights]), weights if weights in ("fp32", "bf16") else "stored"

    def theirs(self, peer: str, weights: WeightFormat) -> Path | None:
        """What a peer opens; None where it does not know the format."""
        about = PEERS[peer]
        if weights == "stored":
            return self.model if about.reads == "gguf" else None
        if weights not in about.types:
            return None
        if about.reads == "gguf":
            return self._gguf(about.types[weights])
        return self._folder(about.types[weights])

    @property
    def _key(self) -> str:
        """Of the model as it is now: files of another one, or of its earlier weights, are not taken for its own."""
        files = sorted(self.model.iterdir()) if self.model.is_dir() else [self.model]
        stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return hashlib.blake2b(repr((str(self.model.resolve()), stats)).encode(), digest_size=6).hexdigest()

    def _gguf(self, kind: str) -> Path:
        path = self.folder / f"{self._key}-{kind}.gguf"
        if not path.exists():
            with open_checkpoint(self.model) as opened:
                write_gguf(path, opened, dtype=kind)  # type: ignore[arg-type]  # from the tables above
        return path

    def _folder(self, dtype: str) -> Path:
        if not self.is_gguf:
            return self.model
        path = self.folder / f"{self._key}-hf-{dtype}"
        if not path.exists():
            with open_checkpoint(self.model) as opened:
                write_hf_folder(path, opened, dtype="f32" if dtype == "fp32" else "bf16")
        return path
