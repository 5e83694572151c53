"""PyTorch in bf16: packed weights give the numbers of bf16, follow their module, and are not needed."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from ponder.core.types import Prompt, Sampling
from ponder.core.workers import ComputeConfig, Workers
from ponder.engine.onednn import bf16_notice, in_bf16, products, unavailable
from ponder.engine.onednn.model import plain_bf16
from ponder.engine.onednn.modules import PreciseHead
from ponder.engine.onednn.products import PackedMatrix
from ponder.engine.reference import ReferenceGenerator
from ponder.engine.torch_runner import TorchRunner
from ponder.models.adapter_config import AdapterConfig
from ponder.models.adapters import merge, with_adapter
from ponder.models.cache import Cache
from ponder.models.config import GqaConfig, MlaConfig
from ponder.models.moe import RouteMap
from ponder.models.transformer import Transformer
from ponder.recipes.engines import training_generator
from ponder.text.tokenizer import Tokenizer
from small_models import random_ids, random_model, small_dense, small_softmax_moe, small_v3

BF16 = torch.bfloat16
packs = pytest.mark.skipif(unavailable() is not None, reason=f"oneDNN cannot pack here: {unavailable()}")
SHAPES = {
    "dense": small_dense(),
    "tied, with biases": small_dense(attention=GqaConfig(kv_heads=2, head_dim=8, qkv_bias=True), tie_embeddings=True),
    "norms of heads": small_dense(attention=GqaConfig(kv_heads=6, head_dim=8, qk_norm=True), rope_layout="interleaved"),
    "v3": small_v3(mtp_depth=1),
    "v2": small_v3(
        moe=small_softmax_moe(),
        attention=MlaConfig(kv_lora_rank=16, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10, q_lora_rank=24),
    ),
}


@pytest.fixture
def fresh() -> Iterator[None]:
    """What was found out about oneDNN is forgotten before and after."""
    unavailable.cache_clear()
    yield
    unavailable.cache_clear()


@pytest.fixture
def missing(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a PyTorch without the operator."""

    def pack(*_: object) -> None:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_reorder_linear_weight'")

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", pack)


def logits(model: Transformer, ids_BT: torch.Tensor, routes: RouteMap | None = None) -> torch.Tensor:
    """Of every position, (B, T, V) fp32: all but the last three tokens at once, then one at a time, as generation does.

    `routes`: the experts that each token goes to, filled in where it is empty.
    """
    B, T = ids_BT.shape
    cache = Cache.empty(model.config, B, T, model.embedding.weight.dtype)
    found, chosen = [], []
    cuts = [0, *range(T - 3, T + 1)]
    for first, last in pairwise(cuts):
        given = RouteMap()
        if routes is not None and routes.replay:
            given = RouteMap({layer: picked[:, first:last] for layer, picked in routes.chosen.items()}, replay=True)
        positions_BT = torch.arange(first, last).expand(B, -1)
        hidden = model(ids_BT[:, first:last], cache=cache, positions_BT=positions_BT, route_map=given)
        found.append(model.head(hidden).float())
        chosen.append(given.chosen)
    if routes is not None and not routes.replay:
        routes.chosen = {layer: torch.cat([part[layer] for part in chosen], dim=1) for layer in chosen[0]}
        routes.replay = True
    return torch.cat(found, dim=1)


@packs
@pytest.mark.parametrize("shape", [(1, 48, 64), (5, 20, 48), (33, 7, 299)])
def test_a_packed_product_is_the_exact_one_rounded_once(shape: tuple[int, int, int]) -> None:
    rows, inputs, outputs = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, inputs, generator=generator).to(BF16)
    weight, bias, factor = (
        torch.randn(size, generator=generator).to(BF16) for size in ((outputs, inputs), (outputs,), (rows, outputs))
    )
    exact = x.double() @ weight.double().T + bias.double()
    matrix = PackedMatrix(weight, bias)
    for made, expected in (
        (matrix.linear(x), exact),
        (matrix.silu(x), F.silu(exact)),
        (matrix.times(x, factor), exact * factor.double()),
    ):
        assert made.dtype == BF16
        assert ((made.double() - expected).abs() <= expected.abs() * 2**-8 + 2e-4).all()
    precise = matrix.precise(x)
    assert precise.dtype == torch.float32
    assert ((precise.double() - exact).abs() <= exact.abs() * 2**-15 + 2e-5).all()


@packs
@torch.no_grad()
@pytest.mark.parametrize("name", SHAPES)
def test_a_packed_model_computes_what_bf16_computes(name: str) -> None:
    model = random_model(SHAPES[name])
    ids_BT, routes = random_ids(3, 24), RouteMap()
    exact = logits(model, ids_BT, routes)
    packed = in_bf16(model)
    ours, plain = logits(packed, ids_BT, routes), logits(plain_bf16(model), ids_BT, routes)
    assert isinstance(packed.head, PreciseHead)
    spread = exact.std()
    assert ((ours - plain).square().mean().sqrt() / spread) < 0.02
    off, off_plain = ((made - exact).square().mean().sqrt() / spread for made in (ours, plain))
    assert off < 0.015
    assert off < 1.2 * off_plain  # the sum through the layers is fp32, so it is rather nearer


