"""From a model's own answers by a judge's verdicts to a reward model, in R1's pipeline."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ponder.core.errors import ConfigError, DataError, GenerationError, RunError
from ponder.core.metrics import read_json_lines
from ponder.core.progress import SilentReporter
from ponder.core.runs import RunFolder
from ponder.core.types import Conversation, Message, Prompt
from ponder.data.preferences import read_preferences
from ponder.data.problems import Document
from ponder.recipes import judging, r1, r1_sampling
from ponder.recipes.endpoint_config import EndpointConfig
from ponder.recipes.judging import JudgingConfig, candidates_of
from ponder.recipes.r1 import run_r1
from ponder.recipes.r1_recipe import PreferenceConfig, R1Recipe, load_r1_recipe
from ponder.text.prompt import Prompter
from ponder.train.reward_stage import RewardConfig as RewardModelConfig
from ponder.weights.checkpoint import save_model
from small_models import random_model
from teacher_server import teacher_server
from test_r1 import CHATML, RECIPE, SHAPE, Solver
from vocabularies import small_chatml

ANSWERS = ("Here is a good answer, which says what was asked.", "Nobody could ever know a thing like that, I fear.")
PROMPTS = 40


class Answering(Solver):
    """Its even answers are good ones, the others are not."""

    def answer(self, prompt: Prompt, place: int, seed: int) -> str:
        return ANSWERS[place % 2]


class Judge:
    """Finds the good answer better, and the first place worth a point; out of order after so many questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails_after: int | None = None

    def __call__(self, question: str) -> Document:
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            raise ConnectionError("the judge has gone to lunch")
        self.asked.append(question)
        first = question.index("[Answer A]") < question.index(ANSWERS[0]) < question.index("[Answer B]")
        scores = (9, 4) if first else (5, 8)  # without its liking for the first place: 8 and 4
        return Document(prompt=question, thought="Let me compare.", answer=f"A: {scores[0]}, B: {scores[1]}")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "base"
    save_model(folder, random_model(SHAPE), small_chatml(), CHATML)
    tokenizer = r1.load_with_thought_form(folder).tokenizer
    monkeypatch.setattr(r1_sampling, "training_generator", lambda *_: Answering(tokenizer, {}))
    return folder


@pytest.fixture
def judge() -> Iterator[tuple[Judge, str]]:
    judge = Judge()
    with teacher_server(judge) as address:
        yield judge, address


def recipe_of(base: Path, model: str, **settings: Any) -> R1Recipe:
    endpoint = EndpointConfig(model="j", attempts=1, pause_seconds=0.01, concurrency=1)
    told = JudgingConfig(model=model, prompts=PROMPTS, asks=2, pairs_per_batch=4, endpoint=endpoint)
    return replace(
        RECIPE,
        start_from=str(base),
        stages=("reward-model",),
        preferences=PreferenceConfig(
            judge=replace(told, **settings),
            training=RewardModelConfig(items_per_step=16),
        ),
        measure=replace(RECIPE.measure, when="end", problems=1),
    )


