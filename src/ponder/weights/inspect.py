"""What a checkpoint is, from its headers alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ponder.models.config import LinearRopeConfig, Llama3RopeConfig, MlaConfig, ModelConfig, YarnConfig
from ponder.models.presets import ParameterCount, count_parameters
from ponder.weights.checkpoint import misfits, unreadable
from ponder.weights.hf.config import model_type
from ponder.weights.opened import OpenCheckpoint
from ponder.weights.source import explained, some


@dataclass(frozen=True)
class Stored:
    """The tensors of one stored type."""

    tensors: int
    bytes: int  # on disk, scales included


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What the headers of a checkpoint say, and whether they fit its config."""

    path: Path
    format: str
    architecture: str  # Hugging Face's model_type
    shape: tuple[str, ...]  # in words, a line each
    parameters: ParameterCount
    stored: Mapping[str, Stored]  # by type, the largest first
    files: Mapping[str, int]  # bytes of each file that holds tensors
    context: int  # tokens
    vocabulary: int  # rows of the embedding
    tokenizer: int | None  # tokens; None without a tokenizer
    chat_template: bool
    metadata: Mapping[str, str]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """The object of `ponder inspect --json`."""
        counts = self.parameters
        return {
            "path": str(self.path),
            "format": self.format,
            "architecture": self.architecture,
            "shape": list(self.shape),
            "parameters_total": counts.total,
            "parameters_active": counts.active,
            "parameters_per_token": counts.per_token,
            "parameters_embedding": counts.embedding,
            "parameters_mtp": counts.mtp,
            "tensors": sum(part.tensors for part in self.stored.values()),
            "bytes": sum(part.bytes for part in self.stored.values()),
            "stored": {name: asdict(part) for name, part in self.stored.items()},
            "files": dict(self.files),
            "context": self.context,
            "vocabulary": self.vocabulary,
            "tokenizer": self.tokenizer,
            "chat_template": self.chat_template,
            "metadata": dict(self.metadata),
            "problems": list(self.problems),
        }


def inspect_checkpoint(opened: OpenCheckpoint) -> Inspection:
    """Reads no tensor. What does not fit is told, not raised."""
    config, infos = opened.config, opened.source.infos
    stored: dict[str, Stored] = {}
    for info in infos.values():
        before = stored.get(info.stored, Stored(0, 0))
        stored[info.stored] = Stored(before.tensors + 1, before.bytes + info.bytes)
    with explained(opened.path):
        files = {file.name: file.stat().st_size for file in sorted({info.file for info in infos.values()})}
    return Inspection(
        path=opened.path,
        format=opened.format,
        architecture=model_type(config),
        shape=describe(config),
        parameters=count_parameters(config),
        stored=dict(sorted(stored.items(), key=lambda item: -item[1].bytes)),
        files=files,
        context=config.max_positions,
        vocabulary=config.vocab_size,
        tokenizer=None if opened.tokenizer is None else opened.tokenizer.vocab_size,
        chat_template=opened.chat_template is not None,
        metadata=opened.metadata,
        problems=tuple(_problems(opened)),
    )


def describe(config: ModelConfig) -> tuple[str, ...]:
    """The shape of a model in words, a part to a line."""
    lines = [f"{config.layers} layers, hidden size {config.hidden_size:,}", _attention(config), _feed_forward(config)]
    if config.mtp_depth:
        lines.append(f"{config.mtp_depth} multi-token prediction module{'s' if config.mtp_depth > 1 else ''}")
    lines.append(_rotation(config))
    lines.append("output head tied to the embedding" if config.tie_embeddings else "output head of its own")
    return tuple(lines)


def _attention(config: ModelConfig) -> str:
    shape = config.attention
    if isinstance(shape, MlaConfig):
        queries = f"queries of rank {shape.q_lora_rank:,}" if shape.q_lora_rank else "plain queries"
        return (
            f"latent attention: {config.heads} heads of {shape.qk_nope_head_dim} + {shape.qk_rope_head_dim} rotated, "
            f"{queries}, a latent of {shape.kv_lora_rank:,} ({config.cache_width:,} numbers cached per token and layer)"
        )
    extras = [name for name, there in (("biases", shape.qkv_bias), ("query and key norms", shape.qk_norm)) if there]
    with_extras = f", with {' and '.join(extras)}" if extras else ""
    return (
        f"grouped-query attention: {config.heads} heads of {shape.head_dim}, {shape.kv_heads} of keys and values"
        f"{with_extras} ({config.cache_width:,} numbers cached per token and layer)"
    )


def _feed_forward(config: ModelConfig) -> str:
    moe = config.moe
    if moe is None:
        return f"feed-forward of {config.intermediate_size:,}"
    shared = f" and {moe.shared_experts} shared" if moe.shared_experts else ""
    groups = f", from {moe.groups_per_token} of {moe.groups} groups" if moe.groups > 1 else ""
    dense = f"; the first {moe.first_dense_layers} dense, of {config.intermediate_size:,}"
    return (
        f"{moe.routed_experts} routed experts of {moe.expert_intermediate_size:,}, {moe.experts_per_token} a token"
        f"{groups}{shared} ({moe.scoring} gate){dense if moe.first_dense_layers else ''}"
    )


def _rotation(config: ModelConfig) -> str:
    base = f"rotary base {config.rope_theta:,g}"
    match config.rope_scaling:
        case YarnConfig(factor=factor, original_positions=original):
            return f"{base}, YaRN × {factor:g} from {original:,} positions"
        case Llama3RopeConfig(factor=factor, original_positions=original):
            return f"{base}, Llama 3's scaling × {factor:g} from {original:,} positions"
        case LinearRopeConfig(factor=factor):
            return f"{base}, positions divided by {factor:g}"
        case None:
            return base


def _problems(opened: OpenCheckpoint) -> list[str]:
    missing, unexpected, reshaped = misfits(opened.config, opened.source.infos)
    problems = [f"lacks {some(missing)}"] if missing else []
    problems += [f"holds {some(unexpected)}, which the model has no place for"] if unexpected else []
    problems += [f"{some(list(reshaped.values()))}"] if reshaped else []
    if strange := unreadable(opened):
        problems.append(strange)
    if opened.tokenizer is None:
        problems.append("has no tokenizer: it can be converted, and not generate")
    elif opened.tokenizer.vocab_size > opened.config.vocab_size:
        problems.append(
            f"its tokenizer has {opened.tokenizer.vocab_size:,} tokens and the model rows for "
            f"{opened.config.vocab_size:,}; they belong to different models"
        )
    return problems
