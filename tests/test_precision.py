"""The compiled kernels against PyTorch, the head's loss by its derivatives, and copies in less precision."""

import math
from collections.abc import Iterator, Sequence

import pytest
import torch
import torch.nn.functional as F

from ponder.algo import columns
from ponder.algo.logprobs import score_states, score_tokens
from ponder.algo.native import functions as native
from ponder.algo.native.library import library
from ponder.algo.products import linear, outer, times, times_transposed
from ponder.algo.rounding import round_dithered_
from ponder.core.workers import ComputeConfig, Workers, kernel_threads
from ponder.models import head as head_module
from ponder.models.config import GqaConfig, ModelConfig
from ponder.models.head import head_divergence, head_loss
from ponder.models.rope import rotate
from ponder.models.transformer import Transformer
from ponder.train.precision import ComputeModel, rounded_copy
from small_models import random_model, small_dense, small_v3

needs_kernels = pytest.mark.skipif(library() is None, reason="no compiled kernels, or no AVX-512 with bf16 here")
both_precisions = pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
ROUNDING = 2**-8  # of bf16, relative
ROUNDINGS = {torch.bfloat16: ROUNDING, torch.float32: 2**-19}  # fp32: of sums of hundreds of numbers


def random(*shape: int, seed: int, scale: float = 1.0, precision: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale).to(precision)


def assert_close(got: torch.Tensor, expected: torch.Tensor, steps: float = 1.0, least: float = 1e-30) -> None:
    """Every number within `steps` roundings of its own size and the typical one, and all together within 1.5 of them.

    `least`: the smallest that the typical size is taken for.
    """
    rounding = ROUNDINGS[got.dtype]
    got, expected = got.detach().double(), expected.detach().double()
    gap, typical = (got - expected).abs(), expected.square().mean().sqrt().clamp_min(least)
    assert (gap <= steps * rounding * (expected.abs() + typical)).all()
    assert gap.square().mean().sqrt() <= 1.5 * rounding * typical


@needs_kernels
@both_precisions
@pytest.mark.parametrize("size", [16, 48, 576])
def test_norm_is_torchs(size: int, precision: torch.dtype) -> None:
    x, grad = (random(23, size, seed=seed, precision=precision) for seed in (1, 2))
    weight = torch.rand(size, generator=torch.Generator().manual_seed(3)) + 0.5
    inputs = [t.clone().requires_grad_() for t in (x, weight)]
    wide = [t.double().requires_grad_() for t in (x, weight)]
    ours, theirs = native.norm(*inputs, 1e-5), F.rms_norm(wide[0], (size,), wide[1], 1e-5)
    assert_close(ours, theirs)
    got, expected = torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(theirs, wide, grad.double())
    assert_close(got[0], expected[0])
    assert torch.allclose(got[1].double(), expected[1], rtol=1e-5, atol=1e-5)


@needs_kernels
@both_precisions
def test_swiglu_is_torchs(precision: torch.dtype) -> None:
    x = random(19, 2 * 96, seed=1, scale=4.0, precision=precision).requires_grad_()
    grad, wide = random(19, 96, seed=2, precision=precision), x.detach().double().requires_grad_()
    gate, up = wide.chunk(2, dim=-1)
    ours, theirs = native.swiglu(x), F.silu(gate) * up
    assert_close(ours, theirs)
    assert_close(torch.autograd.grad(ours, x, grad)[0], torch.autograd.grad(theirs, wide, grad.double())[0])


@needs_kernels
@both_precisions
@pytest.mark.parametrize("value", [-1e4, -100.0, -88.0, 0.0, 88.0, 1e4])
def test_swiglu_at_the_ends_of_the_range(value: float, precision: torch.dtype) -> None:
    x = torch.full((1, 32), value).to(precision)
    gate, up = x.double().chunk(2, dim=-1)
    assert_close(native.swiglu(x), F.silu(gate) * up, least=1e-25 if precision == torch.bfloat16 else 1e-24)


def angles_of(lengths: Sequence[int], pairs: int) -> torch.Tensor:
    """Of sequences that stand end to end: (tokens, pairs)."""
    return torch.cat([torch.arange(n) for n in lengths])[:, None] * torch.logspace(0, -4, pairs)


