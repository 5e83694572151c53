"""Guesses by the model's own multi-token prediction module change the number of steps and nothing that is said."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from ponder.core.errors import GenerationError
from ponder.core.streaming import Grammar, Request, SamplingOptions, Thinking
from ponder.engine.engine import Engine, EngineConfig, EngineStatistics
from ponder.engine.mtp_drafter import LONGEST, MtpDrafter, _Pace
from ponder.engine.mtp_rows import MtpRunner
from ponder.engine.native import NativeModel, available
from ponder.engine.native_runner import NativeMtpRunner
from ponder.engine.opening import open_engine
from ponder.engine.request import Sample
from ponder.engine.stream import Output
from ponder.engine.torch_runner import TorchMtpRunner, TorchRunner
from ponder.models.cache import Cache
from ponder.models.config import ModelConfig
from ponder.models.transformer import MtpModule, Transformer
from ponder.text.tokenizer import Tokenizer
from small_models import random_model, small_dense, small_v3

TOKENIZER = Tokenizer.for_arithmetic()
MTP = EngineConfig(speculation="mtp")
GREEDY = SamplingOptions(temperature=0.0)
KINDS = [
    "torch",
    pytest.param(
        "native", marks=pytest.mark.skipif(available() is not None, reason="the native kernels are not built")
    ),
]


@cache
def random_v3(depth: int = 1) -> Transformer:
    return random_model(small_v3(mtp_depth=depth)).requires_grad_(False)


@cache
@torch.no_grad()
def counting(sharpness: float = 1.0) -> Transformer:
    """Says the successor of the last token, the likelier the sharper; its module knows."""
    config = small_v3(vocab_size=48, hidden_size=48, mtp_depth=1, max_positions=256)
    model = Transformer(config, torch.Generator().manual_seed(0)).requires_grad_(False)
    model.embedding.weight.copy_(torch.eye(48))
    model.head.weight.copy_(sharpness * torch.eye(48).roll(1, dims=0))  # row v answers to the state of token v - 1
    (module,) = model.mtp
    assert isinstance(module, MtpModule)
    module.project.weight.copy_(torch.cat((torch.eye(48), torch.zeros(48, 48)), dim=1))  # the embedding's half
    for name, parameter in model.named_parameters():
        if name.endswith(("attention.o.weight", "down", "down.weight")):
            parameter.zero_()  # blocks pass on what they are given
    return model


def open_runner(kind: str, model: Transformer, pages: int = 64) -> MtpRunner:
    if kind == "torch":
        return TorchMtpRunner(model, pages=pages)
    return NativeMtpRunner(NativeModel(model, threads=1, mtp=True), pages=pages, module=model)


def ask(name: str, prompt: Sequence[int], max_tokens: int = 24, **settings: Any) -> Request:
    return Request(id=name, prompt_ids=tuple(prompt), max_tokens=max_tokens, **settings)


def outputs(
    runner: Any, speculation: Any, *asked: Request, tokenizer: Tokenizer | None = None, **sizes: Any
) -> tuple[list[Output], EngineStatistics]:
    with Engine(runner, EngineConfig(speculation=speculation, **sizes), tokenizer) as engine:
        streams = [engine.submit(one) for one in asked]
        made = [output for stream in streams for output in stream.result()]
        engine.check()
        return made, engine.statistics()


def assert_same(plain: Sequence[Output], guessed: Sequence[Output]) -> None:
    for one, other in zip(plain, guessed, strict=True):
        assert (one.ids, one.reason, one.text) == (other.ids, other.reason, other.text)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


MIXED = [
    ask("greedy", range(5), sampling=GREEDY),
    ask("page", range(7, 23), sampling=SamplingOptions(temperature=0.3)),  # its prompt ends with a page
    ask("group", range(30, 49), seeds=(1, 2, 3), sampling=SamplingOptions(temperature=0.5, logprobs=2)),
    ask("cut", range(30, 42), sampling=SamplingOptions(temperature=1.3, top_k=5, top_p=0.9, min_p=0.01)),
    ask("penalised", range(3), sampling=SamplingOptions(temperature=0.0, presence_penalty=1.0)),
    ask("thinking", range(9), 30, thinking=Thinking(start_id=296, end_id=297, closing_ids=(3, 297, 4), budget=6)),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", [small_v3(mtp_depth=1), small_dense(mtp_depth=2)], ids=["v3", "dense"])
def test_every_sample_is_what_it_is_without_guesses(config: ModelConfig, kind: str) -> None:
    model = random_model(config).requires_grad_(False)
    plain, _ = outputs(open_runner(kind, model), "off", *MIXED)
    guessed, told = outputs(open_runner(kind, model), "mtp", *MIXED)
    assert_same(plain, guessed)
    assert told.scheduler.drafted_tokens == told.draft_rows > 100
    drawn = sum(logprob is not None for output in guessed for logprob in output.logprobs)
    assert told.drawn_tokens == drawn
    tight, told = outputs(open_runner(kind, model, pages=9), "mtp", *MIXED)
    assert_same(plain, tight)
    assert told.scheduler.preemptions > 0


@pytest.mark.parametrize("pages", [64, 9])
def test_what_memory_held_before_never_shows(pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for the cache is not filled by whoever asks for it, nor that for the module's layer."""
    model = random_model(small_v3(mtp_depth=1)).requires_grad_(False)
    made, told = outputs(open_runner("torch", model, pages), "mtp", *MIXED)
    empty = torch.empty
    with monkeypatch.context() as patched:
        patched.setattr(torch, "empty", lambda *shape, **options: empty(*shape, **options).fill_(float("nan")))
        spoiled = open_runner("torch", model, pages)
    again, found = outputs(spoiled, "mtp", *MIXED)
    assert_same(made, again)
    assert found.scheduler.accepted_tokens == told.scheduler.accepted_tokens
    assert found.scheduler.drafted_tokens == told.scheduler.drafted_tokens > 0


