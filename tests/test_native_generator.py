"""The native generator against the reference generator, and its promises about seeds, batches and weights."""

import numpy as np
import pytest
import torch

from ponder.algo.logprobs import token_logprobs
from ponder.core.errors import GenerationError
from ponder.core.types import Completion, Prompt, Sampling
from ponder.engine.native import NativeGenerator, NativeModel, available
from ponder.engine.reference import ReferenceGenerator
from ponder.models.presets import PRESETS
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer

if reason := available():
    pytest.skip(reason, allow_module_level=True)

TOKENIZER = Tokenizer.for_arithmetic()
TEXTS = ("7+8-3=?", "1*2=?", "9-9-9-9-9-9=?", "1+2+3+4+5+6+7+8=?")  # one fills a page exactly
PROMPTS = [Prompt(problem_id=text, ids=tuple(TOKENIZER.encode(text))) for text in TEXTS]
SAMPLING = Sampling(max_tokens=24)


def built(name: str, seed: int = 5) -> Transformer:
    model = Transformer(PRESETS[name](TOKENIZER.vocab_size), torch.Generator().manual_seed(seed))
    with torch.no_grad():  # sharpen the head, so that completions end at different lengths
        model.head.weight.mul_(8.0)
        model.head.weight[TOKENIZER.control.eos] += 0.3
    return model


@pytest.fixture(scope="module", params=["tiny-v3", "tiny-dense"])
def model(request: pytest.FixtureRequest) -> Transformer:
    return built(request.param)


def native(model: Transformer, max_batch: int = 256) -> NativeGenerator:
    return NativeGenerator(NativeModel(model, threads=2), TOKENIZER.control, model, max_batch=max_batch)


def seeds(samples: int) -> list[list[int]]:
    return [[100 * p + s for s in range(samples)] for p in range(len(PROMPTS))]


def flat(groups: list[list[Completion]]) -> list[Completion]:
    return [completion for group in groups for completion in group]


def test_completions_are_those_of_the_reference_generator(model: Transformer) -> None:
    expected = flat(ReferenceGenerator(model, TOKENIZER.control).generate(PROMPTS, SAMPLING, seeds(12)))
    made = flat(native(model).generate(PROMPTS, SAMPLING, seeds(12)))
    assert {c.finish_reason for c in made} == {"stop", "length"}
    for ours, theirs in zip(made, expected, strict=True):
        assert (ours.ids, ours.finish_reason, ours.seed) == (theirs.ids, theirs.finish_reason, theirs.seed)
        assert np.abs(np.subtract(ours.logprobs, theirs.logprobs)).max() < 2e-5
        if theirs.routes is None or ours.routes is None:
            assert theirs.routes is ours.routes is None
        else:  # the order of a token's experts is no one's promise
            a, b = (np.sort(np.frombuffer(r, np.int16).reshape(-1, 2), axis=1) for r in (ours.routes, theirs.routes))
            assert (a == b).all()


def test_logprobs_are_those_of_the_full_forward_pass(model: Transformer) -> None:
    for completion in flat(native(model).generate(PROMPTS, SAMPLING, seeds(4))):
        ids = torch.tensor([[*completion.prompt_ids, *completion.ids]])
        with torch.no_grad():
            expected = token_logprobs(model.head(model(ids)), ids)[0, len(completion.prompt_ids) :]
        assert (torch.tensor(completion.logprobs) - expected).abs().mean() < 1e-5


def test_a_completion_does_not_depend_on_its_batch(model: Transformer) -> None:
    together = native(model).generate(PROMPTS, SAMPLING, seeds(6))
    assert native(model, max_batch=6).generate(PROMPTS, SAMPLING, seeds(6)) == together
    alone = native(model)
    for prompt, group in zip(PROMPTS, together, strict=True):
        for completion in group[:2]:
            assert alone.generate([prompt], SAMPLING, [[completion.seed]]) == [[completion]]


def test_stream_gives_the_ids_of_generate(model: Transformer) -> None:
    generator = native(model)
    completion = generator.generate(PROMPTS[:1], SAMPLING, [[3]])[0][0]
    assert tuple(generator.stream(PROMPTS[0], SAMPLING, 3)) == completion.ids


