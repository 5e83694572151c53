"""Our tensors under their Hugging Face names.

`file_tensors` gives every tensor of a Hugging Face checkpoint as a view of the model's own memory. Saving reads
the views and loading writes to them, so that one table serves both ways. All families of `hf.config` name the same
part alike; multi-token prediction modules are the layers that follow the last one.

Shapes: D hidden size, F intermediate size, H heads, X dimensions of a head, R rotated ones.
"""

import re
from dataclasses import dataclass, replace

import torch

from ponder.models.attention import GroupedQueryAttention, MultiHeadLatentAttention
from ponder.models.config import ModelConfig
from ponder.models.layers import SwiGLU
from ponder.models.moe import MixtureOfExperts
from ponder.models.transformer import Block, MtpModule, Transformer

TENSORS_OF_EXPERT = 3  # gate, up and down


@dataclass(frozen=True)
class FileTensor:
    """One tensor of a file, as a view of a tensor of the model."""

    view: torch.Tensor  # may have more dimensions than the file's tensor, in the order of its numbers
    shape: tuple[int, ...]  # the file's

    def read(self) -> torch.Tensor:
        """A copy, contiguous and in the file's shape."""
        return self.view.detach().clone(memory_format=torch.contiguous_format).view(self.shape)


def file_tensors(model: Transformer) -> dict[str, FileTensor]:
    """Every tensor that a checkpoint of this model holds, by its Hugging Face name."""
    config = model.config
    tensors = {
        "model.embed_tokens.weight": _whole(model.embedding.weight),
        "model.norm.weight": _whole(model.norm.weight),
    }
    if not config.tie_embeddings:
        tensors["lm_head.weight"] = _whole(model.head.weight)
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        tensors |= _block(layer_prefix(layer), block, config)
    for depth, module in enumerate(model.mtp):
        assert isinstance(module, MtpModule)
        prefix = layer_prefix(config.layers + depth)
        tensors |= {
            prefix + "enorm.weight": _whole(module.embedding_norm.weight),
            prefix + "hnorm.weight": _whole(module.hidden_norm.weight),
            prefix + "eh_proj.weight": _whole(module.project.weight),
            prefix + "shared_head.norm.weight": _whole(module.norm.weight),
        }
        tensors |= _block(prefix, module.block, config)
    return tensors


def count_file_tensors(config: ModelConfig) -> int:
    """How many tensors `file_tensors` has for a model of this shape, which need not be built."""
    moe, few, stacked = config.moe, None, 0
    if moe is not None:
        few = replace(moe, routed_experts=2, experts_per_token=1, groups=1, groups_per_token=1)
        layers = sum(config.is_moe_layer(layer) for layer in range(config.layers + config.mtp_depth))
        stacked = layers * (moe.routed_experts - few.routed_experts) * TENSORS_OF_EXPERT
    with torch.device("meta"):
        return len(file_tensors(Transformer(replace(config, moe=few)))) + stacked


def layer_prefix(layer: int) -> str:
    """What the names of a layer begin with; multi-token prediction modules are the layers after the last."""
    return f"model.layers.{layer}."


def is_spare(name: str, config: ModelConfig) -> bool:
    """Whether a checkpoint may hold this tensor though the model does not need it.

    These are the copies of embedding and head in each multi-token prediction module of the published DeepSeek-V3,
    the head of a model that ties it to the embedding, and the rotary frequencies in old Llama files.
    """
    if name.endswith("rotary_emb.inv_freq") or (config.tie_embeddings and name == "lm_head.weight"):
        return True
    return is_mtp(name, config) and name.endswith(("embed_tokens.weight", "shared_head.head.weight"))


def is_mtp(name: str, config: ModelConfig) -> bool:
    """Whether the tensor is part of a multi-token prediction module."""
    found = re.match(r"model\.layers\.([0-9]{1,9})\.", name)  # more digits are no layer, and no number to Python
    return found is not None and config.layers <= int(found[1]) < config.layers + config.mtp_depth


def _block(prefix: str, block: Block, config: ModelConfig) -> dict[str, FileTensor]:
    tensors = {
        prefix + "input_layernorm.weight": _whole(block.attention_norm.weight),
        prefix + "post_attention_layernorm.weight": _whole(block.feed_forward_norm.weight),
    }
    if isinstance(block.attention, MultiHeadLatentAttention):
        tensors |= _latent_attention(prefix + "self_attn.", block.attention)
    else:
        tensors |= _grouped_query_attention(prefix + "self_attn.", block.attention, config)
    if isinstance(block.feed_forward, MixtureOfExperts):
        return tensors | _mixture(prefix + "mlp.", block.feed_forward)
    return tensors | _swiglu(prefix + "mlp.", block.feed_forward)


