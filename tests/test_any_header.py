"""Whatever stands in a config.json or in the metadata of a GGUF file: it opens and can be described, or one error of
ours says why not, at once.
"""

import json
import math
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader, GGUFValueType
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gguf_files import MODELS, YARN, export, rewrite, save
from ponder.core.errors import CheckpointError, ConfigError
from ponder.models.config import ModelConfig
from ponder.models.rope import rotation_table, softmax_scale
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import load_model, open_checkpoint, save_model
from ponder.weights.gguf.config import architecture_of, config_from_metadata
from ponder.weights.gguf.header import read_header
from ponder.weights.hf.config import config_from_json
from ponder.weights.inspect import inspect_checkpoint
from small_models import random_model, small_v3

SECONDS = 5.0  # of the processor
NUMBERS = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([10**k for k in (3, 5, 9, 18, 19, 30, 400)]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")]),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.text(max_size=6), st.sampled_from(["yarn", "llama3", "\ud800"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


STRANGE = (
    *(10**k for k in (5, 9, 18, 30, 400)), *(-(10**k) for k in (0, 30, 400)), 0, 0.0, 1, 1.0, -1.0, 1.0000000000000002,
    1e-320, 1e308, float("nan"), float("inf"), float("-inf"), True, False, None, "", "a", [], [1], {}, {"a": 1},
)  # fmt: skip


def reads_or_refuses(read: Callable[[], ModelConfig]) -> None:
    """A config, and the numbers that come of it, which are numbers."""
    try:
        config = read()
    except CheckpointError:
        return
    cos, sin = rotation_table(config, 4)
    assert bool(cos.isfinite().all() and sin.isfinite().all())
    assert math.isfinite(softmax_scale(8, config.rope_scaling))
    assert 0.0 < config.norm_eps <= 1.0
    assert config.moe is None or 0.0 < config.moe.route_scale < math.inf
    assert config.layers <= 1024


def opens_or_refuses(path: Path) -> None:
    """Everything that is done from headers alone, and the numbers that come of a config."""
    before, message = time.process_time(), ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with open_checkpoint(path) as opened:
                inspect_checkpoint(opened)
                rotation_table(opened.config, 4)
                softmax_scale(8, opened.config.rope_scaling)
            load_model(path)
    except (CheckpointError, ConfigError) as error:
        message = str(error)
    assert len(message.encode()) < 2000  # and it can be printed
    assert time.process_time() - before < SECONDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_model(path, random_model(small_v3(rope_scaling=YARN)), Tokenizer.for_arithmetic())
    shutil.copy(path / "config.json", path / "good.json")
    return path


FIELDS = (
    "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling", "rope_parameters", "initializer_range",
    "tie_word_embeddings", "num_nextn_predict_layers", "ponder", "bos_token_id", "eos_token_id", "pad_token_id",
    "num_key_value_heads", "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim",
    "rope_interleave", "n_routed_experts", "num_experts_per_tok", "n_shared_experts", "moe_intermediate_size",
    "first_k_dense_replace", "n_group", "topk_group", "routed_scaling_factor", "scoring_func", "norm_topk_prob",
    "quantization_config", "layer_types", "_name_or_path", "torch_dtype",
)  # fmt: skip
INNER = {
    "rope_scaling": ("type", "rope_type", "factor", "original_max_position_embeddings", "beta_fast", "beta_slow",
                     "mscale", "mscale_all_dim", "attention_factor", "truncate", "low_freq_factor"),
    "ponder": ("mscale", "mscale_all_dim", "init_std", "rope_layout", "bias_update_speed"),
    "quantization_config": ("quant_method", "fmt", "weight_block_size"),
}  # fmt: skip
PLACES = [(name, None) for name in FIELDS] + [(name, inner) for name in INNER for inner in INNER[name]]


def changed_config(folder: Path, place: tuple[str, str | None], value: Any) -> dict[str, Any]:
    name, inner = place
    content: dict[str, Any] = json.loads((folder / "good.json").read_text())
    return {**content, name: value if inner is None else {**(content.get(name) or {}), inner: value}}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(filter(None, place)))
