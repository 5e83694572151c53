"""Attention: grouped-query, and multi-head latent in its naive and absorbed forms.

Shapes: B sequences, T new tokens, S positions attended to, H heads, K key-value heads, N query-key
dimensions of a head without position, R with, V value dimensions of a head, C latent (kv_lora_rank).

Training goes through compiled kernels (algo/native) where there are some. Without them scores go through plain batched
products and a softmax: at these lengths, in fp32 on a CPU, forward and backward of `scaled_dot_product_attention` are
slower (dev/LOG.md). Packed sequences, which differ in length, use it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ponder.algo.native import functions as native
from ponder.algo.native.functions import Families
from ponder.models.cache import Cache
from ponder.models.config import GqaConfig, MlaConfig, ModelConfig
from ponder.models.layers import Linear, RMSNorm
from ponder.models.rope import rotate, softmax_scale

LATENT_NORM_EPS = 1e-6  # the published code has this in the norms of the latents, whatever the model's own epsilon


@dataclass(frozen=True)
class Positions:
    """Where the tokens of one forward pass stand; computed once and used by every layer."""

    cos: torch.Tensor  # (T, 1, R/2) without a cache, (B, T, 1, R/2) with one
    sin: torch.Tensor
    bias: torch.Tensor  # (1, T, S) or (B, T, S): 0 where a query may look, -inf elsewhere
    absolute_BT: torch.Tensor | None = None  # given with a cache: where to write
    families: Families | None = None  # of sequences that stand end to end in one row: see `Transformer.forward`

    def end_to_end(self, rows: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor, Families]:
        """Cosines and sines of every token, and what stands where: the rows of a batch stand end to end."""
        cos, sin = self.cos.squeeze(1), self.sin.squeeze(1)
        if self.families is not None:
            return cos, sin, self.families
        return cos.repeat(rows, 1), sin.repeat(rows, 1), [(tokens,)] * rows


def attend(
    q_BHTX: torch.Tensor, k_BHSX: torch.Tensor, v_BHSV: torch.Tensor, bias: torch.Tensor, scale: float
) -> torch.Tensor:
    """softmax(scale · q kᵀ + bias) v, per sequence and head. Returns (B, H, T, V)."""
    B, H, T, X = q_BHTX.shape
    S, V = v_BHSV.shape[2:]
    if bias.shape[0] == B and B > 1:
        bias = bias[:, None].expand(B, H, T, S).reshape(B * H, T, S)
    else:
        bias = bias.expand(B * H, T, S)
    q = q_BHTX.reshape(B * H, T, X)
    k = k_BHSX.reshape(B * H, S, X)
    v = v_BHSV.reshape(B * H, S, V)
    weights = torch.baddbmm(bias.to(q.dtype), q, k.transpose(1, 2), alpha=scale).softmax(dim=-1, dtype=torch.float32)
    return torch.bmm(weights.to(v.dtype), v).view(B, H, T, V)


def attend_packed(
    q_THX: torch.Tensor, k_TKX: torch.Tensor, v_TKV: torch.Tensor, families: Families, scale: float
) -> torch.Tensor:
    """Causal attention of each sequence of the families that stand end to end. Returns (T, H, V).

    A loop over the sequences does Σ length² of work; a mask over the whole row would do (Σ length)².
    """
    groups = q_THX.shape[1] != k_TKX.shape[1]
    parts, start = [], 0
    for prefix, *members in families:
        shared = slice(start, start + prefix)
        for length in (prefix, *members):
            own = slice(start, start + length)
            rows = [torch.cat((t[shared], t[own])) if start > shared.start else t[own] for t in (k_TKX, v_TKV)]
            q, k, v = (t.transpose(0, 1).unsqueeze(0) for t in (q_THX[own], *rows))
            seen = None if start == shared.start else _lower_right(length, prefix + length, q.device)
            out = F.scaled_dot_product_attention(
                q, k, v, attn_mask=seen, is_causal=seen is None, scale=scale, enable_gqa=groups
            )
            parts.append(out.squeeze(0).transpose(0, 1))
            start += length
    return torch.cat(parts)


def _lower_right(queries: int, keys: int, device: torch.device) -> torch.Tensor:
    """What queries see that stand at the end of the keys: (queries, keys), true where they do."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


