"""Sampling: the random numbers, the distribution, and that a sample does not depend on its batch."""

import math

import pytest
import torch

from ponder.algo.sampling import counter_uniform, sample
from ponder.core.seeds import derive_seed


def splitmix(seed: int, counter: int) -> float:
    """The same number by Python integers: output `counter` of SplitMix64 seeded with `seed`, its top 24 bits."""
    mask = 2**64 - 1
    z = (seed + (counter + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    z = z ^ (z >> 31)
    return min((z >> 40) * 2.0**-24 + 2.0**-25, 1.0 - 2.0**-24)


def chi_square_bound(freedom: int) -> float:
    """A bound that a right sampler exceeds about once in a million (Wilson and Hilferty's approximation)."""
    return freedom * (1 - 2 / (9 * freedom) + 4.75 * math.sqrt(2 / (9 * freedom))) ** 3


def test_golden_output_of_splitmix64() -> None:
    # the first output of the published generator seeded with 0 is 0xE220A8397B1DCDAF
    assert splitmix(0, 0) == 0xE220A8 * 2.0**-24 + 2.0**-25
    zero = torch.zeros(1, dtype=torch.int64)
    assert counter_uniform(zero, zero).item() == pytest.approx(splitmix(0, 0), abs=2.0**-25)


def test_equals_python_integers() -> None:
    pairs = [(derive_seed(0, i), counter) for i in range(50) for counter in (0, 1, 63, 4095)]
    pairs += [(2**63 - 1, 0), (1, 2**31)]
    got = counter_uniform(torch.tensor([seed for seed, _ in pairs]), torch.tensor([counter for _, counter in pairs]))
    assert got.tolist() == [torch.tensor(splitmix(seed, counter)).item() for seed, counter in pairs]


def unmix(z: int) -> int:
    """The seed whose output 0 has these 64 bits: the mixing undone."""
    mask = 2**64 - 1
    z = z ^ (z >> 31) ^ (z >> 62)
    z = z * pow(0x94D049BB133111EB, -1, 2**64) & mask
    z = z ^ (z >> 27) ^ (z >> 54)
    z = z * pow(0xBF58476D1CE4E5B9, -1, 2**64) & mask
    z = z ^ (z >> 30) ^ (z >> 60)
    return (z - 0x9E3779B97F4A7C15) & mask


def test_the_ends_stay_inside() -> None:
    for bits, expected in ((0, 2.0**-25), (0xFFFFFF, 1.0 - 2.0**-24)):  # 1 - 2⁻²⁵ would round up to 1
        seed = unmix(bits << 40)
        signed = seed - 2**64 if seed >= 2**63 else seed
        assert counter_uniform(torch.tensor([signed]), torch.tensor([0])).item() == expected


def test_uniform_over_seeds_and_over_counters() -> None:
    count, bins = 100_000, 50
    steps = torch.arange(count)
    streams = {
        "counters": counter_uniform(torch.full((count,), 12345), steps),
        "seeds": counter_uniform(steps, torch.full((count,), 7)),
    }
    for name, uniform in streams.items():
        assert uniform.min() > 0.0
        assert uniform.max() < 1.0
        observed = torch.histc(uniform, bins, 0.0, 1.0)
        chi_square = ((observed - count / bins) ** 2 / (count / bins)).sum().item()
        assert chi_square < chi_square_bound(bins - 1), name
        # neighbours are not related: the correlation of independent numbers is about 1/sqrt(count)
        correlation = torch.corrcoef(torch.stack([uniform[:-1], uniform[1:]]))[0, 1].item()
        assert abs(correlation) < 5 / math.sqrt(count), name


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    count = 100_000
    logits = torch.tensor([2.0, -1.0, 0.5, 0.0, 1.0, -2.0, 0.25])
    uniform = counter_uniform(torch.arange(count), torch.zeros(count, dtype=torch.int64))
    drawn = sample(logits.expand(count, -1), uniform, temperature)
    expected = count * torch.softmax(logits / temperature, dim=0)
    observed = torch.bincount(drawn.ids_B, minlength=7)
    assert ((observed - expected) ** 2 / expected).sum().item() < chi_square_bound(6)
    logp = torch.log_softmax(logits / temperature, dim=0)
    assert torch.allclose(drawn.logp_B, logp[drawn.ids_B])


def test_inversion_by_hand() -> None:
    # cumulative 0.5, 0.75, 1: the draw is the first whose sum exceeds the number
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log().expand(5, -1)
    drawn = sample(logits, torch.tensor([0.1, 0.49, 0.51, 0.76, 0.9999]), 1.0)
    assert drawn.ids_B.tolist() == [0, 0, 1, 2, 2]
    assert drawn.logp_B.exp().tolist() == pytest.approx([0.5, 0.5, 0.25, 0.25, 0.25])


@pytest.mark.parametrize("uniform", [2.0**-25, 0.5, 1.0 - 2.0**-24])
def test_an_impossible_token_is_never_drawn(uniform: float) -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -math.inf]])
    drawn = sample(logits, torch.tensor([uniform]), 1.0)
    assert drawn.ids_B.item() in (1, 3)
    assert drawn.logp_B.item() == pytest.approx(math.log(0.5))


def test_greedy_takes_the_most_likely_and_reports_the_models_own_logprob() -> None:
    logits = torch.tensor([[0.0, math.log(3), 0.0], [math.log(8), 0.0, 0.0]])
    drawn = sample(logits, torch.tensor([0.99, 0.99]), 0.0)
    assert drawn.ids_B.tolist() == [1, 0]
    assert drawn.logp_B.exp().tolist() == pytest.approx([0.6, 0.8])


def test_a_sample_does_not_depend_on_its_batch() -> None:
    count = 257
    logits = torch.randn(count, 101, generator=torch.Generator().manual_seed(1))
    seeds = torch.tensor([derive_seed(3, i) for i in range(count)])
    counters = torch.arange(count) % 5
    together = sample(logits, counter_uniform(seeds, counters), 1.0)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(2))
    shuffled = sample(logits[order], counter_uniform(seeds[order], counters[order]), 1.0)
    assert torch.equal(shuffled.ids_B, together.ids_B[order])
    alone = [
        sample(logits[i : i + 1], counter_uniform(seeds[i : i + 1], counters[i : i + 1]), 1.0) for i in range(count)
    ]
    assert [one.ids_B.item() for one in alone] == together.ids_B.tolist()
    assert [one.logp_B.item() for one in alone] == pytest.approx(together.logp_B.tolist(), abs=1e-6)
