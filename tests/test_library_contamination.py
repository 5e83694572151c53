"""Training text that holds evaluation problems is found, and `ponder problems` shows sets and checks them."""

import json
import random
import re
import time
from pathlib import Path

import pytest

from benchmark_data import benchmark_file
from ponder.cli.main import main
from ponder.core.errors import ConfigError, DataError
from ponder.core.seeds import python_rng
from ponder.core.types import Problem
from ponder.data.gym import GymSource
from ponder.data.library.contamination import contaminated, normal_words, texts_of
from ponder.data.library.library import problem_set
from ponder.data.problems import held_out_problems
from ponder.data.worked.stories import STORIES

DOCUMENT = Path(__file__).parents[1] / "docs" / "problems.md"
Capture = pytest.CaptureFixture[str]
QUESTION = "Tom has three red apples and buys five green ones at the market. How many apples has he now?"  # 19 words


def asked(text: str, name: str = "e/1") -> Problem:
    return Problem(id=name, prompt=f"{text}\n\nPlease reason step by step.", answer="8", facts={"question": text})


# --- the function


def test_the_words_of_a_text() -> None:
    assert normal_words("Ｔｏｍ's CAFÉ: 3×4=12, x_1 – “naïve”!") == [
        "tom", "s", "cafe", "3", "4", "12", "x", "1", "naive",
    ]  # fmt: skip
    assert normal_words("我有3个apple") == ["我", "有", "3", "个", "apple"]
    assert normal_words("№1, STRASSE, Straße, İzmir") == ["no1", "strasse", "strasse", "izmir"]
    assert normal_words(" \n") == []


def test_the_same_words_in_another_dress_are_the_same() -> None:
    found = contaminated(["nothing", QUESTION.upper().replace(" ", "\n  ").replace(".", " !")], [asked(QUESTION)])
    (overlap,) = found.overlaps
    assert (overlap.train, overlap.problem, overlap.kind, overlap.share) == (1, "e/1", "same", 1.0)
    assert (found.texts, found.problems, found.too_short) == (2, 1, 0)


@pytest.mark.parametrize(("words", "share"), [(19, 1.0), (12, 0.3), (10, 0.1), (9, None)])
def test_a_run_of_ten_words_is_an_overlap_and_nine_are_none(words: int, share: float | None) -> None:
    """19 words hold 10 runs of ten; the first n words hold n - 9 of them."""
    text = "Once upon a time: " + " ".join(normal_words(QUESTION)[:words]) + " and then nothing more"
    found = contaminated([text], [asked(QUESTION)])
    assert bool(found) is (share is not None)
    assert [overlap.share for overlap in found.overlaps] == ([share] if share else [])
    if share:
        assert found.overlaps[0].kind == "run"
        assert found.overlaps[0].shared == "tom has three red apples and buys five green ones"


def test_the_prompt_around_each_question_is_no_overlap() -> None:
    train = [asked("How old is Ann when she is 12?", "t/1"), asked("Why is the sky blue?", "t/2")]
    evaluation = [asked("How far is it to Rome?", "e/1"), asked(QUESTION, "e/2")]
    assert not contaminated(train, evaluation, run=4)
    assert contaminated([train[1]], [asked("WHY is the sky BLUE", "e/1")]).overlaps[0].kind == "same"


def test_short_problems_are_looked_for_as_a_whole() -> None:
    texts = [
        "what is 2 + 2?",
        "What is 2 + 3?",
        "so what is 2 + 2 then",
        "what is 2",
        "what is 2\u22122",
        "is 2+2 what",
    ]
    found = contaminated(texts, [asked("What is 2+2?")])
    assert [(overlap.train, overlap.kind) for overlap in found.overlaps] == [(0, "same"), (2, "whole")]
    assert [overlap.share for overlap in found.overlaps] == [1.0, 1.0]
    assert found.overlaps[1].shared == "what is 2 2"
    assert found.too_short == 1


def test_the_signs_of_a_short_calculation_count() -> None:
    texts = ["2*3=6, 6+4=10", "2 × 3 = ?", "12*3=36", "2-3=-1", "2, 3"]
    assert contaminated(texts, [asked("2*3=?")]).train_indices == {0, 1}
    assert contaminated(texts, [asked("6+4=?")]).train_indices == {0}
    assert contaminated(["17\n-2+3=?\n1"], [asked("-2+3=?")])  # the number of the row stands before it


def test_a_hundred_thousand_rows_are_checked_in_seconds() -> None:
    rng = random.Random(0)
    vocabulary = ["what", "is", "the", "of", *map(str, range(200))]
    texts = [" ".join(rng.choices(vocabulary, k=12)) for _ in range(100_000)]
    problems = [asked("what is the " + " ".join(rng.choices(vocabulary, k=1 + n % 5)), f"e/{n}") for n in range(500)]
    texts[77] += " what is the sum of 1"
    began = time.process_time()
    found = contaminated(texts, [*problems, asked("What is the sum of 1?", "e/sum")])
    assert time.process_time() - began < 20  # 3 seconds on a machine that does nothing else
    assert [overlap.train for overlap in found.overlaps if overlap.problem == "e/sum"] == [77]


