"""What is known of a model on disk once it has been opened, whatever its format, and the model that is read from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from ponder.weights.source import TensorSource

Format = Literal["safetensors", "gguf"]


@dataclass(frozen=True, kw_only=True)
class OpenCheckpoint:
    """A model whose headers have been read and whose tensors have not."""

    path: Path  # the folder or file that was opened
    format: Format
    config: ModelConfig
    source: TensorSource  # open for as long as the checkpoint is
    tokenizer: Tokenizer | None  # None where the files hold none
    chat_template: str | None  # jinja text, as published
    metadata: Mapping[str, str] = field(default_factory=dict)  # name, licence, … as far as the files tell


@dataclass(frozen=True)
class LoadedModel:
    """A model with the tokenizer that it was trained with, and its chat template if it has one."""

    model: Transformer
    tokenizer: Tokenizer
    chat_template: str | None = None


def with_licence_name(metadata: Mapping[str, str]) -> dict[str, str]:
    """`license` as the name to show: a licence without a tag of its own is `other`, and its name stands beside it."""
    named = metadata.get("license_name") or metadata.get("license.name")
    if named and metadata.get("license", "other") == "other":
        return {**metadata, "license": named}
    return dict(metadata)