def test_strange_values_in_a_config(place: tuple[str, str | None], folder: Path) -> None:
    for value in STRANGE:
        content = changed_config(folder, place, value)
        reads_or_refuses(lambda content=content: config_from_json(content, "config.json"))  # type: ignore[misc]


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), value=VALUES)
@example(place=("num_hidden_layers", None), value=1024)
@example(place=("n_routed_experts", None), value=16_384)
@example(place=("rope_scaling", "factor"), value=1.0000000000000002)
def test_any_value_in_a_config(folder: Path, place: tuple[str, str | None], value: Any) -> None:
    content = changed_config(folder, place, value)
    (folder / "config.json").write_text(json.dumps(content))
    opens_or_refuses(folder)


KINDS = {
    GGUFValueType.UINT32: st.integers(0, 2**32 - 1) | st.integers(0, 70),
    GGUFValueType.UINT64: st.integers(0, 2**64 - 1),
    GGUFValueType.INT32: st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 70),
    GGUFValueType.FLOAT32: st.floats(width=32) | st.sampled_from([0.0, -1.0, float("nan"), float("inf")]),
    GGUFValueType.FLOAT64: st.floats(),
    GGUFValueType.BOOL: st.booleans(),
    GGUFValueType.STRING: st.text(max_size=6, alphabet=st.characters(codec="utf-8"))
    | st.sampled_from(["yarn", "none"]),
    GGUFValueType.ARRAY: st.lists(st.integers(-3, 70), min_size=1, max_size=3)
    | st.lists(st.text(max_size=3, alphabet=st.characters(codec="utf-8")), min_size=1, max_size=3)
    | st.lists(st.floats(width=32), min_size=1, max_size=3),
}


@pytest.fixture(scope="module", params=["llama 3 rope", "llama with yarn", "deepseek-v3"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf")
    save(path / "hf", MODELS[request.param])
    export(path / "hf", path / "model.gguf", "f32")
    return path / "model.gguf"


def test_strange_values_in_gguf_metadata(file: Path) -> None:
    header = read_header(file)
    architecture = architecture_of(header.metadata, "file")
    shapes = {name: tensor.shape for name, tensor in header.tensors.items()}
    divisors = torch.tensor([1.0] * 14 + [2.0, 8.0]) if "rope_freqs.weight" in shapes else None
    keys = [key for key in header.metadata if key.startswith((architecture, "ponder."))]
    for key in [*keys, f"{architecture}.rope.scaling.factor", f"{architecture}.nextn_predict_layers"]:
        for value in (*STRANGE, np.array([1, 2]), np.array([np.nan]), np.array([2.0, 2.0]), "yarn", "linear"):
            metadata = {**header.metadata, key: value}
            reads_or_refuses(lambda metadata=metadata: config_from_metadata(metadata, shapes, divisors, "file"))  # type: ignore[misc]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_gguf_metadata(file: Path, data: st.DataObject) -> None:
    keys = [key for key in GGUFReader(file).fields if not key.startswith("GGUF.") and key != "general.architecture"]
    extra = [f"{keys[5].split('.')[0]}.{name}" for name in ("rope.scaling.factor", "nextn_predict_layers")]
    changed = data.draw(st.sampled_from([*keys, *extra, "general.alignment", "split.count"]))
    kind = data.draw(st.sampled_from(list(KINDS)))
    value = data.draw(KINDS[kind])
    path = rewrite(file, file.with_name("changed.gguf"), values={changed: (value, kind)})
    opens_or_refuses(path)


@pytest.mark.parametrize("scale", [np.nan, np.inf, 0.0, -1.0, 1e-30])
def test_frequencies_that_are_none(scale: float, file: Path) -> None:
    """In the tensor of Llama 3.1's divisors."""

    def change(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if "rope_freqs.weight" in tensors:
            tensors["rope_freqs.weight"][3] = scale
        return tensors

    opens_or_refuses(rewrite(file, file.with_name("changed.gguf"), tensors=change))


def test_shapes_at_the_bounds_can_be_laid_out() -> None:
    """The products of sizes can be counted, whatever a config within the bounds says."""
    with torch.device("meta"):
        Transformer(small_v3(layers=1, vocab_size=1 << 24, hidden_size=1 << 20, max_positions=1 << 24))
