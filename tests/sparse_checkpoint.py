"""Checkpoints of any size that take no room: true headers, and a hole where the numbers would be (all zero)."""

import json
import math
import os
from pathlib import Path

import torch

from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from ponder.weights.hf import fp8
from ponder.weights.hf.config import config_to_json
from ponder.weights.hf.header import ITEM_BYTES, header_bytes
from ponder.weights.hf.names import file_tensors
from ponder.weights.hf.tokenizer import tokenizer_files


def write_sparse(folder: Path, config: ModelConfig, *, quantised: bool = False, shards: int = 1) -> int:
    """A checkpoint in bf16, or in FP8 as DeepSeek-V3 is published. Returns the bytes of its tensors."""
    with torch.device("meta"):
        model = Transformer(config)
    shapes = {name: tensor.shape for name, tensor in file_tensors(model).items()}
    parts: list[tuple[str, str, tuple[int, ...]]] = []
    for name, shape in shapes.items():
        if quantised and fp8.is_quantised(name):
            parts += [(name, "F8_E4M3", shape), (name + "_scale_inv", "F32", fp8.scale_shape(shape))]
        else:
            parts.append((name, "F32" if name.endswith("bias") else "BF16", shape))
    names = ["model.safetensors"] if shards == 1 else [f"model-{i}.safetensors" for i in range(shards)]
    size = -(-len(parts) // shards)
    weight_map = {}
    for i, file_name in enumerate(names):
        some = parts[i * size : (i + 1) * size]
        weight_map |= dict.fromkeys((part[0] for part in some), file_name)
        header = header_bytes(some)
        (folder / file_name).write_bytes(header)
        os.truncate(folder / file_name, len(header) + sum(math.prod(s) * ITEM_BYTES[d] for _, d, s in some))
    tokenizer = Tokenizer.for_arithmetic()
    settings = config_to_json(config, tokenizer.control, torch.bfloat16)
    if quantised:
        settings["quantization_config"] = dict(fp8.QUANTIZATION)
    for name, content in {"config.json": settings, **tokenizer_files(tokenizer, None)}.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return sum(math.prod(shape) * ITEM_BYTES[dtype] for _, dtype, shape in parts)
