"""Sampling against transformers' logits processors, distributions worked out by hand, and what was counted."""

import math
from array import array
from typing import Any

import pytest
import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from ponder.algo.sampling import counter_uniform, sample
from ponder.core.errors import GenerationError
from ponder.core.streaming import Request, SamplingOptions, Thinking
from ponder.engine.request import Sample
from ponder.engine.sampler import Drawn, Sampler
from ponder.engine.step import StepPlan

VOCABULARY = 200


def drawer(
    options: SamplingOptions, *, prompt: tuple[int, ...] = (1,), output: tuple[int, ...] = (), **settings: Any
) -> Sample:
    asked = Request(id="r", prompt_ids=prompt, max_tokens=100, sampling=options, **settings)
    drawn = Sample(asked, 0, 1, [])
    drawn.tokens.extend(output)
    return drawn


def plan(samples: list[Sample], rows: list[int] | None = None, seeds: list[int] | None = None) -> StepPlan:
    rows = list(range(len(samples))) if rows is None else rows
    return StepPlan(
        slots=array("i"), tokens=array("i"), positions=array("i"), decode_rows=0, chunks=[], tables=array("i"),
        table_width=1, copies=[], logit_rows=array("i", range(max(rows) + 1)), draws=samples,
        draw_logits=array("i", rows), draw_seeds=array("q", seeds or [s.seed for s in samples]),
        draw_indices=array("i", [len(s.output) for s in samples]), work=[],
        draft_places=array("i", [0] * len(samples)), drafts={},
    )  # fmt: skip


def draw(logits: torch.Tensor, samples: list[Sample], **layout: Any) -> Drawn:
    return Sampler().draw(logits.clone(), plan(samples, **layout))


def logits_of(rows: int, vocabulary: int = VOCABULARY, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(rows)) * spread


def distribution(scores: torch.Tensor) -> dict[int, float]:
    return {i: x for i, x in enumerate(scores.log_softmax(-1).tolist()) if x > -math.inf}


CUTS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.6},
    {"top_k": 1},
    {"top_k": 7, "temperature": 1.7},
    {"top_k": 10_000},
    {"top_p": 0.9},
    {"top_p": 1e-6},
    {"top_p": 0.99999, "temperature": 2.0},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"top_k": 20, "top_p": 0.7, "min_p": 0.1, "temperature": 0.9},
]


def by_transformers(logits: torch.Tensor, cut: dict[str, Any]) -> torch.Tensor:
    scores = logits[None]
    for name, warper in (("temperature", TemperatureLogitsWarper), ("top_k", TopKLogitsWarper)):
        scores = warper(cut[name])(None, scores) if name in cut else scores
    for name, warper in (("top_p", TopPLogitsWarper), ("min_p", MinPLogitsWarper)):
        scores = warper(cut[name])(None, scores) if name in cut else scores
    return scores[0]


@pytest.mark.parametrize(("vocabulary", "spread"), [(200, 3.0), (3000, 0.3)])  # nuclei of few tokens and of thousands
def test_cuts_are_those_of_transformers_all_in_one_batch(vocabulary: int, spread: float) -> None:
    logits = logits_of(len(CUTS), vocabulary, spread)
    told = draw(logits, [drawer(SamplingOptions(logprobs=200, **cut)) for cut in CUTS])
    assert told.faults == {}
    for i, cut in enumerate(CUTS):
        expected = distribution(by_transformers(logits[i], cut))
        best = sorted(expected, key=lambda token: -expected[token])[:200]
        assert [token for token, _ in told.likeliest[i]] == best, cut
        assert [x for _, x in told.likeliest[i]] == pytest.approx([expected[token] for token in best], abs=2e-5)
        assert told.logprobs[i] == pytest.approx(expected[told.tokens[i]], abs=2e-5)


