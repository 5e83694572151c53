"""Low-rank adapters in memory: what they compute, what they train, and what they leave as it is."""

import copy

import pytest
import torch
from torch import nn

from adapter_models import MODELS, NEW, adapted, ids, logits, settings, shaken
from ponder.algo.logprobs import score_tokens
from ponder.core.errors import CheckpointError, ConfigError
from ponder.models.adapter_config import AdapterConfig, BaseModel
from ponder.models.adapters import (
    AdaptedLinear,
    Part,
    adapter_tensors,
    frozen_copy,
    load_adapter_tensors,
    merge,
    with_adapter,
)
from ponder.models.head import head_loss
from ponder.models.layers import Linear
from ponder.models.transformer import Transformer
from small_models import random_ids, random_model, small_dense, small_v3

LORA = AdapterConfig(kind="lora", rank=4, alpha=8.0)
KINDS = pytest.mark.parametrize("kind", ["lora", "dora"])


def by_hand(kind: str) -> AdaptedLinear:
    """The map x Wᵀ + 2 · x Aᵀ Bᵀ with W = [[3, 0], [0, 4]], A = [[1, 1]], B = [[0.5], [1]]: W' = [[4, 1], [2, 6]]."""
    base = Linear(2, 2)
    base.weight.data = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    config = AdapterConfig(kind=kind, rank=1, alpha=2.0)  # type: ignore[arg-type]
    linear = AdaptedLinear(base, [Part("q", 0, 2)], config, torch.Generator().manual_seed(0))
    linear.a.data, linear.b.data = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.5], [1.0]])
    return linear


