"""How well a model still predicts ordinary text: what training for something else has cost it.

Shapes: B sequences, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ponder.algo.logprobs import score_tokens
from ponder.algo.pass_at_k import Interval, mean_interval
from ponder.core.errors import DataError
from ponder.core.workers import Workers
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Passage:
    """A sequence, and which of its tokens are to be predicted. The first never is."""

    ids: tuple[int, ...]
    scored: tuple[bool, ...]


def passages_of(texts: Sequence[str], tokenizer: Tokenizer, *, tokens: int = 256, most: int = 64) -> list[Passage]:
    """Up to `most` passages of `tokens` tokens, evenly from the whole of the texts. Raises `DataError` where they are
    too short for one.
    """
    passages = []
    for text in texts:
        ids = tokenizer.encode(text)
        passages += [tuple(ids[i : i + tokens]) for i in range(0, len(ids) - tokens + 1, tokens)]
    if not passages:
        raise DataError(f"the texts are shorter than one passage of {tokens} tokens; give longer ones")
    taken = min(most, len(passages))
    chosen = [passages[i * len(passages) // taken] for i in range(taken)]
    return [Passage(ids, (True,) * tokens) for ids in chosen]


def text_loss(model: Transformer, passages: Sequence[Passage], workers: Workers) -> Interval:
    """Mean cross-entropy of a token, in nat, with a 95 % interval over passages. Raises `DataError` for fewer than two,
    which have no interval.
    """
    if len(passages) < 2:
        raise DataError(f"{len(passages)} passages to predict; expected two or more, which an interval can be of")

    def loss_of(passage: Passage) -> float:
        ids_BT = torch.tensor([passage.ids])
        scored_BT = torch.tensor([passage.scored])
        with torch.no_grad():
            logp_M = score_tokens(model(ids_BT), model.head.weight, ids_BT, scored_BT).logp_M
        return float(-logp_M.mean())

    found = mean_interval(list(workers.map(loss_of, passages)))
    return found._replace(low=max(0.0, found.low))
