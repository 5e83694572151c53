"""The part of a vocabulary that the gradient of a head is about. Shapes: V vocabulary."""

import torch

NEGLIGIBLE = 2**-9  # share of the gradient of bf16 logits that is left out: what rounding it to bf16 changes
WORTH_IT = 0.8  # share of the vocabulary above which leaving the rest out saves nothing


def columns_that_matter(mass_V: torch.Tensor, precision: torch.dtype) -> torch.Tensor | None:
    """The columns that hold all but `NEGLIGIBLE` of the mass of a bf16 gradient, ascending; None where that is most of
    them, and for a gradient in more precision, which is taken whole.

    `mass_V` is the sum of each column's absolute gradients. Once a model knows its subject, nearly all of the
    probability lies on a few thousand tokens, and the products with the rest of the vocabulary are two thirds of what
    the head costs (arXiv 2411.09009, section 4.3).
    """
    if precision != torch.bfloat16:
        return None
    sorted_V, order_V = mass_V.sort(stable=True)
    reached_V = sorted_V.cumsum(0, dtype=torch.float64)
    dropped = int((reached_V <= NEGLIGIBLE * reached_V[-1]).sum())
    if dropped and (len(mass_V) - dropped) % 2:
        dropped -= 1  # products go by pairs
    if len(mass_V) - dropped > WORTH_IT * len(mass_V):
        return None
    return order_V[dropped:].sort().values