def test_a_distribution_cut_by_hand() -> None:
    """Of 0.5, 0.25, 0.15, 0.1: top_p 0.7 keeps two, min_p 0.25 three, top_k 3 with top_p 0.8 of the rest two."""
    logits = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log().repeat(3, 1)
    cuts = [{"top_p": 0.7}, {"min_p": 0.25}, {"top_k": 3, "top_p": 0.8}]
    told = draw(logits, [drawer(SamplingOptions(logprobs=4, **cut)) for cut in cuts])
    kept = [[round(math.exp(x), 4) for _, x in told.likeliest[i]] for i in range(3)]
    assert kept == [[0.6667, 0.3333], [0.5556, 0.2778, 0.1667], [0.6667, 0.3333]]


def test_repetition_penalty_is_that_of_transformers() -> None:
    logits = logits_of(2)
    seen = [((3, 5, 5), (9, 3)), ((7,), ())]
    told = draw(
        logits, [drawer(SamplingOptions(repetition_penalty=1.3, logprobs=200), prompt=p, output=o) for p, o in seen]
    )
    for i, (prompt, output) in enumerate(seen):
        expected = RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([[*prompt, *output]]), logits[i : i + 1])[0]
        assert dict(told.likeliest[i]) == pytest.approx(distribution(expected), abs=2e-5)


def test_presence_and_frequency_count_the_output_alone() -> None:
    """Scores after: 0 in the prompt only stays; 1 once: -0.5 - 0.25; 2 three times: -0.5 - 0.75."""
    options = SamplingOptions(presence_penalty=0.5, frequency_penalty=0.25, logprobs=4)
    penalised = drawer(options, prompt=(0, 0), output=(2, 1, 2, 2))
    told = draw(torch.zeros(2, 4), [penalised, drawer(SamplingOptions(logprobs=4))])
    assert dict(told.likeliest[0]) == pytest.approx(distribution(torch.tensor([0.0, -0.75, -1.25, 0.0])))
    assert dict(told.likeliest[1]) == pytest.approx(dict.fromkeys(range(4), math.log(0.25)))


def test_what_was_seen_is_kept_from_step_to_step_and_forgotten() -> None:
    sampler, options = Sampler(), SamplingOptions(frequency_penalty=1.0, logprobs=100)
    growing = drawer(options, prompt=tuple(range(80)))
    for token in range(90):
        growing.tokens.append(token)
        told = sampler.draw(torch.zeros(1, 100), plan([growing]))
    counts = torch.tensor([1.0] * 90 + [0.0] * 10)
    assert dict(told.likeliest[0]) == pytest.approx(distribution(-counts), abs=1e-5)
    assert sampler.remembers == 1
    sampler.forget([growing, growing])
    assert sampler.remembers == 0


def test_greedy_takes_the_best_and_tells_the_models_own_probability() -> None:
    logits = logits_of(3)
    cut = {"temperature": 0.0, "top_k": 2, "top_p": 0.1, "min_p": 0.9, "logprobs": 3}
    told = draw(logits, [drawer(SamplingOptions(**cut)), drawer(SamplingOptions()), drawer(SamplingOptions(**cut))])
    for i in (0, 2):
        own = distribution(logits[i])
        assert told.tokens[i] == int(logits[i].argmax())
        assert told.logprobs[i] == pytest.approx(own[told.tokens[i]], abs=1e-5)
        assert [token for token, _ in told.likeliest[i]] == logits[i].topk(3).indices.tolist()


def test_plain_draws_are_those_of_the_reference() -> None:
    logits = logits_of(64)
    for temperature in (1.0, 0.7, 0.0):
        samples = [drawer(SamplingOptions(temperature=temperature), output=(4,) * (i % 3)) for i in range(64)]
        told = draw(logits, samples, seeds=list(range(64)))
        uniform = counter_uniform(torch.arange(64), torch.tensor([i % 3 for i in range(64)]))
        expected = sample(logits, uniform, temperature)
        assert told.tokens == expected.ids_B.tolist()
        assert told.logprobs == expected.logp_B.tolist()


