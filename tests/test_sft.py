"""Fine-tuning: what is learned, the split of a step, resume bit for bit, precision, refusals."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ponder.core.errors import ConfigError, DataError, NonFiniteLossError, TrainingError
from ponder.core.workers import ComputeConfig, Workers
from ponder.models.adapter_config import AdapterConfig
from ponder.models.adapters import with_adapter
from ponder.models.config import ModelConfig
from ponder.models.transformer import Transformer
from ponder.text.examples import Example
from ponder.train import sft as sft_module
from ponder.train.optimizer import OptimizerConfig
from ponder.train.sft import Sft, SftConfig
from small_models import random_model, small_dense, small_v3
from tiny_recipe import MODEL

CONFIG = SftConfig(
    steps=10, tokens_per_step=96, row_tokens=48, warmup_steps=2, optimizer=OptimizerConfig(learning_rate=5e-3)
)
FIRST = range(8)  # the examples of the first step with CONFIG
# losses of ten steps with CONFIG; where they change, so does what a run learns: say so in dev/LOG.md
GOLDEN = [5.721537, 5.617025, 5.382286, 5.451366, 5.303181, 5.208753, 5.185584, 5.120094, 5.243505, 5.142959]


class Counting:
    """Sequences that count on from a start; the second half of each is learned."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self.asked: list[int] = []

    def example(self, index: int) -> Example:
        self.asked.append(index)
        length, start = 6 + index * 7 % 11, index * 13 % 90
        return Example(tuple(range(start, start + length)), tuple(i >= length // 2 for i in range(length)))


@pytest.fixture(scope="module")
def workers() -> Workers:
    return Workers(ComputeConfig(workers=2))


def dense(seed: int = 0) -> Transformer:
    return Transformer(small_dense(), torch.Generator().manual_seed(seed))


def stage(workers: Workers, model: Transformer | None = None, source: Counting | None = None, **settings: Any) -> Sft:
    return Sft(model or dense(), source or Counting(), replace(CONFIG, **settings), workers, 0, name="cold-start")


def curve(sft: Sft, steps: range) -> list[float]:
    return [sft.step(step).metrics["loss/next_token"] for step in steps]


def test_golden_losses(workers: Workers) -> None:
    assert curve(stage(workers), range(10)) == pytest.approx(GOLDEN, abs=2e-5)


def test_the_loss_is_the_mean_over_the_learned_tokens_of_each_example_alone(workers: Workers) -> None:
    model, source = dense(), Counting()
    losses, shown = [], 0
    with torch.no_grad():
        for index in FIRST:
            example = source.example(index)
            logits = model.head(model(torch.tensor([example.ids])))[0]
            every = F.cross_entropy(logits[:-1], torch.tensor(example.ids[1:]), reduction="none")
            losses += every[torch.tensor(example.target[1:])].tolist()
            shown += len(example.ids)
    metrics = stage(workers, model).step(0).metrics
    assert metrics["loss/next_token"] == pytest.approx(sum(losses) / len(losses), abs=2e-6)
    assert metrics["data/target_share"] == pytest.approx(len(losses) / shown)
    assert (metrics["data/examples"], metrics["data/filled_share"], shown) == (len(FIRST), 90 / 96, 90)


@pytest.mark.parametrize("shape", [small_dense(), MODEL], ids=["end to end", "each in a row of its own"])
def test_a_temperature_divides_the_logits_of_learned_tokens(workers: Workers, shape: ModelConfig) -> None:
    """And of no others: what is rehearsed is the reference's distribution as it is."""
    ours, theirs = (Transformer(shape, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    source, losses = Rehearsing(), []
    with torch.no_grad():
        for index in FIRST:
            example = source.example(index)
            if not example.rehearsed:
                logits = ours.head(ours(torch.tensor([example.ids])))[0] / 1.5
                every = F.cross_entropy(logits[:-1], torch.tensor(example.ids[1:]), reduction="none")
                losses += every[torch.tensor(example.target[1:])].tolist()

    def metrics(temperature: float) -> dict[str, float]:
        config = replace(CONFIG, temperature=temperature)
        return dict(Sft(copy.deepcopy(ours), Rehearsing(), config, workers, 0, reference=theirs).step(0).metrics)

    tempered = metrics(1.5)
    assert tempered["loss/next_token"] == pytest.approx(sum(losses) / len(losses), abs=2e-6)
    assert tempered["loss/divergence"] == pytest.approx(metrics(1.0)["loss/divergence"], rel=1e-5)


def test_a_model_learned_at_a_temperature_is_more_certain_at_one(workers: Workers) -> None:
    """Of two continuations, one three times as frequent, it gives the odds of temperature 1 that are 3 at its own."""

    class Coin:
        size = None

        def example(self, index: int) -> Example:
            return Example((5, 7 if index % 4 else 9), (False, True))

    def odds(temperature: float) -> float:
        model, rate = dense(), OptimizerConfig(learning_rate=1e-2)
        config = SftConfig(
            steps=150, tokens_per_step=8, row_tokens=8, warmup_steps=1, optimizer=rate, temperature=temperature
        )
        sft = Sft(model, Coin(), config, workers, 0)
        for step in range(150):
            sft.step(step)
        with torch.no_grad():
            logits = model.head(model(torch.tensor([[5, 7]])))[0, 0]
        return float(logits[7] - logits[9])

    assert odds(1.0) == pytest.approx(math.log(3), abs=0.15)
    assert odds(2.0) == pytest.approx(2 * math.log(3), abs=0.3)


class Rehearsing(Counting):
    """Of every two, one is rehearsed; the reference reads another beginning."""

    def example(self, index: int) -> Example:
        example = super().example(index)
        return example.rehearse((3, 1, *example.ids[2:])) if index % 2 else example


@pytest.mark.parametrize("shape", [small_dense(), MODEL], ids=["end to end", "each in a row of its own"])
def test_rehearsed_tokens_are_learned_as_what_the_reference_says(workers: Workers, shape: ModelConfig) -> None:
    """The others as they are. Whether examples stand end to end or, with experts, each in a row of its own."""
    ours, theirs = (Transformer(shape, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    source, tokens, divergences = Rehearsing(), [], []
    with torch.no_grad():
        for index in FIRST:
            example = source.example(index)
            logp = ours.head(ours(torch.tensor([example.ids])))[0, :-1].log_softmax(-1)
            if example.rehearsed:
                n = len(example.ids) - 2
                assert example.rehearsed == n
                expected = theirs.head(theirs(torch.tensor([example.reference])))[0, -n - 1 : -1].log_softmax(-1)
                divergences += F.kl_div(logp[-n:], expected, reduction="none", log_target=True).sum(-1).tolist()
            else:
                every = -logp.gather(-1, torch.tensor(example.ids[1:])[:, None])[:, 0]
                tokens += every[torch.tensor(example.target[1:])].tolist()
    sft = Sft(ours, Rehearsing(), CONFIG, workers, 0, reference=theirs)
    metrics = sft.step(0).metrics
    assert metrics["loss/next_token"] == pytest.approx(sum(tokens) / len(tokens), abs=2e-5)
    assert metrics["loss/divergence"] == pytest.approx(sum(divergences) / len(divergences), rel=1e-4)
    assert metrics["data/rehearsed_share"] == pytest.approx(len(divergences) / (len(tokens) + len(divergences)))
    before = metrics["loss/divergence"]
    assert min(sft.step(step).metrics["loss/divergence"] for step in range(1, 10)) < before
    assert all(p.grad is None for p in theirs.parameters())


def test_a_model_that_is_its_own_reference_has_nothing_to_learn_from_it(workers: Workers) -> None:
    class All(Counting):
        def example(self, index: int) -> Example:
            example = super().example(index)
            return example.rehearse(example.ids)

    with pytest.raises(DataError, match="as a reference model's distribution; give it one"):
        Sft(dense(), All(), CONFIG, workers, 0).step(0)
    metrics = Sft(dense(), All(), CONFIG, workers, 0, reference=dense()).step(0).metrics
    assert metrics["loss/divergence"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["optimizer/gradient_norm"] < 1e-5
    assert (metrics["loss/next_token"], metrics["data/rehearsed_share"]) == (0.0, 1.0)


def test_what_is_rehearsed_is_the_end_that_both_read() -> None:
    example = Example((1, 2, 3, 4, 5), (False, False, True, True, True))
    for reference, rehearsed, targets in (
        ((1, 2, 3, 4, 5), 4, 4),  # nothing predicts the first
        ((7, 8, 9, 4, 5), 2, 3),
        ((4, 5), 1, 3),
        ((5,), 0, 3),
        ((4, 6), 0, 3),
    ):
        made = example.rehearse(reference)
        assert (made.rehearsed, made.target_tokens, made.ids) == (rehearsed, targets, example.ids)


@pytest.mark.parametrize("settings", [{"micro_batch_rows": 2}, {"gradient_checkpointing": True}])
def test_settings_of_memory_change_no_result_beyond_rounding(workers: Workers, settings: dict[str, Any]) -> None:
    one, other = stage(workers), stage(workers, **settings)
    assert curve(one, range(4)) == pytest.approx(curve(other, range(4)), abs=2e-6)


def test_the_number_of_workers_changes_nothing() -> None:
    with Workers(ComputeConfig(workers=1)) as alone, Workers(ComputeConfig(workers=2)) as two:
        assert curve(stage(alone), range(4)) == curve(stage(two), range(4))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("muon", [0.0, 0.01])
def test_a_resume_gives_the_same_weights_bit_for_bit(workers: Workers, precision: Any, muon: float) -> None:
    settings: dict[str, Any] = {"precision": precision}
    settings["optimizer"] = OptimizerConfig(learning_rate=5e-3, muon_learning_rate=muon)
    whole = stage(workers, **settings)
    losses = curve(whole, range(10))
    first = stage(workers, **settings)
    assert curve(first, range(5)) == losses[:5]
    kept = {name: tensor.clone() for name, tensor in first.model.state_dict().items()}
    state = first.state()
    second = stage(workers, dense(seed=9), **settings)
    second.model.load_state_dict(kept)
    second.load_state(state)
    assert curve(second, range(5, 10)) == losses[5:]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name


def test_bf16_follows_fp32(workers: Workers) -> None:
    gaps = [
        abs(a - b)
        for a, b in zip(
            curve(stage(workers), range(10)), curve(stage(workers, precision="bf16"), range(10)), strict=True
        )
    ]
    assert 0 < max(gaps) < 0.01


def test_an_update_too_small_for_bf16_is_not_lost(workers: Workers) -> None:
    model = dense()
    before = model.blocks[0].attention.q.weight.detach().clone()
    sft = stage(workers, model, precision="bf16", optimizer=OptimizerConfig(learning_rate=1e-7), warmup_steps=1)
    sft.step(0)
    moved = (model.blocks[0].attention.q.weight.detach() - before).abs()
    assert model.blocks[0].attention.q.weight.dtype == torch.float32
    assert 0 < moved.max() < 2e-7


def test_what_is_frozen_stays_and_the_rest_learns(workers: Workers) -> None:
    for precision in ("fp32", "bf16"):
        model = dense().requires_grad_(False)
        model.blocks[1].requires_grad_(True)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        sft = stage(workers, model, precision=precision)
        losses = curve(sft, range(6))
        assert losses[-1] < losses[0] - 0.03
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[name]) is not name.startswith("blocks.1."), name
        assert {key.split("/")[0] for key in sft.state().tensors} == {
            n for n, p in model.named_parameters() if p.requires_grad
        }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_with_experts_and_multi_token_prediction_learns_all_of_its_losses(
    workers: Workers, precision: Any
) -> None:
    sft = stage(workers, Transformer(MODEL, torch.Generator().manual_seed(0)), precision=precision)
    biases = [mixture.balance_bias.clone() for mixture in sft.model.moe_layers().values()]
    first = sft.step(0).metrics
    moved = [m.balance_bias - b for m, b in zip(sft.model.moe_layers().values(), biases, strict=True)]
    assert all(change.abs().max() == pytest.approx(0.02) for change in moved)
    later = [sft.step(step).metrics for step in range(1, 10)][-1]
    assert first["loss/mtp"] == pytest.approx(5.7309, abs=2e-3)
    assert first["loss/balance"] == pytest.approx(2.0295, abs=2e-3)
    assert later["loss/mtp"] < first["loss/mtp"] - 0.15
    assert later["loss/next_token"] < first["loss/next_token"] - 0.15


def test_experts_are_balanced_the_same_with_checkpointing(workers: Workers) -> None:
    """A block that is computed twice must not count its tokens twice."""
    plain, twice = (
        stage(workers, Transformer(MODEL, torch.Generator().manual_seed(0)), gradient_checkpointing=again)
        for again in (False, True)
    )
    for step in range(3):
        a, b = plain.step(step).metrics, twice.step(step).metrics
        for name in ("loss/next_token", "loss/mtp", "loss/balance", "routing/max_load"):
            assert a[name] == pytest.approx(b[name], abs=2e-6), name


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine(workers: Workers) -> None:
    sft = stage(workers, steps=6, warmup_steps=2, final_rate_share=0.1)
    results = [sft.step(step) for step in range(6)]
    scales = [result.metrics["optimizer/learning_rate_scale"] for result in results]
    half = math.sqrt(0.5)
    expected = [0.5, 1.0, 0.1 + 0.45 * (1 + half), 0.55, 0.1 + 0.45 * (1 - half), 0.1]
    assert scales == pytest.approx(expected)
    assert [result.done for result in results] == [False] * 5 + [True]


def test_a_pass_over_a_finite_set_shows_every_example_once(workers: Workers) -> None:
    source = Counting(size=20)
    sft = stage(workers, source=source, epochs=2.0)
    source.asked.clear()
    shown = sum(sft.step(step).metrics["data/examples"] for step in range(sft.total_steps))
    assert shown == 40
    order = list(dict.fromkeys(source.asked))
    assert sorted(order) == list(range(20))
    assert order != list(range(20))  # shuffled
    packing = sft.state().numbers
    assert (packing["drawn"], packing["waiting"]) == (40, [])


def test_examples_longer_than_a_row_are_refused_or_left_out_and_counted(workers: Workers) -> None:
    with pytest.raises(DataError, match="example 1 has 13 tokens, more than a row of 12 tokens; make rows longer"):
        stage(workers, row_tokens=12, tokens_per_step=96).step(0)
    sft = stage(workers, row_tokens=12, tokens_per_step=96, too_long="leave_out")
    metrics = sft.step(0).metrics
    assert metrics["data/left_out"] > 0
    assert sft.remark == (
        f"cold-start: {metrics['data/left_out']:.0f} examples were longer than 12 tokens and were left out."
    )


@pytest.mark.parametrize("packs", [True, False])
def test_examples_longer_than_the_models_context_are_refused_or_left_out(workers: Workers, packs: bool) -> None:
    shape = small_dense(max_positions=12) if packs else small_v3(max_positions=12)
    model = random_model(shape)
    with pytest.raises(DataError, match="example 1 has 13 tokens, more than the model's context of 12 positions; take"):
        stage(workers, model, row_tokens=48, tokens_per_step=96).step(0)
    sft = stage(workers, model, row_tokens=48, tokens_per_step=96, too_long="leave_out")
    metrics = sft.step(0).metrics
    assert metrics["data/left_out"] > 0
    assert math.isfinite(metrics["loss/next_token"])
    assert "longer than 12 tokens" in sft.remark


def test_nothing_to_learn_from_is_refused(workers: Workers) -> None:
    with pytest.raises(DataError, match="cold-start: there is no example to learn from"):
        stage(workers, source=Counting(size=0))
    with pytest.raises(ConfigError, match=r"sft.epochs = 1.0 of an endless set of examples; set sft.steps"):
        stage(workers, epochs=1.0)
    with pytest.raises(DataError, match="every example is longer than a row of 5 tokens"):
        stage(workers, source=Counting(size=9), epochs=1.0, row_tokens=5, tokens_per_step=5, too_long="leave_out")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens_per_step": 100}, "sft.tokens_per_step = 100 is not a multiple of sft.row_tokens = 48"),
        ({"steps": 0}, "sft.steps = 0; expected 1 or more"),
        ({"temperature": 0.0}, "sft.temperature = 0.0; expected a number above 0"),
        ({"final_rate_share": 1.5}, "sft.final_rate_share = 1.5; expected a share"),
        ({"mtp_weight": -1.0}, "sft.mtp_weight = -1.0; expected 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **settings)


def test_a_loss_that_is_not_finite_takes_no_step(workers: Workers) -> None:
    model = dense()
    with torch.no_grad():
        model.blocks[0].attention.o.weight[0, 0] = float("nan")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(
        NonFiniteLossError, match=r"cold-start: step 3 has loss nan .* the last checkpoint is good.* lower opt"
    ):
        stage(workers, model).step(3)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor.nan_to_num(7.0), before[name].nan_to_num(7.0)), name


def test_running_out_of_memory_says_what_to_lower(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 9 bytes")

    monkeypatch.setattr(sft_module, "head_loss", full)
    message = (
        r"out of memory in step 0, with 2 micro-batches at once of 1 × 48 tokens.*the last checkpoint is good. Lower "
        r"micro_batch_rows, then row_tokens; or switch gradient_checkpointing on; or train fewer weights \(an adapter"
    )
    with pytest.raises(TrainingError, match=message):
        stage(workers).step(0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter_learns_and_its_base_stays(workers: Workers, kind: Any, precision: Any) -> None:
    base = dense()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    model = with_adapter(base, AdapterConfig(kind=kind, rank=4), torch.Generator().manual_seed(1), token_ids=(5,))
    sft = stage(workers, model, precision=precision, optimizer=OptimizerConfig(learning_rate=2e-2))
    whole = stage(workers, dense(), steps=10).step(0).metrics["loss/next_token"]
    losses = curve(sft, range(10))
    assert losses[0] == pytest.approx(whole, abs=1e-5 if precision == "fp32" else 5e-3)  # an adapter begins as its base
    assert losses[-1] < losses[0] - 0.05
    for name, tensor in base.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {key.rsplit("/", 1)[0] for key in sft.state().tensors} == trained