def _latent_attention(prefix: str, attention: MultiHeadLatentAttention) -> dict[str, FileTensor]:
    tensors = {
        prefix + "kv_a_proj_with_mqa.weight": _whole(attention.kv_a.weight),
        prefix + "kv_a_layernorm.weight": _whole(attention.kv_norm.weight),
        prefix + "kv_b_proj.weight": _whole(attention.kv_b.weight),
        prefix + "o_proj.weight": _whole(attention.o.weight),
    }
    if not attention.compresses_queries:
        return tensors | {prefix + "q_proj.weight": _whole(attention.q.weight)}
    return tensors | {
        prefix + "q_a_proj.weight": _whole(attention.q_a.weight),
        prefix + "q_a_layernorm.weight": _whole(attention.q_norm.weight),
        prefix + "q_b_proj.weight": _whole(attention.q_b.weight),
    }


def _grouped_query_attention(
    prefix: str, attention: GroupedQueryAttention, config: ModelConfig
) -> dict[str, FileTensor]:
    def rotated(tensor: torch.Tensor, heads: int) -> FileTensor:
        # Llama's layout pairs dimension i with i + X/2; rows that we keep in neighbouring pairs are put in that order
        return pairs_to_halves(tensor, heads) if config.rope_layout == "interleaved" else _whole(tensor)

    tensors = {
        prefix + "q_proj.weight": rotated(attention.q.weight, attention.heads),
        prefix + "k_proj.weight": rotated(attention.k.weight, attention.kv_heads),
        prefix + "v_proj.weight": _whole(attention.v.weight),
        prefix + "o_proj.weight": _whole(attention.o.weight),
    }
    if attention.q.bias is not None and attention.k.bias is not None and attention.v.bias is not None:
        tensors[prefix + "q_proj.bias"] = rotated(attention.q.bias, attention.heads)
        tensors[prefix + "k_proj.bias"] = rotated(attention.k.bias, attention.kv_heads)
        tensors[prefix + "v_proj.bias"] = _whole(attention.v.bias)
    if attention.q_norm is not None and attention.k_norm is not None:
        tensors[prefix + "q_norm.weight"] = rotated(attention.q_norm.weight, 1)
        tensors[prefix + "k_norm.weight"] = rotated(attention.k_norm.weight, 1)
    return tensors


def _swiglu(prefix: str, feed_forward: SwiGLU) -> dict[str, FileTensor]:
    gate_FD, up_FD = feed_forward.gate_up.weight.chunk(2)
    return {
        prefix + "gate_proj.weight": _whole(gate_FD),
        prefix + "up_proj.weight": _whole(up_FD),
        prefix + "down_proj.weight": _whole(feed_forward.down.weight),
    }


def _mixture(prefix: str, mixture: MixtureOfExperts) -> dict[str, FileTensor]:
    tensors = {prefix + "gate.weight": _whole(mixture.gate.weight)}
    if mixture.balance_bias is not None:
        tensors[prefix + "gate.e_score_correction_bias"] = _whole(mixture.balance_bias)
    for expert, (gate_up, down_DF) in enumerate(zip(mixture.experts.gate_up, mixture.experts.down, strict=True)):
        gate_FD, up_FD = gate_up.chunk(2)
        tensors[f"{prefix}experts.{expert}.gate_proj.weight"] = _whole(gate_FD)
        tensors[f"{prefix}experts.{expert}.up_proj.weight"] = _whole(up_FD)
        tensors[f"{prefix}experts.{expert}.down_proj.weight"] = _whole(down_DF)
    if mixture.shared is not None:
        tensors |= _swiglu(prefix + "shared_experts.", mixture.shared)
    return tensors


def _whole(tensor: torch.Tensor) -> FileTensor:
    return FileTensor(tensor.detach(), tuple(tensor.shape))


def pairs_to_halves(tensor: torch.Tensor, heads: int) -> FileTensor:
    """Rows whose rotated pairs are neighbours, in the order of Llama's layout."""
    pairs = tensor.detach().view(heads, -1, 2, *tensor.shape[1:])  # (H, X/2, 2, D) or, of a vector, (H, X/2, 2)
    return FileTensor(pairs.transpose(1, 2), tuple(tensor.shape))
