"""The tensors of a GGUF file and the Hugging Face tensors that they are made of.

One table, used both ways. llama.cpp keeps some tensors otherwise than Hugging Face: of Llama-like models it turns
neighbouring dimensions together (their query and key rows are permuted), all experts of a layer are one tensor, and
the matrix that expands the latent cache is split into its keys, transposed, and its values.

Shapes: V vocabulary, D hidden size, F intermediate size, H heads, X dimensions of a head, E experts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ponder.models.config import GqaConfig, MlaConfig, ModelConfig, MoeConfig

Form = Literal[
    "whole",  # one tensor, as it is
    "heads",  # one tensor, its rows permuted within each head
    "stack",  # several tensors of one shape, one after the other
    "keys",  # of one tensor, the keys' rows of each head, transposed
    "values",  # of one tensor, the values' rows of each head
]


@dataclass(frozen=True, slots=True)
class Layout:
    """A tensor as a GGUF file has it."""

    name: str
    shape: tuple[int, ...]
    parts: tuple[str, ...]  # the Hugging Face tensors that it is made of
    form: Form = "whole"
    heads: int = 0  # of "heads", "keys" and "values"
    optional: bool = False  # a file may lack it, and a model of ours need not have it

    @property
    def part_shape(self) -> tuple[int, ...]:
        """Of each part; of "keys" and "values", what they contribute to it: (H, rows, columns)."""
        if self.form == "keys":
            return (self.shape[0], self.shape[2], self.shape[1])
        return self.shape[1:] if self.form == "stack" else self.shape


def gguf_layout(config: ModelConfig, architecture: str, *, whole_kv_b: bool = False) -> Iterator[Layout]:
    """Every tensor of a model, in the order in which llama.cpp writes them. `whole_kv_b`: as files did until 2025,
    the matrix that expands the latent cache is in one piece.
    """
    vocabulary, hidden = config.vocab_size, config.hidden_size
    yield Layout("token_embd.weight", (vocabulary, hidden), ("model.embed_tokens.weight",))
    for layer in range(config.layers + config.mtp_depth):
        here, there = f"blk.{layer}.", f"model.layers.{layer}."
        yield Layout(here + "attn_norm.weight", (hidden,), (there + "input_layernorm.weight",))
        if isinstance(config.attention, MlaConfig):
            yield from _latent_attention(config, config.attention, here, there + "self_attn.", whole_kv_b)
        else:
            permuted = architecture in PERMUTED
            yield from _grouped_query_attention(config, config.attention, here, there + "self_attn.", permuted)
        yield Layout(here + "ffn_norm.weight", (hidden,), (there + "post_attention_layernorm.weight",))
        if config.moe is not None and config.is_moe_layer(layer):
            yield from _mixture(config.moe, hidden, here, there + "mlp.")
        else:
            yield from _swiglu(config.intermediate_size, hidden, here, there + "mlp.")
        if layer >= config.layers:
            yield from _multi_token_prediction(config, here, there)
    yield Layout("output_norm.weight", (hidden,), ("model.norm.weight",))
    if not config.tie_embeddings:
        yield Layout("output.weight", (vocabulary, hidden), ("lm_head.weight",))


# the architectures whose query and key rows llama.cpp's converter permutes
PERMUTED = ("llama", "deepseek")


def _grouped_query_attention(
    config: ModelConfig, attention: GqaConfig, here: str, there: str, permuted: bool
) -> Iterator[Layout]:
    hidden, width = config.hidden_size, attention.head_dim
    for short, heads in (("q", config.heads), ("k", attention.kv_heads), ("v", attention.kv_heads)):
        form: Form = "heads" if permuted and short != "v" else "whole"
        rows = heads * width
        yield Layout(f"{here}attn_{short}.weight", (rows, hidden), (f"{there}{short}_proj.weight",), form, heads)
        if attention.qkv_bias:
            yield Layout(f"{here}attn_{short}.bias", (rows,), (f"{there}{short}_proj.bias",), form, heads)
    yield Layout(here + "attn_output.weight", (hidden, config.heads * width), (there + "o_proj.weight",))
    if attention.qk_norm:
        for short in "qk":
            yield Layout(f"{here}attn_{short}_norm.weight", (width,), (f"{there}{short}_norm.weight",))


def _latent_attention(
    config: ModelConfig, attention: MlaConfig, here: str, there: str, whole_kv_b: bool
) -> Iterator[Layout]:
    hidden, heads, latent = config.hidden_size, config.heads, attention.kv_lora_rank
    rotated, keys, values = attention.qk_rope_head_dim, attention.qk_nope_head_dim, attention.v_head_dim
    queries = heads * (keys + rotated)
    if attention.q_lora_rank is None:
        yield Layout(here + "attn_q.weight", (queries, hidden), (there + "q_proj.weight",))
    else:
        rank = attention.q_lora_rank
        yield Layout(here + "attn_q_a.weight", (rank, hidden), (there + "q_a_proj.weight",))
        yield Layout(here + "attn_q_a_norm.weight", (rank,), (there + "q_a_layernorm.weight",))
        yield Layout(here + "attn_q_b.weight", (queries, rank), (there + "q_b_proj.weight",))
    yield Layout(here + "attn_kv_a_mqa.weight", (latent + rotated, hidden), (there + "kv_a_proj_with_mqa.weight",))
    yield Layout(here + "attn_kv_a_norm.weight", (latent,), (there + "kv_a_layernorm.weight",))
    kv_b = (there + "kv_b_proj.weight",)
    if whole_kv_b:
        yield Layout(here + "attn_kv_b.weight", (heads * (keys + values), latent), kv_b)
    else:
        yield Layout(here + "attn_k_b.weight", (heads, latent, keys), kv_b, "keys", heads)
        yield Layout(here + "attn_v_b.weight", (heads, values, latent), kv_b, "values", heads)
    yield Layout(here + "attn_output.weight", (hidden, heads * values), (there + "o_proj.weight",))


def _swiglu(width: int, hidden: int, here: str, there: str, suffix: str = "") -> Iterator[Layout]:
    for short in ("gate", "up"):
        yield Layout(f"{here}ffn_{short}{suffix}.weight", (width, hidden), (f"{there}{short}_proj.weight",))
    yield Layout(f"{here}ffn_down{suffix}.weight", (hidden, width), (there + "down_proj.weight",))


def _mixture(moe: MoeConfig, hidden: int, here: str, there: str) -> Iterator[Layout]:
    experts, width = moe.routed_experts, moe.expert_intermediate_size
    yield Layout(here + "ffn_gate_inp.weight", (experts, hidden), (there + "gate.weight",))
    if moe.balance_bias:
        yield Layout(here + "exp_probs_b.bias", (experts,), (there + "gate.e_score_correction_bias",))
    for short in ("gate", "up", "down"):
        shape = (experts, hidden, width) if short == "down" else (experts, width, hidden)
        parts = tuple(f"{there}experts.{expert}.{short}_proj.weight" for expert in range(experts))
        yield Layout(f"{here}ffn_{short}_exps.weight", shape, parts, "stack")
    if moe.shared_experts:
        yield from _swiglu(moe.shared_experts * width, hidden, here, there + "shared_experts.", "_shexp")


def _multi_token_prediction(config: ModelConfig, here: str, there: str) -> Iterator[Layout]:
    vocabulary, hidden = config.vocab_size, config.hidden_size
    yield Layout(here + "nextn.eh_proj.weight", (hidden, 2 * hidden), (there + "eh_proj.weight",))
    yield Layout(here + "nextn.enorm.weight", (hidden,), (there + "enorm.weight",))
    yield Layout(here + "nextn.hnorm.weight", (hidden,), (there + "hnorm.weight",))
    yield Layout(here + "nextn.shared_head_norm.weight", (hidden,), (there + "shared_head.norm.weight",))
    for name, part in (("embed_tokens", "embed_tokens"), ("shared_head_head", "shared_head.head")):
        shape, parts = (vocabulary, hidden), (f"{there}{part}.weight",)
        yield Layout(f"{here}nextn.{name}.weight", shape, parts, optional=True)