def at_positions(
    x_THR: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, interleaved: bool, precision: torch.dtype
) -> torch.Tensor:
    """At their positions, and rounded as queries and keys are; the gradient is that of the turn alone."""
    exact = rotate(x_THR, cos.double()[:, None], sin.double()[:, None], interleaved=interleaved)
    return exact + (exact.to(precision).double() - exact).detach()


def attention_in_fp64(
    q_THX: torch.Tensor, k_TKX: torch.Tensor, v_TKV: torch.Tensor, lengths: Sequence[int]
) -> torch.Tensor:
    """Of queries and keys that are turned already."""
    parts = []
    for one in zip(*(t.split(list(lengths)) for t in (q_THX, k_TKX, v_TKV)), strict=True):
        heads = [t.transpose(0, 1) for t in one]
        out = F.scaled_dot_product_attention(*heads, is_causal=True, enable_gqa=True)
        parts.append(out.transpose(0, 1))
    return torch.cat(parts)


LENGTHS = [(1,), (2, 31, 1, 32), (33, 64, 65), (130, 7)]


SHAPES = pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(3, 1, 64), (4, 4, 32), (4, 2, 96), (2, 1, 10)])


@needs_kernels
@both_precisions
@pytest.mark.parametrize("lengths", LENGTHS)
@SHAPES
def test_attention_is_torchs_on_each_sequence(
    lengths: tuple[int, ...], heads: int, kv_heads: int, dim: int, precision: torch.dtype
) -> None:
    tokens = sum(lengths)
    made = [random(tokens, h, dim, seed=i, precision=precision) for i, h in enumerate((heads, kv_heads, kv_heads))]
    inputs, wide = [t.requires_grad_() for t in made], [t.detach().double().requires_grad_() for t in made]
    angles = angles_of(lengths, dim // 2)
    cos, sin = angles.cos(), angles.sin()
    grad = random(tokens, heads, dim, seed=7, precision=precision)
    ours = native.attention(*inputs, cos, sin, [(n,) for n in lengths], dim**-0.5)
    q, k = (at_positions(t, cos, sin, False, precision) for t in wide[:2])
    theirs = attention_in_fp64(q, k, wide[2], lengths)
    assert_close(ours, theirs, 4)
    got, expected = torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(theirs, wide, grad.double())
    for mine, wanted in zip(got, expected, strict=True):
        assert_close(mine, wanted, 8, least=0.25)  # of one token alone, a query's is 0


@needs_kernels
@both_precisions
@SHAPES
def test_pairs_side_by_side_give_the_same_to_the_last_bit(
    heads: int, kv_heads: int, dim: int, precision: torch.dtype
) -> None:
    """The interleaved layout: the same pairs elsewhere in queries and keys."""
    lengths = (40, 1, 33)
    q, k, v = (random(74, h, dim, seed=i, precision=precision) for i, h in enumerate((heads, kv_heads, kv_heads)))
    angles, families = angles_of(lengths, dim // 2), [(n,) for n in lengths]
    grad = random(74, heads, dim, seed=7, precision=precision)

    def side_by_side(x: torch.Tensor) -> torch.Tensor:
        return torch.stack(x.chunk(2, dim=-1), dim=-1).flatten(-2)

    def run(q: torch.Tensor, k: torch.Tensor, *, interleaved: bool) -> list[torch.Tensor]:
        inputs = [t.clone().requires_grad_() for t in (q, k, v)]
        out = native.attention(*inputs, angles.cos(), angles.sin(), families, dim**-0.5, interleaved=interleaved)
        return [out, *torch.autograd.grad(out, inputs, grad)]

    out, q_grad, k_grad, v_grad = run(q, k, interleaved=False)
    expected = out, side_by_side(q_grad), side_by_side(k_grad), v_grad
    got = run(side_by_side(q), side_by_side(k), interleaved=True)
    for mine, wanted in zip(got, expected, strict=True):
        assert torch.equal(mine, wanted)


@needs_kernels
@both_precisions
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(("plain", "turned", "value"), [(16, 16, 24), (128, 64, 128), (6, 2, 10), (32, 40, 8)])
def test_latent_attention_is_torchs_on_each_sequence(
    lengths: tuple[int, ...], plain: int, turned: int, value: int, interleaved: bool, precision: torch.dtype
) -> None:
    """The key with position is shared by all heads, and comes as a part of wider rows."""
    tokens, heads, dim = sum(lengths), 3, plain + turned
    shapes = ((heads, dim), (heads, plain + value), (turned + 5,))
    made = [random(tokens, *shape, seed=i, precision=precision) for i, shape in enumerate(shapes)]
    inputs, wide = [t.requires_grad_() for t in made], [t.detach().double().requires_grad_() for t in made]
    angles = angles_of(lengths, turned // 2)
    cos, sin = angles.cos(), angles.sin()
    grad = random(tokens, heads, value, seed=7, precision=precision)
    q, expanded, rows = inputs
    where = cos, sin, [(n,) for n in lengths], dim**-0.5
    ours = native.latent_attention(q, expanded, rows[:, 5:], *where, interleaved=interleaved)

    q, expanded, rows = wide
    shared = at_positions(rows[:, None, 5:], cos, sin, interleaved, precision).expand(tokens, heads, turned)
    queries = torch.cat((q[..., :plain], at_positions(q[..., plain:], cos, sin, interleaved, precision)), dim=-1)
    theirs = attention_in_fp64(
        queries, torch.cat((expanded[..., :plain], shared), dim=-1), expanded[..., plain:], lengths
    )
    assert_close(ours, theirs, 4)
    got, expected = torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(theirs, wide, grad.double())
    for mine, wanted in zip(got, expected, strict=True):
        assert_close(mine, wanted, 8, least=0.25)


@needs_kernels
@both_precisions
@pytest.mark.parametrize("latent", [False, True])
def test_a_prefix_that_sequences_share_is_as_if_each_had_its_own(latent: bool, precision: torch.dtype) -> None:
    """What comes out; and the gradient of the prefix, which is the sum over its copies."""
    families, heads, dim = [(5, 3, 40, 1), (33,), (14, 20, 20), (31, 1, 33)], 4, 32
    row, copies, kept, start = [], [], [], 0  # copies: every sequence whole; kept: its tokens that stand in the row
    for prefix, *members in families:
        beginning = list(range(start, start + prefix))
        start += prefix
        kept += [len(copies) + i for i in range(prefix)]
        copies += beginning
        row.append((prefix,))
        for length in members:
            kept += [len(copies) + prefix + i for i in range(length)]
            copies += [*beginning, *range(start, start + length)]
            row.append((prefix + length,))
            start += length
    shapes = ((heads, dim), (heads, 20 + 24), (12,)) if latent else ((heads, dim), (2, dim), (2, dim))
    attention = native.latent_attention if latent else native.attention
    inputs = [random(start, *shape, seed=i, precision=precision).requires_grad_() for i, shape in enumerate(shapes)]
    places = [range(n) if not p else range(p, p + n) for p, n in places_of(families)]
    angles = torch.tensor([i for place in places for i in place])[:, None] * torch.logspace(0, -2, 6 if latent else 16)
    cos, sin = angles.cos(), angles.sin()
    ours = attention(*inputs, cos, sin, families, dim**-0.5)
    wide = [t[copies] for t in inputs]
    theirs = attention(*wide, cos[copies], sin[copies], row, dim**-0.5)[kept]
    assert_close(ours, theirs, 2)
    grad = random(*ours.shape, seed=9, precision=precision)
    got, expected = torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(theirs, inputs, grad)
    for mine, wanted in zip(got, expected, strict=True):
        assert_close(mine, wanted, 8, least=0.25)


@needs_kernels
@pytest.mark.parametrize("families", [[(4,), (3, 2)], [(10,), ()], []])
def test_families_that_are_not_the_tokens_are_refused(families: list[tuple[int, ...]]) -> None:
    inputs = [random(10, 2, 8, seed=i) for i in range(3)]
    with pytest.raises(ValueError, match="10 tokens cannot be families"):
        native.attention(*inputs, torch.ones(10, 4), torch.zeros(10, 4), families, 1.0)


def places_of(families: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Of each part: where it begins, and its length."""
    return [part for prefix, *members in families for part in ((0, prefix), *((prefix, n) for n in members))]


@needs_kernels
@both_precisions
@pytest.mark.parametrize("vocabulary", [16, 33, 299])
def test_cross_entropy_is_torchs(vocabulary: int, precision: torch.dtype) -> None:
    logits = random(12, vocabulary, seed=4, scale=5.0, precision=precision)
    ids = torch.arange(12) % vocabulary
    ids[0] = vocabulary - 1
    wide = logits.double().requires_grad_()
    expected = F.cross_entropy(wide, ids, reduction="sum")
    (slope,) = torch.autograd.grad(0.25 * expected, wide)
    loss, mass = native.cross_entropy_(logits, ids, 0.25)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-6)
    assert_close(logits, slope)
    assert torch.allclose(mass.double(), slope.abs().sum(dim=0) / 0.25, rtol=1e-4, atol=1e-6)


@needs_kernels
def test_columns_that_hold_nothing_are_left_out_of_the_gradient_and_never_of_the_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten likely tokens of 2,000: the others are not multiplied, and what is lost is less than rounding loses."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(32, generator=generator)
    head = torch.randn(2000, 32, generator=generator) * 0.3
    head[:10] += common * 0.5
    states = (torch.randn(40, 32, generator=generator) * 0.5 + common).bfloat16().requires_grad_()
    head = head.bfloat16().requires_grad_()
    ids = torch.randint(0, 10, (40,), generator=generator)
    loss = head_loss(states, head, ids)
    got = torch.autograd.grad(loss, (states, head))
    assert (got[1].abs().sum(dim=1) > 0).sum() < 400
    monkeypatch.setattr(columns, "NEGLIGIBLE", 0.0)
    whole = head_loss(states, head, ids)
    expected = torch.autograd.grad(whole, (states, head))
    assert float(loss.detach()) == float(whole.detach())
    assert (expected[1].abs().sum(dim=1) > 0).sum() == 2000
    for ours, theirs in zip(got, expected, strict=True):
        assert (ours - theirs).float().norm() < 0.004 * theirs.float().norm()


@needs_kernels
def test_a_gradient_in_fp32_is_taken_whole() -> None:
    mass = torch.tensor([1.0, 1e-6, 1e-6, 1e-6, 1e-6])
    assert columns.columns_that_matter(mass, torch.float32) is None
    assert columns.columns_that_matter(mass, torch.bfloat16) is not None


@needs_kernels
@both_precisions
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_scores_of_tokens_are_those_in_fp32(
    temperature: float, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same logits, by the kernels and by PyTorch in fp32; and their gradients."""
    hidden = random(3, 9, 32, seed=1, precision=precision).requires_grad_()
    head = random(299, 32, seed=2, precision=precision).requires_grad_()
    ids = torch.randint(0, 299, (3, 9), generator=torch.Generator().manual_seed(3))
    mask = torch.rand(3, 9, generator=torch.Generator().manual_seed(4)) < 0.6
    monkeypatch.setattr(columns, "NEGLIGIBLE", 0.0)
    slope = torch.randn(int(mask[:, 1:].sum()), generator=torch.Generator().manual_seed(5))
    ours = score_tokens(hidden, head, ids, mask, temperature)
    got = torch.autograd.grad((ours.logp_M * slope).sum(), (hidden, head))
    monkeypatch.setattr(native, "takes_rows", lambda x, size: False)
    theirs = score_tokens(hidden, head, ids, mask, temperature)
    expected = torch.autograd.grad((theirs.logp_M * slope).sum(), (hidden, head))
    assert torch.allclose(ours.logp_M, theirs.logp_M, atol=1e-5)
    assert torch.allclose(ours.entropy_M, theirs.entropy_M, atol=1e-5)
    assert not ours.entropy_M.requires_grad
    for a, b in zip(got, expected, strict=True):
        assert_close(a, b, 4)


def test_the_heads_loss_has_the_derivatives_that_it_says() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(7, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    head = torch.randn(11, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    ids = torch.tensor([0, 10, 3, 3, 5, 1, 9])
    assert torch.autograd.gradcheck(lambda s, h: head_loss(s, h, ids, weight=0.5), (states, head))
    expected = 0.5 * F.cross_entropy(F.linear(states, head), ids, reduction="sum")
    assert float(head_loss(states, head, ids, weight=0.5).detach()) == pytest.approx(
        float(expected.detach()), abs=1e-12
    )
    whole = torch.autograd.grad(expected * 3.0, (states, head))
    ours = torch.autograd.grad(head_loss(states, head, ids, weight=0.5) * 3.0, (states, head))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(ours, whole, strict=True))


def test_the_heads_divergence_has_the_derivatives_that_it_says() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(7, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    head = torch.randn(11, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    others = torch.randn(7, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    other_head = torch.randn(11, 4, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda s, h: head_divergence(s, h, others, other_head, weight=0.5), (states, head))
    ours, theirs = F.linear(states, head).log_softmax(-1), F.linear(others, other_head).log_softmax(-1)
    expected = 0.5 * F.kl_div(ours, theirs, reduction="sum", log_target=True)
    got = head_divergence(states, head, others, other_head, weight=0.5)
    assert float(got.detach()) == pytest.approx(float(expected.detach()), abs=1e-12)
    assert torch.autograd.grad(got, others, allow_unused=True) == (None,)
    same = head_divergence(states, head, states, head.detach())
    assert float(same.detach()) == 0.0
    assert torch.autograd.grad(same, states)[0].abs().max() < 1e-12


@needs_kernels
@both_precisions
@pytest.mark.parametrize("vocabulary", [299, 304, 17])
def test_the_divergence_of_rows_is_torchs(vocabulary: int, precision: torch.dtype) -> None:
    logits, others = (random(23, vocabulary, seed=seed, scale=3.0, precision=precision) for seed in (1, 2))
    wide, theirs = logits.double().requires_grad_(), others.double().log_softmax(-1)
    expected = F.kl_div(wide.log_softmax(-1), theirs, reduction="sum", log_target=True)
    (slope,) = torch.autograd.grad(expected * 0.5, wide)
    loss, mass = native.divergence_(logits, others, 0.5)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert_close(logits, slope)
    assert torch.allclose(mass.double(), slope.abs().sum(0) * 2, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"shapes \(23, .*\) and \(22, .*\) do not fit together"):
        native.divergence_(logits, others[1:], 0.5)


@needs_kernels
def test_the_heads_divergence_in_bf16_is_that_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    states, head = random(40, 32, seed=1).requires_grad_(), random(299, 32, seed=2, scale=0.3).requires_grad_()
    others, other_head = random(40, 64, seed=3), random(299, 64, seed=4, scale=0.2)
    loss = head_divergence(states, head, others, other_head, weight=0.1)
    wide = [t.detach().float().requires_grad_() for t in (states, head)]
    expected = head_divergence(*wide, others.float(), other_head.float(), weight=0.1)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=0.01)
    for a, b in zip(torch.autograd.grad(loss, (states, head)), torch.autograd.grad(expected, wide), strict=True):
        assert (a.float() - b).norm() < 0.01 * b.norm()
    monkeypatch.setattr(head_module, "CHUNK_BYTES", 299 * 2 * 7)  # seven rows at a time
    chunked = head_divergence(states, head, others, other_head, weight=0.1)
    assert float(chunked.detach()) == pytest.approx(float(loss.detach()), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_of_logits_change_nothing_beyond_rounding(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    states = random(50, 32, seed=1).to(dtype).requires_grad_()
    head = random(299, 32, seed=2).to(dtype).requires_grad_()
    ids = torch.arange(50) * 5
    monkeypatch.setattr(columns, "NEGLIGIBLE", 0.0)
    whole = head_loss(states, head, ids)
    expected = torch.autograd.grad(whole, (states, head))
    monkeypatch.setattr(head_module, "CHUNK_BYTES", 7 * 299 * states.element_size())
    cut = head_loss(states, head, ids)
    assert float(cut.detach()) == pytest.approx(float(whole.detach()), rel=1e-6)
    for got, wanted in zip(torch.autograd.grad(cut, (states, head)), expected, strict=True):
        assert_close(got, wanted, 4)


def wide_dense() -> ModelConfig:
    """Sizes that every kernel takes."""
    return small_dense(hidden_size=64, heads=4, attention=GqaConfig(kv_heads=2, head_dim=32), intermediate_size=96)


@needs_kernels
@pytest.mark.parametrize(
    "config", [wide_dense(), small_v3(), small_v3(rope_layout="halves")], ids=lambda c: c.rope_layout
)
def test_a_model_in_fp32_is_the_same_with_the_kernels_and_without(
    config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed sequences and rows of a batch: what comes out, and the gradient of every weight."""
    model = random_model(config)
    ids = torch.randint(0, 299, (1, 90), generator=torch.Generator().manual_seed(1))

    def run() -> list[torch.Tensor]:
        packed, padded = model(ids, lengths=(40, 17, 33)), model(ids.view(2, 45))
        parameters = [p for p in model.parameters() if p.requires_grad]
        total = packed.square().sum() + padded.square().sum()
        grads = torch.autograd.grad(total, parameters, allow_unused=True)
        return [packed, padded, *(g for g in grads if g is not None)]

    with_kernels = run()
    monkeypatch.setattr(native, "takes_rows", lambda x, size: False)
    without = run()
    assert not all(torch.equal(a, b) for a, b in zip(with_kernels, without, strict=True))
    for ours, theirs in zip(with_kernels, without, strict=True):
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm() + 1e-6


@needs_kernels
def test_a_model_in_bf16_with_the_kernels_is_near_the_one_without(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(wide_dense())
    rounded = rounded_copy(model, torch.bfloat16)
    ids, lengths = torch.randint(0, 299, (1, 90), generator=torch.Generator().manual_seed(1)), (40, 17, 33)
    expected = model(ids, lengths=lengths)
    with_kernels = rounded(ids, lengths=lengths)
    padded = rounded(ids.view(2, 45))  # rows of a batch go through the same kernel
    assert (padded.float() - model(ids.view(2, 45))).norm() < 0.02 * padded.float().norm()
    monkeypatch.setattr(native, "takes_rows", lambda x, size: False)
    without = rounded(ids, lengths=lengths)
    assert with_kernels.dtype == without.dtype == torch.bfloat16
    assert not torch.equal(with_kernels, without)
    gap, plain_gap = ((states.float() - expected).norm() / expected.norm() for states in (with_kernels, without))
    assert gap < 0.02
    assert gap < 1.2 * plain_gap


@pytest.mark.parametrize("config", [wide_dense(), small_v3()], ids=["dense", "experts"])
def test_a_copy_follows_its_master_and_keeps_what_must_not_be_rounded(config: ModelConfig) -> None:
    master = Transformer(config, torch.Generator().manual_seed(0))
    with Workers(ComputeConfig(workers=2)) as workers:
        compute = ComputeModel(master, "bf16", workers)
        with torch.no_grad():
            for parameter in master.parameters():
                parameter.add_(0.01)
            for buffer in master.buffers():
                buffer.add_(1 / 3)
        compute.refresh()
    copy = dict(compute.model.named_parameters())
    for name, parameter in master.named_parameters():
        kept = name.endswith("norm.weight")
        assert copy[name].dtype == (torch.float32 if kept else torch.bfloat16)
        if kept:
            assert torch.equal(copy[name], parameter), name
        else:
            expected = torch.empty_like(copy[name])
            round_dithered_(expected, parameter)
            assert torch.equal(copy[name], expected), name
    for name, buffer in master.named_buffers():
        if name != "rotations":
            assert torch.equal(dict(compute.model.named_buffers())[name], buffer), name


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_kernels)])
def test_rounding_keeps_changes_that_bf16_has_no_numbers_for(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of a fortieth of the spacing: to nearest it is lost, dithered its mean is there at once."""
    if not compiled:
        monkeypatch.setattr(native, "takes_rounding", lambda target, source: False)
    before = random(1000, 100, seed=1).abs().clamp(1.0, 1.99).float()  # on the grid, 1/128 apart
    change = 1 / 128 / 40
    after, again = torch.empty(1000, 100, dtype=torch.bfloat16), torch.empty(1000, 100, dtype=torch.bfloat16)
    round_dithered_(after, before)
    assert torch.equal(after.float(), before)  # what bf16 has is not moved
    assert torch.equal((before + change).bfloat16().float(), before)  # lost
    round_dithered_(after, before + change)
    moved = after.float() - before
    assert set(moved.unique().tolist()) == {0.0, 1 / 128}
    assert float(moved.mean()) == pytest.approx(change, rel=0.05)
    round_dithered_(after, -before - change)
    assert float((after.float() + before).mean()) == pytest.approx(-change, rel=0.05)
    round_dithered_(after, before + 3 * change)
    round_dithered_(again, before + 5 * change)
    assert (again >= after).all()  # thresholds are constants: a growing weight never falls


@needs_kernels
@pytest.mark.parametrize("count", [1, 15, 16, 1000])
def test_the_kernel_rounds_as_pytorch_does(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(count, generator=torch.Generator().manual_seed(count)) * 10
    x[0] = float("inf")
    ours, theirs = torch.empty(count, dtype=torch.bfloat16), torch.empty(count, dtype=torch.bfloat16)
    round_dithered_(ours, x)
    monkeypatch.setattr(native, "takes_rounding", lambda target, source: False)
    round_dithered_(theirs, x)
    assert torch.equal(ours, theirs)


@pytest.fixture
def one_thread() -> Iterator[None]:
    with kernel_threads(1):
        yield


@needs_kernels
@both_precisions
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"),
    [(1, 2, 2), (5, 4, 6), (7, 32, 16), (33, 50, 70), (100, 576, 192), (61, 96, 130), (600, 34, 18)],
)
def test_products_are_those_in_fp64(rows: int, inputs: int, outputs: int, precision: torch.dtype) -> None:
    shapes = ((rows, inputs), (outputs, inputs), (outputs,), (rows, outputs))
    x, weight, bias, grad = (random(*shape, seed=i, precision=precision) for i, shape in enumerate(shapes))
    inputs_ = [t.requires_grad_() for t in (x, weight, bias)]
    wide = [t.detach().double().requires_grad_() for t in inputs_]
    assert native.takes_products(x, weight, inner=inputs)
    ours, theirs = linear(x, weight, bias), F.linear(*wide)
    assert_close(ours, theirs, 2)
    got = torch.autograd.grad(ours, inputs_, grad)
    for mine, expected in zip(got, torch.autograd.grad(theirs, wide, grad.double()), strict=True):
        assert_close(mine, expected, 2)


@needs_kernels
@both_precisions
@pytest.mark.usefixtures("one_thread")
def test_products_take_views_and_odd_sizes(precision: torch.dtype) -> None:
    x, weight = (random(*shape, seed=i, precision=precision) for i, shape in enumerate(((9, 7), (5, 7))))
    assert native.takes_products(x, weight, inner=7) == (precision == torch.float32)  # of bf16: no pairs
    assert_close(times_transposed(x, weight), x.double() @ weight.double().t(), 2)
    assert_close(times(weight.t(), weight), weight.double().t() @ weight.double(), 2)
    assert_close(outer(x, x[:, 1:4]), x.double().t() @ x[:, 1:4].double(), 2)
    even = random(8, 12, seed=3, precision=precision)
    assert_close(times(even[:, :8], even), even[:, :8].double() @ even.double(), 2)


@needs_kernels
def test_products_in_fp32_on_several_threads_are_pytorchs() -> None:
    x = random(4, 4, seed=1, precision=torch.float32)
    with kernel_threads(2):
        assert not native.takes_products(x, x)
        assert native.takes_products(x.bfloat16(), x.bfloat16())


@needs_kernels
@pytest.mark.usefixtures("one_thread")
def test_a_sum_over_many_rows_in_fp32_is_about_as_exact_as_pytorchs() -> None:
    a, b = (random(5000, 40, seed=seed, precision=torch.float32) for seed in (1, 2))
    exact = a.double().t() @ b.double()
    ours, theirs = ((c.double() - exact).square().mean().sqrt() for c in (outer(a, b), a.t() @ b))
    assert ours < 2 * theirs


def test_in_fp32_there_is_no_copy() -> None:
    master = Transformer(small_dense(), torch.Generator().manual_seed(0))
    assert ComputeModel(master, "fp32").model is master


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_products_go_to_a_place_that_is_given_and_nowhere_else(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*shape, generator=draw).to(dtype) for shape in ((7, 20), (18, 20)))
    for product, left, right in ((times_transposed, x, weight), (times, x, weight.t()), (outer, x.t(), weight.t())):
        expected = product(left, right)
        place = torch.full((len(expected) + 2, expected.shape[1]), 9.0, dtype=dtype)
        product(left, right, place[1:-1])
        torch.testing.assert_close(place[1:-1], expected, rtol=0.0, atol=0.0)
        assert (place[[0, -1]] == 9.0).all()


@both_precisions
@pytest.mark.parametrize("place", ["state", "head"])
def test_a_nan_is_no_loss(place: str, precision: torch.dtype) -> None:
    """The guards against losses that are not finite see it."""
    states, head = random(4, 64, seed=1, precision=precision), random(128, 64, seed=2, precision=precision)
    (states if place == "state" else head)[1, 5] = float("nan")
    ids = torch.tensor([3, 1, 7, 99])
    assert not math.isfinite(float(head_loss(states, head, ids)))
    assert not torch.isfinite(score_states(states, head, ids).logp_M).all()
