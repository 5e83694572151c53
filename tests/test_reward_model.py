"""Reward models: what they learn, that transformers scores the same, and what is said of bad ones."""

import json
import math
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from ponder.algo.preferences import (
    bradley_terry_loss,
    calibration_error,
    correlation,
    label_loss,
    ranking_accuracy,
)
from ponder.core.errors import CheckpointError, ConfigError, DataError, NonFiniteLossError, TrainingError
from ponder.core.metrics import read_metrics
from ponder.core.progress import SilentReporter
from ponder.core.runs import RunFolder
from ponder.core.types import Message
from ponder.core.workers import ComputeConfig, Workers, kernel_threads
from ponder.data.preferences import PreferencePair, SafetyLabel, split_by_prompt
from ponder.models.adapter_config import AdapterConfig
from ponder.models.adapters import with_adapter
from ponder.models.config import GqaConfig
from ponder.models.scalar_head import ScoringModel
from ponder.text.prompt import Prompter
from ponder.text.tokenizer import Tokenizer
from ponder.train.loop import run_stage
from ponder.train.optimizer import OptimizerConfig
from ponder.train.reward_model import (
    RewardCard,
    RewardModel,
    encode_reply,
    load_reward_model,
    save_reward_model,
    score_sequences,
)
from ponder.train.reward_quality import Scored, judge_labels, judge_pairs
from ponder.train.reward_stage import RewardConfig, RewardTraining
from small_models import random_model, small_dense, small_v3
from vocabularies import CHATML_JINJA, small_chatml

TOKENIZER = Tokenizer.for_arithmetic()
PROMPTER = Prompter(TOKENIZER)
CONFIG = RewardConfig(
    items_per_step=8,
    warmup_steps=2,
    evaluate_every=1000,
    centre_weight=0.0,
    optimizer=OptimizerConfig(learning_rate=2e-3),
)
CARD = RewardCard(kind="helpfulness", max_tokens=64)


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers(ComputeConfig(workers=2)) as pool:
        yield pool


def polite_pairs(count: int, *, seed: int = 0) -> list[PreferencePair]:
    """The reply that says yes is preferred; lengths and thoughts say nothing."""
    rng = random.Random(seed)

    def reply(word: str) -> Message:
        noise = "".join(rng.choices("abcdefgh", k=rng.randrange(2, 9)))
        return Message("assistant", f"{noise}{word}{noise[::-1]}", rng.choice([None, " yes", " no"]))

    return [
        PreferencePair(prompt=(Message("user", f"{i}?"),), chosen=reply(" yes"), rejected=reply(" no"))
        for i in range(count)
    ]


def labels(count: int) -> list[SafetyLabel]:
    """A reply is unsafe where its thought says no, whatever its answer: only who reads the whole can tell."""
    return [
        SafetyLabel(
            prompt=(Message("user", f"{i}?"),),
            response=Message("assistant", f"{i % 7}", f"hm{' yes' if i % 2 else ' no'} so"),
            safe=bool(i % 2),
        )
        for i in range(count)
    ]


def stage(
    workers: Workers, items=None, config: RewardConfig = CONFIG, adapter: AdapterConfig | None = None
) -> RewardTraining:
    train, held_out = split_by_prompt(items if items is not None else polite_pairs(160))
    model = random_model(small_dense())
    if adapter is not None:
        model = with_adapter(model, adapter, torch.Generator().manual_seed(1))
    return RewardTraining(model, PROMPTER, train, held_out, config, workers, 0)


def train(training: RewardTraining) -> list[dict[str, float]]:
    return [dict(training.step(step).metrics) for step in range(training.total_steps)]


# ---- the losses


