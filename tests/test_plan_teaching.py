"""What teaching takes: memory and FLOPs by hand, as torch counts them, and as real training holds them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ponder.cli.main import main
from ponder.core.errors import ConfigError, GenerationError, TrainingError
from ponder.core.workers import ComputeConfig, Workers
from ponder.models.adapter_config import AdapterConfig
from ponder.models.adapters import with_adapter
from ponder.models.config import GqaConfig, ModelConfig
from ponder.models.transformer import Transformer
from ponder.plan.flops import forward_flops, training_flops
from ponder.plan.hardware import HARDWARE
from ponder.plan.teaching import (
    SAMPLED_PER_SECOND,
    TRAINED_PER_SECOND,
    Learner,
    Lesson,
    adapter_parameters,
    find_learner,
    lesson_flops,
    smaller_cut,
    teach,
    teaching_memory,
    teaching_seconds,
)
from ponder.recipes.memory_advice import lesson_of, memory_advice, memory_explained, sampling_explained
from ponder.train.distill import DistillConfig
from ponder.train.grpo import GrpoConfig
from ponder.train.reward_stage import RewardConfig
from ponder.train.sft import SftConfig
from ponder.weights.catalogue import find_model

# D 8, 3 layers, 4 heads of 6, 2 of keys and values, F 7, 13 entries: small enough to count on paper
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
BLOCK = 8 * 6 * (4 + 2 + 2) + 4 * 6 * 8 + 3 * 8 * 7 + 2 * 8  # q k v, o, gate up down, two norms
WHOLE = 3 * BLOCK + 2 * 13 * 8 + 8
# rank · (inputs + outputs) of q, k, v, o, gate, up, down
ADAPTER = 3 * 2 * ((8 + 24) + 2 * (8 + 12) + (24 + 8) + 3 * (8 + 7))
LESSON = Lesson(row_tokens=10, completions=6, prompt_tokens=4, completion_tokens=5, steps=2, tokens=1000)


def test_an_adapters_parameters_by_hand_and_of_a_real_model() -> None:
    assert adapter_parameters(DENSE, 2) == ADAPTER
    # SmolLM2-135M, rank 32: 30 layers of 576 to 576, 192, 192, back to 576, and 3 × 576 to 1,536
    by_hand = 30 * 32 * ((576 + 576) * 2 + (576 + 192) * 2 + 3 * (576 + 1536))
    assert adapter_parameters(find_model("smollm2-135m").config, 32) == by_hand == 9_768_960


def test_memory_by_hand() -> None:
    activations = 3 * (4 * 8 + (2 * 4 + 2 * 2) * 6 + 3 * 7)
    full = teaching_memory(DENSE, "sft", LESSON, micro_batches=2)
    assert (full.weights, full.compute_copy, full.moments) == (4 * WHOLE, 2 * WHOLE, 8 * WHOLE)
    assert full.gradients == (4 + 2 * 2) * WHOLE  # the sum in fp32, and one in bf16 for each micro-batch
    assert full.activations == 2 * 10 * activations * 2
    assert full.logits == 2 * 10 * 13 * 2
    assert (full.sampler, full.cache) == (0, 0)
    parts = 22 * WHOLE + full.activations + full.logits
    assert full.total == parts + 0.5e9
    lora = teaching_memory(DENSE, "grpo", LESSON, micro_batches=1, adapter=ADAPTER)
    assert (lora.weights, lora.compute_copy) == (4 * (WHOLE + ADAPTER), 2 * (WHOLE + ADAPTER))
    assert (lora.gradients, lora.moments) == (6 * ADAPTER, 8 * ADAPTER)
    assert lora.sampler == 2 * WHOLE
    assert lora.cache == 6 * 9 * (3 * 2 * 2 * 6) * 2  # completions · tokens · layers · keys and values · bf16
    exact = teaching_memory(DENSE, "grpo", replace(LESSON, precision="fp32", rollouts="fp32"), micro_batches=1)
    assert (exact.compute_copy, exact.gradients) == (0, 8 * WHOLE)
    assert (exact.sampler, exact.cache) == (4 * WHOLE, 2 * lora.cache)


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("rank", [0, 2])
def test_flops_are_those_that_torch_counts(rank: int) -> None:
    """But that our attention keeps the scores of all pairs, where the plan has causal ones computed again; and under an
    adapter nothing asks for the gradient of the first block's input, and torch leaves products out that are added in
    place: of B forward and of A backward.
    """
    model, adapter, left_out = Transformer(DENSE, torch.Generator().manual_seed(0)), None, 0
    if rank:
        model = with_adapter(model, AdapterConfig(kind="lora", rank=rank), torch.Generator().manual_seed(0))
        adapter = adapter_parameters(DENSE, rank)
        left_out = 2 * 8 * (24 + 12 + 12)  # the input's gradient of q, k and v
        outputs, inputs = 24 + 12 + 12 + 8 + 7 + 7 + 8, 3 * 8 + 24 + 2 * 8 + 7
        left_out += 3 * 2 * rank * (outputs + inputs)
    with FlopCounterMode(display=False) as counter:
        model.head(model(torch.arange(6).view(1, 6))).sum().backward()
    planned = lesson_flops(DENSE, 6, LESSON, adapter)
    causal, whole = forward_flops(DENSE, 3.5), forward_flops(DENSE, 6)
    kept = 3 * whole.attention - 4 * causal.attention_scores - 3 * causal.attention_values
    assert counter.get_total_flops() == pytest.approx(6 * (planned.total + kept - left_out))


def test_seconds_by_hand() -> None:
    learner = Learner(hardware=HARDWARE["a100-80"], micro_batches=1, utilization=0.5)
    sft = teaching_seconds(DENSE, "sft", LESSON, learner)
    assert sft == pytest.approx(1000 * training_flops(DENSE, 256).total / (0.5 * 312e12))
    step = 6 * 9 * training_flops(DENSE, 9).total / (0.5 * 312e12)
    read = 2 * (WHOLE + 6 * (4 + 3) * 72) / (0.5 * 2039e9)  # so small a model waits for its weights
    assert teaching_seconds(DENSE, "grpo", LESSON, learner) == pytest.approx(2 * (step + 5 * read))


def test_two_cores_do_what_was_measured_of_them() -> None:
    learner = find_learner("cpu-2")
    shape = find_model("smollm2-135m-instruct").config
    assert teaching_seconds(shape, "sft", Lesson(tokens=1e6), learner) == pytest.approx(1e6 / TRAINED_PER_SECOND)
    slow = replace(Lesson(tokens=1e6), precision="fp32")
    assert teaching_seconds(shape, "sft", slow, learner) == pytest.approx(3e6 / TRAINED_PER_SECOND)
    # against 256 cached tokens on average, as measured, and with next to nothing to train
    lesson = Lesson(steps=1, completions=32, prompt_tokens=255, completion_tokens=1)
    sampling = teaching_seconds(shape, "grpo", lesson, learner)
    trained = 32 * 256 / TRAINED_PER_SECOND
    assert sampling - trained == pytest.approx(32 / SAMPLED_PER_SECOND, rel=1e-9)


def test_what_does_not_fit_is_cut_smaller_where_that_helps() -> None:
    found = find_model("qwen2.5-1.5b").config
    on_cpu = teach("m", found, "sft", Lesson(rank=32), find_learner("cpu-2"))
    assert (on_cpu.fits, on_cpu.smaller, on_cpu.lesson.recompute) == (True, True, "blocks")
    whole = teach("m", found, "sft", Lesson(rank=0), find_learner("cpu-2"))
    assert (whole.fits, whole.smaller) == (False, False)
    on_gpu = teach("m", found, "sft", Lesson(rank=32), find_learner("rtx-4090"))
    assert (on_gpu.fits, on_gpu.smaller) == (True, False)
    assert smaller_cut("grpo", Lesson()).row_tokens == 356


# --- the command


def test_the_command_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--teach", "--hardware", "cpu-2,rtx-4090", "--rank", "8", "--tokens", "1M", "--context", "512", "--json"]
    assert main(["plan", "smollm2-135m", "qwen2.5-0.5b", *options]) == 0
    lessons = json.loads(capsys.readouterr().out)["lessons"]
    assert [(o["model"], o["method"], o["adapter_rank"]) for o in lessons[::2]] == [
        (model, method, rank)
        for model in ("smollm2-135m", "qwen2.5-0.5b")
        for method in ("sft", "grpo")
        for rank in (None, 8)
    ]
    assert {o["device"] for o in lessons} == {"cpu-2", "rtx-4090"}
    assert lessons[0]["seconds"] == pytest.approx(1e6 / TRAINED_PER_SECOND)
    assert lessons[0]["bytes"]["total"] == sum(v for k, v in lessons[0]["bytes"].items() if k != "total")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny-v3", "tiny-dense"], "belong to --teach"),
        (["tiny-dense", "--rank", "8"], "belong to --teach"),
        (["tiny-dense", "--teach", "--gpus", "8"], "--gpus does not belong to --teach"),
        (["tiny-dense", "--teach", "--hardware", "cpu-2,rtx-4099"], "did you mean 'rtx-4090'"),
        (["tiny-dense", "--teach", "--precision", "fp8"], "trains in bf16 or fp32"),
    ],
)
def test_bad_input_has_one_clear_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_lesson_has_numbers_that_can_be() -> None:
    with pytest.raises(ConfigError, match="row_tokens = 0; expected 1 or more"):
        Lesson(row_tokens=0)
    assert Lesson(rank=0).rank == 0


# --- out of memory


class Stopped:
    """A stage's step that PyTorch has no memory for."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def step(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "first"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (MemoryError(), "out of memory"),
        (TrainingError("cold-start: out of memory in step 3"), "cold-start: out of memory in step 3"),
    ],
)
def test_out_of_memory_comes_with_the_planners_figures(error: Exception, first: str) -> None:
    model = Transformer(DENSE, torch.Generator().manual_seed(0))
    config = SftConfig(row_tokens=1024, tokens_per_step=1024)
    with Workers(ComputeConfig(workers=2)) as workers, pytest.raises(TrainingError) as caught:  # noqa: SIM117
        with memory_explained(model, config, workers):
            Stopped(error).step()
    held = teaching_memory(DENSE, "sft", Lesson(row_tokens=1024, precision="fp32"), 2)
    said = str(caught.value)
    assert said.startswith(first)
    assert f"it takes {held.total / 1e9:.3g} GB" in said
    assert "with gradient_checkpointing = true" in said
    half = teaching_memory(DENSE, "sft", Lesson(row_tokens=512, precision="fp32"), 2)
    assert f"with half of row_tokens {half.total / 1e9:.3g} GB" in said
    assert "adapter.kind = 'lora'" in said
    assert said.count("planner's count") == 1


