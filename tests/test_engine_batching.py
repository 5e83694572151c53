"""The engine on its scheduler: what it says is what each request would get alone, and no fault reaches a neighbour."""

import itertools
import random
import resource
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fake_paged_model import VOCABULARY, prefix_state, request, thinking
from ponder.core.errors import ConfigError, GenerationError, PonderError, QueueFullError, WeightsLostError
from ponder.core.streaming import Piece, SamplingOptions, Thinking, Usage
from ponder.core.types import Completion, Prompt, Sampling
from ponder.engine import torch_weights
from ponder.engine.batch_generator import EngineGenerator
from ponder.engine.engine import Engine, EngineConfig
from ponder.engine.native import NativeModel, available
from ponder.engine.native_runner import NativeRunner
from ponder.engine.opening import open_engine
from ponder.engine.reference import ReferenceGenerator
from ponder.engine.request import Sample
from ponder.engine.runner import Runner
from ponder.engine.step import StepPlan
from ponder.engine.stop_strings import StopSearch, StopStrings
from ponder.engine.stream import Stream
from ponder.engine.torch_runner import TorchRunner
from ponder.engine.track import Track
from ponder.models.transformer import Transformer
from ponder.text.tokenizer import Tokenizer
from scripted_runner import HashingRunner, ScriptedRunner, hashed
from small_models import random_model, small_dense, small_moe, small_v3

TOKENIZER = Tokenizer.for_arithmetic()
TEXTS = ("7+8-3=?", "1*2=?", "9-9-9-9-9-9=?", "1+2+3+4+5+6+7+8=?")  # the last fills a page exactly
PROMPTS = [Prompt(problem_id=text, ids=tuple(TOKENIZER.encode(text))) for text in TEXTS]
SAMPLED, GREEDY = Sampling(max_tokens=20), Sampling(max_tokens=20, temperature=0.0)
SEEDS = [[100 * p + s for s in range(6)] for p in range(len(PROMPTS))]
CONFIGS = {
    "dense": small_dense(tie_embeddings=True),
    "v3": small_v3(layers=3, moe=small_moe(groups=4, groups_per_token=2), max_positions=100),
}
RUNNERS = ["torch"] + ["native"] * (available() is None)
NARROW = EngineConfig(max_running=5, max_rows=8, max_chunk=3)


def built(name: str) -> Transformer:
    model = random_model(CONFIGS[name])
    with torch.no_grad():  # so that completions end at different lengths
        model.head.weight.mul_(3.0)
        model.head.weight[TOKENIZER.control.eos] += 0.4
    return model.requires_grad_(False)


@pytest.fixture(scope="module", params=CONFIGS)
def model(request: pytest.FixtureRequest) -> Transformer:
    return built(request.param)


