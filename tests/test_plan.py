"""What a model costs: FLOPs by hand and as torch counts them, memory by hand, and the published runs."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from ponder.cli.main import main
from ponder.core.errors import ConfigError
from ponder.models.cache import Cache
from ponder.models.config import GqaConfig, MlaConfig, ModelConfig, MoeConfig
from ponder.models.presets import PRESETS, count_parameters
from ponder.models.transformer import Transformer
from ponder.plan.cases import calibrated_utilization
from ponder.plan.flops import Flops, causal_keys, decode_flops, forward_flops, training_flops
from ponder.plan.hardware import HARDWARE, find_hardware
from ponder.plan.memory import activation_numbers, cache_bytes, cache_numbers, training_bytes, weight_bytes
from ponder.plan.numbers import dollars, parse_count, short
from ponder.plan.plan import Plan, PlanRequest, make_plan
from ponder.plan.plots import BLUE, ORANGE, plot_cost
from ponder.plan.report import plan_to_json
from ponder.plan.serving import Serving, devices_for, serve
from ponder.plan.training import Rollouts, Sequences, Setting, Stage, estimate
from ponder.weights.catalogue import find_model
from test_plots import pixels, where

H800 = HARDWARE["h800"]
V3 = PRESETS["deepseek-v3"](129_280)
# small enough to count on paper: D 8, H 2, C 4, Q 6, N 3, R 2, V 5, V-size 11
TINY = ModelConfig(
    vocab_size=11,
    hidden_size=8,
    layers=2,
    heads=2,
    attention=MlaConfig(kv_lora_rank=4, q_lora_rank=6, qk_nope_head_dim=3, qk_rope_head_dim=2, v_head_dim=5),
    intermediate_size=7,
    moe=MoeConfig(routed_experts=4, experts_per_token=2, shared_experts=1, expert_intermediate_size=3),
    mtp_depth=1,
    max_positions=64,
)
DENSE = ModelConfig(
    vocab_size=13,
    hidden_size=8,
    layers=3,
    heads=4,
    attention=GqaConfig(kv_heads=2, head_dim=6),
    intermediate_size=7,
    max_positions=64,
    rope_layout="halves",
)


# ---------------------------------------------------------------- FLOPs


def test_flops_of_a_tiny_model_by_hand() -> None:
    """Layer 0 is dense, layer 1 has experts; ten keys."""
    projection = 8 * 6 + 8 * (4 + 2) + 2 * 5 * 8  # q_a, kv_a, o
    expansion = 6 * 2 * (3 + 2) + 4 * 2 * (3 + 5)  # q_b, kv_b
    assert (projection, expansion) == (176, 124)
    assert forward_flops(TINY, 10) == Flops(
        projection=2 * 2 * 176,
        expansion=2 * 2 * 124,
        feed_forward=2 * (3 * 8 * 7 + (2 + 1) * 3 * 8 * 3),
        gate=2 * 8 * 4,
        head=2 * 8 * 11,
        attention_scores=2 * 2 * 2 * (3 + 2) * 10,
        attention_values=2 * 2 * 2 * 5 * 10,
    )
    mtp = forward_flops(TINY, 10, mtp=True).total - forward_flops(TINY, 10).total
    assert mtp == 2 * (176 + 124 + 3 * 3 * 8 * 3 + 8 * 4 + 2 * 8 * 8 + 8 * 11) + 2 * 2 * (5 + 5) * 10


def test_training_is_three_forwards_and_what_is_done_twice() -> None:
    forward = forward_flops(TINY, causal_keys(9), mtp=True)
    assert causal_keys(9) == sum(range(1, 10)) / 9
    plain = training_flops(TINY, 9)
    assert plain.model == 3 * forward.total
    assert plain.total == plain.model + forward.attention_scores
    assert training_flops(TINY, 9, recompute="expansion").total == plain.total + forward.expansion
    assert training_flops(TINY, 9, recompute="blocks").total == plain.total + forward.total - forward.head


def test_decoding_by_hand_absorbed_and_naive() -> None:
    absorbed, naive = decode_flops(TINY, 10), decode_flops(TINY, 10, absorbed=False)
    assert absorbed.attention == 2 * 2 * 2 * ((4 + 2) + 4) * 10
    assert absorbed.linear == forward_flops(TINY, 10).linear
    assert naive.attention == forward_flops(TINY, 10).attention
    assert naive.expansion == 2 * 2 * (6 * 2 * 5 + 10 * 4 * 2 * 8)  # the latents of all ten positions
    assert decode_flops(DENSE, 10) == decode_flops(DENSE, 10, absorbed=False) == forward_flops(DENSE, 10)


def counted(config: ModelConfig, *, cached: int = 0, absorbed: bool | None = None, mtp: bool = False) -> float:
    """FLOPs of one token as torch counts them in our transformer, which attends to all positions."""
    model = Transformer(config, torch.Generator().manual_seed(0))
    ids_BT = torch.arange(12).view(2, 6) % config.vocab_size
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        if cached:
            cache = Cache.empty(config, 2, cached)
            cache.extent = cached
            positions_BT = torch.full((2, 1), cached - 1)
            model.head(model(ids_BT[:, :1], cache=cache, positions_BT=positions_BT, absorbed=absorbed))
            return counter.get_total_flops() / 2
        hidden_BTD = model(ids_BT)
        model.head(hidden_BTD)
        if mtp:
            for state in model.mtp_hidden(hidden_BTD, ids_BT):
                model.head(state)
    return counter.get_total_flops() / 12


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("config", [TINY, DENSE, replace(DENSE, tie_embeddings=True)])
def test_flops_are_those_that_torch_counts(config: ModelConfig) -> None:
    assert counted(config) == forward_flops(config, 6).total
    for absorbed in (True, False):
        assert counted(config, cached=9, absorbed=absorbed) == decode_flops(config, 9, absorbed=absorbed).total


@pytest.mark.usefixtures("without_kernels")
def test_mtp_flops_are_those_that_torch_counts() -> None:
    """The module runs on five of six positions, which attend to five."""
    at_five = forward_flops(TINY, 5, mtp=True).total - forward_flops(TINY, 5).total
    assert counted(TINY, mtp=True) * 12 == pytest.approx(forward_flops(TINY, 6).total * 12 + at_five * 10)


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("config", [DENSE, replace(TINY, mtp_depth=0, moe=None)])
def test_training_flops_are_those_that_torch_counts(config: ModelConfig) -> None:
    """Our attention keeps its scores, so torch counts three forwards, less the gradient of the embedding's output."""
    model = Transformer(config, torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        model.head(model(torch.arange(6).view(1, 6))).sum().backward()
    assert counter.get_total_flops() == pytest.approx(6 * 3 * forward_flops(config, 6).total)


def test_deepseek_v3_per_token() -> None:
    """The active parameters, less the norms and one row of the embedding, are what a token is multiplied with."""
    forward = forward_flops(V3, 0)
    unused = 7168 + 61 * (2 * 7168 + 1536 + 512) + 7168
    assert forward.total == 2 * (count_parameters(V3).active - unused)
    at_4k = training_flops(V3, 4096, recompute="expansion")
    assert at_4k.total / 1e9 == pytest.approx(273.65, abs=0.01)
    assert at_4k.model / 1e9 == pytest.approx(260.65, abs=0.01)
    # attention at 128K, by section 4.2's numbers: 62 blocks, 128 heads, 192 and 128 wide, causal
    assert forward_flops(V3, causal_keys(131_072), mtp=True).attention == 2 * 62 * 128 * (192 + 128) * 65_536.5


@given(length=st.integers(1, 10**6), more=st.integers(1, 10**6))
def test_longer_sequences_cost_more(length: int, more: int) -> None:
    for config in (TINY, DENSE):
        assert training_flops(config, length + more).total > training_flops(config, length).total
        assert decode_flops(config, length + more).total > decode_flops(config, length).total


# ---------------------------------------------------------------- memory


def test_cache_of_the_family() -> None:
    v2, dense = find_model("deepseek-v2").config, find_model("deepseek-llm-67b").config
    assert cache_numbers(V3) == 576 * 61
    assert cache_numbers(v2) == 576 * 60
    assert cache_numbers(dense) == 2 * 8 * 128 * 95
    assert round(100 * (1 - cache_numbers(v2) / cache_numbers(dense)), 1) == 82.2
    assert round(100 * (1 - cache_bytes(v2, 6) / cache_bytes(dense)), 1) == 93.3
    assert cache_bytes(V3) == 70_272


def test_weights_and_training_state() -> None:
    assert weight_bytes(1000, "bf16") == 2000
    assert weight_bytes(256, "q4_k") == 144
    assert weight_bytes(128 * 128, "fp8") == 128 * 128 + 4
    count = count_parameters(TINY)
    assert training_bytes(count, "bf16") == (count.total + count.mtp) * (2 + 4 + 4 + 8)
    assert training_bytes(count, "fp32") == (count.total + count.mtp) * (4 + 4 + 8)
    with pytest.raises(ConfigError, match="q3_x"):
        weight_bytes(1, "q3_x")


def test_activations_by_hand() -> None:
    # norms' inputs and outputs, q k v and attention's output, gate up and product
    dense_block = 4 * 8 + (2 * 4 + 2 * 2) * 6 + 3 * 7
    assert activation_numbers(DENSE, "none") == 3 * dense_block
    assert activation_numbers(DENSE, "blocks") == 3 * 8 + dense_block
    # kv and q latents before and after their norms, q, k, v, the output
    latents = 2 * 6 + 4 + 2 + 4
    attention = latents + 2 * 2 * 5 + 2 * 5 + 2 * 5
    experts = 3 * 3 * 3 + 2 * 2 * 8 + 4
    assert activation_numbers(TINY, "none") == 3 * (4 * 8 + attention) + 3 * 7 + 2 * experts
    kept = 2 * 8 + (6 + 4 + 2) + 2 * 5
    assert activation_numbers(TINY, "expansion") == 3 * kept + 3 * 7 + 2 * experts


# ---------------------------------------------------------------- training


def setting(**changes: Any) -> Setting:
    return Setting(**{"hardware": H800, "utilization": 0.5, "gpus": 8, "precision": "bf16", **changes})


def training(tokens: float, length: float = 64) -> Stage:
    return Stage(name="training", parts=(Sequences(tokens=tokens, length=length),), formula="")


def test_hours_days_and_dollars_by_hand() -> None:
    cost = estimate(DENSE, training(1e15), setting())
    flops = 1e15 * training_flops(DENSE, 64).total
    assert cost.flops == flops
    assert cost.gpu_hours == pytest.approx(flops / (0.5 * 989.4e12) / 3600)
    assert cost.days == pytest.approx(cost.gpu_hours / 8 / 24)
    assert cost.cost_usd == pytest.approx(2 * cost.gpu_hours)
    fp8 = estimate(DENSE, training(1e15), setting(precision="fp8"))
    per_token = training_flops(DENSE, 64)
    seconds = per_token.linear / 1978.9e12 + per_token.rest / 989.4e12
    assert fp8.gpu_hours == pytest.approx(1e15 * seconds / 0.5 / 3600)


def test_rollouts_by_hand() -> None:
    """Sampling waits for the longest, unless there is more to compute than that."""
    rollouts = Rollouts(samples=1000, length=50, waits=((3, 500), (2, 1000)), tokens_per_second=10, learns=False)
    assert rollouts.wait_hours() == (3 * 500 + 2 * 1000) / 10 / 3600
    waiting = estimate(DENSE, Stage(name="", parts=(rollouts,), formula=""), setting())
    assert waiting.gpu_hours == pytest.approx(8 * 350 / 3600)
    many = replace(rollouts, samples=10**15)
    computing = estimate(DENSE, Stage(name="", parts=(many,), formula=""), setting())
    per_token = decode_flops(DENSE, causal_keys(50)).total
    assert computing.gpu_hours == pytest.approx(5e16 * per_token / (0.5 * 989.4e12) / 3600)
    learning = estimate(DENSE, Stage(name="", parts=(replace(many, learns=True, forwards=2),), formula=""), setting())
    read = 2 * forward_flops(DENSE, causal_keys(50)).total + training_flops(DENSE, 50).total
    assert learning.gpu_hours == pytest.approx(5e16 * (per_token + read) / (0.5 * 989.4e12) / 3600)


@given(tokens=st.floats(1, 1e15), share=st.floats(0.01, 0.99), gpus=st.integers(1, 4096))
def test_cost_follows_tokens_and_utilization(tokens: float, share: float, gpus: int) -> None:
    one = estimate(TINY, training(tokens), setting(utilization=share, gpus=gpus))
    assert estimate(TINY, training(2 * tokens), setting(utilization=share)).gpu_hours == pytest.approx(
        2 * one.gpu_hours
    )
    assert estimate(TINY, training(tokens), setting(utilization=share / 2)).gpu_hours == pytest.approx(
        2 * one.gpu_hours
    )
    assert one.days * gpus * 24 == pytest.approx(one.gpu_hours)  # more GPUs: fewer days, the same bill


def test_settings_that_cannot_be() -> None:
    for changes, message in (
        ({"utilization": 1.2}, "utilization = 1.2"),
        ({"utilization": 0.0}, "utilization"),
        ({"gpus": 0}, "gpus = 0"),
        ({"hardware": HARDWARE["a100-80"], "precision": "fp8"}, "A100 SXM 80 GB has no fp8 arithmetic"),
    ):
        with pytest.raises(ConfigError, match=message):
            setting(**changes)


def test_hardware_by_name() -> None:
    assert find_hardware("H800") is H800
    assert find_hardware("rtx_4090", 0.5).price == 0.5
    with pytest.raises(ConfigError, match="'h8000' is unknown; did you mean 'h800'"):
        find_hardware("h8000")
    with pytest.raises(ConfigError, match="GPU price"):
        find_hardware("h800", math.nan)
    cpu = find_hardware("cpu")
    assert 1e9 < cpu.peak["fp32"] < 1e14
    assert 1e8 < cpu.bandwidth < 1e13


# ---------------------------------------------------------------- serving


def test_serving_by_hand() -> None:
    count = count_parameters(DENSE)
    plan = serve(DENSE, count, Serving(hardware=H800, utilization=0.5, gpus=2, context=32, batch=4))
    read = 2 * count.total + 4 * 32 * 3 * 2 * 2 * 6 * 2  # weights; batch · tokens · layers · k and v · 2 heads of 6
    assert plan.bound == "bandwidth"
    assert plan.decode_ceiling == pytest.approx(4 * 2 * 3350e9 / read)
    assert plan.decode_tokens_per_second == pytest.approx(0.5 * plan.decode_ceiling)
    assert plan.prefill_tokens_per_second == pytest.approx(0.5 * 2 * 989.4e12 / forward_flops(DENSE, 16.5).total)
    dollars_a_second = 2 * 2.0 / 3600
    assert plan.usd_per_million_output == pytest.approx(1e6 * dollars_a_second / plan.decode_tokens_per_second)


def test_experts_are_read_once_they_are_used() -> None:
    """A batch of one reads 2 of 4 experts; a large batch reads all."""
    count = count_parameters(TINY)
    few, many = (
        serve(TINY, count, Serving(hardware=H800, utilization=1, gpus=1, context=1, batch=batch)) for batch in (1, 500)
    )
    expert, cache = 3 * 8 * 3, 2 * (4 + 2) * 2
    assert few.decode_ceiling == pytest.approx(3350e9 / (2 * (count.total - 2 * expert) + cache))
    assert many.decode_ceiling == pytest.approx(500 * 3350e9 / (2 * count.total + 500 * cache))


def test_a_larger_batch_is_cheaper_and_too_large_a_one_is_refused() -> None:
    config, count = V3, count_parameters(V3)
    serving = Serving(hardware=H800, utilization=0.25, gpus=16, weights="fp8")
    prices = [serve(config, count, replace(serving, batch=batch)).usd_per_million_output for batch in (1, 8, 64, 512)]
    assert all(later < earlier for earlier, later in pairwise(prices) if earlier and later)
    with pytest.raises(ConfigError, match=r"100,000 × 4,096 tokens.*GB of weights.*fit in 90% of 16 × 80 GB"):
        serve(config, count, replace(serving, batch=100_000))
    with pytest.raises(ConfigError, match="not even one fits"):
        serve(config, count, replace(serving, gpus=8))
    assert devices_for(671e9, H800) == 16
    assert [devices_for(needed, H800) for needed in (1, 73e9, 200e9, 300e9, 600e9)] == [1, 2, 4, 8, 16]


# ---------------------------------------------------------------- published runs


def plan_of(name: str, **changes: Any) -> Plan:
    return make_plan(PlanRequest(name=name, config=find_model(name).config, **changes))


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, Any]]:
    names = ("deepseek-v3", "deepseek-v2", "deepseek-llm-67b", "deepseek-r1")
    return {name: plan_to_json(plan_of(name)) for name in names}


