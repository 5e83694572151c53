"""More tokens for a model that is there already."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from ponder.models.transformer import Transformer


@torch.no_grad()
def with_token_rows(model: Transformer, pieces: Mapping[int, Sequence[int]]) -> Transformer:
    """A model whose embedding and head have a row for each of these ids: the mean of the rows of its pieces.

    `pieces` gives, for a new token, the ids that stood for its text so far; the mean begins where the model already
    has a meaning for that text. Ids within the vocabulary are rows that it has and never used: they are overwritten,
    in `model` itself. For ids beyond it, a new model is made that shares every other weight with `model`.
    """
    if not pieces:
        return model
    size = max(model.config.vocab_size, max(pieces) + 1)
    grown = model
    if size > model.config.vocab_size:
        with torch.device("meta"):
            grown = Transformer(replace(model.config, vocab_size=size))
        grown.blocks, grown.norm, grown.mtp, grown.rotations = model.blocks, model.norm, model.mtp, model.rotations
        grown.embedding.weight = _grown(model.embedding.weight, size)
        tied = model.config.tie_embeddings
        grown.head.weight = grown.embedding.weight if tied else _grown(model.head.weight, size)
    for table in {id(t): t for t in (grown.embedding.weight, grown.head.weight)}.values():
        old = table.clone()
        for token, parts in pieces.items():
            table[token] = old[list(parts)].mean(dim=0)
    return grown


def _grown(table: torch.Tensor, size: int) -> torch.nn.Parameter:
    """The rows of a table and zeros after them."""
    rows = table.new_zeros(size, table.shape[1])
    rows[: table.shape[0]] = table
    return torch.nn.Parameter(rows, requires_grad=table.requires_grad)
