"""A transformer in bf16, with its weights packed for oneDNN, from one in any precision."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ponder.engine.onednn.modules import (
    HalfLinear,
    NarrowingNorm,
    PackedAttention,
    PackedExperts,
    PackedLinear,
    PackedSwiGLU,
    PreciseHead,
    WideEmbedding,
)
from ponder.engine.onednn.products import unavailable
from ponder.models.attention import GroupedQueryAttention, MultiHeadLatentAttention
from ponder.models.layers import Linear, RMSNorm, SwiGLU
from ponder.models.moe import MixtureOfExperts, RoutedExperts
from ponder.models.transformer import Transformer

STANDS_IN: Mapping[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.Embedding: WideEmbedding,
    Linear: lambda linear: PackedLinear(linear.weight, getattr(linear, "bias", None)),  # an adapted head has none
    RMSNorm: NarrowingNorm,
    SwiGLU: PackedSwiGLU.of,
    GroupedQueryAttention: PackedAttention,
    RoutedExperts: PackedExperts,
}


@torch.no_grad()
def in_bf16(model: Transformer, *, mtp: bool = False) -> Transformer:
    """The same model in bf16, to generate with: a copy that shares nothing with `model`, and has its multi-token
    prediction modules with `mtp` alone. What an adapter adds is worked in. Where weights cannot be packed (see
    `unavailable`), it is `plain_bf16`, whose adapter stays apart.
    """
    if unavailable() is not None:
        return plain_bf16(model, mtp=mtp)
    with torch.device("meta"):  # the structure alone
        twin = Transformer(model.config if mtp else replace(model.config, mtp_depth=0))
    twin.rotations = model.rotations.clone()
    _fill(twin, model)
    return twin.requires_grad_(False)


def plain_bf16(model: Transformer, *, mtp: bool = False) -> Transformer:
    """A copy whose parameters are bf16; `mtp` as in `in_bf16`. Two kinds of buffers stay as they are: the rotations,
    since far positions would not be told apart, and the gates' balance biases, which decide by little.
    """
    copied = copy.deepcopy(model).requires_grad_(False)
    if not mtp:
        copied.mtp, copied.config = nn.ModuleList(), replace(model.config, mtp_depth=0)
    copied.to(torch.bfloat16)
    copied.rotations = model.rotations.clone()
    sources = model.moe_layers()
    for layer, mixture in copied.moe_layers().items():
        if (bias := sources[layer].balance_bias) is not None:
            mixture.balance_bias = bias.clone()
    return copied


def _fill(place: nn.Module, source: nn.Module) -> None:
    """Put into `place` a part for each of `source`, which has the same structure."""
    for name, child in list(place.named_children()):
        own = getattr(source, name)
        stands_in = STANDS_IN.get(type(child))
        if stands_in is None:
            _fill(child, own)
        else:
            setattr(place, name, stands_in(own))
    if isinstance(place, Transformer) and isinstance(place.head, PackedLinear):
        place.head = PreciseHead(place.head)  # type: ignore[assignment]  # it stands in for a Linear
    if isinstance(place, MultiHeadLatentAttention) and isinstance(source, MultiHeadLatentAttention):
        place.kv_b = HalfLinear(source.kv_b)  # type: ignore[assignment]  # the absorbed form reads its weight
    if isinstance(place, MixtureOfExperts) and isinstance(source, MixtureOfExperts):
        place.gate = copy.deepcopy(source.gate)  # the choice between experts is made in fp32
        place.balance_bias = None if source.balance_bias is None else source.balance_bias.clone()