def test_other_errors_pass_as_they_are() -> None:
    model = Transformer(DENSE, torch.Generator().manual_seed(0))
    with Workers(ComputeConfig(workers=1)) as workers, pytest.raises(RuntimeError, match=r"^shapes do not fit$"):  # noqa: SIM117
        with memory_explained(model, SftConfig(), workers):
            Stopped(RuntimeError("shapes do not fit")).step()


def test_advice_for_a_real_size_names_the_largest_first() -> None:
    with torch.device("meta"):
        model = Transformer(find_model("smollm2-135m").config)
        adapted = with_adapter(model, AdapterConfig(kind="lora", rank=32), None)
    config = GrpoConfig(prompts_per_step=16, group_size=8, max_tokens=256, precision="bf16", rollout_weights="bf16")
    assert lesson_of(config)[1] == Lesson(completions=128, completion_tokens=256)
    said = memory_advice(adapted, config, 2)
    assert "takes 4.08 GB (its cache 1, activations 1, weights 0.58" in said
    assert "adapter.kind" not in said
    full = memory_advice(model, config, 2)
    assert "takes 6.02 GB" in full
    assert "with adapter.kind = 'lora' about 3.87 GB" in full


def test_advice_for_fine_tuning_counts_every_row_of_a_micro_batch() -> None:
    with torch.device("meta"):
        model = Transformer(find_model("smollm2-135m").config)
    config = SftConfig(row_tokens=1024, micro_batch_rows=4, tokens_per_step=4096, gradient_checkpointing=True)
    cut = Lesson(row_tokens=2048, precision="fp32", recompute="blocks")  # 4 rows of half the tokens
    half = teaching_memory(model.config, "sft", cut, 2)
    said = memory_advice(model, config, 2)
    assert f"with half of row_tokens {half.total / 1e9:.3g} GB" in said
    assert "gradient_checkpointing" not in said  # which is on


