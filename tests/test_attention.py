"""Attention against loops that follow the equations, and its forms against each other."""

import math

import pytest
import torch

from ponder.models.attention import GroupedQueryAttention, MultiHeadLatentAttention
from ponder.models.cache import Cache
from ponder.models.config import GqaConfig, MlaConfig, YarnConfig
from ponder.models.layers import Linear, RMSNorm
from ponder.models.presets import deepseek_v3
from ponder.models.transformer import Transformer
from small_models import random_ids, random_model, small_dense, small_softmax_moe, small_v3

COMPRESSED = MlaConfig(kv_lora_rank=16, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10, q_lora_rank=24)
YARN = YarnConfig(factor=4.0, original_positions=8)
MODELS = {
    "mla": small_v3(mtp_depth=1),
    "mla with query compression": small_v3(attention=COMPRESSED),
    "mla with yarn, in halves": small_v3(attention=COMPRESSED, rope_scaling=YARN, rope_layout="halves"),
    "gqa": small_dense(),
    "gqa interleaved with experts": small_dense(rope_layout="interleaved", moe=small_v3().moe),
    "one key-value head": small_dense(attention=GqaConfig(kv_heads=1, head_dim=8)),
    "gqa with biases": small_dense(attention=GqaConfig(kv_heads=2, head_dim=8, qkv_bias=True)),
    "gqa with norms": small_dense(attention=GqaConfig(kv_heads=2, head_dim=12, qk_norm=True)),
    "gqa with softmax gate": small_dense(moe=small_softmax_moe()),
    "mla with softmax gate": small_v3(moe=small_softmax_moe(groups=4, groups_per_token=2)),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Transformer:
    return random_model(MODELS[request.param])


def turn(x_R: torch.Tensor, position: int, *, interleaved: bool) -> torch.Tensor:
    """One vector turned pair by pair, in its own layout, theta 10000."""
    R = len(x_R)
    out = torch.empty_like(x_R)
    for pair in range(R // 2):
        i, j = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + R // 2)
        angle = position * 10000.0 ** (-2 * pair / R)
        out[i] = x_R[i] * math.cos(angle) - x_R[j] * math.sin(angle)
        out[j] = x_R[i] * math.sin(angle) + x_R[j] * math.cos(angle)
    return out


def mix(query: torch.Tensor, keys: list[torch.Tensor], values: list[torch.Tensor]) -> torch.Tensor:
    scores = torch.stack([query @ key for key in keys]) / math.sqrt(len(query))
    return sum(w * value for w, value in zip(scores.softmax(0), values, strict=True))


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
@pytest.mark.parametrize("layout", ["interleaved", "halves"])
@pytest.mark.parametrize("part", ["plain", "qkv_bias", "qk_norm"])
def test_grouped_query_attention_is_the_slow_loop(kv_heads: int, layout: str, part: str) -> None:
    shape = GqaConfig(kv_heads=kv_heads, head_dim=8, qkv_bias=part == "qkv_bias", qk_norm=part == "qk_norm")
    config = small_dense(attention=shape, rope_layout=layout)
    model = random_model(config)
    attention = model.blocks[0].attention
    assert isinstance(attention, GroupedQueryAttention)
    x_TD = torch.randn(7, config.hidden_size, generator=torch.Generator().manual_seed(3))
    interleaved = layout == "interleaved"

    def project(linear: Linear, rows: slice, x: torch.Tensor) -> torch.Tensor:
        return linear.weight[rows] @ x + (0.0 if linear.bias is None else linear.bias[rows])

    def norm(part: RMSNorm | None, x: torch.Tensor) -> torch.Tensor:
        return x if part is None else x / (x.pow(2).mean() + 1e-6).sqrt() * part.weight

    def query_of(t: int, rows: slice) -> torch.Tensor:
        return turn(norm(attention.q_norm, project(attention.q, rows, x_TD[t])), t, interleaved=interleaved)

    def key_of(t: int, rows: slice) -> torch.Tensor:
        return turn(norm(attention.k_norm, project(attention.k, rows, x_TD[t])), t, interleaved=interleaved)

    with torch.no_grad():
        got = attention(x_TD[None], model._causal(7), None, 0)[0]
        rows = []
        for t in range(7):
            heads = []
            for head in range(6):
                k = head // (6 // kv_heads)
                of_head, of_kv = slice(8 * head, 8 * head + 8), slice(8 * k, 8 * k + 8)
                keys = [key_of(s, of_kv) for s in range(t + 1)]
                values = [project(attention.v, of_kv, x_TD[s]) for s in range(t + 1)]
                heads.append(mix(query_of(t, of_head), keys, values))
            rows.append(attention.o.weight @ torch.cat(heads))
    torch.testing.assert_close(got, torch.stack(rows), rtol=0.0, atol=2e-6)


def test_latent_attention_is_the_slow_loop() -> None:
    """Equations 1 to 11 of V3 section 2.1.1, one head and one position at a time."""
    config = small_v3(attention=COMPRESSED)
    model = random_model(config)
    attention = model.blocks[0].attention
    assert isinstance(attention, MultiHeadLatentAttention)
    x_TD = torch.randn(7, config.hidden_size, generator=torch.Generator().manual_seed(3))

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x / (x.pow(2).mean() + 1e-6).sqrt() * weight

    with torch.no_grad():
        got = attention(x_TD[None], model._causal(7), None, 0)[0]
        latents = [norm(attention.kv_a.weight[:16] @ x, attention.kv_norm.weight) for x in x_TD]
        rope_keys = [turn(attention.kv_a.weight[16:] @ x, t, interleaved=True) for t, x in enumerate(x_TD)]
        rows = []
        for t in range(7):
            compressed = norm(attention.q_a.weight @ x_TD[t], attention.q_norm.weight)
            heads = []
            for head in range(4):
                query = attention.q_b.weight[20 * head : 20 * head + 20] @ compressed
                query = torch.cat((query[:12], turn(query[12:], t, interleaved=True)))
                expand = attention.kv_b.weight[22 * head : 22 * head + 22]
                keys = [torch.cat((expand[:12] @ latents[s], rope_keys[s])) for s in range(t + 1)]
                heads.append(mix(query, keys, [expand[12:] @ latents[s] for s in range(t + 1)]))
            rows.append(attention.o.weight @ torch.cat(heads))
    torch.testing.assert_close(got, torch.stack(rows), rtol=0.0, atol=2e-6)


@pytest.mark.parametrize("name", ["mla", "mla with query compression", "mla with yarn, in halves"])
def test_absorbed_is_naive_in_value_and_gradient(name: str) -> None:
    model = random_model(MODELS[name])
    ids_BT = random_ids(3, 20)
    results = []
    for absorbed in (False, True):
        model.zero_grad()
        hidden = model(ids_BT, absorbed=absorbed)
        (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
        gradients = [p.grad.clone() for p in model.blocks.parameters() if p.grad is not None]
        results.append((hidden.detach(), gradients))
    (naive, naive_gradients), (absorbed_hidden, absorbed_gradients) = results
    torch.testing.assert_close(absorbed_hidden, naive, rtol=0.0, atol=1e-5)
    assert len(naive_gradients) == len(absorbed_gradients) > 20
    for a, b in zip(absorbed_gradients, naive_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("absorbed", [None, False, True])
@torch.no_grad()
def test_cached_decode_is_the_full_forward(model: Transformer, absorbed: bool | None) -> None:
    """Prompts of 3, 9 and 6 tokens, padded on the right, then ten tokens one at a time."""
    lengths, steps = [3, 9, 6], 10
    ids_BT = random_ids(3, max(lengths) + steps)
    full = [model(ids_BT[b : b + 1, : length + steps])[0] for b, length in enumerate(lengths)]

    prompts = ids_BT[:, :9].clone()
    for b, length in enumerate(lengths):
        prompts[b, length:] = 0
    cache = Cache.empty(model.config, 3, max(lengths) + steps)
    prefilled = model(prompts, cache=cache, positions_BT=torch.arange(9).expand(3, 9), absorbed=absorbed)
    for b, length in enumerate(lengths):
        torch.testing.assert_close(prefilled[b, :length], full[b][:length], rtol=0.0, atol=1e-5)
    position_B = torch.tensor(lengths)
    for _ in range(steps):
        new = model(
            ids_BT.gather(1, position_B[:, None]), cache=cache, positions_BT=position_B[:, None], absorbed=absorbed
        )
        expected = torch.stack([full[b][position_B[b]] for b in range(3)])
        torch.testing.assert_close(new[:, 0], expected, rtol=0.0, atol=1e-5)
        position_B = position_B + 1


@torch.no_grad()
def test_cached_chunks_are_the_full_forward(model: Transformer) -> None:
    """A sequence of 20 tokens in chunks of 7, 1, 5 and 7."""
    ids_BT = random_ids(2, 20)
    cache = Cache.empty(model.config, 2, 20)
    parts, done = [], 0
    for size in (7, 1, 5, 7):
        positions_BT = torch.arange(done, done + size).expand(2, size)
        parts.append(model(ids_BT[:, done : done + size], cache=cache, positions_BT=positions_BT))
        done += size
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids_BT), rtol=0.0, atol=1e-5)


@torch.no_grad()
def test_selected_sequences_of_a_cache_go_on_as_before(model: Transformer) -> None:
    ids_BT = random_ids(2, 8)
    cache = Cache.empty(model.config, 2, 9)
    model(ids_BT, cache=cache, positions_BT=torch.arange(8).expand(2, 8))
    chosen = torch.tensor([1, 1, 0])
    new_B1 = random_ids(3, 1, seed=5)
    got = model(new_B1, cache=cache.select(chosen), positions_BT=torch.full((3, 1), 8))
    expected = model(torch.cat((ids_BT[chosen], new_B1), dim=1))[:, -1:]
    torch.testing.assert_close(got, expected, rtol=0.0, atol=1e-5)


@torch.no_grad()
def test_no_token_sees_a_later_one(model: Transformer) -> None:
    ids_BT = random_ids(1, 12)
    changed = ids_BT.clone()
    changed[0, 7:] = random_ids(1, 5, seed=9)
    before, after = model(ids_BT), model(changed)
    torch.testing.assert_close(after[:, :7], before[:, :7], rtol=0.0, atol=1e-6)
    assert (after[:, 7:] - before[:, 7:]).abs().amax(dim=-1).min() > 1e-3


@torch.no_grad()
def test_half_precision_stays_near(model: Transformer) -> None:
    """bfloat16 keeps 8 bits; what it is left out of (softmax, gates) decides which experts, so most tokens agree."""
    ids_BT = random_ids(4, 16)
    full = model(ids_BT)
    half = model.to(torch.bfloat16)
    cache = Cache.empty(half.config, 4, 16, dtype=torch.bfloat16)
    hidden = half(ids_BT)
    first = half(ids_BT[:, :15], cache=cache, positions_BT=torch.arange(15).expand(4, 15))
    last = half(ids_BT[:, 15:], cache=cache, positions_BT=torch.full((4, 1), 15))
    assert hidden.dtype == last.dtype == torch.bfloat16
    for got in (hidden, torch.cat((first, last), dim=1)):
        distance = (got.float() - full).norm(dim=-1) / full.norm(dim=-1)
        assert distance.median() < 0.03


def test_cache_width() -> None:
    """Numbers per token and layer: latent + shared rotated key, or keys and values of every key-value head."""
    assert small_v3(attention=COMPRESSED).cache_width == 16 + 8
    assert small_dense().cache_width == 2 * 2 * 8
    assert deepseek_v3(129280).cache_width == 512 + 64
