"""What attention keeps of earlier tokens.

Shapes: B sequences, T new tokens, S cached positions, W numbers per token and layer.
"""

from dataclasses import dataclass

import torch

from ponder.models.config import ModelConfig


@dataclass
class Cache:
    """One (B, S, W) tensor a layer: the latent and the shared rotated key (MLA), or keys and values (GQA).

    `extent` is the number of leading positions that any sequence may use; attention reads no further.
    """

    layers: list[torch.Tensor]
    extent: int = 0

    @classmethod
    def empty(cls, config: ModelConfig, sequences: int, capacity: int, dtype: torch.dtype = torch.float32) -> "Cache":
        """Room for `capacity` positions of each sequence."""
        shape = (sequences, capacity, config.cache_width)
        return cls([torch.zeros(shape, dtype=dtype) for _ in range(config.layers)])

    def write(self, layer: int, rows_BTW: torch.Tensor, positions_BT: torch.Tensor) -> torch.Tensor:
        """Store new rows at their positions and return the layer's rows up to `extent`, (B, extent, W)."""
        store = self.layers[layer]
        store[torch.arange(store.shape[0])[:, None], positions_BT] = rows_BTW
        return store[:, : self.extent]

    def select(self, sequences: torch.Tensor) -> "Cache":
        """A cache of these sequences, in this order; an index may repeat (a prompt's group shares its prefill)."""
        kept = []
        for store in self.layers:
            # zeros, not empty: a masked position still enters the products, where a stray NaN would spread
            chosen = torch.zeros((len(sequences), *store.shape[1:]), dtype=store.dtype)
            chosen[:, : self.extent] = store[sequences, : self.extent]
            kept.append(chosen)
        return Cache(kept, self.extent)