class GroupedQueryAttention(nn.Module):
    """Each of K key-value heads serves H/K query heads."""

    def __init__(self, config: ModelConfig, shape: GqaConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, shape.kv_heads, shape.head_dim
        self.interleaved = config.rope_layout == "interleaved"
        self.scale = softmax_scale(shape.head_dim, config.rope_scaling)
        self.q = Linear(config.hidden_size, config.heads * shape.head_dim, bias=shape.qkv_bias)
        self.k = Linear(config.hidden_size, shape.kv_heads * shape.head_dim, bias=shape.qkv_bias)
        self.v = Linear(config.hidden_size, shape.kv_heads * shape.head_dim, bias=shape.qkv_bias)
        self.o = Linear(config.heads * shape.head_dim, config.hidden_size)
        self.q_norm = RMSNorm(shape.head_dim, config.norm_eps) if shape.qk_norm else None
        self.k_norm = RMSNorm(shape.head_dim, config.norm_eps) if shape.qk_norm else None

    def forward(self, x_BTD: torch.Tensor, positions: Positions, cache: Cache | None, layer: int) -> torch.Tensor:
        B, T, _ = x_BTD.shape
        K, X = self.kv_heads, self.head_dim
        q_BTHX = self.q(x_BTD).view(B, T, self.heads, X)
        k_BTKX = self.k(x_BTD).view(B, T, K, X)
        if self.q_norm is not None and self.k_norm is not None:
            q_BTHX, k_BTKX = self.q_norm(q_BTHX), self.k_norm(k_BTKX)
        if cache is None and self.has_kernel(q_BTHX):
            return self.o(self._compiled(q_BTHX, k_BTKX, self.v(x_BTD).view(B, T, K, X), positions))
        q_BTHX = rotate(q_BTHX, positions.cos, positions.sin, interleaved=self.interleaved)
        k_BTKX = rotate(k_BTKX, positions.cos, positions.sin, interleaved=self.interleaved)
        v_BTKX = self.v(x_BTD).view(B, T, K, X)
        if cache is not None:
            assert positions.absolute_BT is not None
            rows_BTW = torch.cat((k_BTKX, v_BTKX), dim=2).flatten(2)
            kv_BSKX = cache.write(layer, rows_BTW, positions.absolute_BT).unflatten(2, (2 * K, X))
            k_BTKX, v_BTKX = kv_BSKX[:, :, :K], kv_BSKX[:, :, K:]
        if positions.families is not None:
            out_THX = attend_packed(q_BTHX[0], k_BTKX[0], v_BTKX[0], positions.families, self.scale)
            return self.o(out_THX.reshape(B, T, self.heads * X))
        # the query heads of one key-value head become further query rows, so keys and values are not copied
        repeats = self.heads // K
        q_rows = q_BTHX.view(B, T, K, repeats, X).permute(0, 2, 3, 1, 4).reshape(B, K, repeats * T, X)
        bias = positions.bias.repeat(1, repeats, 1) if repeats > 1 else positions.bias
        out = attend(q_rows, k_BTKX.transpose(1, 2), v_BTKX.transpose(1, 2), bias, self.scale)
        out_BTHX = out.view(B, K, repeats, T, X).permute(0, 3, 1, 2, 4)
        return self.o(out_BTHX.reshape(B, T, self.heads * X))

    def has_kernel(self, like: torch.Tensor) -> bool:
        """Whether training with numbers of this precision and place goes through the compiled kernel."""
        return native.takes_attention(like, self.head_dim)

    def _compiled(
        self, q_BTHX: torch.Tensor, k_BTKX: torch.Tensor, v_BTKX: torch.Tensor, positions: Positions
    ) -> torch.Tensor:
        """By the compiled kernel, (B, T, H X)."""
        B, T = q_BTHX.shape[:2]
        q, k, v = (t.flatten(0, 1) for t in (q_BTHX, k_BTKX, v_BTKX))
        where = positions.end_to_end(B, T)
        return native.attention(q, k, v, *where, self.scale, interleaved=self.interleaved).view(B, T, -1)


class MultiHeadLatentAttention(nn.Module):
    """MLA (DeepSeek-V3 section 2.1.1, equations 1 to 11).

    Naive: the latent is expanded to keys and values of every head. Absorbed: the key expansion is folded into
    the query and the value expansion into the output, and attention runs on the latents themselves, with one
    shared "key head" of C + R numbers. Both give the same result; naive needs less arithmetic where T ≈ S
    (training, prefill), absorbed reads far less where T = 1 (decode).
    """

    def __init__(self, config: ModelConfig, shape: MlaConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.nope, self.rope, self.value = shape.qk_nope_head_dim, shape.qk_rope_head_dim, shape.v_head_dim
        self.latent = shape.kv_lora_rank
        self.interleaved = config.rope_layout == "interleaved"
        self.scale = softmax_scale(self.nope + self.rope, config.rope_scaling)
        query_size = config.heads * (self.nope + self.rope)
        self.compresses_queries = shape.q_lora_rank is not None
        if shape.q_lora_rank is None:
            self.q = Linear(config.hidden_size, query_size)
        else:
            self.q_a = Linear(config.hidden_size, shape.q_lora_rank)
            self.q_norm = RMSNorm(shape.q_lora_rank, LATENT_NORM_EPS)
            self.q_b = Linear(shape.q_lora_rank, query_size)
        self.kv_a = Linear(config.hidden_size, self.latent + self.rope)
        self.kv_norm = RMSNorm(self.latent, LATENT_NORM_EPS)
        self.kv_b = Linear(self.latent, config.heads * (self.nope + self.value))
        self.o = Linear(config.heads * self.value, config.hidden_size)

    def forward(
        self,
        x_BTD: torch.Tensor,
        positions: Positions,
        cache: Cache | None,
        layer: int,
        absorbed: bool | None = None,
    ) -> torch.Tensor:
        """`absorbed` None takes the cheaper form: absorbed for one new token against a cache, else naive."""
        B, T, _ = x_BTD.shape
        q = self.q_b(self.q_norm(self.q_a(x_BTD))) if self.compresses_queries else self.q(x_BTD)
        q_BTHX = q.view(B, T, self.heads, self.nope + self.rope)
        latent, k_rope = self.kv_a(x_BTD).split((self.latent, self.rope), dim=-1)
        latent = self.kv_norm(latent)
        if cache is None and not absorbed and self.has_kernel(q_BTHX):
            return self.o(self._compiled(q_BTHX, latent, k_rope, positions))
        q_nope, q_rope = q_BTHX.split((self.nope, self.rope), dim=-1)
        q_rope = rotate(q_rope, positions.cos, positions.sin, interleaved=self.interleaved)
        k_rope = rotate(k_rope.unsqueeze(2), positions.cos, positions.sin, interleaved=self.interleaved).squeeze(2)
        if cache is not None:
            assert positions.absolute_BT is not None
            rows_BSW = cache.write(layer, torch.cat((latent, k_rope), dim=-1), positions.absolute_BT)
            latent, k_rope = rows_BSW.split((self.latent, self.rope), dim=-1)
        elif absorbed:
            rows_BSW = torch.cat((latent, k_rope), dim=-1)

        if absorbed is None:
            absorbed = cache is not None and T == 1
        if absorbed:
            out_BTHV = self._absorbed(q_nope, q_rope, rows_BSW, positions.bias)
        else:
            out_BTHV = self._naive(q_nope, q_rope, latent, k_rope, positions)
        return self.o(out_BTHV.reshape(B, T, self.heads * self.value))

    def _naive(
        self,
        q_nope_BTHN: torch.Tensor,
        q_rope_BTHR: torch.Tensor,
        latent_BSC: torch.Tensor,
        k_rope_BSR: torch.Tensor,
        positions: Positions,
    ) -> torch.Tensor:
        B, S, _ = latent_BSC.shape
        expanded = self.kv_b(latent_BSC).view(B, S, self.heads, self.nope + self.value)
        k_nope, v_BSHV = expanded.split((self.nope, self.value), dim=-1)
        k_rope = k_rope_BSR.unsqueeze(2).expand(B, S, self.heads, self.rope)
        q_BTHX = torch.cat((q_nope_BTHN, q_rope_BTHR), dim=-1)
        k_BSHX = torch.cat((k_nope, k_rope), dim=-1)
        if positions.families is not None:
            return attend_packed(q_BTHX[0], k_BSHX[0], v_BSHV[0], positions.families, self.scale).unsqueeze(0)
        q_BHTX, k_BHSX, v_BHSV = (t.transpose(1, 2) for t in (q_BTHX, k_BSHX, v_BSHV))
        return attend(q_BHTX, k_BHSX, v_BHSV, positions.bias, self.scale).transpose(1, 2)

    def has_kernel(self, like: torch.Tensor) -> bool:
        """Whether training with numbers of this precision and place goes through the compiled kernel."""
        return self.nope > 0 and native.takes_attention(like, self.nope, self.rope, self.value)

    def _compiled(
        self, q_BTHX: torch.Tensor, latent_BTC: torch.Tensor, k_rope_BTR: torch.Tensor, positions: Positions
    ) -> torch.Tensor:
        """The naive form by the compiled kernel, (B, T, H V)."""
        B, T = q_BTHX.shape[:2]
        expanded_BTHE = self.kv_b(latent_BTC).view(B, T, self.heads, self.nope + self.value)
        q, expanded, k_rope = (t.flatten(0, 1) for t in (q_BTHX, expanded_BTHE, k_rope_BTR))
        where = positions.end_to_end(B, T)
        out_THV = native.latent_attention(q, expanded, k_rope, *where, self.scale, interleaved=self.interleaved)
        return out_THV.view(B, T, -1)

    def _absorbed(
        self, q_nope_BTHN: torch.Tensor, q_rope_BTHR: torch.Tensor, rows_BSW: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        B, T, H, N = q_nope_BTHN.shape
        key_HNC, value_HVC = self.kv_b.weight.view(H, N + self.value, self.latent).split((N, self.value), dim=1)
        by_head = q_nope_BTHN.reshape(B * T, H, N).transpose(0, 1)
        q_latent = torch.bmm(by_head, key_HNC).transpose(0, 1).view(B, T, H, self.latent)
        q_rows = torch.cat((q_latent, q_rope_BTHR), dim=-1).view(B, 1, T * H, -1)
        bias_rows = bias.repeat_interleave(H, dim=1)
        rows = rows_BSW.unsqueeze(1)
        mixed = attend(q_rows, rows, rows[..., : self.latent], bias_rows, self.scale)
        by_head = mixed.reshape(B * T, H, self.latent).transpose(0, 1)
        return torch.bmm(by_head, value_HVC.transpose(1, 2)).transpose(0, 1).reshape(B, T, H, self.value)


def build_attention(config: ModelConfig) -> GroupedQueryAttention | MultiHeadLatentAttention:
    """The attention that the config asks for."""
    if isinstance(config.attention, MlaConfig):
        return MultiHeadLatentAttention(config, config.attention)
    return GroupedQueryAttention(config, config.attention)
