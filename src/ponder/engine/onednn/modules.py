"""Parts of a transformer that stand in for those of `ponder.models` where it computes in bf16 with packed weights.

What two parts pass to each other is bf16, as far as products read it. The sum that runs through all layers is fp32: in
bf16 it would be rounded twice a layer, which costs more top-1 agreement with fp32 than the weights do. Norms, rotations
and softmax compute in fp32. None of them has gradients.

Shapes: B sequences, T new tokens, S positions attended to, H heads, K key-value heads, X dimensions of a head, D hidden
size, M rows of all experts.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ponder.engine.onednn.products import PackedMatrix
from ponder.models.attention import GroupedQueryAttention, Positions, attend
from ponder.models.cache import Cache
from ponder.models.layers import Linear, RMSNorm, SwiGLU
from ponder.models.moe import RoutedExperts
from ponder.models.rope import rotate

BF16 = torch.bfloat16
# Attention over fewer pairs of a query and a position than this, of all sequences, is faster in fp32 and in one call:
# bf16 products gain at size only, and `scaled_dot_product_attention` in bf16 never does without AMX.
FEW_PAIRS = 1024


class PackedLinear(nn.Module):
    """As `Linear`."""

    def __init__(self, weight_OI: torch.Tensor, bias_O: torch.Tensor | None = None) -> None:
        super().__init__()
        self.matrix = PackedMatrix(weight_OI, bias_O)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.matrix.linear(x)


class PreciseHead(nn.Module):
    """A packed head with logits in fp32: in bf16, those near 16 stand 0.125 apart, and the likeliest token is often not
    told from the next.
    """

    def __init__(self, head: PackedLinear) -> None:
        super().__init__()
        self._matrix = head.matrix

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._matrix.precise(x)


class HalfLinear(nn.Module):
    """As `Linear`, in bf16 and not packed: for a weight that is used in more ways than one."""

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        self.weight = linear.weight.detach().to(BF16, copy=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight)


class WideEmbedding(nn.Module):
    """As `nn.Embedding`: a bf16 table, and fp32 rows, with which the sum through all layers begins."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.weight = embedding.weight.detach().to(BF16, copy=True)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return F.embedding(ids, self.weight).float()


class NarrowingNorm(RMSNorm):
    """As `RMSNorm`: computed in fp32, and rounded to bf16 for the product that follows."""

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__(len(norm.weight), norm.eps)
        self.weight = nn.Parameter(norm.weight.detach().to(torch.float32, copy=True), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight, self.eps).to(BF16)


class PackedSwiGLU(nn.Module):
    """As `SwiGLU`, in three calls: the activation, and the product of the two halves, are part of a product."""

    def __init__(self, gate_up_weight: torch.Tensor, down_weight: torch.Tensor) -> None:
        super().__init__()
        gate, up = gate_up_weight.chunk(2)
        self._gate, self._up, self._down = PackedMatrix(gate), PackedMatrix(up), PackedMatrix(down_weight)

    @classmethod
    def of(cls, feed_forward: SwiGLU) -> "PackedSwiGLU":
        """With the weights of this module."""
        return cls(feed_forward.gate_up.weight, feed_forward.down.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._down.linear(self._up.times(x, self._gate.silu(x)))


class PackedExperts(RoutedExperts):
    """As `RoutedExperts`, with a packed SwiGLU for each."""

    def __init__(self, experts: RoutedExperts) -> None:
        nn.Module.__init__(self)
        pairs = zip(experts.gate_up, experts.down, strict=True)
        self._each = [PackedSwiGLU(gate_up, down) for gate_up, down in pairs]

    def run_sorted(self, x_MD: torch.Tensor, ends: list[int]) -> torch.Tensor:
        out_MD = torch.empty_like(x_MD)
        for expert, start, end in zip(self._each, [0, *ends], ends, strict=False):
            if end > start:
                out_MD[start:end] = expert(x_MD[start:end])
        return out_MD


class PackedAttention(GroupedQueryAttention):
    """As `GroupedQueryAttention` against a cache. Queries, keys and values are one product; queries and keys are turned
    together.
    """

    def __init__(self, attention: GroupedQueryAttention) -> None:
        nn.Module.__init__(self)
        self.heads, self.kv_heads, self.head_dim = attention.heads, attention.kv_heads, attention.head_dim
        self.interleaved, self.scale = attention.interleaved, attention.scale
        maps = (attention.q, attention.k, attention.v)
        biases = [linear.bias.detach() for linear in maps if linear.bias is not None]
        self._qkv = PackedMatrix(torch.cat([m.weight.detach() for m in maps]), torch.cat(biases) if biases else None)
        self._out = PackedMatrix(attention.o.weight)
        self.q_norm = None if attention.q_norm is None else NarrowingNorm(attention.q_norm)
        self.k_norm = None if attention.k_norm is None else NarrowingNorm(attention.k_norm)

    def forward(self, x_BTD: torch.Tensor, positions: Positions, cache: Cache | None, layer: int) -> torch.Tensor:
        assert cache is not None, "packed weights are there to generate with, which takes a cache"
        assert positions.absolute_BT is not None
        B, T, _ = x_BTD.shape
        H, K, X = self.heads, self.kv_heads, self.head_dim
        qk_BTGX, v_BTKX = self._qkv.linear(x_BTD).view(B, T, H + 2 * K, X).split((H + K, K), dim=2)
        if self.q_norm is not None and self.k_norm is not None:
            qk_BTGX = torch.cat((self.q_norm(qk_BTGX[:, :, :H]), self.k_norm(qk_BTGX[:, :, H:])), dim=2)
        qk_BTGX = rotate(qk_BTGX, positions.cos, positions.sin, interleaved=self.interleaved)
        rows_BTW = torch.cat((qk_BTGX[:, :, H:], v_BTKX), dim=2).flatten(2)
        kv_BSGX = cache.write(layer, rows_BTW, positions.absolute_BT).unflatten(2, (2 * K, X))
        return self._out.linear(self._mix(qk_BTGX[:, :, :H], kv_BSGX, positions.bias).flatten(2))

    def _mix(self, q_BTHX: torch.Tensor, kv_BSGX: torch.Tensor, bias_BTS: torch.Tensor) -> torch.Tensor:
        """What every head of every query reads, (B, T, H, X)."""
        B, T, H, X = q_BTHX.shape
        K, S = self.kv_heads, kv_BSGX.shape[1]
        k_BKSX, v_BKSX = kv_BSGX.transpose(1, 2).split((K, K), dim=1)
        if B * T * S <= FEW_PAIRS:
            out_BHTX = F.scaled_dot_product_attention(
                q_BTHX.transpose(1, 2).float(),
                k_BKSX.float(),
                v_BKSX.float(),
                bias_BTS.unsqueeze(1).float(),
                scale=self.scale,
                enable_gqa=H != K,
            )
            return out_BHTX.transpose(1, 2).to(BF16)
        # the query heads of one key-value head become further query rows, so keys and values are not copied
        repeats = H // K
        q_rows = q_BTHX.unflatten(2, (K, repeats)).permute(0, 2, 3, 1, 4).reshape(B, K, repeats * T, X)
        out = attend(q_rows, k_BKSX, v_BKSX, bias_BTS.repeat(1, repeats, 1), self.scale)
        return out.view(B, K, repeats, T, X).permute(0, 3, 1, 2, 4).reshape(B, T, H, X)
