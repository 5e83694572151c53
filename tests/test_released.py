"""What comes with Ponder as trained weights: small, whole, and of a model that the catalogue has."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from ponder.weights.adapters.config import is_adapter
from ponder.weights.catalogue import KnownModel, find_model, known_models
from ponder.weights.hf.folder import CARD, read_card
from ponder.weights.hf.tokenizer import read_tokenizer
from ponder.weights.pull.home import released_folder

MOST_BYTES = 20_000_000  # of weights
RELEASED = [model for model in known_models() if model.adapter_of is not None]


@pytest.fixture(params=RELEASED, ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> KnownModel:
    assert isinstance(request.param, KnownModel)
    return request.param


@pytest.fixture
def folder(model: KnownModel) -> Path:
    return released_folder(model.name)


def test_there_is_one() -> None:
    assert "smol-r1" in [model.name for model in RELEASED]


def test_it_is_a_small_adapter_in_pefts_format(folder: Path) -> None:
    assert is_adapter(folder)
    weights = folder / "adapter_model.safetensors"
    assert weights.stat().st_size <= MOST_BYTES
    rank = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["r"]
    with safe_open(weights, "pt") as tensors:
        shapes = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    assert {shape[0] for name, shape in shapes.items() if "lora_A" in name} == {rank}


def test_it_names_its_base_and_its_licence(folder: Path, model: KnownModel) -> None:
    base = find_model(str(model.adapter_of))
    assert json.loads((folder / "base.json").read_text(encoding="utf-8"))["name"] == base.name
    card = read_card(folder / CARD)
    assert card["license"].lower() == model.licence.lower()


def test_its_tokenizer_has_the_marks_of_a_thought(folder: Path, model: KnownModel) -> None:
    tokenizer = read_tokenizer(folder, {})
    assert tokenizer is not None
    assert tokenizer.control.think is not None
    assert tokenizer.vocab_size == model.config.vocab_size
