"""Cross-entropy on ordinary text, against the definition."""

import math

import pytest
import torch

from ponder.core.errors import DataError
from ponder.core.workers import ComputeConfig, Workers
from ponder.evals.text_loss import Passage, passages_of, text_loss
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from tiny_recipe import MODEL

TOKENIZER = Tokenizer.for_arithmetic()


def test_it_is_the_mean_negative_log_probability_of_the_scored_tokens() -> None:
    model = Transformer(MODEL, torch.Generator().manual_seed(1))
    first, second = (1, 2, 3, 4, 5), (5, 4, 3, 2, 1)
    passages = [Passage(first, (True,) * 5), Passage(second, (False, False, False, True, True))]

    def loss(ids: tuple[int, ...], positions: list[int]) -> float:
        probabilities = model.head(model(torch.tensor([ids])))[0].softmax(-1)
        return -sum(math.log(float(probabilities[p - 1, ids[p]])) for p in positions) / len(positions)

    with torch.no_grad():
        means = [loss(first, [1, 2, 3, 4]), loss(second, [3, 4])]
    with Workers(ComputeConfig(workers=1)) as workers:
        measured = text_loss(model, passages, workers)
    assert measured.mean == pytest.approx(sum(means) / 2, abs=1e-5)
    spread = abs(means[0] - means[1]) / math.sqrt(2)  # the standard deviation of two values
    assert measured.high - measured.mean == pytest.approx(1.959964 * spread / math.sqrt(2), abs=1e-5)


def test_passages_come_evenly_from_the_whole_text() -> None:
    ids = TOKENIZER.encode("1+2=3;" * 20)
    whole = passages_of(["1+2=3;" * 20], TOKENIZER, tokens=10, most=100)
    assert [token for p in whole for token in p.ids] == ids[: len(ids) // 10 * 10]
    assert [p.ids for p in passages_of(["1+2=3;" * 20], TOKENIZER, tokens=10, most=3)] == [
        p.ids for p in whole[:: len(whole) // 3][:3]
    ]
    some = passages_of(["1+2=3;" * 20], TOKENIZER, tokens=10, most=8)  # evenly where the number does not divide
    assert [p.ids for p in some] == [whole[i * len(whole) // 8].ids for i in range(8)]
    assert some[-1].ids in [p.ids for p in whole[-2:]]
    tokens = len(ids) - 3  # none goes over from one text to the next
    of_each = passages_of(["1+2=3;" * 20, "3-1=2;" * 20], TOKENIZER, tokens=tokens, most=9)
    assert [p.ids for p in of_each] == [tuple(ids[:tokens]), tuple(TOKENIZER.encode("3-1=2;" * 20)[:tokens])]


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(DataError, match="shorter than one passage of 256 tokens"):
        passages_of(["123"], TOKENIZER)
    model = Transformer(MODEL, torch.Generator().manual_seed(1))
    one = passages_of(["3-1=2;" * 20], TOKENIZER, tokens=16)[:1]
    with Workers(ComputeConfig(workers=1)) as workers:
        for passages in ([], one):
            with pytest.raises(DataError, match=f"{len(passages)} passages to predict; expected two or more"):
                text_loss(model, passages, workers)
