"""Padding, masks and micro-batches; and that neither micro-batches nor padding change a gradient."""

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from ponder.algo.logprobs import score_tokens
from ponder.core.workers import ComputeConfig, Workers
from ponder.models.moe import RoutingStats
from ponder.models.transformer import Transformer
from ponder.train.batch import PackedCompletions, PaddedBatch, micro_batches, packed_micro_batches
from ponder.train.gradients import accumulate_gradients
from tiny_recipe import MODEL


def test_collate_by_hand() -> None:
    batch = PaddedBatch.collate([[5, 6, 7], [8, 9, 10, 11, 12]], [2, 1], pad=0)
    assert batch.ids_BT.tolist() == [[5, 6, 7, 0, 0], [8, 9, 10, 11, 12]]
    assert batch.valid_BT.tolist() == [[True, True, True, False, False], [True] * 5]
    assert batch.scored_BT.tolist() == [[False, False, True, False, False], [False, True, True, True, True]]


def test_masks_come_from_lengths_and_not_from_token_values() -> None:
    batch = PaddedBatch.collate([[0, 0, 0], [1]], [1, 1], pad=0)
    assert batch.valid_BT.tolist() == [[True, True, True], [True, False, False]]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80), st.integers(1, 2000))
def test_every_sequence_is_in_one_micro_batch_and_none_is_too_large(lengths: list[int], most: int) -> None:
    cuts = micro_batches(lengths, most)
    assert sorted(i for cut in cuts for i in cut) == list(range(len(lengths)))
    assert all(len(cut) == 1 or len(cut) * max(lengths[i] for i in cut) <= most for cut in cuts)


def test_equal_sequences_are_cut_in_two_equal_parts() -> None:
    assert [len(cut) for cut in micro_batches([50] * 64, 4096)] == [32, 32]
    assert [len(cut) for cut in micro_batches([50] * 64, 1000)] == [16, 16, 16, 16]


def test_completions_of_one_prompt_are_packed_behind_it_by_hand() -> None:
    """Each token is predicted by the one before it, the first by the prompt's last; last tokens are not run."""
    prompts = [(1, 2), (1, 2), (1, 2), (3,), (1, 2)]
    packed = PackedCompletions.collate(prompts, [[5, 6, 7], [8], [], [9, 10], [11, 12]])
    assert packed.ids_1T.tolist() == [[1, 2, 5, 6, 3, 9, 1, 2, 11]]
    assert packed.lengths == [[2, 2], [1, 1], [2, 1]]
    assert packed.completion_ids_M.tolist() == [5, 6, 7, 8, 9, 10, 11, 12]
    assert packed.states_M.tolist() == [1, 2, 3, 1, 4, 5, 7, 8]
    nothing = PackedCompletions.collate([(1, 2)], [[]])
    assert (nothing.ids_1T.tolist(), nothing.lengths) == ([[1, 2]], [[2]])
    assert torch.zeros(2, 3)[nothing.states_M].shape == (0, 3)


def test_the_samplers_experts_are_replayed_where_their_tokens_stand() -> None:
    """A completion's record begins with its prompt; what a record lacks, the model chooses itself."""
    layers, K = len(MODEL.routed_layers), MODEL.moe.experts_per_token if MODEL.moe else 0

    def record(first: int, tokens: int) -> bytes:
        return torch.arange(first, first + tokens)[:, None, None].expand(tokens, layers, K).short().numpy().tobytes()

    packed = PackedCompletions.collate([(1, 2), (1, 2), (3,)], [[5, 6, 7], [8, 9], [10, 11, 12]])
    routes = packed.replayed_routes([record(10, 4), record(20, 3), record(30, 2)], MODEL)
    assert routes is not None
    assert routes.replay
    for layer in MODEL.routed_layers:
        assert routes.chosen[layer].shape == (1, 8, K)
        assert routes.chosen[layer][0, :, 0].tolist() == [10, 11, 12, 13, 22, 30, 31, -1]
    assert packed.replayed_routes([record(10, 4), None, record(30, 3)], MODEL) is None


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 100)), min_size=1, max_size=80),
    st.integers(1, 1000),
)
def test_every_completion_is_in_one_micro_batch_beside_its_siblings(made: list[tuple[int, int]], most: int) -> None:
    prompts, lengths = [(prompt,) * (3 * prompt + 1) for prompt, _ in made], [length for _, length in made]
    cuts = packed_micro_batches(prompts, lengths, most)
    assert sorted(i for cut in cuts for i in cut) == list(range(len(made)))
    for cut in cuts:
        tokens = sum(lengths[i] for i in cut) + sum(len(prompt) for prompt in {prompts[i] for i in cut})
        assert len(cut) == 1 or tokens <= most
        seen = [prompts[i] for i in cut]
        assert sum(a != b for a, b in pairwise(seen)) == len(set(seen)) - 1