def test_advice_counts_the_reference_model() -> None:
    with torch.device("meta"):
        model = Transformer(find_model("smollm2-135m").config)
        adapted = with_adapter(model, AdapterConfig(kind="lora", rank=32), None)
    config = GrpoConfig(prompts_per_step=16, group_size=8, max_tokens=256, precision="bf16", rollout_weights="bf16")
    kept = replace(config, kl_weight=0.001)
    full = memory_advice(model, kept, 2)
    assert "takes 6.56 GB" in full  # 6.02 without, and 4 bytes for each of 134.5 M
    assert "frozen models beside it 0.54" in full
    assert "with adapter.kind = 'lora' about 3.87 GB" in full  # as without: the reference shares what is frozen
    assert "takes 4.12 GB" in memory_advice(adapted, kept, 2)  # 4.08 without, and 4 bytes for each of 9.8 M


def test_advice_for_learning_distributions_is_of_that_stage_and_counts_the_teacher() -> None:
    with torch.device("meta"):
        student, teacher = (Transformer(find_model("smollm2-135m").config) for _ in range(2))
    config = DistillConfig(kind="logits", on_policy=0.5, sequences_per_step=32, max_tokens=256, micro_batch_tokens=512)
    sampled = Lesson(row_tokens=512, precision="fp32", rollouts="fp32", completions=16, completion_tokens=256)
    assert lesson_of(config) == ("grpo", sampled)
    assert lesson_of(replace(config, on_policy=0.0))[0] == "sft"
    numbers = sum(p.numel() for p in teacher.parameters())
    held, half = (
        teaching_memory(student.config, "grpo", cut, 2, beside=4.0 * numbers)
        for cut in (sampled, replace(sampled, row_tokens=256))
    )
    said = memory_advice(student, config, 2, [teacher])
    assert f"takes {held.total / 1e9:.3g} GB" in said
    assert f"with half of micro_batch_tokens {half.total / 1e9:.3g} GB" in said
    assert "gradient_checkpointing" not in said