class _Notes(SilentReporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_judge_behind_an_address_makes_the_pairs_and_goes_on_where_it_failed(
    base: Path, tmp_path: Path, judge: tuple[Judge, str]
) -> None:
    asked, address = judge
    asked.fails_after = 3 * 8 + 2  # three batches of 4 pairs, each asked about twice
    recipe, run = recipe_of(base, address), RunFolder.create(tmp_path / "run")
    with pytest.raises(GenerationError):
        run_r1(recipe, run, SilentReporter())
    path = run.path / "collections" / "judged" / "judged.jsonl"
    kept = path.read_bytes()
    assert kept.count(b"\n") == 12
    asked.fails_after = None
    reporter = _Notes()
    endpoint = replace(recipe.preferences.judge.endpoint, concurrency=2)  # which changes no judgement
    told = replace(recipe.preferences.judge, endpoint=endpoint)
    run_r1(replace(recipe, preferences=replace(recipe.preferences, judge=told)), run, reporter, resume=True)
    assert path.read_bytes().startswith(kept)
    assert len(asked.asked) == 2 * PROMPTS + 2  # those of the batch that failed are asked anew
    [said] = [note for note in reporter.notes if "judged" in note]
    assert said.startswith(
        f"{PROMPTS} pairs judged in both orders, {PROMPTS} kept; standing first is worth +1.0 of ten"
    )
    assert "swapping changes 0 % of the verdicts" in said
    assert "The judge favours the first answer by 1.0 points; both orders cancel it" in said
    summary = json.loads(run.summary.read_text(encoding="utf-8"))
    assert summary["judging"]["replies"] == 2 * PROMPTS + 2
    assert said in run.report.read_text(encoding="utf-8")
    assert {part["name"] for part in summary["stages"]} >= {"candidates", "judging", "reward-model"}
    assert (run.path / "models" / "reward-model").is_dir()
    found = read_preferences(path)  # the same file, for another run
    assert {pair.chosen.content for pair in found.pairs} == {ANSWERS[0]}
    count = len(asked.asked)
    other = replace(recipe, preferences=replace(recipe.preferences, judge=JudgingConfig(), pairs=str(path)))
    again = RunFolder.create(tmp_path / "again")
    run_r1(other, again, SilentReporter())
    assert len(asked.asked) == count
    assert (again.path / "models" / "reward-model").is_dir()
    with pytest.raises(RunError, match=r"made by another recipe: preferences\.judge\.asks is 2 there and 4 here"):
        run_r1(recipe_of(base, address, asks=4), run, SilentReporter(), resume=True)


def test_a_model_of_this_machine_that_keeps_to_no_form_leaves_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = small_chatml()

    class Silent(Answering):
        def answer(self, prompt: Prompt, place: int, seed: int) -> str:
            return "Both are fine."

    class Opened:
        generator, prompter = Silent(tokenizer, {}), Prompter.of(tokenizer, CHATML)

    monkeypatch.setattr(judging, "open_model", lambda *_, **__: Opened)
    run = RunFolder.create(tmp_path / "run")
    with pytest.raises(RunError, match=r"the judge left 0 pairs, .*40 without scores.*asked 80 questions, 80 answered"):
        run_r1(recipe_of(base, str(base)), run, SilentReporter())


def test_only_answers_to_one_prompt_are_compared() -> None:
    def said(prompt: str, answer: str) -> Conversation:
        return Conversation(id=answer, messages=(Message("user", prompt), Message("assistant", answer)))

    listed = [said("p", "a"), said("q", "b"), said("p", "c"), said("p", "d"), said("r", "e"), said("q", "b")]
    pairs = [(c.prompt[0].content, c.a.content, c.b.content) for c in candidates_of(listed)]
    assert pairs == [("p", "a", "c"), ("p", "a", "d"), ("p", "c", "d")]


def test_a_judgement_is_a_pair_a_tie_or_no_judgement(tmp_path: Path) -> None:
    row = {
        "prompt": [{"role": "user", "content": "Why?"}],
        "a": {"role": "assistant", "content": "So."},
        "b": {"role": "assistant", "content": "No."},
    }
    path = tmp_path / "judged.jsonl"
    orders: list[tuple[list[float], list[float]]] = [([3.0], [-0.5]), ([1.0, 2.0], []), ([0.0], [-6.0]), ([1.0], [1.0])]
    lines = [
        {**row, "prompt": [{"role": "user", "content": f"Why {i}?"}], "a_first": a, "b_first": b}
        for i, (a, b) in enumerate(orders)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert read_json_lines(path) == lines
    found = read_preferences(path)
    assert [(p.prompt[0].content, p.chosen.content) for p in found.pairs] == [("Why 0?", "So."), ("Why 2?", "No.")]
    assert str(found.cleaning) == "4 rows, 2 ties left out"
    path.write_text(json.dumps({**row, "a_first": ["x"], "b_first": [1]}), encoding="utf-8")
    with pytest.raises(DataError, match=r"judged\.jsonl, line 1 is no judgement .*expected prompt, a, b, a_first"):
        read_preferences(path)


def test_settings_that_cannot_be_are_refused(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"preferences\.pairs = 'a', and .*leave one of them out"):
        PreferenceConfig(pairs="a", judge=JudgingConfig(model="b"))
    with pytest.raises(ConfigError, match="asks = 3; expected an even number"):
        JudgingConfig(asks=3)
    with pytest.raises(ConfigError, match="2 samples of a prompt, of which 1 are kept; expected two or more of each"):
        JudgingConfig(candidates=replace(JudgingConfig().candidates, keep_per_problem=1))
    with pytest.raises(ConfigError, match=r"the address of a judge stands in judge\.model"):
        JudgingConfig(endpoint=EndpointConfig(url="http://x/v1"))
    start = {"start_from": str(base), "engine": "torch", "preferences": {"judge": {"model": "http://localhost/v1"}}}
    with pytest.raises(ConfigError, match="reward-model comes before second-sft, on which it builds"):
        load_r1_recipe("r1", {**start, "stages": ["ordinary", "cold-start", "rejection", "reward-model", "second-sft"]})
    assert load_r1_recipe("r1", {**start, "stages": ["reward-model"]}).preferences.judge.model == "http://localhost/v1"
    with pytest.raises(RunError, match=re.escape("there is no run or model 'nobody'")):
        load_r1_recipe("r1", {**start, "preferences": {"judge": {"model": "nobody"}}})
    gone = recipe_of(base, "http://localhost/v1", endpoint=EndpointConfig(key_file=str(base / "key.txt")))
    with pytest.raises(RunError, match=r"cannot read .*key\.txt"):
        run_r1(gone, RunFolder.create(base.parent / "gone"), SilentReporter())