@pytest.fixture(params=RUNNERS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def runner(kind: str, model: Transformer, pages: int = 64) -> Runner:
    if kind == "torch":
        return TorchRunner(model, pages=pages)
    return NativeRunner(NativeModel(model, threads=1), pages=pages, module=model)


def generator(kind: str, model: Transformer, pages: int = 64, config: EngineConfig | None = None) -> EngineGenerator:
    return EngineGenerator(Engine(runner(kind, model, pages), config), TOKENIZER.control)


def flat(groups: list[list[Completion]]) -> list[Completion]:
    return [completion for group in groups for completion in group]


def assert_equal(made: list[list[Completion]], expected: list[list[Completion]]) -> None:
    for ours, theirs in zip(flat(made), flat(expected), strict=True):
        assert (ours.ids, ours.finish_reason, ours.seed) == (theirs.ids, theirs.finish_reason, theirs.seed)
        assert np.abs(np.subtract(ours.logprobs, theirs.logprobs)).max() < 3e-5
        if theirs.routes is None or ours.routes is None:
            assert theirs.routes is ours.routes is None
        else:  # the order of a token's experts is no one's promise
            a, b = (np.sort(np.frombuffer(r, np.int16).reshape(-1, 2), axis=1) for r in (ours.routes, theirs.routes))
            assert (a == b).all()


# the generator


@pytest.mark.parametrize("sampling", [SAMPLED, GREEDY], ids=["sampled", "greedy"])
def test_completions_are_those_of_the_reference_generator(model: Transformer, kind: str, sampling: Sampling) -> None:
    expected = ReferenceGenerator(model, TOKENIZER.control).generate(PROMPTS, sampling, SEEDS)
    if sampling is SAMPLED:
        assert {c.finish_reason for c in flat(expected)} == {"stop", "length"}
    for config in (EngineConfig(), NARROW):  # the narrow one cuts prompts into chunks and lets samples wait
        assert_equal(generator(kind, model, config=config).generate(PROMPTS, sampling, SEEDS), expected)


def test_samples_that_gave_way_end_as_they_would_have(model: Transformer, kind: str) -> None:
    longer = Sampling(max_tokens=45)
    expected = ReferenceGenerator(model, TOKENIZER.control).generate(PROMPTS, longer, SEEDS)
    tight = generator(kind, model, pages=9)
    assert_equal(tight.generate(PROMPTS, longer, SEEDS), expected)
    told = tight._engine.statistics().scheduler
    assert told.preemptions > 0
    assert told.pages_held == told.running == told.waiting == 0
    tight._engine.check()


@pytest.mark.parametrize("config", [EngineConfig(), NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("pages", [64, 9])
def test_what_memory_held_before_never_shows(
    model: Transformer, pages: int, config: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for the cache is not filled by whoever asks for it."""
    expected = ReferenceGenerator(model, TOKENIZER.control).generate(PROMPTS, SAMPLED, SEEDS)
    empty = torch.empty
    with monkeypatch.context() as patched:
        patched.setattr(torch, "empty", lambda *shape, **options: empty(*shape, **options).fill_(float("nan")))
        made = generator("torch", model, pages, config)
    assert_equal(made.generate(PROMPTS, SAMPLED, SEEDS), expected)
    assert_equal(made.generate(PROMPTS, SAMPLED, SEEDS), expected)  # from pages that were shared


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_for_the_cache_is_taken_as_pages_are_used(kind: str) -> None:
    def used() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    model, before = built("dense"), used()
    large = runner(kind, model, pages=120_000)
    assert large.pages * large.page_bytes > 400e6
    EngineGenerator(Engine(large), TOKENIZER.control).generate(PROMPTS, SAMPLED, SEEDS)
    assert used() - before < 100e6


def test_a_prefix_that_is_cached_is_not_computed_again(kind: str) -> None:
    model = built("v3")
    prompt = Prompt(problem_id="long", ids=tuple(int(i) for i in torch.arange(60) % 7 + 20))
    warm, cold = generator(kind, model), generator(kind, model)
    first = warm.generate([prompt], SAMPLED, [[1, 2, 3]])
    before = warm._engine.statistics()
    assert before.prefill_rows == 60  # once for the group
    assert before.scheduler.hit_tokens == 120
    second = warm.generate([prompt], SAMPLED, [[1, 2, 3]])
    after = warm._engine.statistics()
    assert after.prefill_rows - before.prefill_rows == 60 - 48  # three full pages were hits
    assert after.scheduler.hit_tokens - before.scheduler.hit_tokens == 48 + 120
    assert_equal(second, first)
    assert_equal(first, cold.generate([prompt], SAMPLED, [[1, 2, 3]]))


def test_new_weights_void_the_cache_and_stamp_the_completions(kind: str) -> None:
    model = built("v3")
    made = generator(kind, model)
    made.generate(PROMPTS, SAMPLED, SEEDS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)), alpha=0.05)
    made.refresh(7)
    assert made.weight_version == 7
    completions = made.generate(PROMPTS, SAMPLED, SEEDS)
    assert {c.weight_version for c in flat(completions)} == {7}
    assert_equal(completions, ReferenceGenerator(model, TOKENIZER.control).generate(PROMPTS, SAMPLED, SEEDS))


@pytest.mark.parametrize("shape", CONFIGS)
def test_a_runner_in_bf16_is_near_and_follows_its_module(shape: str) -> None:
    model = built(shape)
    half = EngineGenerator(Engine(TorchRunner(model, pages=64, weights="bf16")), TOKENIZER.control)
    for version in range(2):
        half.refresh(version)
        full = generator("torch", model).generate(PROMPTS, Sampling(max_tokens=1), SEEDS)
        made = half.generate(PROMPTS, Sampling(max_tokens=1), SEEDS)
        both = [(a, b) for a, b in zip(flat(made), flat(full), strict=True) if a.ids == b.ids]
        assert len(both) >= 20
        assert max(abs(a.logprobs[0] - b.logprobs[0]) for a, b in both) < 0.15
        with torch.no_grad():
            model.head.weight.mul_(-0.5)


def test_stream_is_generate_and_whoever_stops_reading_ends_it() -> None:
    made = generator("torch", built("dense"))
    whole = made.generate(PROMPTS[:1], SAMPLED, [[5]])[0][0]
    assert tuple(made.stream(PROMPTS[0], SAMPLED, 5)) == whole.ids
    tokens = made.stream(PROMPTS[0], SAMPLED, 5)
    assert next(tokens) == whole.ids[0]
    tokens.close()
    assert not made._engine.busy
    made._engine.check()


def test_progress_adds_up_and_short_queues_do_not_matter() -> None:
    told: list[int] = []
    made = generator("torch", built("dense"), config=EngineConfig(max_waiting=7, max_running=2))
    completions = flat(made.generate(PROMPTS, SAMPLED, SEEDS, told.append))
    assert sum(told) == sum(len(c.ids) for c in completions)
    assert made.generate([], SAMPLED, []) == []
    assert made.generate(PROMPTS[:2], SAMPLED, [[], [3]])[0] == []


def test_requests_that_can_never_be_served_are_refused_and_leave_nothing() -> None:
    made = generator("torch", built("dense"), pages=3)
    good = PROMPTS[0]
    for prompts, sampling, message in (
        ([good, Prompt(problem_id="nothing", ids=())], SAMPLED, "'nothing' is empty"),
        ([good, Prompt(problem_id="long", ids=(7,) * 50)], SAMPLED, r"50 tokens \+ max_tokens 20 exceed the context"),
        ([good], Sampling(max_tokens=50), "exceed the context of 48 positions"),  # all that is cached
        ([Prompt(problem_id="x", ids=(299,))], SAMPLED, "outside the vocabulary of 299"),
    ):
        with pytest.raises(GenerationError, match=message):
            made.generate(prompts, sampling, [[0]] * len(prompts))
        assert not made._engine.busy
        made._engine.check()
    with pytest.raises(QueueFullError):
        generator("torch", built("dense"), config=EngineConfig(max_waiting=2)).generate([good], SAMPLED, [[1, 2, 3]])


def test_a_sequence_gone_to_nan_fails_alone(kind: str) -> None:
    """Its prompt has a token whose embedding is NaN; its neighbours and whoever gets its pages are as ever."""
    model = built("v3")
    expected = ReferenceGenerator(model, TOKENIZER.control).generate(PROMPTS, SAMPLED, SEEDS)
    poison = next(i for i in range(200, 298) if all(i not in (*c.prompt_ids, *c.ids) for c in flat(expected)))
    with torch.no_grad():
        model.embedding.weight[poison] = float("nan")
    for length, before in ((1, False), (17, False), (40, True)):
        engine = Engine(runner(kind, model, pages=24))
        made = EngineGenerator(engine, TOKENIZER.control)
        sick = engine.submit(request("sick", [20] * 3 + [poison] * length, 8, seeds=(1, 2)), stream=False)
        if before:  # the others get the pages that it leaves behind
            sick.result()
        assert_equal(made.generate(PROMPTS, SAMPLED, SEEDS), expected)
        for output in sick.result():
            assert (output.reason, output.ids) == ("error", ())
            assert "not finite" in output.error
    again = Prompt(problem_id="sick", ids=(poison, 20))
    with pytest.raises(GenerationError, match=r"'sick' ended with error: its logits are not finite"):
        made.generate([PROMPTS[0], again], SAMPLED, SEEDS[:2])
    assert not engine.busy
    engine.check()


# streams: text, stop strings, thoughts


def scripted(text: str | list[int], **config: Any) -> Engine:
    """An engine that says this, and then ends."""
    ids = [*(TOKENIZER.encode(text) if isinstance(text, str) else text), TOKENIZER.control.eos]
    said = ScriptedRunner(lambda s: ids[min(len(s.output) - len(s.forced), len(ids) - 1)], TOKENIZER.vocab_size)
    return Engine(said, EngineConfig(**config), TOKENIZER)


def ask(name: str = "r", prompt: str = "1+1", max_tokens: int = 30, **settings: Any) -> Any:
    return request(name, TOKENIZER.encode(prompt), max_tokens, stop_ids=frozenset(TOKENIZER.control.stop), **settings)


def read(stream: Stream) -> tuple[str, list[Piece]]:
    pieces = list(stream)
    assert stream.result()[0].text == "".join(p.text for p in pieces if p.part != "thought")
    return "".join(p.text for p in pieces), pieces


def test_pieces_join_to_the_text_and_tell_the_probabilities() -> None:
    stream = scripted("12+30=42; so").submit(ask(sampling=SamplingOptions(temperature=0.0, logprobs=2)))
    text, pieces = read(stream)
    output = stream.result()[0]
    assert text == output.text == "12+30=42; so"
    assert [p.token for p in pieces] == list(output.ids)
    assert output.ids[-1] == TOKENIZER.control.eos
    assert [p.reason for p in pieces] == [None] * (len(pieces) - 1) + ["stop"]
    assert all(p.logprob == pytest.approx(0.0, abs=1e-6) and len(p.likeliest) == 2 for p in pieces)
    assert [ids[0][0] for ids in output.likeliest] == list(output.ids)
    assert stream.usage.completion_tokens == len(output.ids) == len(output.logprobs)


@pytest.mark.parametrize(
    ("stops", "shown"),
    [
        (("=42;",), "12+30"),  # three tokens, the last cut in two
        (("0=4", "30=42"), "12+3"),  # the one that ends first
        (("+30=", "30="), "12"),  # of two that end together, the longer
        (("=43", "42;;"), "12+30=42; so"),  # begun and not ended
        (("so",), "12+30=42; "),
        (("sos",), "12+30=42; so"),  # held back to the end
        (("1",), ""),
    ],
)
def test_a_stop_string_ends_the_text_and_is_not_shown(stops: tuple[str, ...], shown: str) -> None:
    engine = scripted("12+30=42; so")
    stream = engine.submit(ask(stop_strings=stops))
    text, pieces = read(stream)
    assert text == shown
    assert pieces[-1].reason == "stop"
    assert stream.result()[0].ids == tuple(p.token for p in pieces)
    engine.check()
    assert not engine.busy


def test_text_is_held_back_only_while_a_stop_string_may_have_begun() -> None:
    _, pieces = read(scripted("1+2+1+3").submit(ask(stop_strings=("+1+4",))))
    assert [p.text for p in pieces] == ["1", "", "+2", "", "", "", "+1+3", ""]


def test_a_stop_string_at_the_very_last_token_is_a_stop() -> None:
    stream = scripted("1+2+3").submit(ask(max_tokens=3, stop_strings=("2",)))
    assert read(stream)[1][-1].reason == stream.result()[0].reason == "stop"


def test_stop_search_finds_what_a_plain_search_finds_wherever_the_text_is_cut() -> None:
    rng = random.Random(0)
    for _ in range(400):
        strings = ["".join(rng.choices("ab", k=rng.randrange(1, 5))) for _ in range(rng.randrange(1, 5))]
        text = "".join(rng.choices("abc", k=rng.randrange(20)))
        ends = [(text.find(s) + len(s), text.find(s)) for s in strings if s in text]
        search, shown, i = StopSearch(StopStrings(strings)), "", 0
        while i < len(text):
            step = rng.randrange(1, 4)
            shown += search.push(text[i : i + step])
            i += step
            if not search.stopped:  # what is not shown is the beginning of a stop string, and no more
                held = text[len(shown) : i]
                assert not held or any(s.startswith(held) for s in strings)
        assert search.stopped == bool(ends)
        assert shown + search.finish() == (text[: min(ends)[1]] if ends else text)


def test_stop_strings_are_bounded() -> None:
    engine = scripted("1")
    with pytest.raises(GenerationError, match="1000000 stop strings and 1 stop ids; expected at most 256"):
        ask(stop_strings=tuple(map(str, range(1_000_000))))
    with pytest.raises(GenerationError, match="of 25600 characters; expected none to be empty and at most 16384"):
        engine.submit(ask(stop_strings=("x" * 100,) * 256))
    with pytest.raises(GenerationError, match="makes no text"):
        Engine(ScriptedRunner(lambda s: 1)).submit(request("r", [1], stop_strings=("x",)))
    assert not engine.busy


def thoughtful(budget: int | None = None, **changes: Any) -> Thinking:
    control = TOKENIZER.control
    assert control.end_think is not None
    return Thinking(start_id=control.think, end_id=control.end_think, budget=budget, **changes)


def test_a_budget_closes_the_thought_and_goes_on_to_the_answer() -> None:
    control = TOKENIZER.control
    script = [control.think, *TOKENIZER.encode("7+7+7+7"), *TOKENIZER.encode("1")]
    stream = scripted(script).submit(ask(thinking=thoughtful(3), stop_strings=("7",)))  # not sought in the thought
    output = stream.result()[0]
    assert (output.thought, output.text, output.reason) == ("7+7", "+", "stop")
    assert output.ids[:5] == (control.think, *TOKENIZER.encode("7+7"), control.end_think)
    assert [i for i, x in enumerate(output.logprobs) if x is None] == [4]
    assert stream.usage.reasoning_tokens == 3
    assert stream.usage.completion_tokens == len(output.ids)


def test_answer_now_closes_a_thought_under_way() -> None:
    engine = scripted([TOKENIZER.control.think, *[TOKENIZER.encode("7")[0]] * 40])
    stream = engine.submit(ask(max_tokens=12, thinking=thoughtful()))
    for _ in range(5):
        next(stream)
    stream.answer_now()
    pieces = list(stream)
    assert pieces[0].token == TOKENIZER.control.end_think
    assert pieces[0].logprob is None
    assert {p.part for p in pieces[1:]} == {"outside"}  # this vocabulary marks its answers
    assert stream.usage.reasoning_tokens == 4


def test_several_samples_share_the_prompt_and_its_price() -> None:
    stream = scripted("1+2").submit(ask(prompt="3+3+3+3+3", seeds=(1, 2, 3)))
    outputs = stream.result()
    assert [(o.index, o.seed, o.text) for o in outputs] == [(0, 1, "1+2"), (1, 2, "1+2"), (2, 3, "1+2")]
    usage = stream.usage
    assert (usage.prompt_tokens, usage.hit_tokens, usage.completion_tokens) == (9, 0, 12)


def test_a_prompt_that_never_ran_costs_nothing() -> None:
    engine = scripted("1+2", max_running=1)
    first, second = engine.submit(ask("first", seeds=(1,))), engine.submit(ask("second", seeds=(1, 2)))
    engine.step()
    for stream in (second, first):
        stream.cancel()
        assert {output.reason for output in stream.result()} == {"cancelled"}
    assert second.usage == Usage(prompt_tokens=0, hit_tokens=0, completion_tokens=0, reasoning_tokens=0)
    assert first.usage.prompt_tokens == len(first.request.prompt_ids)


def warm(**config: Any) -> Engine:
    """An engine that has this prompt in its cache: two full pages of its nine tokens."""
    engine = scripted("1+2", **config)
    engine.submit(ask("before", "3+3+3+3+3")).result()
    return engine


def test_hits_count_for_samples_that_were_heard_of_before_they_were_in_the_cache() -> None:
    engine = warm(max_running=1)
    engine.submit(ask("hog", "7-1"))
    engine.step()
    opened = thoughtful(opened=True)
    hurried = engine.submit(ask("hurried", "3+3+3+3+3", thinking=opened))
    hurried.answer_now()  # it is queued: the thought is closed before anything of it runs
    assert [piece.token for piece in hurried.available()] == [TOKENIZER.control.end_think]
    assert hurried.usage.hit_tokens == 0
    hurried.result()
    assert hurried.usage.hit_tokens == 8
    skipped = engine.submit(ask("skipped", "3+3+3+3+3", thinking=thoughtful(0, opened=True)))
    skipped.result()
    assert skipped.usage.hit_tokens == 8


def test_hits_do_not_count_for_a_sample_that_never_ran() -> None:
    stream = warm().submit(ask("pair", "3+3+3+3+3", seeds=(1, 2)))
    stream.cancel(1)
    assert [output.reason for output in stream.result()] == ["stop", "cancelled"]
    assert stream.usage.hit_tokens == 8


def test_the_context_is_no_longer_than_the_cache() -> None:
    said = ScriptedRunner(lambda s: 1, pages=5)  # of 4 positions each; the model has 64
    with Engine(said) as engine:
        assert engine.context == 20
        assert len(engine.submit(request("whole", [1, 2, 3], engine.context - 3)).result()[0].ids) == 17
    said = ScriptedRunner(lambda s: 1)
    for asked, context in ((None, 64), (30, 30), (1000, 64)):
        assert Engine(said, EngineConfig(context=asked)).context == context


def test_whoever_finds_the_queue_full_of_others_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = scripted("1+1", max_waiting=1)
    monkeypatch.setattr(engine, "step", lambda: time.sleep(0.01))  # nothing gets on
    engine.start()
    other = engine.submit(ask("other"))
    tries: list[float] = []
    submit = engine.submit

    def counted(*arguments: Any, **settings: Any) -> Stream:
        tries.append(time.monotonic())
        if len(tries) == 5:
            other.cancel()
            monkeypatch.undo()
        return submit(*arguments, **settings)

    monkeypatch.setattr(engine, "submit", counted)
    EngineGenerator(engine, TOKENIZER.control).generate(PROMPTS[:1], SAMPLED, [[1]])
    assert len(tries) == 5
    assert min(b - a for a, b in itertools.pairwise(tries)) >= 0.04
    engine.close()


def test_a_runner_that_was_closed_holds_no_memory(kind: str) -> None:
    made = runner(kind, built("v3"))
    engine = Engine(made)
    engine.submit(request("r", [20, 21], 2)).result()
    assert isinstance(made, TorchRunner | NativeRunner)
    held = weakref.ref(made._weights if isinstance(made, TorchRunner) else made._cache)
    engine.close()
    engine.close()
    assert held() is None
    assert not made._routes.of([], 0).size  # type: ignore[union-attr]
    with pytest.raises(GenerationError, match="closed; make a new one"):
        made.refresh() if isinstance(made, TorchRunner) else made.page_bytes


def test_experts_are_told_for_forced_tokens_once_they_were_fed() -> None:
    model = built("v3")
    engine = Engine(runner("torch", model))
    spare = thinking(start_id=1, end_id=3, closing_ids=(2, 3, 4), opened=True, budget=2)
    output = engine.submit(request("r", range(20, 30), 12, thinking=spare), routes=True).result()[0]
    routes = np.frombuffer(output.routes or b"", np.int16).reshape(-1, 2, 2)
    assert len(routes) == 10 + len(output.ids) - 1
    assert routes.min() >= 0
    ids = torch.tensor([[*range(20, 30), *output.ids]])
    assert [i for i, x in enumerate(output.logprobs) if x is None] == [2, 3, 4]
    with torch.no_grad():
        logp = model.head(model(ids)).log_softmax(-1)[0]
    for i, told in enumerate(output.logprobs):
        if told is not None:
            assert told == pytest.approx(float(logp[9 + i, output.ids[i]]), abs=2e-5)


# faults


def test_a_cancelled_request_gets_no_token_more() -> None:
    engine = scripted("1+1+1+1+1+1")
    gone, stays = engine.submit(ask("gone")), engine.submit(ask("stays"))
    next(gone)
    gone.cancel()
    gone.cancel()
    rows = engine.statistics().decode_rows
    engine.step()
    assert engine.statistics().decode_rows == rows + 1
    assert [(p.token, p.reason) for p in gone if p.token is None] == [(None, "cancelled")]
    gone.cancel()
    assert read(stays)[0] == "1+1+1+1+1+1"
    assert gone.result()[0].reason == "cancelled"
    with engine.submit(ask("left")) as left:
        next(left)
    assert left.ended
    engine.check()


def test_a_failing_model_fails_the_running_requests_with_the_reason() -> None:
    engine = scripted("1+1", max_running=1)
    said = engine._runner
    assert isinstance(said, ScriptedRunner)
    running, queued = engine.submit(ask("running")), engine.submit(ask("queued"))
    next(running)
    said.broken = MemoryError("no more")
    assert engine.step()
    said.broken = None
    assert read(queued)[0] == "1+1"
    assert running.result()[0].reason == "error"
    assert "a step of 1 rows: MemoryError: no more" in running.result()[0].error
    said.broken = KeyboardInterrupt()
    interrupted = engine.submit(ask("interrupted"))
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    said.broken = None
    assert interrupted.result()[0].reason == "error"
    assert read(engine.submit(ask("after")))[0] == "1+1"
    assert engine.statistics().failed_steps == 2
    engine.check()


def test_a_reader_that_stops_reading_or_fails_harms_nobody_else() -> None:
    engine = scripted("1+1+1+1+1+1", max_unread=4)

    def gone() -> None:
        raise RuntimeError("the loop is closed")

    unread, deaf = engine.submit(ask("unread", seeds=(1, 2))), engine.submit(ask("deaf"), notify=gone)
    assert engine.submit(ask("read"), stream=False).result()[0].text == "1+1+1+1+1+1"
    pieces = list(unread)
    assert [p.reason for p in pieces if p.reason] == ["error", "error"]
    assert "4 pieces were left unread" in pieces[-1].error
    assert "the loop is closed" in deaf.result()[0].error
    engine.check()


@pytest.mark.parametrize("threaded", [False, True])
def test_an_engine_closed_under_way_ends_everything_once(threaded: bool) -> None:
    slowly = threading.Event()

    def script(sample: Sample) -> int:
        slowly.wait(0.002)
        return 20

    engine = Engine(ScriptedRunner(script), EngineConfig(max_running=1))
    if threaded:
        engine.start()
    first, second = engine.submit(request("a", [1], 40)), engine.submit(request("b", [1], 40))
    next(first)
    engine.close()
    engine.close()
    assert list(first)[-1].reason == "cancelled"
    assert [(p.token, p.reason) for p in second] == [(None, "cancelled")]
    first.cancel()
    assert not engine.step()
    with pytest.raises(GenerationError, match="after the engine was closed"):
        engine.submit(request("c", [1]))
    with pytest.raises(GenerationError, match="the engine was closed"):
        engine.start()
    with pytest.raises(GenerationError, match="the engine was closed"):
        engine.update_weights(1)
    engine.check()


def test_weights_that_cannot_be_taken_over_leave_the_version() -> None:
    engine = Engine(runner("torch", built("dense")), NARROW, TOKENIZER)

    def refuse() -> None:
        raise ConfigError("the weights are fixed")

    engine._runner.refresh = refuse  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="the weights are fixed"):
        engine.update_weights(7)
    assert engine.weight_version == 0
    engine.close()


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (WeightsLostError("the weights could not be taken over whole; make the model anew"), "taken over whole"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_weights_that_are_taken_over_in_part_end_the_engine(failure: BaseException, told: str, threaded: bool) -> None:
    def lost_halfway() -> None:
        raise failure

    engine = Engine(HashingRunner(64), NARROW)
    engine._runner.refresh = lost_halfway  # type: ignore[method-assign]
    stream = engine.submit(request("a", [1, 2, 3], 40, seeds=(1, 2)))
    if threaded:
        engine.start()
    else:
        engine.step()
    with pytest.raises(type(failure)):
        engine.update_weights(7)
    assert [(o.reason, told in o.error) for o in stream.result()] == [("error", True)] * 2
    with pytest.raises(GenerationError, match="after the engine was closed"):
        engine.submit(request("b", [1]))
    engine.check()
    engine.close()


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_model_that_fails_in_taking_weights_over_says_so(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("dense")
    if kind == "torch":
        made: Runner = TorchRunner(model, pages=8, weights="bf16")
        monkeypatch.setattr(torch_weights, "in_bf16", lambda *_, **__: (_ for _ in ()).throw(MemoryError("full")))
    else:
        made = runner(kind, model)
        monkeypatch.setattr(NativeModel, "_pack_read", lambda *_: (_ for _ in ()).throw(MemoryError("full")))
    with pytest.raises(WeightsLostError, match=r"MemoryError: full.*make the model anew"):
        made.refresh()


def test_new_weights_do_not_wait_for_a_busy_engine() -> None:
    """Nor does a submission for them."""
    with Engine(HashingRunner(640), NARROW) as engine:
        taken = threading.Event()
        refresh = engine._runner.refresh

        def slow() -> None:
            taken.set()
            time.sleep(0.5)
            refresh()

        run = engine._runner.run

        def steady(plan: StepPlan) -> torch.Tensor:
            time.sleep(0.01)
            return run(plan)

        engine._runner.refresh, engine._runner.run = slow, steady  # type: ignore[method-assign]
        streams = [engine.submit(request(str(i), [1, 2, i], 50, seeds=tuple(range(4)))) for i in range(8)]
        engine.start()
        for version in (1, 2, 3):
            before = engine.statistics().steps
            taken.clear()
            updating = threading.Thread(target=engine.update_weights, args=(version,))
            updating.start()
            assert taken.wait(10.0)
            assert engine.statistics().steps <= before + 4
            began = time.monotonic()
            engine.cancel("unknown")
            streams.append(engine.submit(request(f"during {version}", [5, version], 3)))
            assert time.monotonic() - began < 0.4
            updating.join()
        assert all(output.reason in ("length", "stop") for stream in streams for output in stream.result())


@pytest.mark.parametrize("threaded", [False, True])
def test_a_reader_that_cannot_be_told_is_dropped_alone(threaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Track.take

    def fails(track: Track, *arguments: Any) -> Any:
        if track.sample.request.id == "lost":
            raise MemoryError("no room for a piece")
        return take(track, *arguments)

    monkeypatch.setattr(Track, "take", fails)
    with Engine(HashingRunner(64), NARROW) as engine:
        streams = {name: engine.submit(request(name, [1, 2], 4, seeds=(1, 2))) for name in ("a", "lost", "b")}
        if threaded:
            engine.start()
        ended = {name: {o.reason for o in stream.result()} for name, stream in streams.items()}
        assert ended["a"] | ended["b"] <= {"length", "stop"}
        assert [(o.reason, "MemoryError: no room" in o.error) for o in streams["lost"].result()] == [
            ("error", True)
        ] * 2
        assert not engine.closed
        engine.check()


def test_an_engine_with_a_thread_serves_readers_of_all_kinds() -> None:
    model = built("dense")
    expected = ReferenceGenerator(model, TOKENIZER.control).generate(PROMPTS, SAMPLED, SEEDS)
    with Engine(runner("torch", model), NARROW, TOKENIZER).start() as engine:
        made = EngineGenerator(engine, TOKENIZER.control)
        got: dict[int, object] = {}
        told = threading.Event()

        def stream(p: int) -> None:
            got[p] = tuple(made.stream(PROMPTS[p], SAMPLED, SEEDS[p][0]))

        readers = [threading.Thread(target=stream, args=(p,)) for p in range(len(PROMPTS))]
        for reader in readers:
            reader.start()
        watched = engine.submit(ask("watched", max_tokens=5), notify=told.set)
        assert_equal(made.generate(PROMPTS, SAMPLED, SEEDS), expected)
        for reader in readers:
            reader.join()
        assert told.wait(5)
        assert len(watched.result()[0].ids) <= 5
        assert [got[p] for p in range(len(PROMPTS))] == [group[0].ids for group in expected]
        engine.check()


def test_a_thread_that_dies_tells_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = scripted("1+1")

    def fail() -> None:
        raise PonderError("a page is lost")

    monkeypatch.setattr(engine._scheduler, "plan", fail)
    stream = engine.submit(ask())
    engine.start()
    assert "a page is lost" in stream.result()[0].error
    engine.close()


# everything at once


class World:
    """An engine that checks its cache, and what each request should have said."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.model = HashingRunner(pages=14)
        self.engine = Engine(self.model, EngineConfig(max_running=4, max_rows=10, max_chunk=4, max_waiting=12))
        self.streams: list[Stream] = []
        self.poisoned: set[str] = set()

    def submit(self) -> None:
        rng, name = self.rng, f"r{len(self.streams)}-{self.rng.random()}"
        thought = thinking(opened=rng.random() < 0.5, budget=rng.choice([None, 2])) if rng.random() < 0.4 else None
        asked = request(
            name,
            [rng.randrange(2) for _ in range(rng.randrange(1, 20))],
            rng.randrange(8, 16),
            seeds=tuple(range(rng.choice([1, 1, 3]))),
            stop_ids=frozenset(rng.sample(range(VOCABULARY), 3)),
            thinking=thought,
            priority=rng.choice([0, 0, 1]),
            sampling=SamplingOptions(temperature=0.0, logprobs=rng.choice([None, 2])),
        )
        try:
            self.streams.append(self.engine.submit(asked, stream=rng.random() < 0.5))
        except QueueFullError:
            return
        if rng.random() < 0.1:
            self.model.poisoned.add(name)

    def act(self) -> None:
        action = self.rng.random()
        if action < 0.25:
            self.submit()
        elif action < 0.9:
            self.model.broken = RuntimeError("broken") if self.rng.random() < 0.02 else None
            self.engine.step()
        elif self.streams and action < 0.93:
            self.rng.choice(self.streams).cancel(self.rng.choice([None, 0]))
        elif self.streams and action < 0.95:
            self.rng.choice(self.streams).answer_now()
        elif self.streams and action < 0.99:
            self.rng.choice(self.streams).available()
        else:
            self.engine.update_weights(self.engine.weight_version + 1)


def assert_hashed(stream: Stream) -> int:
    """Every sampled token is the hash of those before it, under the weights of its time. Returns how many were seen."""
    seen = 0
    for output in stream.result():
        tokens = [*stream.request.prompt_ids]
        for token, logp in zip(output.ids, output.logprobs, strict=True):
            if logp is not None and output.first_version == output.last_version:
                assert token == hashed(prefix_state(tokens, output.first_version))
                seen += 1
            tokens.append(token)
        if output.reason == "stop":
            assert tokens[-1] in stream.request.stop_ids
        elif output.reason == "length":
            assert len(output.ids) == stream.request.max_tokens
        elif output.reason == "error":
            assert output.error
    return seen


@pytest.mark.parametrize("seed", range(2))
def test_a_thousand_random_operations_leave_nothing_behind(seed: int) -> None:
    world = World(seed)
    for i in range(1000):
        world.act()
        if i % 10 == 0:
            world.engine.check()
    world.model.broken = None
    while world.engine.step():
        pass
    world.engine.check()
    told = world.engine.statistics().scheduler
    assert (told.pages_held, told.running, told.waiting) == (0, 0, 0)
    assert told.preemptions > 0
    assert min(told.finished.values()) > 0
    assert sum(told.finished.values()) == sum(len(stream.request.seeds) for stream in world.streams)
    assert sum(map(assert_hashed, world.streams)) > 500
    world.engine.close()
    assert world.model.closed == 1


def test_a_group_sees_what_a_single_sample_sees() -> None:
    """A prompt of two pages, run alone and as a group of eight: the very same tokens."""
    greedy = SamplingOptions(temperature=0.0)
    alone = Engine(HashingRunner(8)).submit(request("a", [1, 0] * 4, 8, sampling=greedy)).result()[0]
    group = Engine(HashingRunner(40)).submit(request("b", [1, 0] * 4, 8, seeds=tuple(range(8)), sampling=greedy))
    assert [o.ids for o in group.result()] == [alone.ids] * 8


def test_an_engine_is_opened_natively_or_with_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("dense")
    expected = ReferenceGenerator(model, TOKENIZER.control).generate(PROMPTS, SAMPLED, SEEDS)
    for missing in (available(), "the native kernels were not built"):
        monkeypatch.setattr("ponder.engine.opening.available", lambda missing=missing: missing)
        opened = open_engine(model, TOKENIZER, cache_bytes=200_000)
        with opened.engine as engine:
            assert_equal(EngineGenerator(engine, TOKENIZER.control).generate(PROMPTS, SAMPLED, SEEDS), expected)
        assert ("slower" in opened.notice) == (missing is not None)
    with pytest.raises(GenerationError, match="a cache of 10 bytes"):
        open_engine(model, TOKENIZER, cache_bytes=10)
