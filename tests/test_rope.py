"""Rotary positions and YaRN by hand and by their properties."""

import math

import pytest
import torch

from ponder.models.cache import Cache
from ponder.models.config import LinearRopeConfig, Llama3RopeConfig, RopeScaling, YarnConfig
from ponder.models.presets import deepseek_v3
from ponder.models.rope import inverse_frequencies, rotate, rotation_scale, rotation_table, softmax_scale
from small_models import random_ids, random_model, small_dense, small_v3

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


def test_llama3_frequencies() -> None:
    """Llama 3.1: theta 500,000, 64 pairs, factor 8, 8,192 positions, ramp from 1 to 4 turns.

    Pair i turns 8192/(2π) · 500000^(-i/64) = 1303.797 · e^(-0.2050368 i) times: 4.19 at 28, so it stays; 3.41 at 29,
    which is (3.41086 - 1)/3 = 0.80362 of the way; 1.22 at 34; 0.997 at 35, which is divided by 8.
    """
    plain = inverse_frequencies(128, 500000.0, None)
    ratio = (inverse_frequencies(128, 500000.0, Llama3RopeConfig(factor=8.0, original_positions=8192)) / plain).tolist()
    turns = [8192 / (2 * math.pi) * 500000.0 ** (-i / 64) for i in range(64)]
    assert turns[28] > 4 > turns[29]
    assert turns[34] > 1 > turns[35]
    assert ratio[:29] == pytest.approx([1.0] * 29)
    assert ratio[29] == pytest.approx(0.80362 + 0.19638 / 8, abs=1e-5)
    assert ratio[34] == pytest.approx((turns[34] - 1) / 3 * 7 / 8 + 1 / 8)
    assert ratio[35:] == pytest.approx([1 / 8] * 29)


def test_linear_frequencies() -> None:
    assert inverse_frequencies(8, 10000.0, LinearRopeConfig(factor=4.0)).tolist() == pytest.approx(
        [0.25, 0.025, 0.0025, 0.00025]
    )


@pytest.mark.parametrize(
    "scaling", [LinearRopeConfig(factor=4.0), Llama3RopeConfig(factor=8.0, original_positions=8192)]
)
def test_only_yarn_changes_the_scale_of_the_scores(scaling: RopeScaling) -> None:
    assert (rotation_scale(scaling), softmax_scale(64, scaling)) == (1.0, 0.125)


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


def test_the_table_grows_as_it_is_needed() -> None:
    """Any number of first rows is bit for bit the beginning of the whole table, also when it was made for sampling."""
    model = random_model(small_dense(max_positions=3000))
    whole = torch.stack(rotation_table(model.config))
    assert whole.shape == (2, 3000, 4)
    for length in (5, 513, 1500, 2900, 3000):
        with torch.inference_mode():
            model(random_ids(1, length)[:, :1], cache=Cache.empty(model.config, 1, length),
                  positions_BT=torch.tensor([[length - 1]]))  # fmt: skip
        assert length <= model.rotations.shape[1] <= max(512, 2 * length, 3000)
        assert torch.equal(model.rotations, whole[:, : model.rotations.shape[1]])
    model(random_ids(1, 20)).sum().backward()


def test_table_holds_every_position_in_full_precision() -> None:
    config = deepseek_v3(129280)
    frequencies = inverse_frequencies(config.rope_dim, config.rope_theta, config.rope_scaling)
    assert (config.rope_dim, len(frequencies)) == (64, 32)
    cos, sin = rotation_table(small_v3(max_positions=50))
    assert cos.shape == sin.shape == (50, 4)
    torch.testing.assert_close(cos**2 + sin**2, torch.ones(50, 4))
    assert sin[49, 0].item() == pytest.approx(math.sin(49), abs=1e-5)
