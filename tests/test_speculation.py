"""Guessing ahead changes the number of steps and nothing that is said."""

import random
import re
from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from fake_paged_model import prefix_state, request, thinking, tokens_before
from ponder.core.errors import GenerationError
from ponder.core.streaming import Grammar, Request, SamplingOptions, Thinking
from ponder.engine.drafter import LONGEST, DraftRules, NgramDrafter
from ponder.engine.engine import Engine, EngineConfig
from ponder.engine.native import NativeModel, available
from ponder.engine.native_runner import NativeRunner
from ponder.engine.request import Sample
from ponder.engine.step import StepPlan
from ponder.engine.stream import Output
from ponder.engine.torch_runner import TorchRunner
from ponder.text.tokenizer import Tokenizer
from scripted_runner import ScriptedRunner
from small_models import random_model, small_dense, small_v3

TOKENIZER = Tokenizer.for_arithmetic()
NGRAM = EngineConfig(speculation="ngram")
needs_kernels = pytest.mark.skipif(available() is not None, reason="the native kernels are not built")


@lru_cache(maxsize=10_000)
def noise(vocabulary: int, *last: int) -> torch.Tensor:
    """Numbers that are a function of the last tokens."""
    return torch.from_numpy(np.random.default_rng(prefix_state(last)).normal(size=vocabulary)).float()


class ParrotRunner(ScriptedRunner):
    """Likes to say what followed the last two tokens before: noise that is a function of these alone."""

    def __init__(self, vocabulary: int = 50, pages: int = 512, *, sharpness: float = 6.0, favours: int = 0) -> None:
        super().__init__(lambda sample: 0, vocabulary=vocabulary, pages=pages)
        self.config = small_dense(vocab_size=vocabulary, max_positions=512)
        self.sharpness = sharpness
        self.bias = torch.zeros(vocabulary)
        self.bias[favours:] = 20.0 if favours else 0.0

    def run(self, plan: StepPlan) -> torch.Tensor:
        logits = torch.zeros(len(plan.logit_rows), self.config.vocab_size)
        for draw, row in enumerate(plan.draw_logits):
            last = tokens_before(plan, draw)[-2:]
            logits[row] = noise(self.config.vocab_size, *last) * self.sharpness + self.bias
            if plan.draws[draw].request.id in self.poisoned:
                logits[row] = float("nan")
        return logits


def outputs(engine: Engine, *asked: Request) -> list[Output]:
    streams = [engine.submit(one) for one in asked]
    made = [output for stream in streams for output in stream.result()]
    engine.check()
    return made


def both(
    *asked: Request, runner: Any = ParrotRunner, tokenizer: Tokenizer | None = None, **config: Any
) -> list[Output]:
    """The outputs without guesses, having checked that they are those with guesses, some of which were right."""
    said, steps = [], []
    for speculation in ("off", "ngram"):
        with Engine(runner(), EngineConfig(speculation=speculation, **config), tokenizer) as engine:
            said.append(outputs(engine, *asked))
            steps.append(engine.statistics().steps)
            told = engine.statistics()
    for plain, guessed in zip(*said, strict=True):
        assert (plain.ids, plain.reason, plain.text) == (guessed.ids, guessed.reason, guessed.text)
        assert plain.logprobs == pytest.approx(guessed.logprobs, abs=1e-5)
    assert steps[1] <= steps[0]
    assert 0 < told.scheduler.accepted_tokens <= told.scheduler.drafted_tokens == told.draft_rows
    drawn = sum(logprob is not None for output in said[1] for logprob in output.logprobs)
    unread = told.drawn_tokens - drawn  # after a stop string, in the same step
    assert 0 <= unread <= (LONGEST if any(one.stop_strings for one in asked) else 0)
    return said[0]


LONG = {"max_tokens": 120}


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingOptions(temperature=0.0),
        SamplingOptions(temperature=0.5),
        SamplingOptions(top_k=5, top_p=0.9, min_p=0.01, temperature=1.3),
        SamplingOptions(temperature=0.7, logprobs=4),
    ],
)
def test_every_sample_is_what_it_is_without_guesses(sampling: SamplingOptions) -> None:
    asked = [request(f"{i}", [i, i + 1], seeds=(i, 7), sampling=sampling, **LONG) for i in range(4)]
    both(*asked)
    both(asked[0])


def test_greedy_repetition_takes_few_steps() -> None:
    engine = Engine(ParrotRunner(), NGRAM)
    [output] = outputs(engine, request("a", [1, 2], max_tokens=400, sampling=SamplingOptions(temperature=0.0)))
    told = engine.statistics()
    assert len(output.ids) == 400
    assert told.steps < 150
    assert told.scheduler.accepted_tokens > 0.9 * told.scheduler.drafted_tokens


