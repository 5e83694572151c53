"""A native model packed straight from its files is, to the last bit, the one that is packed by way of a module."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from gguf_files import MODELS, export, rewrite, save
from ponder.core.errors import ConfigError
from ponder.engine.formats import FORMATS
from ponder.engine.native import NativeModel, WeightFormat, available
from ponder.models.config import GqaConfig
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import load_model, open_checkpoint, open_whole, save_model
from ponder.weights.gguf.reader import GgufSource
from ponder.weights.source import TensorSource
from ponder.weights.unread import UnreadModel
from small_models import random_model, small_dense, small_v3

pytestmark = pytest.mark.skipif(available() is not None, reason="the native kernels are not built")

WIDE = small_dense(hidden_size=64, intermediate_size=96, heads=4, attention=GqaConfig(kv_heads=2, head_dim=16))
IDS = np.random.default_rng(3).integers(0, 299, 40).astype(np.int32)


def logits_of(model: NativeModel) -> torch.Tensor:
    rows = np.arange(len(IDS), dtype=np.int32)
    tables = np.arange(8, dtype=np.int32)[None]
    step = model.forward(model.new_cache(8), IDS, np.zeros_like(rows), rows, tables, rows)
    assert step.logits is not None
    return step.logits.clone()


def assert_same(path: Path, weights: WeightFormat) -> None:
    loaded = load_model(path).model
    with open_checkpoint(path) as opened:
        stored = opened.source if weights == "stored" and isinstance(opened.source, GgufSource) else None
        by_module = NativeModel(loaded, weights=weights, source=stored, threads=1)
        straight = NativeModel.from_source(opened.config, opened.source, weights=weights, threads=1)
    assert straight.weight_bytes == by_module.weight_bytes
    expected = logits_of(by_module)
    assert expected.isfinite().all()
    assert torch.equal(logits_of(straight), expected)


@pytest.mark.parametrize("weights", FORMATS[:-1])
@pytest.mark.parametrize("name", MODELS)
def test_every_family_in_every_format(name: str, weights: WeightFormat, tmp_path: Path) -> None:
    assert_same(save(tmp_path, MODELS[name]), weights)


@pytest.mark.parametrize("weights", FORMATS[:-1])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_files_in_half_precision(dtype: torch.dtype, weights: WeightFormat, tmp_path: Path) -> None:
    for name, config in (("v3", small_v3()), ("dense", small_dense())):
        save_model(tmp_path / name, random_model(config).to(dtype), Tokenizer.for_arithmetic())
        assert_same(tmp_path / name, weights)


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "mixed"])
def test_files_in_blocks(kind: str, weights: WeightFormat, tmp_path: Path) -> None:
    """Those that the kernels read themselves, one that they do not, and layers that have both kinds."""

    def chosen(name: str, numbers: np.ndarray) -> Kind | None:
        if numbers.ndim < 2:
            return None
        return Kind[("Q8_0", "Q4_0", "Q4_1")[len(name) % 3] if kind == "mixed" else kind]

    export(save(tmp_path / "hf", WIDE), tmp_path / "f32.gguf", "f32")
    assert_same(rewrite(tmp_path / "f32.gguf", tmp_path / "model.gguf", kinds=chosen), weights)


@pytest.mark.parametrize("name", ["deepseek-v3", "qwen2", "deepseek"])
def test_gguf_files_of_other_families(name: str, tmp_path: Path) -> None:
    export(save(tmp_path / "hf", MODELS[name]), tmp_path / "model.gguf", "q8_0")
    for weights in FORMATS:
        assert_same(tmp_path / "model.gguf", weights)


class Counting:
    """A source that counts what is read of it."""

    def __init__(self, source: TensorSource) -> None:
        self.source, self.infos, self.read_times = source, source.infos, Counter[str]()

    def read_into(self, name: str, out: torch.Tensor) -> None:
        self.read_times[name] += 1
        self.source.read_into(name, out)


def test_every_tensor_is_read_once_and_the_spare_ones_never(tmp_path: Path) -> None:
    path = save(tmp_path, MODELS["deepseek-v3"])
    with open_whole(path) as (opened, _):
        counting = Counting(opened.source)
        NativeModel.from_source(opened.config, counting, threads=1)  # type: ignore[arg-type]
    layers = opened.config.layers
    wanted = {name for name in counting.infos if not name.startswith(f"model.layers.{layers}.")}
    assert counting.read_times == dict.fromkeys(wanted, 1)


def test_numbers_of_a_view_are_those_of_its_part(tmp_path: Path) -> None:
    path = save(tmp_path, MODELS["deepseek-v3"])
    loaded = load_model(path).model
    with open_checkpoint(path) as opened:
        unread = UnreadModel(opened.config, opened.source)
        for name, tensor in unread.module.named_parameters():
            expected = loaded.get_parameter(name)
            assert torch.equal(unread.numbers(tensor), expected), name
            if tensor.ndim == 2:
                assert torch.equal(unread.numbers(tensor[1:3].t()), expected[1:3].t()), name


def test_stored_blocks_are_a_gguf_file_s(tmp_path: Path) -> None:
    with (
        open_checkpoint(save(tmp_path, small_dense())) as opened,
        pytest.raises(ConfigError, match="needs a GGUF file"),
    ):
        NativeModel.from_source(opened.config, opened.source, weights="stored")