def test_a_packed_copy_keeps_the_module() -> None:
    """In bf16, whose few digits the counting model's numbers have, PyTorch guesses as well as in fp32."""
    runner = TorchMtpRunner(counting(), pages=64, weights="bf16")
    [output], told = outputs(runner, "mtp", ask("a", [5], 60, sampling=GREEDY))
    assert list(output.ids) == [(6 + i) % 48 for i in range(60)]
    assert told.scheduler.accepted_tokens == told.scheduler.drafted_tokens > 40


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_predicted_takes_few_steps(kind: str) -> None:
    """The counters say what happened: one guess, then as many as were right and one more, up to four in a step."""
    runner = open_runner(kind, counting())
    [output], told = outputs(runner, "mtp", ask("a", [5], 100, sampling=GREEDY))
    assert list(output.ids) == [(6 + i) % 48 for i in range(100)]
    scheduler = told.scheduler
    assert scheduler.accepted_tokens == scheduler.drafted_tokens == told.draft_rows
    # 1 token with the prompt; then 2 + 3 + 4 in three steps, and 5 in each of those that follow
    assert told.steps == 1 + 3 + (100 - 1 - 2 - 3 - 4) // (LONGEST + 1)
    assert scheduler.drafts == told.steps - 1
    assert told.drawn_tokens == 100
    assert 0 < told.draft_seconds < told.step_seconds


@pytest.mark.parametrize("kind", KINDS)
def test_guesses_are_drawn_as_the_tokens_are(kind: str) -> None:
    """Where the module's distribution is the model's, a guess is right whatever was likely: it has the same number."""
    settings = SamplingOptions(temperature=1.0)
    told = outputs(open_runner(kind, counting(0.3)), "mtp", ask("a", [5], 100, seeds=(3, 4), sampling=settings))
    likely = sum(b == (a + 1) % 48 for output in told[0] for a, b in zip(output.ids, output.ids[1:], strict=False))
    assert likely < 60  # of 198: the best guess alone would seldom be right
    assert told[1].scheduler.accepted_tokens > 0.95 * told[1].scheduler.drafted_tokens > 80


@pytest.mark.skipif(available() is not None, reason="the native kernels are not built")
@pytest.mark.parametrize("weights", ["bf16", "q8", "q4"])
def test_weights_of_less_precision_guess_too(weights: Any) -> None:
    """On the kernels a row does not see its batch: what is said is the same to the last bit."""
    said = []
    for speculation in ("off", "mtp"):
        native = NativeModel(counting(0.6), weights=weights, threads=1, mtp=True)
        asked = ask("a", range(20), 60, seeds=(1, 2), sampling=SamplingOptions(temperature=0.8))
        made, told = outputs(NativeMtpRunner(native, pages=32), speculation, asked)
        said.append([(output.ids, output.logprobs) for output in made])
    assert said[0] == said[1]
    assert told.scheduler.accepted_tokens > 0.8 * told.scheduler.drafted_tokens > 50


