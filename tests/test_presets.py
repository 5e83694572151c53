"""Named shapes and their parameters, against published and hand-worked counts."""

import math

import pytest
import torch
import torch.nn.functional as F

from ponder.models.config import MlaConfig, ModelConfig
from ponder.models.presets import PRESETS, ParameterCount, count_parameters
from ponder.models.transformer import Transformer
from small_models import random_ids, random_model, small_dense, small_moe, small_v3


def test_deepseek_v3_has_671_billion_parameters_and_37_active() -> None:
    count = count_parameters(PRESETS["deepseek-v3"](129280))
    # the published weights: 671B, 37B active, embedding and head 0.9B each, MTP 11.5B (README_WEIGHTS)
    assert round(count.total / 1e9) == 671
    assert round(count.active / 1e9) == 37
    assert count.embedding == 2 * 129280 * 7168
    assert count.mtp / 1e9 == pytest.approx(11.5, abs=0.15)


def test_deepseek_v3_layer_by_layer() -> None:
    """The same by hand from the numbers of section 4.2."""
    D = 7168
    attention = D * 1536 + 1536 + 1536 * 128 * 192 + D * 576 + 512 + 512 * 128 * 256 + 128 * 128 * D
    norms = 2 * D
    expert = 3 * D * 2048
    dense_layer = attention + norms + 3 * D * 18432
    moe_layer = attention + norms + 256 * D + 257 * expert
    used_of_moe_layer = attention + norms + 256 * D + 9 * expert
    outer = 2 * 129280 * D + D
    assert count_parameters(PRESETS["deepseek-v3"](129280)) == ParameterCount(
        total=outer + 3 * dense_layer + 58 * moe_layer,
        active=D + 129280 * D + D + 3 * dense_layer + 58 * used_of_moe_layer,
        per_token=D + 129280 * D + D + 3 * dense_layer + 58 * used_of_moe_layer,
        embedding=2 * 129280 * D,
        mtp=moe_layer + 2 * D * D + 3 * D,
    )


def test_tiny_models_are_of_one_size() -> None:
    v3, dense = (count_parameters(PRESETS[name](299)) for name in ("tiny-v3", "tiny-dense"))
    assert 5e5 < v3.total < 1.2e6
    assert 5e5 < dense.total < 1.2e6
    assert v3.active < v3.total / 2
    assert (dense.active, dense.per_token) == (dense.total, dense.total - 298 * 128)
    assert (dense.mtp, v3.mtp > 0) == (0, True)


def test_mini_has_a_few_hundred_million_parameters_in_v3s_shape() -> None:
    config = PRESETS["deepseek-v3-mini"](32000)
    count = count_parameters(config)
    assert 3e8 < count.total < 5e8
    assert count.active < 0.3 * count.total
    assert isinstance(config.attention, MlaConfig)
    assert config.attention.q_lora_rank is not None
    assert config.moe is not None
    assert config.moe.groups == 8


@pytest.mark.parametrize("config", [small_v3(mtp_depth=2), small_v3(tie_embeddings=True), small_dense()])
def test_count_is_that_of_the_real_tensors(config: ModelConfig) -> None:
    count = count_parameters(config)
    assert count.total + count.mtp == sum(p.numel() for p in random_model(config).parameters())


def test_active_of_a_tied_and_of_a_routed_model() -> None:
    tied = count_parameters(small_dense(tie_embeddings=True))
    assert tied.per_token == tied.active == tied.total
    all_used = count_parameters(small_v3(moe=small_moe(experts_per_token=8)))
    two_used = count_parameters(small_v3(moe=small_moe(experts_per_token=2)))
    assert all_used.active - two_used.active == 6 * 3 * 48 * 20  # six experts fewer, in the one layer that has them


@pytest.mark.parametrize("name", ["tiny-v3", "tiny-dense"])
def test_tiny_presets_run(name: str) -> None:
    """One step of plain gradient descent on one batch lowers its loss."""
    model = Transformer(PRESETS[name](299), torch.Generator().manual_seed(0))
    ids_BT = random_ids(4, 16)

    def loss() -> torch.Tensor:
        return F.cross_entropy(model.head(model(ids_BT)[:, :-1]).flatten(0, 1), ids_BT[:, 1:].flatten())

    before = loss()
    before.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
        assert before.item() == pytest.approx(math.log(299), abs=0.3)
        assert loss() < before - 0.05
