"""The transformer: one class for every model of the family, built from parts by its config.

Shapes: B sequences, T tokens, S cached positions, D hidden size, V vocabulary.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ponder.core.errors import DataError
from ponder.models.adapter_config import Adapter
from ponder.models.attention import GroupedQueryAttention, Positions, build_attention
from ponder.models.cache import Cache
from ponder.models.config import ModelConfig
from ponder.models.layers import Linear, RMSNorm, SwiGLU
from ponder.models.moe import MixtureOfExperts, RouteMap, RoutingStats
from ponder.models.rope import rotation_table

FIRST_POSITIONS = 512  # of which rotations are computed at once


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.attention_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.attention = build_attention(config)
        self.feed_forward_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.feed_forward: SwiGLU | MixtureOfExperts
        if config.moe is not None and config.is_moe_layer(layer):
            self.feed_forward = MixtureOfExperts(config, config.moe)
        else:
            self.feed_forward = SwiGLU(config.hidden_size, config.intermediate_size)

    def forward(
        self,
        x_BTD: torch.Tensor,
        positions: Positions,
        cache: Cache | None,
        stats: RoutingStats | None,
        absorbed: bool | None = None,
        route_map: RouteMap | None = None,
        *,
        recompute: bool = False,
    ) -> torch.Tensor:
        """`recompute`: keep no more than the block's input for the backward pass, and compute the rest again there.

        A mixture of experts is not computed twice, since it counts the tokens of each expert: there, only attention is.
        """
        if recompute and torch.is_grad_enabled():
            whole = not isinstance(self.feed_forward, MixtureOfExperts)
            again = self.forward if whole else self._attend
            arguments = (positions, cache, stats, absorbed, route_map) if whole else (positions, cache, absorbed)
            x_BTD = checkpoint(again, x_BTD, *arguments, use_reentrant=False, preserve_rng_state=False)
            return x_BTD if whole else self._feed(x_BTD, stats, route_map)
        return self._feed(self._attend(x_BTD, positions, cache, absorbed), stats, route_map)

    def _attend(
        self, x_BTD: torch.Tensor, positions: Positions, cache: Cache | None, absorbed: bool | None
    ) -> torch.Tensor:
        normed = self.attention_norm(x_BTD)
        if isinstance(self.attention, GroupedQueryAttention):
            return x_BTD + self.attention(normed, positions, cache, self.layer)
        return x_BTD + self.attention(normed, positions, cache, self.layer, absorbed)

    def _feed(self, x_BTD: torch.Tensor, stats: RoutingStats | None, route_map: RouteMap | None) -> torch.Tensor:
        normed = self.feed_forward_norm(x_BTD)
        if isinstance(self.feed_forward, MixtureOfExperts):
            return x_BTD + self.feed_forward(normed, stats, self.layer, route_map)
        return x_BTD + self.feed_forward(normed)


class MtpModule(nn.Module):
    """Multi-token prediction: from the state at t and the token at t+k, predict the token at t+k+1 (V3 section 2.2).

    Embedding and output head are the main model's. As in the published weights, the embedding comes first in
    the concatenation and the first module sees the main model's normed output.
    """

    def __init__(self, config: ModelConfig, depth: int) -> None:
        super().__init__()
        self.embedding_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.hidden_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.project = Linear(2 * config.hidden_size, config.hidden_size)
        self.block = Block(config, config.layers + depth)
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)

    def forward(
        self,
        hidden_BTD: torch.Tensor,
        embedded_BTD: torch.Tensor,
        positions: Positions,
        stats: RoutingStats | None,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        joined = torch.cat((self.embedding_norm(embedded_BTD), self.hidden_norm(hidden_BTD)), dim=-1)
        return self.norm(self.block(self.project(joined), positions, cache, stats))


class Transformer(nn.Module):
    """Token ids → hidden states; `head` turns hidden states into logits."""

    rotations: torch.Tensor  # (2, P, R/2): cosines and sines of the first P positions; P grows as it is needed
    adapter: Adapter | None = None  # set by models.adapters.with_adapter, which replaces modules

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None) -> None:
        """Weights are drawn from `generator`; without one they are left empty, to be loaded."""
        super().__init__()
        self.config = config
        table = torch.empty(config.vocab_size, config.hidden_size)  # given, since the module would draw its own
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size, _weight=table)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.head = Linear(config.hidden_size, config.vocab_size)
        self.mtp = nn.ModuleList(MtpModule(config, depth) for depth in range(config.mtp_depth))
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight  # type: ignore[assignment]  # it is a Parameter
        self.register_buffer("rotations", torch.empty(2, 0, config.rope_dim // 2), persistent=False)
        if generator is not None:
            initialise(self, generator)

    def forward(
        self,
        ids_BT: torch.Tensor,
        *,
        cache: Cache | None = None,
        positions_BT: torch.Tensor | None = None,
        stats: RoutingStats | None = None,
        absorbed: bool | None = None,
        route_map: RouteMap | None = None,
        lengths: Sequence[int | Sequence[int]] | None = None,
        recompute: bool = False,
    ) -> torch.Tensor:
        """Normed hidden states (B, T, D).

        Without a cache, tokens stand at 0 … T-1 and attention is causal, so right padding needs no mask. With
        one, `positions_BT` says where the new tokens stand; earlier positions must have been written. With `lengths`
        the one row holds sequences of these lengths end to end, and each of them gets what it would get alone. Where
        an entry is itself a row of lengths, several sequences begin alike: the first length is that of their common
        prefix, which stands once, and the others are those of what each goes on with.
        `recompute` trades time for memory: the backward pass computes every block again (gradient checkpointing).
        """
        if lengths is not None:
            positions = self._packed(lengths, ids_BT)
        else:
            positions = self._causal(ids_BT.shape[1]) if cache is None else self._cached(cache, positions_BT)
        x_BTD = self.embedding(ids_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD, positions, cache, stats, absorbed, route_map, recompute=recompute)
        return self.norm(x_BTD)

    def mtp_hidden(
        self, hidden_BTD: torch.Tensor, ids_BT: torch.Tensor, stats: RoutingStats | None = None
    ) -> list[torch.Tensor]:
        """Hidden states of each MTP module k = 1 … depth, (B, T-k, D): entry t predicts the token at t+k+1."""
        states = []
        for k, module in enumerate(self.mtp, start=1):
            hidden_BTD = module(
                hidden_BTD[:, :-1], self.embedding(ids_BT[:, k:]), self._causal(ids_BT.shape[1] - k), stats
            )
            states.append(hidden_BTD)
        return states

    def mtp_cached(
        self, before_BTD: torch.Tensor, ids_BT: torch.Tensor, *, cache: Cache, positions_BT: torch.Tensor
    ) -> torch.Tensor:
        """States of the first MTP module over a cache, (B, T, D). A row stands at the position p of its token, from 1
        on, is given the state at p-1 (`before_BTD`: the main model's, or the module's own) and predicts the token at
        p+1.

        In training an entry stands where its state does, one place earlier: rotations know only differences, so that
        is the same. Nothing stands at position 0, and no row looks at it.
        """
        positions = self._cached(cache, positions_BT)
        positions.bias[..., 0] = float("-inf")
        return self.mtp[0](before_BTD, self.embedding(ids_BT), positions, None, cache)

    @property
    def has_kernel(self) -> bool:
        """Whether training goes through compiled attention, to which sequences that stand end to end cost no more than
        rows of a batch.
        """
        block = self.blocks[0]
        assert isinstance(block, Block)
        return block.attention.has_kernel(self.embedding.weight)

    def moe_layers(self) -> dict[int, MixtureOfExperts]:
        """Every mixture of experts by layer number; MTP blocks count on from the last layer."""
        blocks = [*self.blocks, *(module.block for module in self.mtp)]
        return {b.layer: b.feed_forward for b in blocks if isinstance(b.feed_forward, MixtureOfExperts)}

    def _causal(self, length: int) -> Positions:
        bias = torch.full((1, length, length), float("-inf"), dtype=self.norm.weight.dtype).triu(1)
        cos, sin = self._rotations(length)
        return Positions(cos[:length, None], sin[:length, None], bias)

    def _packed(self, lengths: Sequence[int | Sequence[int]], ids_BT: torch.Tensor) -> Positions:
        families = [(entry,) if isinstance(entry, int) else tuple(entry) for entry in lengths]
        if ids_BT.shape != (1, sum(map(sum, families))):
            raise ValueError(
                f"ids of shape {tuple(ids_BT.shape)} cannot be {len(lengths)} packed sequences of {lengths}"
            )
        cos, sin = self._rotations(max(prefix + max(members, default=0) for prefix, *members in families))
        places = [
            torch.arange(start, start + length)
            for prefix, *members in families
            for start, length in ((0, prefix), *((prefix, member) for member in members))
        ]
        place_T = torch.cat(places)
        return Positions(cos[place_T, None], sin[place_T, None], cos.new_zeros(0), families=families)

    def _cached(self, cache: Cache, positions_BT: torch.Tensor | None) -> Positions:
        assert positions_BT is not None, "a forward pass with a cache needs positions"
        cache.extent = max(cache.extent, int(positions_BT.max()) + 1)
        hidden = torch.arange(cache.extent) > positions_BT.unsqueeze(-1)
        bias = torch.zeros(hidden.shape, dtype=self.norm.weight.dtype).masked_fill_(hidden, float("-inf"))
        cos, sin = self._rotations(cache.extent)
        return Positions(cos[positions_BT, None], sin[positions_BT, None], bias, positions_BT)

    def _rotations(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of at least the first `length` positions, (P, R/2) each.

        A table of all 131,072 positions of a Llama takes 64 MB and a third of a second; most runs use few of them.
        Raises `DataError` beyond the model's context: kernels would read past the table's end.
        """
        if length > self.config.max_positions:
            raise DataError(
                f"a sequence of {length} tokens, and the model's context has {self.config.max_positions} positions; "
                "shorten the sequence or take a model with a longer context"
            )
        table = self.rotations
        if table.shape[1] < length:
            room = min(max(length, 2 * table.shape[1], FIRST_POSITIONS), self.config.max_positions)
            with torch.inference_mode(False):  # a table made while sampling serves training as well
                table = torch.stack(rotation_table(self.config, room)).to(self.norm.weight.device)
            self.rotations = table
        return table[0], table[1]


@torch.no_grad()
def initialise(model: Transformer, generator: torch.Generator) -> None:
    """Draw every weight: normal with std 1/sqrt(fan_in), or `init_std` where the config gives one.

    With fan_in, maps that write to the residual stream are scaled down by sqrt(2 · layers) (GPT-2). Embedding, head and
    gates: std 0.02 unless `init_std` is given. Norms are one.
    """
    config = model.config
    depth_scale = 1.0 / math.sqrt(2 * config.layers)
    small = config.init_std or 0.02
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            continue
        if name.endswith(("embedding.weight", "head.weight", "gate.weight")):
            std = small
        else:
            std = config.init_std or 1.0 / math.sqrt(parameter.shape[-1])
            if config.init_std is None and name.endswith(("attention.o.weight", ".down", ".down.weight")):
                std *= depth_scale
        parameter.normal_(0.0, std, generator=generator)