def test_a_turn_of_phrase_can_be_left_out() -> None:
    phrase = "let m and n be relatively prime positive integers and find m plus n"
    problems = [asked(f"Question {name} {name} {name}: {phrase}", f"e/{name}") for name in "abcd"]
    text = f"Another question altogether: {phrase}"
    assert contaminated([text], problems).problem_ids == {"e/a", "e/b", "e/c", "e/d"}
    assert not contaminated([text], problems, common=3)
    assert contaminated([text], problems, common=4).problem_ids == {"e/a", "e/b", "e/c", "e/d"}
    assert contaminated([problems[0]], problems, common=3).problem_ids == {"e/a"}


def test_it_finds_what_a_slow_search_finds() -> None:
    rng = random.Random(0)
    vocabulary = "abcdef"
    texts = [" ".join(rng.choices(vocabulary, k=rng.randrange(2, 25))) for _ in range(120)]
    problems = [asked(" ".join(rng.choices(vocabulary, k=rng.randrange(2, 12))), f"e/{n}") for n in range(60)]
    run = 5
    slow = set()
    for at, text in enumerate(texts):
        for problem in problems:
            words = str(problem.facts["question"]).split()
            parts = {" ".join(words[i : i + run]) for i in range(len(words) - run + 1)}
            parts |= {" ".join(words)} if len(words) < run else set()
            if text == " ".join(words) or any(f" {part} " in f" {text} " for part in parts):
                slow.add((at, problem.id))
    found = contaminated(texts, problems, run=run)
    assert {(overlap.train, overlap.problem) for overlap in found.overlaps} == slow
    assert len(slow) > 20


def test_gsm8k_and_competition_mathematics() -> None:
    """GSM8K's parts are clean but for turns of phrase; AIME of 1983 to 2023 and of 2024 share no problem."""
    train, test = (
        problem_set("gsm8k", benchmark_file("gsm8k/test.jsonl").parent, split=each) for each in ("train", "test")
    )
    began = time.monotonic()
    found = contaminated(train.problems, test.problems)
    assert time.monotonic() - began < 20  # 2 seconds on a machine that does nothing else
    assert (len(found.overlaps), len(found.problem_ids)) == (11, 9)
    assert {overlap.kind for overlap in found.overlaps} == {"run"}
    assert max(overlap.share for overlap in found.overlaps) == 0.625
    leaked = contaminated([*train.problems, test.problems[7]], test.problems)
    assert [overlap.train for overlap in leaked.overlaps if overlap.kind == "same"] == [7473]
    aime = problem_set("deepscaler", benchmark_file("deepscaler/train_aime.jsonl"), split="aime")
    math500 = problem_set("math500", benchmark_file("math500/test.jsonl"))
    same = [overlap for overlap in contaminated(aime.problems, math500.problems).overlaps if overlap.kind == "same"]
    assert len(same) == 6  # problems of AIME stand word for word among the 500


def test_listed_problems_that_are_held_out_ones_of_a_generated_task_are_found() -> None:
    """Whatever stands around them, and in capitals; no other problem of their templates is taken for one."""
    for source in (STORIES, GymSource(name="lcm")):
        measured = held_out_problems(source, 30, python_rng(0, "held-out", "x"))
        rng = random.Random(1)
        other = {source.sample("train", rng).prompt for _ in range(100)}
        assert contaminated(sorted(other), measured)
        assert not contaminated(sorted(other), measured, wholes=True)
        listed = [*sorted(other), f"Question 7: {measured[3].prompt.upper()}", measured[8].prompt]
        found = contaminated(listed, measured, wholes=True)
        assert found.train_indices == {len(other), len(other) + 1}
        assert found.problem_ids == {measured[3].id, measured[8].id}


def test_a_run_of_no_words() -> None:
    with pytest.raises(ConfigError, match="a run of 0 words"):
        contaminated([], [], run=0)


def test_every_string_of_a_training_file_is_text(tmp_path: Path) -> None:
    file = tmp_path / "chat.jsonl"
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": QUESTION, "n": 3}]
    file.write_text(json.dumps({"messages": turns}) + "\n" + json.dumps({"text": "x", "tags": ["y"]}) + "\n", "utf-8")
    assert texts_of(file) == [f"user\nHello\nassistant\n{QUESTION}", "x\ny"]
    prose = tmp_path / "a.txt"
    prose.write_text("one\ntwo\n\n \nthree\n", encoding="utf-8")
    assert texts_of(prose) == ["one\ntwo", "three\n"]
    prose.write_bytes(b"\xff")
    with pytest.raises(DataError, match="cannot be read"):
        texts_of(prose)