def deviations(report: dict[str, Any]) -> dict[str, float]:
    return {row["figure"]: row["deviation"] for row in report["published"]}


def test_v3s_whole_table_within_three_percent(published: dict[str, dict[str, Any]]) -> None:
    report = published["deepseek-v3"]
    assert [stage["published_gpu_hours"] for stage in report["stages"]] == [2664e3, 119e3, 5e3]
    assert [round(stage["gpu_hours"]) for stage in report["stages"]] == [2_664_000, 122_471, 4_959]
    assert all(abs(stage["deviation"]) < 0.03 for stage in report["stages"])
    assert report["gpu_hours"] == pytest.approx(2788e3, rel=0.03)
    assert report["cost_usd"] == pytest.approx(5.576e6, rel=0.03)
    assert report["stages"][0]["days"] == pytest.approx(54.2, abs=0.05)
    assert [stage["calibrated_on"] for stage in report["stages"]] == [True, False, False]
    assert [stage["borrowed_inputs"] is not None for stage in report["stages"]] == [False, False, True]


def test_the_context_extension_without_each_assumption(published: dict[str, dict[str, Any]]) -> None:
    rows = published["deepseek-v3"]["other_assumptions"]
    assert [round(100 * row["deviation"], 1) for row in rows] == [2.9, 4.7, -8.3, -31.5, -37.7]


