"""The reference generator against the plain forward pass, and its promises about seeds and batches."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from ponder.algo.logprobs import score_tokens, token_logprobs
from ponder.core.errors import GenerationError
from ponder.core.types import Completion, Prompt, Sampling
from ponder.core.workers import ComputeConfig, Workers
from ponder.engine.reference import ReferenceGenerator
from ponder.models.cache import Cache
from ponder.models.moe import RouteMap
from ponder.models.presets import PRESETS
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from ponder.train.batch import PaddedBatch, replayed_routes

TOKENIZER = Tokenizer.for_arithmetic()
PROMPTS = [Prompt(problem_id=text, ids=tuple(TOKENIZER.encode(text))) for text in ("7+8-3=?", "1*2=?", "9-9-9-9-9-9=?")]
SAMPLING = Sampling(max_tokens=24)


@pytest.fixture(scope="module", params=["tiny-v3", "tiny-dense"])
def model(request: pytest.FixtureRequest) -> Transformer:
    built = Transformer(PRESETS[request.param](TOKENIZER.vocab_size), torch.Generator().manual_seed(5))
    with torch.no_grad():  # sharpen the head, so that completions end at different lengths
        built.head.weight.mul_(8.0)
        built.head.weight[TOKENIZER.control.eos] += 0.3
    return built


def seeds(samples: int) -> list[list[int]]:
    return [[100 * p + s for s in range(samples)] for p in range(len(PROMPTS))]


def generate(model: Transformer, sampling: Sampling = SAMPLING, samples: int = 6) -> list[list[Completion]]:
    return ReferenceGenerator(model, TOKENIZER.control).generate(PROMPTS, sampling, seeds(samples))


def test_logprobs_are_those_of_the_full_forward_pass(model: Transformer) -> None:
    for group in generate(model):
        for completion in group:
            ids = torch.tensor([[*completion.prompt_ids, *completion.ids]])
            with torch.no_grad():
                expected = token_logprobs(model.head(model(ids)), ids)[0, len(completion.prompt_ids) :]
            difference = (torch.tensor(completion.logprobs) - expected).abs().mean()
            assert difference < 1e-5


def test_logprobs_are_those_of_the_sampled_distribution_at_another_temperature(model: Transformer) -> None:
    completion = generate(model, Sampling(max_tokens=12, temperature=0.6))[0][0]
    ids = torch.tensor([[*completion.prompt_ids, *completion.ids]])
    with torch.no_grad():
        expected = token_logprobs(model.head(model(ids)), ids, temperature=0.6)[0, len(completion.prompt_ids) :]
    assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=1e-4)


def test_a_completion_does_not_depend_on_its_batch(model: Transformer) -> None:
    together = generate(model)
    generator = ReferenceGenerator(model, TOKENIZER.control)
    for prompt, group, group_seeds in zip(PROMPTS, together, seeds(6), strict=True):
        for completion, seed in zip(group, group_seeds, strict=True):
            alone = generator.generate([prompt], SAMPLING, [[seed]])[0][0]
            assert alone.ids == completion.ids
            assert alone.finish_reason == completion.finish_reason


def test_what_memory_held_before_never_shows(model: Transformer) -> None:
    """Positions that a short prompt has not written yet are masked; NaNs left there must not spread."""
    cache = Cache.empty(model.config, 2, 8)
    for store in cache.layers:
        store.fill_(float("nan"))
        store[:, :4] = 0.0
    cache.extent = 4
    kept = cache.select(torch.tensor([1, 0, 1]))
    assert all(not store.isnan().any() for store in kept.layers)


def test_workers_and_batch_size_change_nothing_but_rounding(model: Transformer) -> None:
    with Workers(ComputeConfig(workers=2)) as workers:
        split = ReferenceGenerator(model, TOKENIZER.control, workers, max_batch=6).generate(PROMPTS, SAMPLING, seeds(6))
    assert [[c.ids for c in g] for g in split] == [[c.ids for c in g] for g in generate(model)]


def test_a_request_keeps_two_workers_at_work(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    whole = ReferenceGenerator._generate_chunk

    def counted(self: ReferenceGenerator, prompts: Any, sampling: Any, seeds: Any, *rest: Any) -> Any:
        sizes.append(sum(map(len, seeds)))
        return whole(self, prompts, sampling, seeds, *rest)

    monkeypatch.setattr(ReferenceGenerator, "_generate_chunk", counted)
    made = []
    for count in (1, 3):
        with Workers(ComputeConfig(workers=count)) as workers:
            generator = ReferenceGenerator(model, TOKENIZER.control, workers)
            made.append(generator.generate(PROMPTS, SAMPLING, seeds(16)))
    assert made[0] == made[1]
    assert sorted(sizes) == [16, 16, 32, 32]
    assert [[c.ids for c in g] for g in made[0]] == [[c.ids for c in g] for g in generate(model, samples=16)]


def test_finished_sequences_end_with_the_end_of_sequence_and_others_at_the_limit(model: Transformer) -> None:
    completions = [c for group in generate(model, samples=20) for c in group]
    eos = TOKENIZER.control.eos
    assert {c.finish_reason for c in completions} == {"stop", "length"}
    for completion in completions:
        assert len(completion.ids) == len(completion.logprobs)
        assert eos not in completion.ids[:-1]
        assert (completion.ids[-1] == eos) == (completion.finish_reason == "stop")
        assert (len(completion.ids) == SAMPLING.max_tokens) or completion.finish_reason == "stop"


def test_greedy_takes_the_most_likely_token_every_time(model: Transformer) -> None:
    completion = generate(model, Sampling(max_tokens=10, temperature=0.0), samples=1)[1][0]
    ids = list(completion.prompt_ids)
    for token in completion.ids:
        with torch.no_grad():
            assert int(model.head(model(torch.tensor([ids])))[0, -1].argmax()) == token
        ids.append(token)


def test_the_thought_is_not_closed_before_it_has_begun(model: Transformer) -> None:
    end = TOKENIZER.control.end_think
    with torch.no_grad():
        before = model.head.weight[end].clone()
        model.head.weight[end] += 3.0 * model.head.weight.abs().max()
    try:
        free = generate(model, Sampling(max_tokens=8), samples=40)
        forced = generate(model, Sampling(max_tokens=8, min_thought_tokens=3), samples=40)
    finally:
        with torch.no_grad():
            model.head.weight[end] = before
    assert any(end in c.ids[1:4] for group in free for c in group)
    assert not any(end in c.ids[1:4] for group in forced for c in group)


def test_stream_gives_the_ids_of_generate(model: Transformer) -> None:
    generator = ReferenceGenerator(model, TOKENIZER.control)
    for prompt in PROMPTS:
        whole = generator.generate([prompt], SAMPLING, [[7]])[0][0]
        assert tuple(generator.stream(prompt, SAMPLING, 7)) == whole.ids


def test_an_empty_prompt_and_one_that_is_too_long_are_refused(model: Transformer) -> None:
    generator = ReferenceGenerator(model, TOKENIZER.control)
    with pytest.raises(GenerationError, match="'nothing' is empty"):
        generator.generate([Prompt(problem_id="nothing", ids=())], SAMPLING, [[0]])
    long = Prompt(problem_id="long", ids=tuple([7] * 500))
    with pytest.raises(GenerationError, match=r"500 tokens . max_tokens 24 exceed the model's 512 positions"):
        generator.generate([long], SAMPLING, [[0]])


def test_the_weight_version_is_stamped_on_every_completion(model: Transformer) -> None:
    generator = ReferenceGenerator(model, TOKENIZER.control)
    generator.refresh(17)
    assert generator.generate(PROMPTS[:1], SAMPLING, [[0]])[0][0].weight_version == 17


def test_replayed_routes_give_the_samplers_logprobs_whatever_the_trainer_would_choose() -> None:
    """With other balance biases the trainer would send tokens elsewhere; a replay of the sampler's routes does not."""
    model = Transformer(PRESETS["tiny-v3"](TOKENIZER.vocab_size), torch.Generator().manual_seed(5))
    completions = [c for group in generate(model) for c in group]
    batch = PaddedBatch.collate(
        [[*c.prompt_ids, *c.ids] for c in completions], [len(c.prompt_ids) for c in completions], pad=0
    )
    sampled = torch.tensor([logp for c in completions for logp in c.logprobs])
    for mixture in model.moe_layers().values():
        mixture.balance_bias.normal_(0.0, 0.3, generator=torch.Generator().manual_seed(1))

    def mismatch(route_map: RouteMap | None) -> float:
        with torch.no_grad():
            hidden = model(batch.ids_BT, route_map=route_map)
            scored = score_tokens(hidden, model.head.weight, batch.ids_BT, batch.scored_BT)
        return float((scored.logp_M - sampled).abs().mean())

    assert mismatch(replayed_routes([c.routes for c in completions], batch.ids_BT.shape[1], model.config)) < 1e-5
    assert mismatch(None) > 1e-3


