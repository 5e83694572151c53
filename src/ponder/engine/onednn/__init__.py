"""The PyTorch path in bf16: weights packed once for oneDNN, and the transformer's parts that compute with them."""

from ponder.engine.onednn.model import in_bf16
from ponder.engine.onednn.products import bf16_notice, unavailable

__all__ = ["bf16_notice", "in_bf16", "unavailable"]
