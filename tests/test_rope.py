"""Rotary positions and YaRN by hand and by their properties."""

import math

import pytest
import torch

from ponder.models.config import YarnConfig
from ponder.models.presets import deepseek_v3
from ponder.models.rope import inverse_frequencies, rotate, rotation_scale, rotation_table, softmax_scale
from small_models import small_dense, small_v3

V3_YARN = YarnConfig(factor=40.0, original_positions=4096)


def test_frequencies_by_hand() -> None:
    # theta^(-2i/R) with theta = 10000, R = 8
    assert inverse_frequencies(8, 10000.0, None).tolist() == pytest.approx([1.0, 0.1, 0.01, 0.001])


def test_yarn_frequencies_of_v3() -> None:
    """R = 64: pair 64 ln(4096/(2π · 32))/(2 ln 10000) = 10.47 turns 32 times, pair 22.51 once.

    So pairs up to 10 keep their frequency, pairs from 23 are divided by 40, pair 16 is 6/13 of the way.
    """
    plain, got = inverse_frequencies(64, 10000.0, None), inverse_frequencies(64, 10000.0, V3_YARN)
    ratio = (got / plain).tolist()
    assert ratio[:11] == pytest.approx([1.0] * 11)
    assert ratio[23:] == pytest.approx([1 / 40] * 9)
    assert ratio[16] == pytest.approx(7 / 13 + 6 / 13 / 40)
    assert ratio[10:24] == sorted(set(ratio[10:24]), reverse=True)


def test_yarn_scales() -> None:
    # V3: 192^-0.5 · (0.1 ln 40 + 1)² = 0.0721688 · 1.368888²
    assert softmax_scale(192, None) == pytest.approx(0.0721688, rel=1e-6)
    assert softmax_scale(192, V3_YARN) == pytest.approx(0.1352338, rel=1e-6)
    assert rotation_scale(V3_YARN) == 1.0
    only_vectors = YarnConfig(factor=40.0, original_positions=4096, mscale=0.707, mscale_all_dim=0.0)
    assert rotation_scale(only_vectors) == pytest.approx(0.0707 * math.log(40) + 1)
    assert softmax_scale(192, only_vectors) == softmax_scale(192, None)
    no_growth = YarnConfig(factor=1.0, original_positions=4096)
    assert (rotation_scale(no_growth), softmax_scale(64, no_growth)) == (1.0, 0.125)


def test_rotation_by_hand() -> None:
    """Four dimensions at position 3, with the two fastest frequencies of eight: angles 3 and 0.3."""
    cos, sin = rotation_table(small_dense())
    cos, sin = cos[3, :2], sin[3, :2]
    assert cos.tolist() == pytest.approx([math.cos(3), math.cos(0.3)])
    x = torch.tensor([1.0, 0.0, 0.0, 2.0])
    # interleaved: pairs (1, 0) and (0, 2); the first halves of the pairs come first
    expected = [math.cos(3), -2 * math.sin(0.3), math.sin(3), 2 * math.cos(0.3)]
    assert rotate(x, cos, sin, interleaved=True).tolist() == pytest.approx(expected)
    # halves: pairs (1, 0) and (0, 2) are dimensions 0 with 2 and 1 with 3
    assert rotate(x, cos, sin, interleaved=False).tolist() == pytest.approx(expected)
    y = torch.tensor([1.0, 5.0, 0.0, 2.0])
    turned = rotate(y, cos, sin, interleaved=True).tolist()
    assert turned[0] == pytest.approx(math.cos(3) - 5 * math.sin(3))
    turned = rotate(y, cos, sin, interleaved=False).tolist()
    assert turned[1] == pytest.approx(5 * math.cos(0.3) - 2 * math.sin(0.3))


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("yarn", [None, YarnConfig(factor=4.0, original_positions=16)])
def test_scores_depend_on_the_distance_alone(interleaved: bool, yarn: YarnConfig | None) -> None:
    cos, sin = rotation_table(small_v3(rope_scaling=yarn))
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 8, generator=generator)

    def score(at_q: int, at_k: int) -> float:
        turned_q = rotate(q, cos[at_q], sin[at_q], interleaved=interleaved)
        return float(turned_q @ rotate(k, cos[at_k], sin[at_k], interleaved=interleaved))

    assert score(0, 0) == pytest.approx(float(q @ k), rel=1e-5)
    assert score(63, 40) == pytest.approx(score(23, 0), abs=1e-4)
    assert score(23, 0) != pytest.approx(score(0, 23), abs=1e-2)


def test_table_holds_every_position_in_full_precision() -> None:
    config = deepseek_v3(129280)
    frequencies = inverse_frequencies(config.rope_dim, config.rope_theta, config.rope_scaling)
    assert (config.rope_dim, len(frequencies)) == (64, 32)
    cos, sin = rotation_table(small_v3(max_positions=50))
    assert cos.shape == sin.shape == (50, 4)
    torch.testing.assert_close(cos**2 + sin**2, torch.ones(50, 4))
    assert sin[49, 0].item() == pytest.approx(math.sin(49), abs=1e-5)