def test_the_distribution_of_what_is_said_is_the_model_s() -> None:
    """The prompt holds every pair of tokens, so that there is a guess after each: how often each pair comes, against
    its probability. Seeds are the only chance there is.
    """
    count, vocabulary = 4000, 4
    runner = ParrotRunner(vocabulary, pages=4096, sharpness=1.0)
    prompt = [0, 0, 1, 0, 2, 0, 3, 1, 1, 2, 1, 3, 2, 2, 3, 3, 0, 1]
    rng, pairs = random.Random(0), Counter[tuple[int, ...]]()
    with Engine(runner, EngineConfig(speculation="ngram", max_running=8)) as engine:
        for first in range(0, count, 2000):
            seeds = tuple(rng.getrandbits(62) for _ in range(2000))
            stream = engine.submit(request(f"{first}", prompt, max_tokens=4, seeds=seeds), text=False, stream=False)
            pairs.update(output.ids[1:3] for output in stream.result())
        accepted = engine.statistics().scheduler.accepted_tokens
    assert accepted > count / 20
    chances = torch.zeros(vocabulary, vocabulary)

    def chance(*last: int) -> torch.Tensor:
        return noise(vocabulary, *last).softmax(dim=0)

    for a in range(vocabulary):
        for b in range(vocabulary):
            chances[b] += chance(0, 1)[a] * chance(1, a)[b] * chance(a, b)
    expected = (chances * count).tolist()
    difference = sum((pairs[b, c] - expected[b][c]) ** 2 / expected[b][c] for b in range(4) for c in range(4))
    assert difference < 37.7  # of chi-square with 15 degrees of freedom, one in a thousand is larger


def test_what_depends_on_the_tokens_before_is_not_guessed() -> None:
    for sampling in (SamplingOptions(presence_penalty=1.0, temperature=0.0), SamplingOptions(repetition_penalty=1.1)):
        with Engine(ParrotRunner(), NGRAM) as engine:
            outputs(engine, request("a", [1, 2], sampling=sampling, **LONG))
            assert engine.statistics().draft_rows == 0


@pytest.mark.parametrize("changes", [{"min_tokens": 30}, {"budget": 20}, {"budget": 40, "opened": True}])
def test_thoughts_keep_their_bounds(changes: dict[str, Any]) -> None:
    both(*(request(f"{i}", [i, 9], thinking=thinking(**changes), seeds=(i,), **LONG) for i in range(6)))


def test_stop_ids_end_a_sample_where_they_are_drawn() -> None:
    greedy = SamplingOptions(temperature=0.0)
    with Engine(ParrotRunner()) as engine:
        [free] = outputs(engine, request("a", [1, 2], sampling=greedy, **LONG))
    stop = frozenset({Counter(free.ids).most_common()[-1][0]})
    with Engine(ParrotRunner(), NGRAM) as engine:
        [output] = outputs(engine, request("a", [1, 2], sampling=greedy, stop_ids=stop, **LONG))
    assert output.ids == free.ids[: len(output.ids)]
    assert output.reason == "stop"


def test_stop_strings_cut_what_came_in_one_step() -> None:
    asked = Request(
        id="a",
        prompt_ids=tuple(TOKENIZER.encode("ab")),
        max_tokens=200,
        sampling=SamplingOptions(temperature=0.8),
    )
    with Engine(ParrotRunner(299, favours=280), None, TOKENIZER) as engine:
        [free] = outputs(engine, asked)
    stop = free.text[-12:-2]
    stopped = Request(
        id="b", prompt_ids=asked.prompt_ids, max_tokens=200, sampling=asked.sampling, stop_strings=(stop,)
    )
    [output] = both(stopped, runner=lambda: ParrotRunner(299, favours=280), tokenizer=TOKENIZER)
    assert output.text == free.text[: free.text.index(stop)]


def test_samples_that_gave_way_go_on_as_they_would_have() -> None:
    asked = [request(f"{i}", [i, 5], seeds=(i,), sampling=SamplingOptions(temperature=0.3), **LONG) for i in range(6)]
    plenty = both(*asked)
    with Engine(ParrotRunner(pages=70), NGRAM) as engine:
        tight = outputs(engine, *asked)
        told = engine.statistics().scheduler
    assert told.preemptions > 0
    assert told.accepted_tokens > 0
    assert [output.ids for output in tight] == [output.ids for output in plenty]


def test_a_full_batch_does_not_guess() -> None:
    asked = [request(f"{i}", [i, 5], sampling=SamplingOptions(temperature=0.0), **LONG) for i in range(16)]
    with Engine(ParrotRunner(pages=1024), NGRAM) as engine:
        outputs(engine, *asked)
        assert engine.statistics().draft_rows == 0


def test_a_fault_in_the_middle_of_a_guess_ends_its_own_request() -> None:
    greedy = SamplingOptions(temperature=0.0)
    runner = ParrotRunner()
    with Engine(runner, NGRAM) as engine:
        sick = engine.submit(request("sick", [1, 2], sampling=greedy, **LONG))
        sound = engine.submit(request("sound", [1, 2], sampling=greedy, **LONG))
        while not engine.statistics().draft_rows:
            engine.step()
        runner.poisoned.add("sick")
        assert "not finite" in sick.result()[0].error
        assert sound.result()[0].reason == "length"
        engine.check()


