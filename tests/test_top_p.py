"""Nucleus sampling and bounded thoughts in every generator: what is drawn, how likely it was, and what stays."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from local_models import CHATML_MARKS, TAGS, byte_tokenizer
from ponder.algo.sampling import counter_uniform, nucleus, sample, sample_nucleus
from ponder.core.errors import DataError, GenerationError
from ponder.core.generator import Generator
from ponder.core.types import Completion, Prompt, Sampling
from ponder.engine.batch_generator import EngineGenerator
from ponder.engine.batches import bar_early_end
from ponder.engine.engine import Engine
from ponder.engine.native import NativeGenerator, NativeModel, available
from ponder.engine.reference import ReferenceGenerator
from ponder.engine.torch_runner import TorchRunner
from ponder.models.presets import PRESETS
from ponder.models.transformer import Transformer
from ponder.text.chat_template import template_of
from ponder.text.prompt import Prompter
from ponder.text.tokenizer import Tokenizer
from test_sampling import chi_square_bound

TOKENIZER = Tokenizer.for_arithmetic()
CONTROL = TOKENIZER.control
THINK, END_THINK, EOS = CONTROL.think, CONTROL.end_think, CONTROL.eos
OPENED = Prompt(problem_id="opened", ids=(*TOKENIZER.encode("7+8=?"), THINK))
PLAIN = Prompt(problem_id="plain", ids=tuple(TOKENIZER.encode("7+8=?")))


def kept_tokens(logits: torch.Tensor, temperature: float, top_p: float) -> list[int]:
    """Of one row: by sorting all of it."""
    p = (logits.double() / temperature).softmax(dim=0)
    order = p.argsort(descending=True)
    before = p[order].cumsum(dim=0) - p[order]
    return sorted(order[before < top_p].tolist())


def built(seed: int = 5) -> Transformer:
    model = Transformer(PRESETS["tiny-dense"](TOKENIZER.vocab_size), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model.head.weight.mul_(6.0)
    return model


def generators(model: Transformer) -> list[Generator]:
    made: list[Generator] = [ReferenceGenerator(model, CONTROL)]
    if available() is None:
        made.append(NativeGenerator(NativeModel(model, threads=1), CONTROL, model))
    made.append(EngineGenerator(Engine(TorchRunner(model, pages=512)), CONTROL))
    return made


def test_the_nucleus_by_hand() -> None:
    # 0.5 + 0.3 hold 0.8; a little more needs the third
    logits = torch.tensor([0.15, 0.5, 0.05, 0.3]).log().expand(1, -1)
    for top_p, kept in ((0.49, [1]), (0.51, [1, 3]), (0.79, [1, 3]), (0.81, [1, 3, 0]), (0.96, [1, 3, 0, 2])):
        found = nucleus(logits, torch.zeros(1), 1.0, top_p, 4)
        assert found.ids_BC[found.p_BC > 0].tolist() == kept, top_p
        assert found.known_B.item()
    assert not nucleus(logits, torch.zeros(1), 1.0, 0.81, 2).known_B.item()
    assert nucleus(logits, torch.zeros(1), 1.0, 0.79, 2).known_B.item()
    # at temperature 1/2 the probabilities are 0.25, 0.09, 0.0225 and 0.0025 of 0.365: 0.685, 0.247, 0.062, 0.007
    drawn = sample(logits.expand(4, -1), torch.tensor([0.1, 0.7, 0.74, 0.9999]), 0.5, top_p=0.9)
    assert drawn.ids_B.tolist() == [1, 1, 3, 3]  # 0.25 of 0.34 is 0.735
    assert drawn.logp_B.exp().tolist() == pytest.approx([0.25 / 0.34, 0.25 / 0.34, 0.09 / 0.34, 0.09 / 0.34])


@pytest.mark.parametrize(("vocabulary", "scale"), [(50, 2.0), (5000, 4.0), (5000, 0.01)])
def test_the_nucleus_is_that_of_transformers(vocabulary: int, scale: float) -> None:
    warpers = pytest.importorskip("transformers.generation.logits_process")
    logits = scale * torch.randn(20, vocabulary, generator=torch.Generator().manual_seed(2))
    total = (logits / 0.6).logsumexp(dim=-1)
    for top_p in (0.1, 0.5, 0.95):
        expected = warpers.TopPLogitsWarper(top_p)(None, logits.double() / 0.6).isfinite()
        found = nucleus(logits, total, 0.6, top_p, vocabulary)
        ours = torch.zeros_like(expected).scatter(1, found.ids_BC, found.p_BC > 0)
        assert int((expected != ours).sum()) <= 1  # a token at the edge may fall to either side by rounding


def test_a_wide_nucleus_is_drawn_as_a_narrow_one() -> None:
    """Nuclei of a few, of hundreds and of thousands of tokens together: each is drawn as it would be alone."""
    generator = torch.Generator().manual_seed(3)
    scales = torch.tensor([12.0, 3.0, 0.01])
    logits = scales[:, None] * torch.randn(3, 5000, generator=generator)
    sizes = [len(kept_tokens(row, 1.0, 0.95)) for row in logits]
    assert sizes[0] <= 32 < sizes[1] <= 1024 < sizes[2]
    uniform = (torch.arange(2000) + 0.5) / 2000
    for row, size in zip(logits, sizes, strict=True):
        alone = sample_nucleus(row.expand(2000, -1), uniform, 1.0, 0.95)
        assert set(alone.ids_B.tolist()) <= set(kept_tokens(row, 1.0, 0.95))
        assert len(set(alone.ids_B.tolist())) > 0.2 * min(size, 2000)
        logp = row.log_softmax(dim=0)
        expected = logp[alone.ids_B] - logp[kept_tokens(row, 1.0, 0.95)].logsumexp(dim=0)
        assert (alone.logp_B - expected).abs().max().item() < 1e-4
        for u in (3, 1000, 1999):
            mixed = sample_nucleus(logits, uniform[[u] * 3], 1.0, 0.95)
            place = (logits == row).all(dim=1).nonzero().item()
            assert mixed.ids_B[place].item() == alone.ids_B[u].item()


def test_draws_follow_the_renormalised_softmax() -> None:
    count = 100_000
    logits = torch.tensor([2.0, -1.0, 0.5, 0.0, 1.0, -2.0, 0.25])
    p = torch.softmax(logits / 0.6, dim=0)  # 0.73, 0.005, 0.06, 0.026, 0.137, 0.001, 0.04
    kept = torch.tensor([0, 4, 2, 6])  # 0.73 + 0.137 + 0.06 < 0.95
    assert p[kept[:3]].sum() < 0.95 <= p[kept].sum()
    drawn = sample(
        logits.expand(count, -1), counter_uniform(torch.arange(count), torch.zeros(count, dtype=torch.int64)), 0.6, 0.95
    )
    observed = torch.bincount(drawn.ids_B, minlength=7)
    expected = count * p[kept] / p[kept].sum()
    assert observed[[1, 3, 5]].tolist() == [0, 0, 0]
    assert ((observed[kept] - expected) ** 2 / expected).sum().item() < chi_square_bound(3)
    assert torch.allclose(drawn.logp_B, (p / p[kept].sum()).log()[drawn.ids_B])


def test_top_p_of_1_and_greedy_stay_as_they_were() -> None:
    logits = torch.randn(64, 300, generator=torch.Generator().manual_seed(3))
    uniform = counter_uniform(torch.arange(64), torch.zeros(64, dtype=torch.int64))
    for temperature in (0.0, 0.6, 1.0):
        before, after = sample(logits, uniform, temperature), sample(logits, uniform, temperature, 1.0)
        assert torch.equal(before.ids_B, after.ids_B)
        assert torch.equal(before.logp_B, after.logp_B)
    greedy, cut = sample(logits, uniform, 0.0), sample(logits, uniform, 0.0, 0.1)
    assert torch.equal(greedy.ids_B, cut.ids_B)
    assert torch.equal(greedy.logp_B, cut.logp_B)


def first_ids(generator: Generator, sampling: Sampling, count: int) -> list[Completion]:
    return generator.generate([PLAIN], sampling, [list(range(count))])[0]


def test_every_generator_draws_from_the_nucleus() -> None:
    model = built()
    with torch.no_grad():
        logits = model.head(model(torch.tensor([PLAIN.ids])))[0, -1]
    kept = torch.tensor(kept_tokens(logits, 0.7, 0.6))
    logp = torch.full_like(logits, -math.inf)
    logp[kept] = (logits[kept] / 0.7).log_softmax(dim=0)
    assert 3 <= len(kept) < 200
    count = 3000
    for generator in generators(model):
        completions = first_ids(generator, Sampling(max_tokens=1, temperature=0.7, top_p=0.6), count)
        name = type(generator).__name__
        observed = torch.bincount(torch.tensor([c.ids[0] for c in completions]), minlength=len(logits))
        expected = count * logp[kept].exp()
        assert int(observed.sum() - observed[kept].sum()) == 0, name
        assert ((observed[kept] - expected) ** 2 / expected).sum().item() < chi_square_bound(len(kept) - 1), name
        told = torch.tensor([c.logprobs[0] for c in completions])
        assert (told - logp[[c.ids[0] for c in completions]]).abs().max().item() < 2e-5, name


def test_generators_agree_and_top_p_of_1_changes_nothing() -> None:
    model = built()
    seeds = [list(range(8)), list(range(20, 28))]
    sampling = Sampling(max_tokens=12, temperature=0.8, top_p=0.9)
    made = [g.generate([PLAIN, OPENED], sampling, seeds) for g in generators(model)[:2]]
    assert [[c.ids for c in group] for group in made[0]] == [[c.ids for c in group] for group in made[-1]]
    for generator in generators(model)[:2]:
        free = generator.generate([PLAIN, OPENED], Sampling(max_tokens=12, temperature=0.8), seeds)
        assert generator.generate([PLAIN, OPENED], Sampling(max_tokens=12, temperature=0.8, top_p=1.0), seeds) == free
        assert [c.ids for c in free[0]] != [c.ids for c in made[0][0]]


def test_a_thought_is_closed_at_its_budget() -> None:
    model = built()
    closing = (*TOKENIZER.encode("ok"), END_THINK, CONTROL.answer)
    sampling = Sampling(max_tokens=20, temperature=1.0, max_thought_tokens=5, closing_ids=closing)
    free = Sampling(max_tokens=20, temperature=1.0)
    seeds = [list(range(40)), list(range(40))]
    for generator in generators(model):
        name = type(generator).__name__
        plain, opened = generator.generate([PLAIN, OPENED], sampling, seeds)
        unbounded = generator.generate([PLAIN, OPENED], free, seeds)[1]
        forced = 0
        for completion, other in zip(opened, unbounded, strict=True):
            ids = completion.ids
            ended = [i for i, token in enumerate(ids) if token == END_THINK or token in CONTROL.stop]
            if ended and ended[0] < 5:  # it closed its thought, or ended, by itself
                continue
            forced += 1
            assert ids[5 : 5 + len(closing)] == closing, name
            assert ids[:5] == other.ids[:5], name
            assert completion.logprobs[5 : 5 + len(closing)] == (0.0,) * len(closing), name
            assert all(logp < 0 for logp in completion.logprobs[:5]), name
        assert forced > 20, name
        for completion in plain:  # its thought, if any, begins with the tag
            if THINK in completion.ids:
                inside = completion.ids[completion.ids.index(THINK) + 1 :]
                ends = [i for i, token in enumerate(inside) if token in (END_THINK, *CONTROL.stop)]
                assert len(inside) <= 5 or (ends and ends[0] <= 5 + closing.index(END_THINK)), name


def test_the_answer_after_a_forced_close_is_the_models_own() -> None:
    """What follows is drawn from the distribution after the closing ids, as a full forward pass gives it."""
    model = built()
    sampling = Sampling(max_tokens=12, temperature=1.0, max_thought_tokens=3)
    for generator in generators(model):
        for completion in generator.generate([OPENED], sampling, [list(range(6))])[0]:
            ids = torch.tensor([[*completion.prompt_ids, *completion.ids]])
            with torch.no_grad():
                logp = model.head(model(ids))[0].log_softmax(dim=-1)
            start = len(completion.prompt_ids)
            for i, token in enumerate(completion.ids):
                if i == 3 and END_THINK not in completion.ids[:3]:
                    assert token == END_THINK or completion.finish_reason == "stop"
                    continue
                assert completion.logprobs[i] == pytest.approx(logp[start + i - 1, token].item(), abs=3e-5)


def test_a_budget_of_0_skips_the_thought() -> None:
    model = built()
    for generator in generators(model):
        made = generator.generate([OPENED], Sampling(max_tokens=6, max_thought_tokens=0), [[1, 2, 3]])[0]
        assert [c.ids[0] for c in made] == [END_THINK] * 3
        if isinstance(generator, ReferenceGenerator | NativeGenerator):
            streamed = tuple(generator.stream(OPENED, Sampling(max_tokens=6, max_thought_tokens=0), 2))
            assert streamed == made[1].ids


def test_when_the_end_of_a_thought_is_barred() -> None:
    """With 2 tokens at least: at tokens 0 and 1 where the prompt opened the thought, else at 1 and 2."""
    barred = []
    for t in range(4):
        logits = torch.zeros(2, TOKENIZER.vocab_size)
        bar_early_end(logits, t, torch.tensor([True, False]), Sampling(max_tokens=8, min_thought_tokens=2), CONTROL)
        assert int(logits.isinf().sum()) == int(logits[:, END_THINK].isinf().sum())
        barred.append(logits[:, END_THINK].isinf().tolist())
    assert barred == [[True, False], [True, True], [False, True], [False, False]]


def test_a_thought_that_the_prompt_opened_has_its_least_length_in_every_generator() -> None:
    model = built()
    with torch.no_grad():  # the end is likely after either prompt, and after what is drawn next
        drawn = [(*p.ids, *range(20, 20 + n)) for p in (OPENED, PLAIN) for n in (0, 1, 2, 3)]
        states = torch.stack([model(torch.tensor([ids]))[0, -1] for ids in drawn])
        model.head.weight[END_THINK] = 12.0 * torch.linalg.pinv(states) @ torch.ones(len(drawn))
    sampling, seeds = Sampling(max_tokens=8, min_thought_tokens=3), [list(range(20)), list(range(20))]
    reference = ReferenceGenerator(model, CONTROL)
    expected = reference.generate([OPENED, PLAIN], sampling, seeds)
    free = reference.generate([OPENED, PLAIN], Sampling(max_tokens=8), seeds)
    assert any(c.ids[0] == END_THINK for c in free[0])
    assert not any(END_THINK in c.ids[:3] for c in expected[0])
    assert any(END_THINK in c.ids[3:4] for c in expected[0])
    assert any(c.ids[0] == END_THINK for c in expected[1])  # whatever token 0 is, the thought comes after it
    assert not any(END_THINK in c.ids[1:4] for c in expected[1])
    for generator in generators(model)[1:]:
        made = generator.generate([OPENED], sampling, seeds[:1])[0]
        assert [c.ids for c in made] == [c.ids for c in expected[0]], type(generator).__name__
        if isinstance(generator, NativeGenerator):
            assert tuple(generator.stream(OPENED, sampling, 0)) == made[0].ids
    assert tuple(reference.stream(OPENED, sampling, 0)) == expected[0][0].ids


def test_the_closing_words_are_r1s() -> None:
    closing = Prompter(TOKENIZER).closing_ids  # this vocabulary has answer tags, and no line break
    assert TOKENIZER.decode(closing) == "</think><answer>"
    assert np.isin(END_THINK, closing)
    tokenizer = byte_tokenizer("chatml", *CHATML_MARKS, *TAGS)
    r1_form = Prompter(tokenizer, template_of(tokenizer, "chatml-thinking"))
    assert tokenizer.decode(r1_form.closing_ids) == "\n</think>\n\n"
    assert tokenizer.control.end_think in r1_form.closing_ids


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_p": 0.0}, r"top_p = 0\.0"),
        ({"top_p": math.nan}, "top_p = nan"),
        ({"max_thought_tokens": 8}, "leave nothing of max_tokens = 8"),
        ({"max_thought_tokens": -1}, "budget of -1 tokens"),
        ({"max_thought_tokens": 2, "min_thought_tokens": 3}, "least length of a thought is 3"),
        ({"max_thought_tokens": 2, "closing_ids": (1,)}, "do not hold the end id"),
    ],
)
def test_requests_that_make_no_sense_are_refused(changes: dict[str, float], message: str) -> None:
    model = built()
    for generator in generators(model)[: 2 if "top_p" in changes else 3]:  # the engine has words of its own
        with pytest.raises(GenerationError, match=message):
            generator.generate([OPENED], Sampling(**{"max_tokens": 8, **changes}), [[1]])


def test_a_vocabulary_without_thoughts_has_nothing_to_bound() -> None:
    class Bare:
        control = replace(CONTROL, think=None, end_think=None)

    with pytest.raises(DataError, match="no thought to bound"):
        _ = Prompter(Bare()).closing_ids
    generator = ReferenceGenerator(built(), Bare.control)
    with pytest.raises(GenerationError, match="max_thought_tokens = 2 asks for a thought"):
        generator.generate([PLAIN], Sampling(max_tokens=8, max_thought_tokens=2), [[1]])