def test_routes_are_told_for_every_token_that_was_fed(model: Transformer) -> None:
    for completion in generate(model)[0]:
        if model.config.moe is None:
            assert completion.routes is None
            continue
        routes = torch.frombuffer(bytearray(completion.routes or b""), dtype=torch.int16).view(-1, 2, 2)
        assert len(routes) == len(completion.prompt_ids) + len(completion.ids) - 1
        assert routes.min() >= 0
        assert routes.max() < model.config.moe.routed_experts


def test_any_stop_token_ends_a_completion(model: Transformer) -> None:
    """With more tokens that end a reply, each completion is what it was, cut after the first of them."""
    stop = TOKENIZER.encode("0123")
    control = replace(TOKENIZER.control, stop=tuple(stop))
    generator = ReferenceGenerator(model, control)
    cut = 0
    for group, longer in zip(generator.generate(PROMPTS, SAMPLING, seeds(6)), generate(model), strict=True):
        for completion, whole in zip(group, longer, strict=True):
            ends = [i for i, token in enumerate(whole.ids) if token in control.stop]
            assert completion.ids == whole.ids[: ends[0] + 1 if ends else None]
            assert (completion.finish_reason == "stop") == bool(ends)
            cut += len(completion.ids) < len(whole.ids)
            prompt = Prompt(problem_id="", ids=whole.prompt_ids)
            assert tuple(generator.stream(prompt, SAMPLING, whole.seed)) == completion.ids
    assert cut > 0


def test_a_thought_is_not_asked_of_a_vocabulary_without_one(model: Transformer) -> None:
    generator = ReferenceGenerator(model, replace(TOKENIZER.control, end_think=None))
    with pytest.raises(GenerationError, match="min_thought_tokens = 3 asks for a thought"):
        generator.generate(PROMPTS, Sampling(max_tokens=8, min_thought_tokens=3), seeds(1))
