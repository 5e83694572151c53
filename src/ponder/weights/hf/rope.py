"""The rotation in config.json: `rope_theta` and `rope_scaling`, or since transformers 5 `rope_parameters` with both."""

import math
from dataclasses import replace

from ponder.core.errors import CheckpointError
from ponder.models.config import (
    LinearRopeConfig,
    Llama3RopeConfig,
    MlaConfig,
    ModelConfig,
    RopeScaling,
    YarnConfig,
)
from ponder.weights.fields import Fields

ROPE_TYPES = ("default", "linear", "llama3", "yarn")


def rope_to_json(config: ModelConfig) -> dict[str, object] | None:
    """The object for `rope_scaling`, with its kind under both names; None where positions stay as they are."""
    match config.rope_scaling:
        case None:
            return None
        case LinearRopeConfig() as linear:
            return {"type": "linear", "rope_type": "linear", "factor": linear.factor}
        case Llama3RopeConfig() as llama3:
            return {
                "type": "llama3",
                "rope_type": "llama3",
                "factor": llama3.factor,
                "low_freq_factor": llama3.low_freq_factor,
                "high_freq_factor": llama3.high_freq_factor,
                "original_max_position_embeddings": llama3.original_positions,
            }
        case YarnConfig() as yarn:
            return _yarn_to_json(yarn, latent=isinstance(config.attention, MlaConfig))


def rope_theta_from_json(fields: Fields) -> float:
    """The base of the frequencies, 10,000 where the file has none."""
    return _rope(fields).get("rope_theta", float, fields.get("rope_theta", float, 10000.0))


def rope_from_json(fields: Fields, ponder: Fields, *, latent: bool) -> RopeScaling | None:
    """How positions are stretched; `latent` says whether attention is MLA, which has its own factor on the scores.

    Raises `CheckpointError` for a kind that Ponder does not have.
    """
    rope = _rope(fields)
    rope_type = rope.get("rope_type", str, rope.get("type", str, "default"))
    match rope_type:
        case "default":
            return None
        case "linear":
            return LinearRopeConfig(factor=rope.get("factor", float))
        case "llama3":
            return Llama3RopeConfig(
                factor=rope.get("factor", float),
                original_positions=rope.get("original_max_position_embeddings", int),
                low_freq_factor=rope.get("low_freq_factor", float),
                high_freq_factor=rope.get("high_freq_factor", float),
            )
        case "yarn":
            return _yarn_from_json(rope, ponder, latent=latent)
    raise CheckpointError(
        f"{rope.where}: rope type {rope_type!r:.80} is not supported; expected one of {', '.join(ROPE_TYPES)}"
    )


def require_whole_rotation(fields: Fields, default: float) -> None:
    """Refuse a model that rotates a part of each head's dimensions only."""
    share = _rope(fields).get("partial_rotary_factor", float, fields.get("partial_rotary_factor", float, default))
    if share != 1.0:
        raise CheckpointError(f"{fields.where}: partial_rotary_factor = {share} is not supported; expected 1.0")


def _rope(fields: Fields) -> Fields:
    return fields.inner("rope_parameters" if fields.has("rope_parameters") else "rope_scaling")


def _yarn_to_json(yarn: YarnConfig, *, latent: bool) -> dict[str, object]:
    fields: dict[str, object] = {
        "type": "yarn",
        "rope_type": "yarn",
        "factor": yarn.factor,
        "original_max_position_embeddings": yarn.original_positions,
        "beta_fast": yarn.beta_fast,
        "beta_slow": yarn.beta_slow,
    }
    if latent:
        fields |= {"mscale": yarn.mscale, "mscale_all_dim": yarn.mscale_all_dim}
        if not (yarn.mscale and yarn.mscale_all_dim):  # transformers takes a zero for "not given"
            fields["attention_factor"] = _mscale(yarn, yarn.mscale) / _mscale(yarn, yarn.mscale_all_dim)
    else:
        # there the factor is on queries and keys, so squared on the scores: what is left of ours is mscale alone
        fields["attention_factor"] = _mscale(yarn, yarn.mscale)
    return fields


def _yarn_from_json(rope: Fields, ponder: Fields, *, latent: bool) -> YarnConfig:
    """What is left out is filled in as transformers does."""
    if not rope.get("truncate", bool, True):
        raise CheckpointError(f"{rope.where}: truncate = False is not supported; expected True")
    yarn = YarnConfig(
        factor=rope.get("factor", float),
        original_positions=rope.get("original_max_position_embeddings", int),
        beta_fast=rope.get("beta_fast", float, 32.0),
        beta_slow=rope.get("beta_slow", float, 1.0),
        mscale=rope.get("mscale", float, 0.0),
        mscale_all_dim=rope.get("mscale_all_dim", float, 0.0),
    )
    log_factor, mscale, mscale_all_dim = 0.1 * math.log(yarn.factor), yarn.mscale, yarn.mscale_all_dim
    if rope.has("attention_factor") or not (mscale and mscale_all_dim):
        on_vectors = rope.get("attention_factor", float, log_factor + 1.0)
    else:
        on_vectors = (mscale * log_factor + 1.0) / (mscale_all_dim * log_factor + 1.0)
    if latent:
        on_scores = mscale_all_dim * log_factor + 1.0
        mscale = _weight_of(on_vectors * on_scores, log_factor)
    else:
        # only the product on the scores matters, as every dimension is rotated
        mscale = mscale_all_dim = _weight_of(on_vectors, log_factor)
    return replace(
        yarn,
        mscale=ponder.get("mscale", float, mscale),
        mscale_all_dim=ponder.get("mscale_all_dim", float, mscale_all_dim),
    )


def _mscale(yarn: YarnConfig, weight: float) -> float:
    return 1.0 if yarn.factor <= 1.0 else 0.1 * weight * math.log(yarn.factor) + 1.0


def _weight_of(mscale: float, log_factor: float) -> float:
    """The w of w · 0.1 ln(factor) + 1, without the rounding of the way there and back."""
    return round((mscale - 1.0) / log_factor, 12) if log_factor else 1.0