def test_the_others_with_the_same_utilization(published: dict[str, dict[str, Any]]) -> None:
    assert calibrated_utilization() == pytest.approx(0.2518, abs=1e-4)
    assert {report["utilization"] for report in published.values()} == {calibrated_utilization()}
    v2, dense, r1 = (deviations(published[name]) for name in ("deepseek-v2", "deepseek-llm-67b", "deepseek-r1"))
    assert v2["pre-training, per T tokens"] == pytest.approx(0.041, abs=1e-3)
    assert dense["pre-training, per T tokens"] == pytest.approx(0.565, abs=1e-3)
    assert r1["GPU hours, in all"] == r1["cost, in all"] == pytest.approx(-0.344, abs=1e-3)
    assert published["deepseek-llm-67b"]["utilization_implied_by_published_hours"] == pytest.approx(0.394, abs=1e-3)
    assert published["deepseek-r1"]["gpu_hours"] == sum(s["gpu_hours"] for s in published["deepseek-r1"]["stages"])
    own = make_plan(
        PlanRequest(name="x", config=find_model("deepseek-llm-67b").config, tokens=2e12, utilization=0.25179 * 1.5646)
    )
    assert own.gpu_hours == pytest.approx(2 * 300.6e3, rel=1e-3)  # at the utilisation that it implies