def test_values_and_gradients_worked_by_hand() -> None:
    linear, x = by_hand("lora"), torch.tensor([[1.0, 2.0]], requires_grad=True)
    assert linear(x).tolist() == [[6.0, 14.0]]  # 4 + 2, 2 + 12
    assert linear.weight.tolist() == [[4.0, 1.0], [2.0, 6.0]]
    (linear(x) * torch.tensor([1.0, 10.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[24.0, 61.0]]  # [1, 10] W'
    assert linear.b.grad.tolist() == [[6.0], [60.0]]  # 2 · [1, 10]ᵀ (A x = 3)
    assert linear.a.grad.tolist() == [[21.0, 42.0]]  # 2 · ([1, 10] B = 10.5) · x
    assert linear.base.weight.grad is None


def test_dora_scales_rows_to_their_magnitude_and_its_norm_is_a_constant() -> None:
    linear, x = by_hand("dora"), torch.tensor([[1.0, 2.0]])
    assert linear.magnitude is not None
    assert linear.magnitude.tolist() == [3.0, 4.0]  # the norms of W's rows
    norms = torch.tensor([17.0, 40.0]).sqrt()  # of W'
    assert torch.allclose(linear(x), torch.tensor([[6.0, 14.0]]) * torch.tensor([3.0, 4.0]) / norms)
    linear(x)[0, 0].backward()
    assert linear.magnitude.grad.tolist() == pytest.approx([6.0 / 17**0.5, 0.0])
    assert linear.b.grad.flatten().tolist() == pytest.approx([3.0 / 17**0.5 * 6.0, 0.0])


def test_it_begins_as_the_base_and_is_drawn_from_its_generator() -> None:
    base, tokens = random_model(small_dense(tie_embeddings=True)), random_ids(2, 9)
    first, again, other = (with_adapter(base, LORA, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(logits(first, tokens), logits(base, tokens))
    ours, same, another = (adapter_tensors(model)["blocks.1.attention.q.a"] for model in (first, again, other))
    assert torch.equal(ours, same)
    assert not torch.equal(ours, another)
    assert float(ours.detach().abs().max()) < 48**-0.5  # ± 1/sqrt(inputs), as Kaiming with a = sqrt(5)
    assert float(ours.detach().std()) == pytest.approx(48**-0.5 / 3**0.5, rel=0.15)
    assert with_adapter(base, AdapterConfig(kind="full"), None) is base


@KINDS
@pytest.mark.parametrize("name", MODELS)
def test_merged_and_plain_are_the_same_model(name: str, kind: str) -> None:
    plain, model = adapted(name, kind)
    merged = merge(model)
    assert merged.adapter is None
    assert merged.state_dict().keys() == plain.state_dict().keys()
    assert (logits(model, ids()) - logits(merged, ids())).abs().max() < 1e-5
    assert (logits(model, ids()) - logits(plain, ids())).abs().max() > 0.3
    assert merge(plain) is plain


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_the_merged_matrices(name: str) -> None:
    """dL/dB = s · dL/dW Aᵀ and dL/dA = s · Bᵀ dL/dW, with dL/dW from plain differentiation of the merged model."""
    _, model = adapted(name)
    merged = merge(model).double()
    for parameter in merged.parameters():
        parameter.requires_grad_(True)

    def loss(of: Transformer) -> torch.Tensor:
        return of.head(of(ids())).square().mean()

    loss(model).backward()
    merged.rotations = merged.rotations[:, :0]
    loss(merged).backward()
    theirs = dict(merged.named_modules())
    checked = 0
    for path, module in model.named_modules():
        if isinstance(module, AdaptedLinear):
            slope = theirs[path].weight.grad
            at = 0
            for number, part in enumerate(module.parts):
                rows, ranks = slice(at, at + part.last - part.first), slice(4 * number, 4 * number + 4)
                a, b, dw = module.a[ranks].double(), module.b[rows].double(), slope[part.first : part.last]
                assert torch.allclose(module.b.grad[rows].double(), 2.0 * dw @ a.T, atol=1e-6)
                assert torch.allclose(module.a.grad[ranks].double(), 2.0 * b.T @ dw, atol=1e-6)
                at += part.last - part.first
                checked += 1
    assert checked >= 4
    trained = [5, *NEW]
    assert torch.allclose(model.embedding.rows.grad.double(), merged.embedding.weight.grad[trained], atol=1e-6)
    if not model.config.tie_embeddings:
        assert torch.allclose(model.head.rows.grad.double(), merged.head.weight.grad[trained], atol=1e-6)


@pytest.mark.parametrize("score", ["score_tokens", "head_loss"])
def test_a_head_of_which_some_rows_are_trained_has_their_gradient_alone(score: str) -> None:
    _, model = adapted("llama in pairs")
    generator = torch.Generator().manual_seed(0)
    tokens, states = ids()[:1], torch.randn(1, 12, 48, generator=generator, requires_grad=True)

    def loss(head: torch.Tensor) -> torch.Tensor:
        if score == "head_loss":
            return head_loss(states[0, :-1], head, tokens[0, 1:], weight=0.5)
        return -0.5 * score_tokens(states, head, tokens, torch.ones_like(tokens, dtype=torch.bool)).logp_M.sum()

    whole = model.head.weight.detach().clone().requires_grad_(True)
    expected = torch.autograd.grad(loss(whole), [states, whole])
    found = torch.autograd.grad(loss(model.head.weight), [states, model.head.rows])
    assert torch.allclose(found[0], expected[0], atol=1e-6)
    assert torch.allclose(found[1], expected[1][[5, *NEW]], atol=1e-6)


@KINDS
def test_training_moves_the_adapter_and_nothing_else(kind: str) -> None:
    plain, model = adapted("tied llama", kind)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    reference, said = frozen_copy(model), logits(model, ids())
    trained = [p for p in model.parameters() if p.requires_grad]
    assert {id(p) for p in trained} == {id(t) for t in adapter_tensors(model).values()}
    optimizer = torch.optim.AdamW(trained, lr=0.01, fused=True)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(model.head(model(ids()[:, :-1])).flatten(0, 1), ids()[:, 1:].flatten())
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.5
    assert (logits(model, ids()) - logits(merge(model), ids())).abs().max() < 1e-5  # no norm, no row is an old one
    assert all(torch.equal(tensor, before[name]) for name, tensor in plain.state_dict().items())
    assert torch.equal(logits(reference, ids()), said)
    base = {p.data_ptr() for p in model.parameters() if p.dim() == 2 and not p.requires_grad}
    assert len(base & {p.data_ptr() for p in reference.parameters()}) == len(base) - 1  # all but the table


def test_a_saved_state_comes_back() -> None:
    _, model = adapted("qwen2", "dora")
    state = {name: tensor.detach().clone() for name, tensor in adapter_tensors(model).items()}
    said = logits(model, ids())
    shaken(model, seed=9)
    load_adapter_tensors(model, state)
    assert torch.equal(logits(model, ids()), said)
    plain = random_model(small_dense(tie_embeddings=True))
    assert adapter_tensors(plain).keys() == plain.state_dict().keys() - {"head.weight"}  # a tied table once
    with pytest.raises(CheckpointError, match="another model or adapter"):
        load_adapter_tensors(model, {**state, "blocks.9.q.a": torch.zeros(1)})


def test_in_bf16_it_stays_near_what_it_is_in_fp32() -> None:
    _, model = adapted("tied llama")
    half = copy.deepcopy(model)
    for parameter in half.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    exact, rounded = logits(model, ids()), logits(half, ids()).float()
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()
    mixed = copy.deepcopy(model)  # a base in bf16 under an adapter and activations in fp32
    for module in mixed.modules():
        if isinstance(module, AdaptedLinear):
            module.base.weight.data = module.base.weight.data.to(torch.bfloat16)
    assert (logits(mixed, ids()) - exact).abs().max() < 0.05 * exact.abs().max()
    assert logits(mixed, ids()).dtype == torch.float32


def test_rank_stabilised_scale() -> None:
    assert AdapterConfig(kind="lora", rank=16, alpha=32.0).scale == 2.0
    assert AdapterConfig(kind="lora", rank=16, alpha=32.0, rank_stabilised=True).scale == 8.0


def test_routed_experts_and_routers_are_left_alone() -> None:
    model = with_adapter(random_model(small_v3()), LORA, torch.Generator().manual_seed(1))
    names = {name.rpartition(".")[0] for name in adapter_tensors(model)}
    assert {n.split(".", 2)[2] for n in names if n.startswith("blocks.1.")} == {
        "attention.q", "attention.kv_a", "attention.kv_b", "attention.o",
        "feed_forward.shared.gate_up", "feed_forward.shared.down",
    }  # fmt: skip


def test_rows_beyond_the_base_are_always_trained() -> None:
    base = BaseModel(name="small", fingerprint="", vocab_size=297)
    model = with_adapter(random_model(small_dense()), LORA, torch.Generator().manual_seed(1), base=base)
    assert model.adapter is not None
    assert model.adapter.token_ids == (297, 298)
    assert adapter_tensors(model)["head.rows"].shape == (2, 48)


@pytest.mark.parametrize(("changes", "message"), [
    ({"rank": 0}, "adapter.rank = 0; expected 1"),
    ({"alpha": float("nan")}, "adapter.alpha = nan; expected a positive number"),
    ({"targets": ("q", "q")}, "every name once"),
])  # fmt: skip
def test_settings_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AdapterConfig(kind="lora", **changes)  # type: ignore[arg-type]


def test_adapters_that_cannot_be() -> None:
    model, generator = random_model(small_dense()), torch.Generator()
    with pytest.raises(ConfigError, match="names 'kv_a'; the linear maps of this model are q, k, v, o, gate, up, down"):
        with_adapter(model, AdapterConfig(kind="lora", targets=("kv_a",)), generator)
    with pytest.raises(ConfigError, match="token ids 3 to 299 to train; expected 0 to 298"):
        with_adapter(model, LORA, generator, token_ids=(3, 299))
    with pytest.raises(ConfigError, match="has an adapter already"):
        with_adapter(with_adapter(model, LORA, generator), settings("tied llama"), generator)
