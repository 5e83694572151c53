"""Rows of packed examples: none is lost, cut or passed over; and each gets what it would get alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ponder.core.errors import ConfigError, DataError
from ponder.data.packing import PackingConfig, PackingState, best_fit, count_steps, pack_step
from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer
from small_models import random_ids, random_model, small_dense, small_v3

LENGTHS = (5, 1, 9, 3, 14)


def small_latent() -> ModelConfig:
    """Latent attention in every layer, no experts."""
    return small_v3(moe=None)


def test_best_fit_by_hand() -> None:
    config = PackingConfig(row_tokens=10, rows=2)
    lengths = [6, 7, 3, 4, 5, 1]
    first = pack_step(lengths.__getitem__, config, PackingState(), len(lengths))
    # 6 → row 0, 7 → row 1, 3 → the row with 3 left, 4 → the other; both are full
    assert first.rows == ((0, 3), (1, 2))
    assert first.state == PackingState(drawn=4)
    second = pack_step(lengths.__getitem__, config, first.state, len(lengths))
    assert second.rows == ((4, 5), ())
    assert count_steps(lengths.__getitem__, config, len(lengths)) == 2


def test_one_that_finds_no_room_comes_first_in_the_next_step() -> None:
    lengths = [8, 5, 5, 2]
    config = PackingConfig(row_tokens=10, rows=1)
    step = pack_step(lengths.__getitem__, config, PackingState(), 4)
    assert step.rows == ((0, 3),)
    assert step.state.waiting == (1, 2)
    assert pack_step(lengths.__getitem__, config, step.state, 4).rows == ((1, 2),)


def test_an_endless_stream_of_nothing_that_fits_is_given_up() -> None:
    config = PackingConfig(row_tokens=10, rows=1, too_long="leave_out")

    def length_of(place: int) -> int:
        assert place < 2000, "it goes on for ever"
        return 4 if place == 900 else 11

    with pytest.raises(
        DataError, match="1000 examples one after the other were left out: they are longer than a row of 10 tokens; ma"
    ):
        pack_step(length_of, config, PackingState())
    assert pack_step(length_of, config, PackingState(), end=1950).state.left_out == 1949  # this one has an end


@given(st.lists(st.integers(1, 40), min_size=1, max_size=120), st.integers(1, 4))
def test_every_example_is_packed_once_and_no_row_overflows(lengths: list[int], rows: int) -> None:
    config, state = PackingConfig(row_tokens=40, rows=rows), PackingState()
    seen: list[int] = []
    for _ in range(count_steps(lengths.__getitem__, config, len(lengths))):
        packed = pack_step(lengths.__getitem__, config, state, len(lengths))
        assert all(sum(lengths[place] for place in row) <= 40 for row in packed.rows)
        seen += [place for row in packed.rows for place in row]
        state = packed.state
    assert sorted(seen) == list(range(len(lengths)))
    assert not state.waiting


def test_short_examples_fill_nearly_all_of_a_row() -> None:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(20, 160, (4000,), generator=generator).tolist()
    config, state, filled = PackingConfig(row_tokens=1024, rows=4), PackingState(), 0
    for _ in range(20):
        packed = pack_step(lengths.__getitem__, config, state)
        filled += sum(lengths[place] for row in packed.rows for place in row)
        state = packed.state
    assert filled / (20 * 4096) > 0.985


def test_an_example_longer_than_a_row_is_refused_or_counted() -> None:
    lengths = [4, 11, 6]
    with pytest.raises(DataError, match="example 1 has 11 tokens, more than a row of 10 tokens; make rows longer"):
        pack_step(lengths.__getitem__, PackingConfig(row_tokens=10, rows=1), PackingState(), 3)
    lenient = PackingConfig(row_tokens=10, rows=1, too_long="leave_out")
    packed = pack_step(lengths.__getitem__, lenient, PackingState(), 3)
    assert packed.rows == ((0, 2),)
    assert packed.state.left_out == 1
    with pytest.raises(ConfigError, match="row_tokens = 1, rows = 1"):
        PackingConfig(row_tokens=1, rows=1)


def test_best_fit_of_nothing() -> None:
    assert best_fit([3, 5, 4], 4) == 2
    assert best_fit([3, 5, 4], 6) is None


@pytest.mark.parametrize("config", [small_dense(), small_latent()], ids=["gqa", "mla"])
@pytest.mark.parametrize("recompute", [False, True])
def test_packed_values_and_gradients_are_those_of_each_example_alone(config: ModelConfig, recompute: bool) -> None:
    model = random_model(config).double()
    rows = [random_ids(1, length, seed=length) for length in LENGTHS]

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss, [p for n, p in model.named_parameters() if n != "head.weight"]))

    weights = [torch.randn(1, n, config.hidden_size, generator=torch.Generator().manual_seed(n)) for n in LENGTHS]
    alone = [model(ids, lengths=(ids.shape[1],)) for ids in rows]
    for ids, states in zip(rows, alone, strict=True):  # the softmax of the ordinary pass is in fp32
        assert (model(ids) - states).abs().max() < 2e-6
    packed = model(torch.cat(rows, dim=1), lengths=LENGTHS, recompute=recompute)
    for part, expected in zip(packed.split(LENGTHS, dim=1), alone, strict=True):
        assert (part - expected).abs().max() < 1e-12
    expected_gradients = gradients(sum((h * w).sum() for h, w in zip(alone, weights, strict=True)))
    for got, expected in zip(gradients((packed * torch.cat(weights, dim=1)).sum()), expected_gradients, strict=True):
        assert (got - expected).abs().max() < 1e-11


def test_an_example_does_not_see_its_neighbours() -> None:
    """Not by a bit: whatever stands before and after it, its states are the same."""
    model = random_model(small_dense())
    mine = random_ids(1, 6, seed=3)
    with torch.no_grad():
        first = model(torch.cat((random_ids(1, 4, seed=4), mine, random_ids(1, 5, seed=5)), dim=1), lengths=(4, 6, 5))
        second = model(torch.cat((random_ids(1, 4, seed=8), mine, random_ids(1, 5, seed=9)), dim=1), lengths=(4, 6, 5))
    assert torch.equal(first[:, 4:10], second[:, 4:10])
    assert not torch.equal(first[:, :4], second[:, :4])


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("config", [small_dense(), small_latent()], ids=["gqa", "mla"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["plain", "compiled"])
def test_sequences_that_share_a_prefix_get_what_each_would_get_alone(config: ModelConfig, dtype: torch.dtype) -> None:
    model, near = random_model(config).to(dtype), 1e-12 if dtype == torch.float64 else 2e-5
    prefixes, tails = [random_ids(1, 6, seed=1), random_ids(1, 3, seed=2)], [[4, 1, 9], []]
    members = [[random_ids(1, n, seed=10 * i + n) for n in lengths] for i, lengths in enumerate(tails)]
    row = torch.cat([ids for prefix, own in zip(prefixes, members, strict=True) for ids in (prefix, *own)], dim=1)
    shared = model(row, lengths=[(6, 4, 1, 9), 3])
    weights = torch.randn(shared.shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    whole = [model(torch.cat((prefixes[0], ids), dim=1), lengths=(6 + ids.shape[1],)) for ids in members[0]]
    alone = torch.cat((whole[0][:, :6], *(states[:, 6:] for states in whole), model(prefixes[1], lengths=(3,))), dim=1)
    assert (shared - alone).abs().max() < near
    parameters = [p for name, p in model.named_parameters() if name != "head.weight"]
    got, expected = (torch.autograd.grad((states * weights).sum(), parameters) for states in (shared, alone))
    for ours, theirs in zip(got, expected, strict=True):
        assert (ours - theirs).abs().max() < 20 * near


def test_ids_that_are_not_as_long_as_the_lengths_say_are_refused() -> None:
    model = Transformer(small_dense(), torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="cannot be 2 packed sequences"):
        model(random_ids(1, 5), lengths=(2, 2))