def test_serving_beside_the_published_prices(published: dict[str, dict[str, Any]]) -> None:
    serving = published["deepseek-r1"]["serving"]
    saved = {price["name"]: price for price in serving["api_prices"]}["OpenAI o1"]
    assert saved["output_saved_by_first"] == pytest.approx(1 - 2.19 / 60)
    assert not saved["verified"]
    assert serving["usd_per_million_output_tokens"] < 2.19
    assert deviations(published["deepseek-v3"])["decode tokens/s per GPU"] == pytest.approx(0.10, abs=0.005)
    assert published["deepseek-v2"]["kv_bytes_per_token"] == 34_560 * 6 / 8


def test_a_changed_setting_is_not_compared() -> None:
    for changes in ({"gpus": 512}, {"hardware": HARDWARE["h100"]}, {"utilization": 0.3}, {"tokens": 1e12}):
        plan = plan_of("deepseek-v3", **changes)
        assert not plan.comparisons
        assert plan_to_json(plan)["stages"][0]["deviation"] is None
    assert len(plan_of("deepseek-v3", tokens=1e12).stages) == 1
    same = plan_of("deepseek-v3", gpus=2048, hardware=find_hardware("h800", 2.0))
    assert [row.deviation for row in same.comparisons] == [row.deviation for row in plan_of("deepseek-v3").comparisons]