def test_a_stream_goes_on_where_the_one_before_it_was_left(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []

    def counted(self: NativeModel, cache: object, tokens: np.ndarray, *rest: object, **further: object) -> object:
        rows.append(len(tokens))
        return forward(self, cache, tokens, *rest, **further)  # type: ignore[arg-type]

    forward = NativeModel.forward
    monkeypatch.setattr(NativeModel, "forward", counted)
    generator = native(model)

    def read_and_said(*ids: int, tokens: int = 24) -> tuple[int, list[int]]:
        """Rows of the prompt that were computed, and the completion; the same as that of another generator."""
        prompt, sampling = Prompt(problem_id="turn", ids=ids), Sampling(max_tokens=tokens)
        fresh = list(native(model).stream(prompt, sampling, 3))
        rows.clear()
        said = list(generator.stream(prompt, sampling, 3))
        assert said == fresh
        return rows[0], said

    opening = TOKENIZER.encode("1+2+3+4+5+6+7+8=?")
    read_and_said(*opening, tokens=80)  # room for what follows
    generator.refresh(1)
    read, said = read_and_said(*opening)
    assert read == len(opening)
    assert read_and_said(*opening, *said, *opening)[0] == 1 + len(opening)  # nobody has run the last token that it said
    assert read_and_said(*opening)[0] == 1
    assert read_and_said(*opening[:-1], opening[0], tokens=2)[0] == 1  # another last token
    assert read_and_said(*opening)[0] == 1
    assert read_and_said(*opening[1:])[0] == len(opening) - 1  # a token fewer: all stand elsewhere
    interrupted = generator.stream(Prompt(problem_id="turn", ids=tuple(opening)), SAMPLING, 3)
    next(interrupted)
    interrupted.close()
    assert read_and_said(*opening)[0] == 1
    generator.generate(PROMPTS, SAMPLING, seeds(1))  # which uses the same cache
    assert read_and_said(*opening)[0] == len(opening)
    generator.refresh(2)  # what the old weights made of it is no use
    assert read_and_said(*opening)[0] == len(opening)


def test_others_are_served_while_a_stream_is_read(model: Transformer) -> None:
    generator = native(model)
    alone = [list(native(model).stream(prompt, SAMPLING, 8)) for prompt in PROMPTS[2:]]
    first, second = (generator.stream(prompt, SAMPLING, 8) for prompt in PROMPTS[2:])
    together: list[list[int]] = [[next(first), next(first)], [next(second)]]
    generator.generate(PROMPTS, SAMPLING, seeds(1))
    together[0] += first
    together[1] += second
    assert min(map(len, together)) > 2
    assert together == alone


def test_refresh_takes_the_weights_and_the_version(model: Transformer) -> None:
    follower = built("tiny-dense", seed=6)
    generator = native(follower)
    before = generator.generate(PROMPTS, SAMPLING, seeds(2))
    with torch.no_grad():
        follower.head.weight.mul_(0.5)
    assert generator.generate(PROMPTS, SAMPLING, seeds(2)) == before
    generator.refresh(7)
    after = generator.generate(PROMPTS, SAMPLING, seeds(2))
    assert {c.weight_version for c in flat(after)} == {7}
    expected = ReferenceGenerator(follower, TOKENIZER.control).generate(PROMPTS, SAMPLING, seeds(2))
    assert [c.ids for c in flat(after)] == [c.ids for c in flat(expected)]


def test_the_thought_is_not_closed_before_it_has_begun() -> None:
    model = built("tiny-dense")
    end = TOKENIZER.control.end_think
    with torch.no_grad():
        model.head.weight[end] += 3.0 * model.head.weight.abs().max()
    generator = native(model)
    free = flat(generator.generate(PROMPTS, Sampling(max_tokens=8), seeds(20)))
    forced = flat(generator.generate(PROMPTS, Sampling(max_tokens=8, min_thought_tokens=3), seeds(20)))
    assert any(end in c.ids[1:4] for c in free)
    assert not any(end in c.ids[1:4] for c in forced)


def test_requests_that_cannot_be_served_are_refused(model: Transformer) -> None:
    generator = native(model)
    with pytest.raises(GenerationError, match="is empty"):
        generator.generate([Prompt(problem_id="p", ids=())], SAMPLING, [[0]])
    with pytest.raises(GenerationError, match="512 positions"):
        generator.generate(PROMPTS[:1], Sampling(max_tokens=506), [[0]])
    assert generator.generate([], SAMPLING, []) == []


@pytest.mark.parametrize("name", ["feed_forward.down", "attention.q", "attention.k", "attention.v"])
def test_weights_that_are_not_finite_are_said_to_be(name: str) -> None:
    broken = built("tiny-dense")
    with torch.no_grad():
        broken.blocks[1].get_submodule(name).weight[3] = float("nan")  # type: ignore[index]
    with pytest.raises(GenerationError, match="not finite"):
        native(broken).generate(PROMPTS[:1], SAMPLING, [[0]])
