"""GGUF files of small models with random weights, for tests."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import quantize

from ponder.models.config import GqaConfig, LinearRopeConfig, Llama3RopeConfig, MlaConfig, ModelConfig, YarnConfig
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import open_checkpoint, save_model
from ponder.weights.gguf.writer import GgufDtype, WrittenGguf, write_gguf
from small_models import random_model, small_dense, small_moe, small_softmax_moe, small_v3

COMPRESSED = MlaConfig(kv_lora_rank=16, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10, q_lora_rank=24)
YARN = YarnConfig(factor=4.0, original_positions=16)
LLAMA_3 = Llama3RopeConfig(factor=8.0, original_positions=64)
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"

MODELS: dict[str, ModelConfig] = {
    "llama": small_dense(),
    "llama tied, linear rope": small_dense(tie_embeddings=True, rope_scaling=LinearRopeConfig(factor=4.0)),
    "llama 3 rope": small_dense(
        rope_theta=500000.0, attention=GqaConfig(kv_heads=2, head_dim=32), rope_scaling=LLAMA_3, norm_eps=1e-5
    ),
    "llama with yarn": small_dense(rope_scaling=replace(YARN, mscale=0.7, mscale_all_dim=0.7)),
    "qwen2": small_dense(attention=GqaConfig(kv_heads=2, head_dim=8, qkv_bias=True)),
    "qwen3": small_dense(attention=GqaConfig(kv_heads=2, head_dim=16, qk_norm=True)),
    "deepseek": small_dense(moe=small_softmax_moe(shared_experts=2)),
    "deepseek-v2": small_v3(
        moe=small_softmax_moe(route_scale=1.5), rope_scaling=replace(YARN, mscale=0.707, mscale_all_dim=0.707)
    ),
    "deepseek-v3": small_v3(
        layers=3,
        attention=COMPRESSED,
        rope_scaling=YARN,
        mtp_depth=1,
        moe=small_moe(routed_experts=16, experts_per_token=3, groups=4, groups_per_token=2, route_scale=2.5),
    ),
    "deepseek-v3 without experts": small_v3(moe=None),
}


def save(folder: Path, config: ModelConfig) -> Path:
    """A Hugging Face folder with the arithmetic vocabulary."""
    save_model(folder, random_model(config), Tokenizer.for_arithmetic(), TEMPLATE)
    return folder


def export(source: Path, target: Path, dtype: GgufDtype) -> WrittenGguf:
    """A model on disk as GGUF."""
    with open_checkpoint(source) as opened:
        return write_gguf(target, opened, dtype=dtype)


def rewrite(
    source: Path,
    target: Path,
    *,
    change: Callable[[str, Any], Any] = lambda key, value: value,
    tensors: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = lambda tensors: tensors,
    more: Mapping[str, int | float | str] | None = None,
    values: Mapping[str, tuple[Any, GGUFValueType]] | None = None,
    kinds: Callable[[str, np.ndarray], GGMLQuantizationType | None] = lambda name, numbers: None,
) -> Path:
    """A copy of an fp32 file, by the gguf package, with metadata and tensors changed; None drops a key. `values` stand
    for what the file has under these keys, as the type that they come with. `kinds`: what a tensor is quantised to.
    """
    values = values or {}
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        value = change(key, field.contents()) if not key.startswith("GGUF.") else None
        if value is not None and key != "general.architecture" and key not in values:
            same = type(value) is type(field.contents())
            writer.add_key_value(key, value, field.types[0] if same else GGUFValueType.get_type(value))
    for key, value in (more or {}).items():
        writer.add_key_value(key, value, GGUFValueType.get_type(value))
    for key, (value, kind) in values.items():
        writer.add_key_value(key, value, kind)
    for name, data in tensors({tensor.name: np.array(tensor.data) for tensor in reader.tensors}).items():
        kind = kinds(name, data)
        writer.add_tensor(name, data if kind is None else quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def split(source: Path, target: Path, tensors: int) -> list[Path]:
    """A copy of an fp32 file, as llama.cpp's gguf-split cuts it: so many tensors to a file."""
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents(), split_max_tensors=tensors)
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            writer.add_key_value(key, field.contents(), field.types[0])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    writer.write_header_to_file(target)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(target.parent.glob(f"{target.name}-*.gguf"))


def find_smollm2() -> Path:
    """SmolLM2-135M-Instruct as a GGUF file: `PONDER_SMOLLM2`, or where `ponder pull` puts it. Skips a test without."""
    if named := os.environ.get("PONDER_SMOLLM2"):
        return Path(named)
    home = Path(os.environ.get("PONDER_HOME", Path.home() / ".cache" / "ponder"))
    found = sorted((home / "models").glob("*/SmolLM2-135M-Instruct*.gguf"))
    if not found:
        pytest.skip("needs SmolLM2: run `ponder pull smollm2-135m-instruct`, or set PONDER_SMOLLM2 to its GGUF file")
    return found[0]