def test_advice_for_a_reward_model_counts_no_logits() -> None:
    with torch.device("meta"):
        model = Transformer(find_model("smollm2-135m").config)
    config = RewardConfig(micro_batch_tokens=4096, precision="bf16")
    method, lesson = lesson_of(config)
    assert (method, lesson.row_tokens, lesson.precision, lesson.recompute) == ("sft", 4096, "bf16", "none")
    held, half = (teaching_memory(model.config, "sft", replace(lesson, row_tokens=n), 2) for n in (4096, 2048))
    said = memory_advice(model, config, 2)
    assert f"takes {(held.total - held.logits) / 1e9:.3g} GB" in said
    assert f"with half of micro_batch_tokens {(half.total - half.logits) / 1e9:.3g} GB" in said
    assert "with gradient_checkpointing = true" in said


def test_a_sampler_without_memory_says_what_it_holds_and_what_to_lower() -> None:
    config = find_model("smollm2-135m").config
    with torch.device("meta"):
        model = Transformer(config)
    with pytest.raises(GenerationError) as caught, sampling_explained(config, "bf16", 65_536, "a.batch", [model]):
        Stopped(RuntimeError("DefaultCPUAllocator: can't allocate memory")).step()
    said = str(caught.value)
    # 2 · 3 heads · 64 · 30 layers of 2 bytes for each token: 1.51 GB; 134.5 M weights in 2 and in 4 bytes; 0.5 besides
    assert said.startswith("out of memory; what was drawn before is kept. By the planner's count ")
    assert "sampling takes 2.82 GB" in said
    assert "(its cache 1.5, weights beside it 0.54, the sampler's weights 0.27)" in said
    assert "with half of a.batch 2.06 GB" in said
    with pytest.raises(RuntimeError, match=r"^other$"), sampling_explained(config, "bf16", 1, "a.batch"):
        raise RuntimeError("other")


def test_the_planner_is_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "plan.md").read_text(encoding="utf-8")
    for told in ("## Teaching", f"{TRAINED_PER_SECOND:.0f} tokens/s", f"{SAMPLED_PER_SECOND:,.0f} tokens/s"):
        assert told in text