def test_equal_groups_are_cut_in_two_equal_parts() -> None:
    prompts = [(i % 8, 0) for i in range(64)]
    assert [len(cut) for cut in packed_micro_batches(prompts, [50] * 64, 4096)] == [32, 32]
    assert [len(cut) for cut in packed_micro_batches(prompts, [50] * 64, 1000)] == [16, 16, 16, 16]


def test_the_gradient_does_not_depend_on_the_cut() -> None:
    """Sum over micro-batches = whole batch, in value and gradient, padding and balance loss included."""
    model = Transformer(MODEL, torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(9)
    sequences = [torch.randint(0, 299, (n,), generator=generator).tolist() for n in (5, 9, 9, 14, 20, 31)]
    prompts = [2, 3, 4, 5, 6, 7]

    def gradients(max_tokens: int, workers: Workers) -> tuple[float, list[torch.Tensor]]:
        def loss_of(rows: list[int]) -> tuple[torch.Tensor, float]:
            batch = PaddedBatch.collate([sequences[i] for i in rows], [prompts[i] for i in rows], 0)
            stats = RoutingStats(batch.valid_BT)
            hidden = model(batch.ids_BT, stats=stats)
            loss = -score_tokens(hidden, model.head.weight, batch.ids_BT, batch.scored_BT).logp_M.sum()
            for k, states in enumerate(model.mtp_hidden(hidden, batch.ids_BT, stats), start=1):
                scored = score_tokens(states, model.head.weight, batch.ids_BT[:, k:], batch.scored_BT[:, k:])
                loss = loss - 0.3 * scored.logp_M.sum()
            loss = (loss + 0.1 * stats.balance_sum) / 50
            return loss, float(loss.detach())

        losses = accumulate_gradients(model, micro_batches([len(s) for s in sequences], max_tokens), loss_of, workers)
        return sum(losses), [p.grad.clone() for p in model.parameters() if p.grad is not None]

    with Workers(ComputeConfig(workers=2)) as workers:
        whole_loss, whole = gradients(10_000, workers)
        for max_tokens in (1, 20, 60):
            loss, parts = gradients(max_tokens, workers)
            assert abs(loss - whole_loss) < 1e-5
            assert len(parts) == len(whole)
            assert all(torch.allclose(a, b, atol=2e-6) for a, b in zip(parts, whole, strict=True))


def test_the_number_of_workers_gives_the_same_gradient_bit_for_bit() -> None:
    model = Transformer(MODEL, torch.Generator().manual_seed(2))
    ids = torch.randint(0, 299, (12, 10), generator=torch.Generator().manual_seed(1)).tolist()

    def loss_of(rows: list[int]) -> tuple[torch.Tensor, None]:
        batch = PaddedBatch.collate([ids[i] for i in rows], [1] * len(rows), 0)
        return -score_tokens(model(batch.ids_BT), model.head.weight, batch.ids_BT, batch.scored_BT).logp_M.sum(), None

    results = []
    for count in (1, 2, 3):
        with Workers(ComputeConfig(workers=count)) as workers:
            accumulate_gradients(model, [[i] for i in range(12)], loss_of, workers)
        results.append([p.grad for p in model.parameters() if p.grad is not None])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
