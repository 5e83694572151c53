"""In what precision the PyTorch path holds a model's weights, and how it follows a model in training."""

from typing import Literal

import torch

from ponder.core.errors import WeightsLostError
from ponder.engine.onednn import bf16_notice, in_bf16
from ponder.models.transformer import Transformer
from ponder.weights.checkpoint import OpenCheckpoint, read_model

TorchFormat = Literal["fp32", "bf16"]


class TorchWeights:
    """A model to compute with: in fp32 the very module that it follows, in bf16 a copy, packed where that can be."""

    def __init__(self, module: Transformer, weights: TorchFormat = "fp32", *, mtp: bool = False) -> None:
        """`weights` fp32 takes the module as it is, whatever its precision. `mtp`: a copy keeps the multi-token
        prediction modules.
        """
        self._module, self._copied, self._mtp = module, weights == "bf16", mtp
        self.model = in_bf16(module, mtp=mtp) if self._copied else module
        self.dtype = self.model.embedding.weight.dtype  # in which products are computed, and what the cache holds

    def refresh(self) -> None:
        """Take over the module's weights as they are now; where they are shared there is nothing to do. Raises
        `WeightsLostError` where that fails: then there is no model any more.
        """
        if self._copied:
            del self.model  # its memory first: the new copy takes as much
            try:
                self.model = in_bf16(self._module, mtp=self._mtp)
            except Exception as error:
                raise WeightsLostError(
                    f"the weights could not be taken over ({type(error).__name__}: {error}), and those before them are "
                    "gone; make the model anew"
                ) from error


def read_for_torch(opened: OpenCheckpoint, weights: TorchFormat, *, mtp: bool = False) -> Transformer:
    """The model of an open checkpoint as the PyTorch path computes with it; its weights stay as they are."""
    if weights == "fp32":
        return read_model(opened).requires_grad_(False)
    return in_bf16(read_model(opened, torch.bfloat16), mtp=mtp)


def torch_notice(weights: TorchFormat) -> str:
    """How PyTorch generates with such weights, and what to choose where that is slow: the end of a sentence."""
    if weights == "fp32":
        return "with fp32 weights"
    warning = bf16_notice()
    return "with bf16 weights, packed by oneDNN" if warning is None else f"with bf16 weights: {warning}"