class Oracle:
    """What the module says to a whole text at once: no pages, no earlier steps."""

    def __init__(self, model: Transformer) -> None:
        self._model = model

    @torch.no_grad()
    def guesses(self, tokens: Sequence[int], count: int) -> list[int]:
        model, ids_BT = self._model, torch.tensor([list(tokens)])
        hidden_BTD = model(ids_BT)
        module = Cache([torch.zeros(1, len(tokens) + count, model.config.cache_width)] * (model.config.layers + 1))
        before_BTD, ids_BT, made = hidden_BTD[:, :-1], ids_BT[:, 1:], list[int]()
        position = torch.arange(1, len(tokens))[None]
        for _ in range(count):
            state_BTD = model.mtp_cached(before_BTD, ids_BT, cache=module, positions_BT=position)[:, -1:]
            made.append(int(model.head(state_BTD).argmax()))
            before_BTD, ids_BT, position = state_BTD, torch.tensor([made[-1:]]), position[:, -1:] + 1
        return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pages", [64, 9])
def test_each_guess_is_what_the_module_says_to_the_whole_text(
    kind: str, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over shared and copied pages, prefixes that were cached, preemption and wrong guesses."""
    seen: list[tuple[list[int], list[int]]] = []
    propose = MtpDrafter.propose

    def listen(self: MtpDrafter, sample: Sample, most: int) -> Sequence[int]:
        guess = propose(self, sample, most)
        if guess:
            seen.append((list(sample.tokens), list(guess)))
        return guess

    monkeypatch.setattr(MtpDrafter, "propose", listen)
    monkeypatch.setattr(_Pace, "after", lambda pace, tokens: LONGEST)  # though few are right
    asked = [
        ask("a", range(20), 40, sampling=GREEDY),
        ask("b", range(20), 6, seeds=(1, 2), sampling=GREEDY),
        ask("c", [*range(16), 5, 6], 40, sampling=GREEDY),
        ask("d", range(40, 57), 40, sampling=GREEDY, priority=1),
    ]
    _, told = outputs(open_runner(kind, random_v3(), pages), "mtp", *asked, max_rows=16, max_running=8, max_chunk=8)
    assert told.scheduler.hit_tokens > 0
    assert (told.scheduler.preemptions > 0) is (pages == 9)
    oracle = Oracle(random_v3())
    assert len(seen) > 80
    assert {len(guess) for _, guess in seen} == {1, 2, 3, 4}
    for tokens, guess in seen:
        assert oracle.guesses(tokens, len(guess)) == guess


def test_the_module_over_a_cache_is_the_module_of_training() -> None:
    model, ids_BT = random_v3(depth=2), torch.arange(30)[None] * 7 % 299
    hidden_BTD = model(ids_BT)
    cache, stored = Cache([torch.zeros(1, 30, model.config.cache_width) for _ in range(3)]), []
    for part in (slice(1, 12), slice(12, 13), slice(13, 30)):
        before = slice(part.start - 1, part.stop - 1)
        positions = torch.arange(part.start, part.stop)[None]
        stored.append(model.mtp_cached(hidden_BTD[:, before], ids_BT[:, part], cache=cache, positions_BT=positions))
    torch.testing.assert_close(torch.cat(stored, dim=1), model.mtp_hidden(hidden_BTD, ids_BT)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [pytest.param("torch", marks=pytest.mark.slow), KINDS[1]])
def test_the_distribution_of_what_is_said_is_the_model_s(kind: str) -> None:
    """How often each pair comes as second and third token, against its probability. Seeds are the only chance."""
    count, vocabulary = 1200, 4
    model = random_model(small_v3(vocab_size=vocabulary, mtp_depth=1)).requires_grad_(False)
    model.head.weight.mul_(0.3)
    prompt = [0, 1, 2, 3, 1]
    with Engine(open_runner(kind, model), EngineConfig(speculation="mtp", max_running=8)) as engine:
        stream = engine.submit(ask("a", prompt, 4, seeds=tuple(range(count))), text=False, stream=False)
        pairs = Counter(output.ids[1:3] for output in stream.result())
        scheduler = engine.statistics().scheduler
    assert count / 10 < scheduler.accepted_tokens < scheduler.drafted_tokens
    rows_BT = torch.tensor([[*prompt, a, b] for a in range(vocabulary) for b in range(vocabulary)])
    p_BTV = model.head(model(rows_BT)).softmax(dim=-1)
    expected_AB = torch.zeros(vocabulary, vocabulary)
    for row, (a, b) in enumerate(rows_BT[:, -2:].tolist()):
        expected_AB[b] += count * p_BTV[row, -3, a] * p_BTV[row, -2, b] * p_BTV[row, -1]
    assert expected_AB.min() > 5
    difference = sum((pairs[a, b] - float(expected_AB[a, b])) ** 2 / float(expected_AB[a, b]) for a, b in COUPLES)
    assert difference < 37.7  # of chi-square with 15 degrees of freedom, one in a thousand is larger


COUPLES = [(a, b) for a in range(4) for b in range(4)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_grammar_says_what_it_takes(kind: str) -> None:
    asked = Request(
        id="a",
        prompt_ids=tuple(TOKENIZER.encode("1+1=?")),
        max_tokens=50,
        seeds=(1, 2),
        grammar=Grammar(kind="regex", text='{"sum": [0-9]{6}, "sure": (yes|no)}'.replace("{", r"\{", 1)[:-1] + r"\}"),
    )
    plain, _ = outputs(open_runner(kind, random_v3()), "off", asked, tokenizer=TOKENIZER)
    guessed, told = outputs(open_runner(kind, random_v3()), "mtp", asked, tokenizer=TOKENIZER)
    assert_same(plain, guessed)
    assert told.scheduler.accepted_tokens > 0


def test_a_sample_that_is_cancelled_leaves_nothing_behind() -> None:
    with Engine(open_runner("torch", counting()), MTP) as engine:
        stream = engine.submit(ask("a", range(20), 60, seeds=(1, 2)))
        other = engine.submit(ask("b", range(20), 60, sampling=GREEDY))
        for _ in range(6):
            engine.step()
        stream.cancel(0)
        engine.step()
        stream.cancel()
        assert list(other.result()[0].ids) == [(20 + i) % 48 for i in range(60)]
        engine.check()
        assert engine._drafter is not None
        assert engine._drafter.remembers == 0
        assert engine.statistics().scheduler.pages_held == 0


def test_new_weights_are_guessed_with_at_once() -> None:
    model = random_model(small_v3(mtp_depth=1)).requires_grad_(False)
    other = random_model(small_v3(mtp_depth=1), seed=1).requires_grad_(False)
    asked = ask("a", range(20), 30, sampling=GREEDY)
    said = []
    for speculation in ("off", "mtp"):
        module = random_model(small_v3(mtp_depth=1)).requires_grad_(False)
        with Engine(TorchMtpRunner(module, pages=16), EngineConfig(speculation=speculation)) as engine:
            stream = engine.submit(asked)
            while stream.completion_tokens < 10:
                engine.step()
            made = stream.completion_tokens
            stream.cancel()
            module.load_state_dict(other.state_dict())
            engine.update_weights(1)
            said.append(engine.submit(replace(asked, id="b")).result()[0].ids)
            assert made >= 10
    assert said[0] == said[1] == outputs(TorchRunner(other, pages=16), "off", asked)[0][0].ids
    assert said[0] != outputs(TorchRunner(model, pages=16), "off", asked)[0][0].ids


def test_a_module_that_fails_ends_those_that_run_and_the_engine_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: TorchMtpRunner, *arguments: Any) -> None:
        raise RuntimeError("no memory")

    with Engine(open_runner("torch", counting()), MTP) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(TorchMtpRunner, "predict", fail)
            [output] = engine.submit(ask("a", [1, 2])).result()
            assert output.reason == "error"
            assert "guessing ahead: RuntimeError: no memory" in output.error
        assert engine.submit(ask("b", [1, 2])).result()[0].reason == "length"
        engine.check()


def test_a_full_batch_does_not_guess() -> None:
    asked = [ask(f"{i}", [i], 10, sampling=GREEDY) for i in range(9)]
    _, told = outputs(open_runner("torch", counting()), "mtp", *asked)
    assert told.draft_rows == 0


def refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(GenerationError, match=words):
        make()


@pytest.mark.parametrize("kind", KINDS)
def test_a_runner_that_was_closed_keeps_no_states(kind: str) -> None:
    runner = open_runner(kind, counting())
    kept = runner.mtp._states.numel()
    outputs(runner, "mtp", ask("a", range(5), 6))
    runner.close()
    assert kept == 64 * runner.page_size * 48
    assert runner.mtp._states.numel() == 0


def test_a_model_without_a_module_is_refused() -> None:
    model = random_model(small_v3())
    refused(lambda: open_engine(model, config=MTP), "no multi-token prediction module .* choose 'ngram'")
    refused(lambda: Engine(TorchRunner(model, pages=16), MTP), "no multi-token prediction module")
    refused(lambda: Engine(TorchRunner(random_v3(), pages=16), MTP), "TorchRunner does not run the model's")


def test_an_opened_engine_guesses() -> None:
    opened = open_engine(counting(), TOKENIZER, MTP, cache_bytes=2**22, threads=1)
    with opened.engine as engine:
        [output] = engine.submit(ask("a", [5], 40, sampling=GREEDY), text=False).result()
        assert list(output.ids) == [(6 + i) % 48 for i in range(40)]
        assert engine.statistics().scheduler.accepted_tokens > 25
