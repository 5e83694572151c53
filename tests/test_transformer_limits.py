"""A forward pass beyond the model's context is refused, whatever computes it: kernels would read what is not there."""

import pytest
import torch

from ponder.core.errors import DataError
from ponder.models.config import ModelConfig
from small_models import random_model, small_dense, small_v3


@pytest.mark.parametrize("shape", [small_dense(max_positions=16), small_v3(max_positions=16)], ids=["dense", "v3"])
def test_sequences_longer_than_the_context_are_refused(shape: ModelConfig) -> None:
    model = random_model(shape)
    for rows in (1, 2):
        ids = torch.ones(rows, 17, dtype=torch.long)
        with pytest.raises(
            DataError, match="a sequence of 17 tokens, and the model's context has 16 positions; shorten"
        ):
            model(ids)
        assert torch.isfinite(model(ids[:, :16])).all()


def test_of_packed_sequences_each_has_the_whole_context() -> None:
    model = random_model(small_dense(max_positions=16))
    ids = torch.ones(1, 33, dtype=torch.long)
    assert torch.isfinite(model(ids, lengths=[16, 16, 1])).all()
    with pytest.raises(DataError, match="a sequence of 17 tokens"):
        model(ids, lengths=[16, 17])
    with pytest.raises(DataError, match="a sequence of 17 tokens"):
        model(ids, lengths=[(12, 4, 5), 12])