@packs
@torch.no_grad()
def test_long_contexts_are_attended_to_as_short_ones_are() -> None:
    """Over few positions attention is one fp32 call, over many it is bf16 products."""
    model = random_model(small_dense(max_positions=600))
    ids_BT = random_ids(4, 500)
    exact, ours = logits(model, ids_BT), logits(in_bf16(model), ids_BT)
    assert ((ours - exact).square().mean().sqrt() / exact.std()) < 0.015


@packs
@torch.no_grad()
def test_an_adapter_is_worked_in() -> None:
    base = random_model(small_dense())
    adapted = with_adapter(base, AdapterConfig(kind="lora", rank=4), torch.Generator().manual_seed(1), token_ids=(7, 9))
    for name, parameter in adapted.named_parameters():
        if name.endswith(".b") or "rows" in name:
            parameter.normal_(0.0, 0.2, generator=torch.Generator().manual_seed(2))
    ids_BT = random_ids(2, 16)
    expected, plain = logits(in_bf16(merge(adapted)), ids_BT), logits(in_bf16(base), ids_BT)
    made = logits(in_bf16(adapted), ids_BT)
    assert torch.equal(made, expected)
    assert not torch.allclose(made, plain, atol=0.1)


@packs
@pytest.mark.parametrize("name", ["dense", "v3"])
def test_rollouts_in_bf16_follow_the_weights_in_training(name: str) -> None:
    model, tokenizer = random_model(SHAPES[name]), Tokenizer.for_arithmetic()
    prompts = [Prompt(problem_id=text, ids=tuple(tokenizer.encode(text))) for text in ("7+8-3=?", "1*2=?")]
    sampling, seeds = Sampling(max_tokens=12), [[1, 2], [3, 4]]
    with Workers(ComputeConfig(workers=1)) as workers:
        following = training_generator("torch", model, tokenizer.control, workers, "bf16")
        before = following.generate(prompts, sampling, seeds)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)), alpha=0.1)
        assert following.generate(prompts, sampling, seeds) == before  # until it is told
        following.refresh(5)
        after = following.generate(prompts, sampling, seeds)
        anew = ReferenceGenerator(model, tokenizer.control, workers, weights="bf16")
        anew.refresh(5)
        assert after == anew.generate(prompts, sampling, seeds)
    assert after != before
    assert {completion.weight_version for group in after for completion in group} == {5}


@packs
def test_a_runner_holds_its_cache_in_bf16_and_its_copy_apart() -> None:
    model = random_model(small_dense())
    runner = TorchRunner(model, pages=4, weights="bf16")
    assert {store.dtype for store in runner._layers} == {BF16}
    assert runner._weights.model is not model
    assert TorchRunner(model, pages=4)._weights.model is model
    assert model.embedding.weight.dtype == torch.float32


@torch.no_grad()
def test_without_the_operators_bf16_is_plain_and_the_notice_says_so(missing: None) -> None:
    model = random_model(SHAPES["v3"])
    assert unavailable() == "'_OpNamespace' 'mkldnn' object has no attribute '_reorder_linear_weight'"
    assert torch.equal(logits(in_bf16(model), random_ids(2, 12)), logits(plain_bf16(model), random_ids(2, 12)))
    told = bf16_notice() or ""
    assert "oneDNN cannot pack them here ('_OpNamespace' 'mkldnn' object has no attribute" in told
    assert told.endswith("--weights fp32 may be faster")


@torch.no_grad()
def test_a_plain_copy_has_the_angles_and_the_modules_of_a_packed_one(missing: None) -> None:
    """A model that has computed before holds its angles; a copy that rounded them would compute something else."""
    model = random_model(SHAPES["v3"])
    fresh_copy = in_bf16(model)
    model(random_ids(2, 12))
    used_copy = in_bf16(model)
    assert torch.equal(used_copy.rotations, model.rotations)
    assert used_copy.rotations.dtype == torch.float32
    assert torch.equal(logits(used_copy, random_ids(2, 12)), logits(fresh_copy, random_ids(2, 12)))
    assert (len(used_copy.mtp), used_copy.config.mtp_depth) == (0, 0)
    assert len(in_bf16(model, mtp=True).mtp) == len(model.mtp) == 1
    biases = {layer: mixture.balance_bias for layer, mixture in used_copy.moe_layers().items()}
    assert all(torch.equal(bias, model.moe_layers()[layer].balance_bias) for layer, bias in biases.items())


@packs
def test_operators_that_compute_something_else_are_not_used(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackedMatrix, "silu", PackedMatrix.linear)
    assert "computes something else" in (unavailable() or "")


@packs
def test_a_processor_without_bf16_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def can(**able: object) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)

    for able in ({"avx512_bf16": True}, {"amx_bf16": True}):
        can(architecture="x86_64", **able)
        assert bf16_notice() is None
    can(architecture="aarch64")
    assert not products.emulated()
    can(architecture="x86_64", avx512_bf16=False)
    assert bf16_notice() == (
        "this processor has no bf16 instructions, so bf16 is emulated. --weights fp32 may be faster"
    )
