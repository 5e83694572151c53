"""The other libraries: where their sides are, and what they can run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ponder.core.errors import ConfigError
from ponder.engine.native import WeightFormat

Kind = Literal["gguf", "hf"]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A library that `ponder bench` runs beside Ponder."""

    folder: str  # in benchmarks/peers
    reads: Kind
    # the type of a file in which it is given a model, by our name of the format; a format that it lacks is left out
    types: Mapping[WeightFormat, str]


PEERS: Mapping[str, Peer] = {
    "llama.cpp": Peer(
        folder="llama_cpp", reads="gguf", types={"fp32": "f32", "bf16": "bf16", "q8": "q8_0", "q4": "q4_0"}
    ),
    # reads no bf16 in GGUF files, but computes in it where the processor does
    "openvino": Peer(folder="openvino", reads="gguf", types={"bf16": "f16", "q8": "q8_0", "q4": "q4_0"}),
    "transformers": Peer(folder="transformers", reads="hf", types={"fp32": "fp32", "bf16": "bf16"}),
}


def find_peers_folder() -> Path | None:
    """benchmarks/peers of the checkout that Ponder is installed from, or that this is."""
    for root in (Path(__file__).resolve().parents[4], Path.cwd()):
        if (root / "benchmarks" / "peers" / "setup").is_file():
            return root / "benchmarks" / "peers"
    return None


def peer_command(name: str) -> list[str]:
    """How the side of a library is started. Raises `ConfigError` where it is not there, with what to do."""
    folder = find_peers_folder()
    if folder is None:
        raise ConfigError(
            f"--against {name} needs benchmarks/peers, which is in Ponder's repository and not in its package; start "
            "the command inside a clone of the repository"
        )
    python, script = folder / PEERS[name].folder / ".venv/bin/python", folder / PEERS[name].folder / "bench.py"
    if not (python.parent.parent / ".ready").is_file():
        raise ConfigError(f"{name} is not set up; run: {folder / 'setup'} {PEERS[name].folder}")
    return [str(python), str(script)]


def check_peers(names: Sequence[str]) -> None:
    """Raises `ConfigError` for a library that is unknown or not set up."""
    for name in names:
        if name not in PEERS:
            raise ConfigError(f"--against {name}: expected {', '.join(PEERS)}")
        peer_command(name)