# --- the command


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files: a training file that holds a problem of the evaluation, and the evaluation."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"question": QUESTION, "answer": 8},
        {"question": "1 + 1?", "answer": 2},
        {"question": "1 + 1?", "answer": 2},
    ]
    Path("eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    Path("train.jsonl").write_text(json.dumps({"messages": [{"content": f"Well: {QUESTION}"}]}) + "\n", "utf-8")
    Path("clean.jsonl").write_text(json.dumps({"text": "nothing of the kind"}) + "\n", "utf-8")
    return tmp_path


def test_the_list_of_sets(capsys: Capture) -> None:
    assert main(["problems"]) == 0
    text = capsys.readouterr().out
    assert "gsm8k" in text
    assert "test (1,319), train (7,473)" in text
    assert "CC-BY-4.0" in text
    assert main(["problems", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    (gsm8k,) = (facts for facts in listed["sets"] if facts["name"] == "gsm8k")
    assert (gsm8k["kind"], gsm8k["licence"], gsm8k["splits"]) == ("math", "MIT", {"test": 1319, "train": 7473})
    assert gsm8k["revision"] == "e53f048856ff4f594e959d75785d2c2d37b678ee"
    assert len(listed["gym"]) == 105


def test_a_set_is_shown(sets: Path, capsys: Capture) -> None:
    assert main(["problems", "show", "eval.jsonl", "--count", "5", "--kind", "math"]) == 0
    text = capsys.readouterr().out
    assert "split all: 2 problems" in text
    assert "duplicates: eval.jsonl:3: the same question as at eval.jsonl:2" in text
    assert "→ 8" in text
    assert main(["problems", "show", "mine", "--path", "eval.jsonl", "--fields", "question=question", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {problem["answer"] for problem in shown["problems"]} == {"8", "2"}
    assert shown["duplicates"][0]["place"] == "eval.jsonl:3"
    assert main(["problems", "show", "gym/gcd", "--count", "4", "--split", "train", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["split"], len(shown["problems"]), shown["licence"]) == ("train", 4, "Apache-2.0")


def test_a_check_ends_with_1_where_something_overlaps(sets: Path, capsys: Capture) -> None:
    assert main(["problems", "check", "train.jsonl", "eval.jsonl"]) == 1
    text = capsys.readouterr().out
    assert "1 texts of train.jsonl against 2 problems of eval.jsonl: 1 problems overlap with 1 texts" in text
    assert "100 % of its runs in text 1: tom has three red apples and buys five green ones" in text
    assert "1 problems are shorter than a run: looked for as a whole" in text
    assert main(["problems", "check", "clean.jsonl", "eval.jsonl", "train=eval.jsonl"]) == 0
    assert capsys.readouterr().out.count("nothing in common (runs of 10 words)") == 2
    assert main(["problems", "check", "train.jsonl", "eval.jsonl", "--words", "19", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["texts"], found["words"]) == (1, 19)
    check = found["checks"]["eval.jsonl"]
    assert (check["problems"], check["contaminated"], check["too_short_for_runs"]) == (2, 1, 1)
    assert [(overlap["train"], overlap["share"]) for overlap in check["overlaps"]] == [(0, 1.0)]
    assert main(["problems", "check", "train.jsonl", "eval.jsonl", "--words", "20"]) == 1
    assert "all of it in text 1: tom has three red apples" in capsys.readouterr().out
    Path("part.txt").write_text("She knows that Tom has three red apples and buys five green apples at the market.")
    assert main(["problems", "check", "part.txt", "eval.jsonl", "--words", "6"]) == 1
    assert main(["problems", "check", "part.txt", "eval.jsonl", "--words", "6", "--whole"]) == 0


def test_the_guides_own_row_is_found_in_a_table_of_one_row(sets: Path, capsys: Capture) -> None:
    shown = re.findall(r"```text\n(question,answer\n.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    Path("train.csv").write_text(shown[0], encoding="utf-8")
    Path("test.csv").write_text(shown[0], encoding="utf-8")
    assert main(["problems", "check", "train.csv", "test.csv"]) == 1
    assert "all of it in text 1: what is 6 x 7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show"], "one set is shown"),
        (["show", "gsm8k", "math500"], "one set is shown"),
        (["list", "gsm8k"], "ponder problems show gsm8k"),
        (["check", "eval.jsonl"], "a training text and at least one evaluation set"),
        (["show", "gsm9k"], "no problem set 'gsm9k'"),
        (["show", "a:b:c"], "no problem set 'a'"),
        (["show", "=x"], "names no set"),
        (["show", "gym/gcdd"], "did you mean 'gcd'"),
        (["show", "eval.jsonl", "--fields", "question=q"], "eval.jsonl:1: no column 'q' for question"),
        (["show", "gsm8k", "--path", "eval.jsonl"], 'eval.jsonl:1: the answer holds no "####"'),
        (["show", "clean.jsonl"], "clean.jsonl:1: no answer"),
        (["show", "leetcode"], "leetcode is not on the Hub"),
        (["check", "broken.jsonl", "eval.jsonl"], "broken.jsonl:2: not JSON"),
    ],
)
def test_wrong_words_get_a_message(words: list[str], message: str, sets: Path, capsys: Capture) -> None:
    Path("broken.jsonl").write_text('{"a": "b"}\n{"a"\n', encoding="utf-8")
    assert main(["problems", *words]) == 1
    assert message in capsys.readouterr().err
