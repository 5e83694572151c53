"""How to hold the weights of a model that is served, where nobody says."""

from pathlib import Path

from ponder.engine.native import WeightFormat
from ponder.recipes.opening import model_folder
from ponder.weights.checkpoint import open_checkpoint
from ponder.weights.gguf.reader import GgufSource

TINY = 50_000_000  # parameters: below, nothing is gained by less exact weights
LARGE = 1_000_000_000  # from here on memory counts
OWN_BLOCKS = {"Q8_0", "Q4_0", "Q4_1"}  # quantisations whose blocks the kernels read as they are


def recommended_weights(path: Path) -> WeightFormat:
    """A tiny model exactly; a quantised GGUF file in int8, a large one as it is; everything else in bf16.

    A small model loses too much in int4: its tokens are nearer to each other.
    """
    with open_checkpoint(model_folder(path)) as opened:
        infos = opened.source.infos.values()
        parameters = sum(info.count for info in infos)
        if parameters < TINY:
            return "fp32"
        if not (isinstance(opened.source, GgufSource) and OWN_BLOCKS & {k for i in infos for k in i.stored.split("+")}):
            return "bf16"
        return "q8" if parameters < LARGE else "stored"