def test_a_plan_for_anything_else() -> None:
    """20 tokens per active parameter; the fewest devices; what does not fit is said and nothing else is lost."""
    plan = make_plan(PlanRequest(name="tiny", config=TINY, hardware=HARDWARE["rtx-3090"]))
    assert plan.stages[0].tokens == 20 * plan.count.active
    assert (plan.setting.gpus, plan.setting.precision, plan.cost_usd) == (1, "bf16", None)
    small = replace(HARDWARE["rtx-3090"], memory=1000.0)
    report = plan_to_json(make_plan(PlanRequest(name="tiny", config=TINY, hardware=small, gpus=1, context=64)))
    assert report["memory"]["fits"] is False
    with pytest.raises(ConfigError, match="context = 100; expected 1 to 64"):
        PlanRequest(name="tiny", config=TINY, context=100)
    with pytest.raises(ConfigError, match="tokens = -1"):
        PlanRequest(name="tiny", config=TINY, tokens=-1)


# ---------------------------------------------------------------- numbers and the command


@pytest.mark.parametrize(
    ("text", "number"), [("14.8T", 14.8e12), ("500b", 5e11), ("1,000", 1000), ("1e9", 1e9), ("2.5e3K", 2.5e6)]
)
def test_counts_are_read(text: str, number: float) -> None:
    assert parse_count(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["14.8X", "", "T", "-5", "nan", "inf", "1e999", "1 2", "0x10"])
