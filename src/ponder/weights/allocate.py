"""A model's memory, taken once in the precision that is wanted and not touched before it is loaded."""

import torch
from torch import nn

from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer


def allocate(config: ModelConfig, dtype: torch.dtype) -> Transformer:
    """A model whose weights are unset, in `dtype`. Buffers keep fp32: routing biases decide by small differences."""
    with torch.device("meta"):
        model = Transformer(config)
    made: dict[nn.Parameter, nn.Parameter] = {}  # a tied weight stays one
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if parameter not in made:
                made[parameter] = nn.Parameter(torch.empty(parameter.shape, dtype=dtype))
            setattr(module, name, made[parameter])
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
    return model