def test_the_losses_are_those_worked_by_hand() -> None:
    chosen, rejected = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0])
    by_hand = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(3))) / 2
    assert float(bradley_terry_loss(chosen, rejected, pairs=2)) == pytest.approx(by_hand, rel=1e-6)
    centred = by_hand + 0.1 * (9 + 9) / 2
    assert float(bradley_terry_loss(chosen, rejected, pairs=2, centre_weight=0.1)) == pytest.approx(centred, rel=1e-6)
    halves = [bradley_terry_loss(chosen[i : i + 1], rejected[i : i + 1], pairs=2) for i in range(2)]
    assert float(sum(halves)) == pytest.approx(by_hand, rel=1e-6)  # however the step is cut
    logits, marks = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 1.0])
    assert float(label_loss(logits, marks, replies=2)) == pytest.approx(
        (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2, rel=1e-6
    )


def test_swapping_the_answers_swaps_the_preference() -> None:
    model = ScoringModel(random_model(small_dense()))
    torch.nn.init.normal_(model.scalar_head.weight, generator=torch.Generator().manual_seed(2))
    a, b = [5, 6, 7], [9, 8, 7, 6, 5]
    with kernel_threads(1):
        one, other = model([a, b]).detach(), model([b, a]).detach()
    assert float((one - other.flip(0)).abs().max()) < 1e-6


def test_measures_of_scores_are_those_worked_by_hand() -> None:
    # 0.9 twice, one right: confidence 0.9, accuracy 0.5; 0.2 says no with 0.8, and no it was
    assert calibration_error([0.9, 0.9, 0.2], [1.0, 0.0, 0.0]) == pytest.approx((2 * 0.4 + 0.2) / 3)
    assert calibration_error([1.0, 0.0], [1.0, 0.0]) == 0.0
    assert correlation([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) == pytest.approx(1.0)
    assert correlation([1.0, 2.0, 3.0], [1.0, 0.0, 1.0]) == pytest.approx(0.0)
    assert correlation([1.0, 1.0], [1.0, 2.0]) is None
    assert ranking_accuracy([3.0, 1.0], [2.0, 1.0]) == (1 + 1 + 0 + 0.5) / 4


# ---- what is read


def test_helpfulness_reads_the_summary_alone_and_safety_the_whole() -> None:
    prompt, thought = [Message("user", "1+1=?")], "1 and 1"
    bare, whole = Message("assistant", "2"), Message("assistant", "2", thought)
    assert encode_reply(PROMPTER, prompt, whole, "helpfulness") == encode_reply(PROMPTER, prompt, bare, "helpfulness")
    ids = encode_reply(PROMPTER, prompt, whole, "safety")
    assert TOKENIZER.decode(ids) == "1+1=?<think>1 and 1</think><answer>2</answer><eos>"
    assert TOKENIZER.decode(encode_reply(PROMPTER, prompt, whole, "helpfulness")) == "1+1=?2<eos>"


def test_a_template_without_thoughts_shows_them_to_safety_as_text() -> None:
    prompter = Prompter.of(small_chatml(), CHATML_JINJA)
    whole = Message("assistant", "2", "one more")
    text = prompter.tokenizer.decode(encode_reply(prompter, [Message("user", "q")], whole, "safety"))
    assert text.endswith("<|im_start|>assistant\none more\n\n2<|im_end|>\n")
    text = prompter.tokenizer.decode(encode_reply(prompter, [Message("user", "q")], whole, "helpfulness"))
    assert text.endswith("<|im_start|>assistant\n2<|im_end|>\n")


def test_a_sequence_that_is_too_long_loses_its_beginning() -> None:
    model = RewardModel(ScoringModel(random_model(small_dense())), PROMPTER, replace(CARD, max_tokens=5))
    ids = model.encode([Message("user", "a question")], Message("assistant", "an answer"))
    assert TOKENIZER.decode(ids) == "swer<eos>"


# ---- training


def test_pairs_are_learned_and_the_first_loss_is_log_2(workers: Workers) -> None:
    training = stage(workers, polite_pairs(400))
    metrics = train(training)
    assert metrics[0]["loss/preference"] == pytest.approx(math.log(2), rel=1e-6)
    assert metrics[0]["reward_model/accuracy"] == 0.5
    quality = training.evaluate()
    assert quality.accuracy.mean >= 0.95
    assert quality.accuracy.low > 0.85
    assert metrics[-1]["reward_model/held_out_accuracy"] == quality.accuracy.mean
    assert abs(quality.length_correlation or 0.0) < 0.5
    assert quality.findings == ()
    assert training.remark.startswith("helpfulness: accuracy ")


def test_labels_are_learned_from_the_thought(workers: Workers) -> None:
    training = stage(workers, labels(300))
    metrics = train(training)
    assert metrics[0]["loss/safety"] == pytest.approx(math.log(2), rel=1e-6)
    quality = training.evaluate()
    assert (quality.kind, quality.ranking_accuracy) == ("safety", 1.0)
    assert quality.accuracy.mean == 1.0
    assert quality.longer_preferred_share is None


def test_only_what_needs_a_gradient_is_trained(workers: Workers) -> None:
    model = random_model(small_dense())
    model.requires_grad_(False)
    model.blocks[1].requires_grad_(True)
    before = {name: p.clone() for name, p in model.named_parameters()}
    train_items, held_out = split_by_prompt(polite_pairs(160))
    training = RewardTraining(model, PROMPTER, train_items, held_out, CONFIG, workers, 0)
    train(training)
    changed = {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"blocks"}
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters() if not n.startswith("blocks.1"))
    assert float(training.scoring.scalar_head.weight.detach().abs().max()) > 0


def test_an_adapter_is_trained_in_place_of_the_whole_and_worked_in_when_saved(workers: Workers, tmp_path: Path) -> None:
    base = random_model(small_dense())
    adapted = with_adapter(base, AdapterConfig(kind="lora", rank=4, alpha=8.0), torch.Generator().manual_seed(1))
    train_items, held_out = split_by_prompt(polite_pairs(400))
    config = replace(CONFIG, optimizer=OptimizerConfig(learning_rate=1e-2))
    training = RewardTraining(adapted, PROMPTER, train_items, held_out, config, workers, 0)
    frozen = base.blocks[0].attention.q.weight.clone()
    train(training)
    assert training.evaluate().accuracy.low > 0.8
    assert torch.equal(base.blocks[0].attention.q.weight, frozen)
    training.save(tmp_path / "reward", None)
    replies = [(pair.prompt, pair.chosen) for pair in held_out[:5]]
    scores = training.trained().score(replies, workers)
    assert load_reward_model(tmp_path / "reward").score(replies, workers) == pytest.approx(scores, abs=1e-4)


def test_the_result_does_not_depend_on_micro_batches_or_workers(workers: Workers) -> None:
    weights = []
    for tokens, count, again in ((64, 1, True), (4096, 2, False)):
        with Workers(ComputeConfig(workers=count)) as pool:
            training = stage(pool, config=replace(CONFIG, micro_batch_tokens=tokens, gradient_checkpointing=again))
            train(training)
        weights.append(torch.cat([p.detach().flatten() for p in training.scoring.parameters()]))
    assert float((weights[0] - weights[1]).abs().max()) < 2e-4


def test_bf16_learns_what_fp32_learns(workers: Workers) -> None:
    losses = [
        [m["loss/preference"] for m in train(stage(workers, config=replace(CONFIG, precision=precision)))]  # type: ignore[arg-type]
        for precision in ("fp32", "bf16")
    ]
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 0.05


class _Stop(Exception):
    pass


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_stopped_training_goes_on_bit_for_bit(kind: str, workers: Workers, tmp_path: Path) -> None:
    def run(name: str, stop_after: int | None = None) -> RewardTraining:
        adapter = AdapterConfig(kind=kind, rank=4)  # type: ignore[arg-type]
        training = stage(workers, config=replace(CONFIG, epochs=0.5, evaluate_every=4), adapter=adapter)
        step = training.step

        def stopping(number: int, seconds_left: float | None = None):
            if number == stop_after:
                raise _Stop
            return step(number, seconds_left)

        training.step = stopping  # type: ignore[method-assign]
        folder = RunFolder(tmp_path / name)
        run_stage(training, TOKENIZER, folder, SilentReporter(), checkpoint_every=2)
        return training

    whole = run("whole")
    assert whole.total_steps == 9
    with pytest.raises(_Stop):
        run("cut", stop_after=5)
    resumed = run("cut")
    for ours, theirs in zip(resumed.scoring.parameters(), whole.scoring.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    logs = [
        [
            {k: v for k, v in line.items() if k.split("/")[0] not in ("time", "speed")}
            for line in read_metrics(f.metrics)
        ]
        for f in (RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut"))
    ]
    assert logs[0] == logs[1]
    assert [len(line) > 8 and "reward_model/held_out_loss" in line for line in logs[0]] == [
        number in (3, 7, 8) for number in range(9)
    ]
    assert resumed.trained().card == whole.trained().card


def test_bad_data_and_settings_are_refused(workers: Workers) -> None:
    with pytest.raises(DataError, match="0 items to train on and 0 held out, of 0 kinds"):
        stage(workers, [])
    with pytest.raises(
        DataError, match=r"of 139 items to train on 0 fit in 3 tokens, and 0 of 21 held out.*raise max_t"
    ):
        stage(workers, config=replace(CONFIG, max_tokens=3))
    training = stage(workers, config=replace(CONFIG, max_tokens=18))
    assert 0 < training.left_out < 160
    assert f"{training.left_out} items were longer than 18 tokens" in training.remark
    for bad in ({"items_per_step": 0}, {"epochs": 0.0}, {"final_rate_share": 2.0}, {"centre_weight": -1.0}):
        with pytest.raises(ConfigError, match="reward_model"):
            RewardConfig(**bad)  # type: ignore[arg-type]


def test_a_loss_that_is_not_finite_stops_before_the_step(workers: Workers) -> None:
    training = stage(workers)
    training.step(0)
    with torch.no_grad():
        training.model.norm.weight[0] = math.nan
        before = training.scoring.scalar_head.weight.clone()
    with pytest.raises(NonFiniteLossError, match=r"step 1 has loss nan.*lower optimizer\.learning_rate"):
        training.step(1)
    assert torch.equal(training.scoring.scalar_head.weight, before)


def test_out_of_memory_says_what_to_lower(workers: Workers) -> None:
    training = stage(workers)

    def no_room(*args: object, **named: object) -> torch.Tensor:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    training.model.forward = no_room  # type: ignore[method-assign]
    with pytest.raises(
        TrainingError, match=r"out of memory in step 0, with 2 micro-batches at once of 2048 tokens.*Lower"
    ):
        training.step(0)


# ---- what is said of a bad model


def scored(score: float, length: int = 10, prompt: str = "") -> Scored:
    return Scored(prompt or f"{score} {length}", score, length)


def test_a_sound_model_gives_no_findings() -> None:
    rng = random.Random(3)
    pairs = []
    for i in range(200):
        margin = rng.gauss(1.5, 1.0)
        base = rng.gauss(0, 1)
        pairs.append((Scored(str(i), base + margin, rng.randrange(5, 50)), Scored(str(i), base, rng.randrange(5, 50))))
    quality = judge_pairs(pairs)
    assert quality.findings == ()
    assert quality.accuracy.low > 0.85
    assert quality.calibration_error < 0.2
    assert json.loads(json.dumps(quality.to_json()))["items"] == 200


@pytest.mark.parametrize(
    ("margins", "finding"),
    [
        ([0.0] * 40, "the same score"),
        ([1e-5, -1e-5] * 20, "the same score"),
        ([1.0, -1.0] * 20, "told from chance"),
        ([12.0] * 30 + [3.0] * 10, r"is saturated: 75 % of its margins are beyond 8"),
        ([6.0, 7.0, 5.0, -6.0, -7.0] * 20, "overconfident"),
    ],
)
def test_a_model_that_fails_quietly_is_found_out(margins: list[float], finding: str) -> None:
    pairs = [(scored(m, 10 + i % 5, str(i)), scored(0.0, 10 + i % 3, str(i))) for i, m in enumerate(margins)]
    found = " ".join(judge_pairs(pairs).findings)
    assert re.search(finding, found), found


def test_a_model_that_pays_for_length_is_found_out() -> None:
    pairs = [
        (scored(0.1 * length, length, str(i)), scored(0.1 * other, other, str(i)))
        for i, (length, other) in enumerate([(30, 10), (40, 12), (20, 25), (50, 5)] * 10)
    ]
    quality = judge_pairs(pairs)
    assert quality.length_correlation == pytest.approx(1.0)
    assert (quality.longer_preferred_share, quality.longer_chosen_share) == (1.0, 0.75)
    assert "would pay for longer replies" in quality.findings[-1]


def test_scores_that_are_not_finite_are_counted_and_left_out() -> None:
    sound = [(scored(2.0, 3, str(i)), scored(0.5, 4, str(i))) for i in range(40)]
    quality = judge_pairs([*sound, (scored(math.nan), scored(1.0)), (scored(1.0), scored(math.inf))])
    assert (quality.items, quality.accuracy.mean) == (40, 1.0)
    assert "2 held-out scores are not finite" in quality.findings[0]
    with pytest.raises(DataError, match="all 2 scores are not finite"):
        judge_pairs([(scored(math.nan), scored(math.nan))])
    with pytest.raises(DataError, match="nothing held out"):
        judge_labels([])


def test_labels_are_judged_by_their_side() -> None:
    rows = [(scored(2.0, 3, "a"), True), (scored(-1.0, 4, "b"), False), (scored(1.0, 5, "c"), False)]
    quality = judge_labels(rows)
    assert quality.accuracy.mean == pytest.approx(2 / 3)
    assert quality.ranking_accuracy == 1.0
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 3
    assert quality.loss == pytest.approx(expected)


# ---- on disk


@pytest.mark.parametrize("shape", ["llama", "llama tied", "qwen2", "qwen3"])
def test_transformers_scores_the_same(shape: str, workers: Workers, tmp_path: Path) -> None:
    attention = GqaConfig(kv_heads=2, head_dim=8, qkv_bias=shape == "qwen2", qk_norm=shape == "qwen3")
    body = random_model(small_dense(attention=attention, tie_embeddings=shape == "llama tied"))
    model = ScoringModel(body)
    torch.nn.init.normal_(model.scalar_head.weight, generator=torch.Generator().manual_seed(2))
    card = replace(CARD, mean=0.5, std=2.0, quality={"items": 1})
    save_reward_model(tmp_path / "reward", model, TOKENIZER, None, card)
    rng = random.Random(0)
    sequences = [[rng.randrange(6, 299) for _ in range(n)] for n in (3, 17, 9, 1)]
    ours = score_sequences(model, sequences, workers)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward", dtype=torch.float32).eval()
    assert type(theirs).__name__.endswith("ForSequenceClassification")
    padded = torch.tensor([[*s, *[TOKENIZER.control.pad] * (17 - len(s))] for s in sequences])
    with torch.no_grad():
        expected = theirs(padded, attention_mask=(padded != TOKENIZER.control.pad).long()).logits.squeeze(-1)
    assert max(abs(a - b) for a, b in zip(ours, expected.tolist(), strict=True)) <= 1e-4
    assert max(map(abs, ours)) > 0.1
    loaded = load_reward_model(tmp_path / "reward")
    assert loaded.card == card
    assert score_sequences(loaded.model, sequences, workers, micro_batch_tokens=8) == pytest.approx(ours, abs=1e-5)
    assert loaded.normalised(4.5) == 2.0


def test_an_architecture_with_experts_is_saved_and_read_back(workers: Workers, tmp_path: Path) -> None:
    model = ScoringModel(random_model(small_v3(mtp_depth=1)))
    torch.nn.init.normal_(model.scalar_head.weight, generator=torch.Generator().manual_seed(2))
    save_reward_model(tmp_path / "reward", model, TOKENIZER, None, CARD)
    loaded = load_reward_model(tmp_path / "reward")
    replies = [([Message("user", "1+1=?")], Message("assistant", answer)) for answer in ("2", "3 so", " wait ")]
    whole = RewardModel(model, PROMPTER, CARD)
    assert loaded.score(replies, workers) == pytest.approx(whole.score(replies, workers), abs=1e-5)
    assert loaded.model.body.config.mtp_depth == 0


def test_a_trained_model_is_saved_with_what_is_known_of_it(workers: Workers, tmp_path: Path) -> None:
    training = stage(workers, config=replace(CONFIG, epochs=0.2))
    train(training)
    training.save(tmp_path / "reward", None)
    card = load_reward_model(tmp_path / "reward").card
    assert card.quality is not None
    assert card.quality["accuracy"][0] == training.evaluate().accuracy.mean
    assert card.mean == pytest.approx(training.evaluate().mean)


def test_folders_that_hold_no_reward_model_say_so(tmp_path: Path) -> None:
    model = ScoringModel(random_model(small_dense()))
    folder = tmp_path / "reward"
    with pytest.raises(CheckpointError, match=r"is no reward model: it has no reward\.json"):
        load_reward_model(tmp_path)
    save_reward_model(folder, model, TOKENIZER, None, CARD)
    (folder / "reward.json").write_text('{"kind": "beauty", "max_tokens": 3}')
    with pytest.raises(CheckpointError, match=r"cannot read .*reward\.json: kind 'beauty'"):
        load_reward_model(folder)
    save_reward_model(folder, model, TOKENIZER, None, CARD)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(
        CheckpointError, match=r"lacks model\.layers\.2\.input_layernorm.*scalar head \(score\.weight\)"
    ):
        load_reward_model(folder)
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    with pytest.raises(CheckpointError, match=r"holds model\.layers\.1\."):
        load_reward_model(folder)