def test_other_texts_are_no_counts(text: str) -> None:
    with pytest.raises(ValueError, match="count"):
        parse_count(text)


def test_a_dense_model_is_told_what_the_dense_one_kept() -> None:
    assumptions = " ".join(make_plan(PlanRequest(name="dense", config=DENSE)).assumptions)
    kept = plan_to_json(plan_of("deepseek-llm-67b"))["utilization_implied_by_published_hours"]
    assert f"DeepSeek LLM 67B's published hours imply {kept:.1%}" in assumptions


def test_numbers_as_people_write_them() -> None:
    assert [short(n) for n in (0, 0.0123, 12, 999.6, 1500, 671e9, 14.8e12)] == [
        "0", "0.0123", "12", "1K", "1.5K", "671B", "14.8T",
    ]  # fmt: skip
    assert [dollars(n) for n in (0.2, 5.58e6, 2, 294e3, 0.0042)] == ["$0.20", "$5.58M", "$2", "$294K", "$0.0042"]


def test_plot_shows_the_plan_and_the_published_cost() -> None:
    image = pixels(plot_cost(plan_of("deepseek-v3")))
    assert len(where(image, BLUE)) > 500
    assert len(where(image, ORANGE)) > 30
    assert plot_cost(plan_of("deepseek-v3")) == plot_cost(plan_of("deepseek-v3"))


def test_command_as_json_and_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "deepseek-v3", "--plot", str(tmp_path / "cost.png")]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    for name in ("gpu_hours", "days", "cost_usd", "kv_bytes_per_token", "utilization"):
        assert isinstance(report[name], float), name
    assert (report["parameters_total"], report["parameters_active"]) == (671_026_404_352, 36_625_610_752)
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")
    assert main(arguments) == 0
    text = " ".join(capsys.readouterr().out.split())  # long lines are wrapped
    for expected in ("2,664K", "122K", "4.96K", "$5.583M", "calibrated", "docs/plan.md", "that of R1's SFT data"):
        assert expected in text


def test_command_on_a_preset_and_on_a_config_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "tiny-v3", "--tokens", "50M", "--gpu-price", "0.1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["stages"][0]["tokens"] == 50e6
    assert report["cost_usd"] == pytest.approx(0.1 * report["gpu_hours"])
    shape = find_model("qwen2.5-0.5b").shape
    (tmp_path / "config.json").write_text(json.dumps(dict(shape)))
    for path in (tmp_path, tmp_path / "config.json"):
        assert main(["plan", str(path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["parameters_total"] == 494_032_768


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["deepseek-v9"], 1, "did you mean deepseek-v"),
        (["deepseek-v3", "--hardware", "h8000"], 1, "did you mean 'h800'"),
        (["deepseek-v3", "--tokens", "14.8X"], 2, "such as 14.8T"),
        (["deepseek-v3", "--tokens", "-5"], 2, "such as 14.8T"),
        (["deepseek-v3", "--utilization", "1.2"], 2, "at most 1"),
        (["deepseek-v3", "--gpu-price", "nan"], 2, "dollars an hour"),
        (["deepseek-v3", "--context", "0"], 2, "32K"),
        (["deepseek-v3", "--plot", "cost.jpg"], 1, "plots are PNG"),
        (["tiny-v3", "--plot", "no/such/folder/cost.png"], 1, "cannot be written"),
        (["tiny-v3", "--batch", "99999999999"], 1, "smaller --batch"),
    ],
)
def test_bad_input_has_one_clear_message(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if code == 2:
        with pytest.raises(SystemExit, match="2"):
            main(["plan", *arguments])
    else:
        assert main(["plan", *arguments]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "content",
    ["{", "[1]", '{"model_type": "mamba"}', "[" * 100_000]
    + [json.dumps(find_model("qwen2.5-0.5b").shape | {n: 10**30}) for n in ("vocab_size", "num_hidden_layers")],
)
def test_a_config_that_cannot_be_read(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(content)
    assert main(["plan", str(tmp_path / "config.json")]) == 1
    assert "config.json" in capsys.readouterr().err