def test_a_sample_that_is_cancelled_leaves_nothing_behind() -> None:
    with Engine(ParrotRunner(), NGRAM) as engine:
        stream = engine.submit(request("a", [1, 2], seeds=(1, 2), **LONG))
        for _ in range(20):
            engine.step()
        stream.cancel(0)
        engine.step()
        stream.cancel()
        assert not engine.step()
        engine.check()
        assert engine._drafter is not None
        assert engine._drafter.remembers == 0


@pytest.mark.parametrize("opened", [True, False])
def test_answers_in_a_grammar_are_the_same_and_take_fewer_steps(opened: bool) -> None:
    """What the grammar sets is guessed too: the keys of an object come at once."""
    keys = '{"first name": "[a-c]{3}", "family name": "[a-c]{3}", "age": [0-9]{2}}'
    grammar = Grammar(kind="regex", text=keys.replace("{", r"\{", 1)[:-1] + r"\}")
    control = TOKENIZER.control
    thought = Thinking(start_id=control.think, end_id=control.end_think or 0, opened=opened, budget=20)
    asked = [
        Request(
            id=f"{i}",
            prompt_ids=tuple(TOKENIZER.encode("1+1=?")) + ((control.think or 0,) if opened else ()),
            max_tokens=200,
            seeds=(i, i + 1),
            thinking=thought,
            grammar=grammar,
        )
        for i in range(3)
    ]
    for output in both(*asked, runner=lambda: ParrotRunner(299, favours=280), tokenizer=TOKENIZER):
        assert output.reason == "stop"
        assert re.fullmatch(r'\{"first name": "[a-c]{3}", "family name": "[a-c]{3}", "age": [0-9]{2}\}', output.text)


@pytest.mark.parametrize("kind", ["torch", pytest.param("native", marks=needs_kernels)])
@pytest.mark.parametrize("name", ["dense", "v3"])
def test_real_models_say_the_same(name: str, kind: str) -> None:
    model = random_model(small_dense() if name == "dense" else small_v3()).requires_grad_(False)

    def runner() -> Any:
        if kind == "torch":
            return TorchRunner(model, pages=64)
        return NativeRunner(NativeModel(model, threads=1), pages=64, module=model)

    prompts = ("1+1=1+1=1+1=", "9-9-9-9-9-9=?", "7+8-3=?7+8-3=?")
    asked = [
        Request(
            id=text, prompt_ids=tuple(TOKENIZER.encode(text)), max_tokens=40, sampling=SamplingOptions(temperature=t)
        )
        for text, t in zip(prompts, (0.0, 0.0, 0.2), strict=True)
    ]
    both(*asked, runner=runner)


def test_a_guess_is_what_followed_before() -> None:
    drafter = NgramDrafter()
    sample = Sample(request("a", [5, 6, 7, 8, 9, 5, 6, 7]), 0, 0, [])
    assert drafter.propose(sample, 8) == [8, 9, 5, 6]
    assert drafter.propose(sample, 2) == [8, 9]
    sample.tokens += [8, 9, 6, 7]  # after two tokens, the latest place counts
    assert drafter.propose(sample, 1) == [8]
    sample.tokens += [1, 2]
    assert drafter.propose(sample, 8) == []
    assert len(drafter.propose(Sample(request("b", [1, 2] * 20), 0, 0, []), 50)) <= LONGEST


def test_guesses_grow_where_they_are_right_and_shrink_where_they_are_wrong() -> None:
    drafter = NgramDrafter()
    sample = Sample(request("a", [1, 2, 3] * 12), 0, 0, [])
    lengths = []
    for came in (None, None, 0, 0, 0, 0):  # all of the guess comes, or a token that was not guessed
        guess = list(drafter.propose(sample, 50))
        lengths.append(len(guess))
        sample.tokens += guess if came is None else [9, *[1, 2, 3] * 12]
    assert lengths == [4, 8, 8, 4, 2, 1]


@pytest.mark.parametrize("start_id", [0, 3, None])
def test_a_guess_ends_before_the_tags_of_a_thought(start_id: int | None) -> None:
    """Whatever their ids are: 0 is one too."""
    sample = Sample(
        request("a", [5], thinking=thinking(start_id=start_id, end_id=9, closing_ids=(9,)), stop_ids=(7,)), 0, 0, []
    )
    assert list(DraftRules().keep(sample, [6, 5, 9, 5], 8)) == [6, 5]
    assert list(DraftRules().keep(sample, [6, 7, 5], 8)) == [6]
    assert list(DraftRules().keep(sample, [6, start_id or 0, 5], 8)) == ([6, 0, 5] if start_id is None else [6])


def test_other_words_are_refused() -> None:
    with pytest.raises(GenerationError, match="expected one of off, ngram, mtp"):
        EngineConfig(speculation="yes")  # type: ignore[arg-type]