def test_a_draw_does_not_depend_on_its_batch() -> None:
    logits = logits_of(len(CUTS))
    samples = [drawer(SamplingOptions(**cut), seeds=(i,)) for i, cut in enumerate(CUTS)]
    samples[0] = drawer(SamplingOptions(temperature=0.0))
    together = draw(logits, samples)
    for i, alone in enumerate(samples):
        single = draw(logits[i : i + 1], [alone])
        assert single.tokens[0] == together.tokens[i]
        assert single.logprobs[0] == pytest.approx(together.logprobs[i], abs=1e-5)


@pytest.mark.parametrize("cut", [{}, {"temperature": 0.5}, {"top_k": 5, "temperature": 1.5}, {"top_p": 0.8}])
def test_tokens_come_as_often_as_their_probability_says(cut: dict[str, Any]) -> None:
    """Pearson's chi-square over 20,000 draws from one row, each with its own seed."""
    count, logits = 20_000, logits_of(1, 12, 1.0)
    told = draw(logits, [drawer(SamplingOptions(**cut))] * count, rows=[0] * count, seeds=list(range(count)))
    expected = distribution(by_transformers(logits[0], cut))
    seen = {token: told.tokens.count(token) for token in set(told.tokens)}
    assert set(seen) <= set(expected)
    chi_square = sum((seen.get(t, 0) - count * math.exp(x)) ** 2 / (count * math.exp(x)) for t, x in expected.items())
    freedom = len(expected) - 1
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)  # about p = 0.001


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("cut", [{}, {"temperature": 0.0}, {"top_p": 0.9}, {"top_k": 3, "repetition_penalty": 1.2}])
def test_logits_that_are_not_finite_are_the_fault_of_their_own_draws(poison: float, cut: dict[str, Any]) -> None:
    logits = logits_of(3)
    samples = [drawer(SamplingOptions(logprobs=2, **cut)) for _ in range(4)]
    clean = draw(logits, samples, rows=[0, 1, 1, 2])
    logits[1] = poison
    told = draw(logits, samples, rows=[0, 1, 1, 2])
    assert set(told.faults) == {1, 2}
    assert "not finite" in told.faults[1]
    assert set(told.likeliest) == {0, 3}
    assert [told.tokens[i] for i in (0, 3)] == [clean.tokens[i] for i in (0, 3)]
    one = logits_of(3)
    one[1, 7] = math.nan
    assert set(draw(one, samples[:3]).faults) == {1}


def test_the_end_of_a_thought_is_barred_while_it_is_too_short() -> None:
    logits = torch.zeros(2, 10)
    logits[:, 9] = 20.0
    thinking = Thinking(end_id=9, opened=True, min_tokens=2)
    samples = [drawer(SamplingOptions(logprobs=10), thinking=thinking) for _ in range(2)]
    assert samples[1].thought is not None
    samples[1].thought.push(3), samples[1].thought.push(3)
    told = draw(logits, samples)
    assert dict(told.likeliest[0]) == pytest.approx(dict.fromkeys(range(9), -math.log(9)))
    assert told.tokens[1] == 9


@pytest.mark.parametrize("other", [[], [SamplingOptions(temperature=0.7)], [SamplingOptions(top_p=0.5)]])
def test_a_temperature_that_is_all_but_0_is_greedy_alone_and_in_a_batch(other: list[SamplingOptions]) -> None:
    logits = logits_of(3)
    for temperature in (1e-50, 1e-40, 1e-5):
        told = draw(logits, [drawer(o) for o in [SamplingOptions(temperature=temperature), *other]])
        assert told.faults == {}
        assert told.tokens[0] == int(logits[0].argmax())


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(GenerationError, match=r"repetition_penalty = 1e-40; expected a number from 0.01 to 100"):
        SamplingOptions(repetition_penalty=1e-40)
    for wrong in ({"temperature": math.nan}, {"top_p": 0.0}, {"top_k": -1}, {"min_p": 1.5}, {"logprobs": 5000}):
        with pytest.raises(GenerationError, match=next(iter(wrong))):
            SamplingOptions(**wrong)
