"""Pairs judged in both orders: what cancels, what is kept, what is said of the judge."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from ponder.core.errors import ConfigError, DataError, GenerationError
from ponder.core.metrics import read_json_lines
from ponder.core.progress import SilentReporter
from ponder.core.types import Message, Sampling
from ponder.core.workers import ComputeConfig, Workers
from ponder.data.traces import Trace, flaw_of
from ponder.models.scalar_head import ScoringModel
from ponder.recipes.judging import teacher_ask
from ponder.recipes.teachers import Keep, Wanted
from ponder.text.prompt import Prompter
from ponder.text.tokenizer import Tokenizer
from ponder.train.judge import (
    AskingJudge,
    Candidates,
    Comparison,
    JudgeConfig,
    Refused,
    RewardJudge,
    generator_ask,
    judge_candidates,
    judge_question,
    pairs_of,
    read_judged,
    read_scores,
)
from ponder.train.reward_model import RewardCard, RewardModel
from small_models import random_model, small_dense
from test_collect import by_sample

USER = (Message("user", "What is {x} in x + 1 = 2?"),)
CONFIG = JudgeConfig(pairs_per_batch=2)


def pair(a: str, b: str) -> Candidates:
    return Candidates(prompt=USER, a=Message("assistant", a, "a thought"), b=Message("assistant", b))


class Scripted:
    """A judge that gives every answer the number written in it, and the one in the first place `bias` more."""

    def __init__(self, bias: float = 0.0, fails_after: int | None = None) -> None:
        self.bias, self.fails_after = bias, fails_after
        self.questions: list[str] = []
        self.seeds: list[int] = []

    def __call__(self, questions: Sequence[tuple[str, int]]) -> list[str | None]:
        replies: list[str | None] = []
        for question, seed in questions:
            down = self.fails_after is not None and len(self.questions) >= self.fails_after
            self.questions.append(question)
            self.seeds.append(seed)
            found = re.findall(r"\[Answer [AB]\]\n(\d+|\?)", question)
            assert len(found) == 2
            if down or "?" in found:
                replies.append(None if down else "I cannot tell.")
            else:
                replies.append(f"Let me see. A: {float(found[0]) + self.bias}, B: {found[1]}")
        return replies


def judged(path: Path, pairs: Sequence[Candidates], bias: float = 0.0, config: JudgeConfig = CONFIG):
    judge_candidates(pairs, AskingJudge(Scripted(bias), config.asks, seed=3), config, path)
    return read_judged(path, config)


@pytest.mark.parametrize(
    ("reply", "gap"),
    [
        ("A: 7, B: 4.5", 2.5),
        ("**A:** 3, **B:** 9", -6.0),
        ("First A: 1, B: 2. No:\nA: 8 B: 3", 5.0),
        ("A: 7/10, B: 4/10", 3.0),
        ("A: 11, B: 3", None),
        ("A: 0, B: 3", None),
        ("B: 3", None),
        ("", None),
        (None, None),
    ],
)
def test_scores_are_read_from_the_last_line_that_has_them(reply: str | None, gap: float | None) -> None:
    assert read_scores(reply) == gap


def test_the_question_shows_answers_without_thoughts_and_braces_as_they_are() -> None:
    text = judge_question(USER, Message("assistant", "{1}", "secret"), Message("assistant", "2"))
    assert "User: What is {x} in x + 1 = 2?" in text
    assert "[Answer A]\n{1}\n" in text
    assert "secret" not in text


def test_both_orders_are_asked_alike_and_a_liking_for_the_first_place_cancels_out(tmp_path: Path) -> None:
    ask = Scripted(bias=2.0)
    judge_candidates([pair("5 a", "3 b")], AskingJudge(ask, 4, seed=3), CONFIG, tmp_path / "j.jsonl")
    assert [q.index("5 a") < q.index("3 b") for q in ask.questions] == [True, False, True, False]
    assert len(set(ask.seeds)) == 4
    [row] = read_json_lines(tmp_path / "j.jsonl")
    assert (row["a_first"], row["b_first"]) == ([4.0, 4.0], [0.0, 0.0])
    [kept], report = read_judged(tmp_path / "j.jsonl", CONFIG)
    assert kept.chosen.content == "5 a"
    assert report.first_place is not None
    assert report.first_place.mean == 2.0


def test_a_comparison_is_the_mean_of_both_orders() -> None:
    comparison = Comparison(a_first=(3.0, 1.0), b_first=(-1.0,))
    assert comparison.difference == 0.5
    assert comparison.first_place == 1.5
    assert Comparison(a_first=(3.0,), b_first=()).difference is None


def test_what_is_close_unanswered_or_of_unlike_lengths_is_counted_and_left_out(tmp_path: Path) -> None:
    pairs = [
        pair("7 good", "3 well"),
        pair("3 bad", "9 better"),
        pair("5 same", "4 same"),  # differs by 1: not by more than 1
        pair("? what", "4 same"),
        pair("9 " + "long" * 9, "2 no"),
    ]
    kept, report = judged(tmp_path / "j.jsonl", pairs)
    assert [(p.chosen.content, p.rejected.content) for p in kept] == [("7 good", "3 well"), ("9 better", "3 bad")]
    assert (report.judged, report.kept, report.close, report.unanswered, report.unlike_lengths) == (5, 2, 1, 1, 1)
    assert report.longer_preferred == 1.0
    assert report.findings == []
    wide = JudgeConfig(threshold=0.5, length_ratio=99)
    assert len(read_judged(tmp_path / "j.jsonl", wide)[0]) == 4  # without asking anew


def test_what_is_wrong_with_a_judge_is_said(tmp_path: Path) -> None:
    pairs = [pair(f"{5 + i % 2} x{i}", f"5 y{i}") for i in range(8)]
    _, report = judged(tmp_path / "biased.jsonl", pairs, bias=3.0)
    assert report.first_place is not None
    assert (report.first_place.mean, report.changed_by_order) == (3.0, 1.0)
    assert "favours the first answer by 3.0 points" in report.findings[0]
    assert "changes its mind on 100 % of the pairs" in report.findings[1]
    _, report = judged(tmp_path / "mute.jsonl", [pair(f"? {i}", "3") for i in range(4)])
    assert "4 of 4 pairs got no scores" in report.findings[0]


def test_a_judge_that_fails_half_way_leaves_what_it_judged(tmp_path: Path) -> None:
    pairs = [pair(f"{i} x", "5 y") for i in (1, 2, 7, 8)]
    path = tmp_path / "j.jsonl"
    with pytest.raises(GenerationError, match="answered none of 8 questions; what was judged before is kept"):
        judge_candidates(pairs, AskingJudge(Scripted(fails_after=8), 4, seed=3), CONFIG, path)
    assert len(read_json_lines(path)) == 2
    with open(path, "a") as file:
        file.write('{"id": "to')
    rest = Scripted()
    judge_candidates(pairs, AskingJudge(rest, 4, seed=3), CONFIG, path)
    assert len(rest.questions) == 8
    kept, report = read_judged(path, CONFIG)
    assert (report.judged, len(kept)) == (4, 4)
    whole, _ = judged(tmp_path / "whole.jsonl", pairs)
    assert kept == whole


def test_a_reward_model_sees_no_order(tmp_path: Path) -> None:
    model = ScoringModel(random_model(small_dense()))
    torch.nn.init.normal_(model.scalar_head.weight, generator=torch.Generator().manual_seed(2))
    reward = RewardModel(
        model, Prompter(Tokenizer.for_arithmetic()), RewardCard(kind="helpfulness", max_tokens=64, std=0.5)
    )
    pairs = [pair("1 one", "2 two"), pair("2 two", "1 one")]
    with Workers(ComputeConfig(workers=1)) as workers:
        one, other = RewardJudge(reward, workers).compare(pairs)
        scores = reward.score([(USER, pairs[0].a), (USER, pairs[0].b)], workers)
    assert one.first_place == other.first_place == 0.0
    assert one.difference == pytest.approx(-(other.difference or 0.0), abs=1e-5)
    assert one.difference == pytest.approx((scores[0] - scores[1]) / 0.5, abs=1e-5)


def test_a_model_on_this_machine_can_be_asked() -> None:
    generator = by_sample(("a thought with A: 1, B: 2", "A: 7, B: 3"))
    ask = generator_ask(generator, Prompter(Tokenizer.for_arithmetic()), Sampling(max_tokens=64))
    assert ask([("which", 5), ("which?", 6)]) == ["A: 7, B: 3", "A: 7, B: 3"]
    assert generator.seeds == [5, 6]


def test_what_is_too_long_for_the_judge_has_no_verdict_and_keeps_no_other_from_one(tmp_path: Path) -> None:
    class Noting(SilentReporter):
        notes: ClassVar[list[str]] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    generator = by_sample(("hm", "A: 7, B: 3"))  # which takes 60 tokens
    prompter = Prompter(Tokenizer.for_arithmetic())
    local = generator_ask(generator, prompter, Sampling(max_tokens=64))

    def ask(questions: Sequence[tuple[str, int]]) -> Sequence[str | Refused | None]:
        return local(
            [("long " * 50 if "long" in question else "é" if "é" in question else "?", s) for question, s in questions]
        )

    assert ask([("a", 1), ("long", 2), ("b", 3)])[::2] == ["A: 7, B: 3", "A: 7, B: 3"]
    config = JudgeConfig(asks=2, pairs_per_batch=1)  # the one that is too long is a batch of its own
    pairs = [pair("long", "x"), pair("1", "2"), pair("é", "x"), pair("3", "4")]
    path = tmp_path / "j.jsonl"
    for _ in range(2):
        judge_candidates(pairs, AskingJudge(ask, 2, seed=3), config, path, Noting())
    assert len(read_json_lines(path)) == 4
    assert Noting.notes == [f"the judge did not take 2 of 4 pairs; the first: {read_json_lines(path)[0]['refused']}"]
    _, report = read_judged(path, config)
    assert (report.judged, report.refused, report.unanswered, report.close) == (4, 2, 0, 2)
    assert report.findings[0].startswith("2 of 4 pairs have no verdict, since the judge did not take them; the first: ")
    assert "leaves no room" in report.first_refusal
    for _ in range(2):  # a judge that takes none is the wrong one: nothing is noted
        with pytest.raises(GenerationError, match=r"the judge takes none of 1 pairs; the first: .* leaves no room"):
            judge_candidates(pairs[:1], AskingJudge(ask, 2, seed=3), config, tmp_path / "none.jsonl")


def test_pairs_are_made_of_every_two_different_answers() -> None:
    answers = [Message("assistant", text) for text in ("a", "b", " a", "c")]
    assert [(p.a.content, p.b.content) for p in pairs_of(USER, answers)] == [(" a", "b"), (" a", "c"), ("b", "c")]


def test_bad_settings_and_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"judge\.asks = 3; expected an even number"):
        JudgeConfig(asks=3)
    with pytest.raises(ConfigError, match=r"judge\.threshold = -1"):
        JudgeConfig(threshold=-1)
    (tmp_path / "j.jsonl").write_text(json.dumps({"prompt": [], "a": 1}) + "\n")
    with pytest.raises(DataError, match=r"line 1: prompt is empty"):
        read_judged(tmp_path / "j.jsonl", CONFIG)
    (tmp_path / "j.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"line 1 is no judgement"):
        read_judged(tmp_path / "j.jsonl", CONFIG)
    with pytest.raises(GenerationError, match="gave 1 replies to 4 questions"):
        AskingJudge(lambda questions: ["A: 1, B: 2"], 4, 0).compare([pair("1", "2")])


class Teacher:
    """A plain chat model, which shows no thoughts: answers in another order than it was asked, and the last is cut."""

    name = "teacher"

    def ask(self, wanted: Sequence[Wanted], keep: Keep) -> None:
        for i, one in enumerate(reversed(wanted)):
            answer = f"about {one.problem.prompt}"
            keep(
                Trace(
                    problem=one.problem,
                    sample=one.sample,
                    thought="",
                    answer=answer,
                    flaw=flaw_of("", answer, truncated=i == 0, thought_wanted=True),
                    tokens=3,
                    note="",
                )
            )


def test_a_teacher_can_be_asked() -> None:
    assert teacher_ask(Teacher())([("x", 1), ("y", 2), ("z", 3)]) == ["about x", "about y", None]


def test_what_a_teacher_refuses_to_judge_is_refused() -> None:
    class Refusing(Teacher):
        def ask(self, wanted: Sequence[Wanted], keep: Keep) -> None:
            super().ask(wanted, lambda trace: keep(replace(trace, answer="", flaw="refused", note="too long")))

    assert teacher_ask(Refusing())([("x", 1)]) == [Refused("too long")]
