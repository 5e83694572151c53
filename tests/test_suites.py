"""Suites of problem sets: their names, an evaluation's folder, and that a killed evaluation goes on where it was."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmark_data import benchmark_file
from ponder.cli.main import build_parser, main
from ponder.cli.suites import OwnSets, default_name, identity, open_sets, open_suite, place_of
from ponder.core.errors import ConfigError, DataError, MissingLayerError, RunError, RunLockedError
from ponder.core.progress import SilentReporter
from ponder.core.types import Problem
from ponder.data.library.fields import Fields
from ponder.data.library.sets import PROBLEM_SETS
from ponder.data.problems import problems_digest
from ponder.evals.drawing import DrawingConfig
from ponder.evals.graded import read_graded
from ponder.evals.sample_files import find_samples
from ponder.evals.suites.folder import EvaluationFolder
from ponder.evals.suites.registry import PAPER_SAMPLES, SUITES, samples_of, suite_sets
from ponder.evals.suites.run import SuiteSet, evaluate_suite
from ponder.evals.voting import EXACT
from ponder.models.transformer import Transformer
from ponder.text.prompt import PLAIN_TEMPLATE, Prompter
from ponder.text.tokenizer import Tokenizer
from ponder.verify.checkers import check_exact, finding_of
from ponder.verify.code import layers
from ponder.verify.code.layers import Missing
from ponder.verify.instructions import language
from ponder.verify.instructions.checker import InstructionChecker
from ponder.verify.math.checker import MathChecker
from ponder.verify.math.pool import MathPool
from ponder.verify.trial import require_working
from ponder.weights.checkpoint import save_model
from small_models import small_dense
from test_by_task import PROBLEMS, Scripted, grade

TOKENIZER = Tokenizer.for_arithmetic()
KNOWN = list(PROBLEM_SETS)


def test_every_suite_names_sets_that_there_are() -> None:
    named = {name for sets in SUITES.values() for name in sets} | PAPER_SAMPLES.keys()
    assert {name for name in named if not name.startswith("gym/")} <= set(KNOWN)
    assert suite_sets("math,aime24, gym/maze", KNOWN) == ["gsm8k", "math500", "aime24", "gym/maze"]
    assert [samples_of(name) for name in ("aime24", "math500", "humaneval", "mmlu", "own")] == [64, 16, 8, 4, 4]
    with pytest.raises(ConfigError, match="no suite or problem set 'gsm8'; did you mean gsm8k"):
        suite_sets("gsm8", KNOWN)
    with pytest.raises(ConfigError, match=r"problem set ''; expected a suite \(r1, math"):
        suite_sets("math,,code", KNOWN)


def test_the_folders_of_benchmarks_are_found(tmp_path: Path) -> None:
    for name in ("gsm8k", "knights_knaves", "leetcode_contest"):
        (tmp_path / name).mkdir()
    assert place_of("gsm8k", tmp_path) == tmp_path / "gsm8k"
    assert place_of("knights", tmp_path) == tmp_path / "knights_knaves"
    assert place_of("leetcode", tmp_path) == tmp_path / "leetcode_contest"
    for name in ("gym/maze", "stories_new", "mmlu", "hub:a/b", "mine.csv"):  # made, fetched, or itself a file
        assert place_of(name, tmp_path) is None
    with pytest.raises(DataError, match=r"^leetcode is not on the Hub; get it from .*--data DIR for DIR/leetcode"):
        place_of("leetcode", None)
    with pytest.raises(DataError, match=r"has no folder amc, and amc is not on the Hub"):
        place_of("amc", tmp_path)


def test_nothing_is_fetched_where_a_set_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.data.library.library.hub_files", lambda *given: pytest.fail(f"fetched {given}"))
    with pytest.raises(DataError, match="leetcode is not on the Hub"), open_sets("r1", None, count=1, samples=None):
        pass


@pytest.mark.parametrize("name", ["math.csv", "stories.csv", "gsm8k.part.csv"])
def test_a_file_of_ones_own_is_read_whatever_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("question,answer\nWhat is 6 x 7?,42\n", encoding="utf-8")
    with open_sets(str(tmp_path / name), None, count=None, samples=None) as (own,):
        assert own.name == name.removesuffix(".csv")
        assert [(p.prompt, p.answer) for p in own.problems] == [("What is 6 x 7?", "42")]


def test_kind_and_columns_of_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "quiz.csv").write_text("q,A,B,C,answer\nWhich is even?,3,4,,B\nWhich is odd?,8,4,5,2\n")
    (tmp_path / "sums.csv").write_text("question,answer\nWhat is 1 + 1?,2\n")
    own = OwnSets(kind="choice", fields=Fields(question="q"))
    with open_sets(str(tmp_path / "quiz.csv"), None, count=None, samples=None, own=own) as (quiz,):
        assert [problem.answer for problem in quiz.problems] == ["B", "C"]
        assert "B) 4" in quiz.problems[0].prompt
        assert "C)" not in quiz.problems[0].prompt
        assert finding_of(quiz.checker(quiz.problems[0], "Answer: B")).score == 1.0
    with open_sets(str(tmp_path / "sums.csv"), None, count=None, samples=None, own=OwnSets(kind="math")) as (sums,):
        assert "\\boxed{}" in sums.problems[0].prompt
    with (
        pytest.raises(ConfigError, match=r"--kind, --fields and --split are for files .* gym/gcd names none"),
        open_sets("gym/gcd", None, count=1, samples=None, own=own),
    ):
        pass


def test_a_missing_protection_is_done_without_by_an_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if layers.missing_layers():
        pytest.skip("this machine lacks a protection")
    monkeypatch.setattr(layers, "missing_layers", lambda: (Missing("namespaces", "no bubblewrap", "Install it"),))
    row = {"question": "Print 1", "tests": [{"input": "", "output": "1"}]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")

    def tried(*further: str) -> None:
        words = ["eval", "model", "--suite", str(tmp_path / "a.jsonl"), "--kind", "code", *further]
        with open_suite(build_parser(words).parse_args(words), samples=1) as [programs]:
            require_working(programs.name, programs.problems, programs.checker)
            assert finding_of(programs.checker(programs.problems[0], "print(1)")).score == 1.0

    with pytest.raises(MissingLayerError, match=r"namespaces: no bubblewrap\. Install it") as refused:
        tried()
    *_, option, layer = str(refused.value).split()
    assert (option, layer) == ("--allow-missing", "namespaces")
    tried(option, layer)


def test_rows_that_are_no_problems_are_told_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["1+1=?,2", "1+2=?,3", "1+1=?,2", "1+4=?,"]
    (tmp_path / "a.csv").write_text("\n".join(["question,answer", *rows]) + "\n", encoding="utf-8")
    name = str(tmp_path / "a.csv")
    with (
        pytest.raises(DataError, match=r"a\.csv:5: no answer; .*--drop-unanswered"),
        open_sets(name, None, count=None, samples=None),
    ):
        pass
    words = ["eval", "model", "--suite", name, "--drop-unanswered", "--samples", "1"]
    with open_suite(build_parser(words).parse_args(words), samples=1) as [own]:
        pass
    told = capsys.readouterr().err
    assert f"note: a: 1 row is left out; the first: {name}:5: no answer\n" in told
    assert f"note: a: 1 row is left out whose question was there already; the first: {name}:4: the same" in told
    assert (len(own.problems), own.duplicates, own.left_out) == (2, 1, 1)


SETS = [
    SuiteSet(name="plus", problems=PROBLEMS[:3], checker=check_exact, samples=4, ballot=EXACT),
    SuiteSet(name="times", problems=PROBLEMS[3:], checker=check_exact, samples=2),
]
CONFIG = DrawingConfig(greedy=False, max_tokens=32, temperature=0.6, top_p=0.95)


def evaluate(folder: Path, generator: Scripted, sets: list[SuiteSet] = SETS, seed: int = 5, **model: object):
    return evaluate_suite(
        sets,
        EvaluationFolder(folder),
        model={"name": "smol", **model},
        suite="sums",
        generator=generator,
        grader=lambda checker: grade,
        prompter=Prompter(TOKENIZER),
        config=CONFIG,
        seed=seed,
        reporter=SilentReporter(),
    )


def test_an_evaluation_is_a_folder(tmp_path: Path) -> None:
    generator = Scripted()
    evaluated = evaluate(tmp_path / "e", generator)
    assert generator.made == 3 * 4 + 2 * 2
    folder = EvaluationFolder(tmp_path / "e")
    assert folder.read_result() == evaluated.evaluation
    assert read_graded(folder.samples) == evaluated.samples
    settings = folder.read_settings()
    assert settings["sets"]["times"] == {"problems": 2, "samples": 2, "digest": problems_digest(PROBLEMS[3:])}
    assert (settings["temperature"], settings["top_p"], settings["max_tokens"], settings["seed"]) == (0.6, 0.95, 32, 5)
    assert evaluated.evaluation.tasks["times"].pass_at_1.mean == pytest.approx((0 + 1) / 4 + 1 / 4)
    # again: nothing is drawn, and the result is the same
    again = Scripted()
    assert evaluate(tmp_path / "e", again).samples == evaluated.samples
    assert again.made == 0
    assert find_samples(str(tmp_path / "e"), tmp_path).samples == evaluated.samples


def test_an_evaluation_counts_the_rows_that_are_no_problems(tmp_path: Path) -> None:
    times = {"problems": 2, "samples": 2, "digest": problems_digest(PROBLEMS[3:])}
    sets = [SETS[0], replace(SETS[1], duplicates=3, left_out=1)]
    evaluate(tmp_path / "e", Scripted(), sets)
    folder = EvaluationFolder(tmp_path / "e")
    assert folder.read_settings()["sets"]["times"] == {**times, "duplicates": 3, "left_out": 1}
    again = Scripted()
    evaluate(tmp_path / "e", again, SETS)  # the problems are the same, and so is the evaluation
    evaluate(tmp_path / "older", Scripted())
    evaluate(tmp_path / "older", again, sets)
    assert again.made == 0


def test_other_settings_are_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    evaluate(tmp_path / "e", Scripted())
    before = (tmp_path / "e" / "samples.jsonl").read_bytes()
    with pytest.raises(RunError, match="with other settings: seed was 5, now it is 6"):
        evaluate(tmp_path / "e", Scripted(), seed=6)
    with pytest.raises(RunError, match=r"with other settings: model\.modified was null, now it is 7"):
        evaluate(tmp_path / "e", Scripted(), modified=7)
    with pytest.raises(RunError, match=r"with other settings: sets\.plus\.problems was 3, now it is 2"):
        evaluate(tmp_path / "e", Scripted(), [replace(SETS[0], problems=PROBLEMS[:2]), SETS[1]])
    with pytest.raises(RunError, match=r"with other settings: sets\.times\.samples was 2, now it is 4"):
        evaluate(tmp_path / "e", Scripted(), [SETS[0], replace(SETS[1], samples=4)])
    with pytest.raises(RunError, match=r'with other settings: sets\.times was \{"problems": 2, .*\}, now it is null'):
        evaluate(tmp_path / "e", Scripted(), SETS[:1])
    assert (tmp_path / "e" / "samples.jsonl").read_bytes() == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match=r"is no evaluation but holds thesis\.tex"):
        evaluate(tmp_path / "full", Scripted())
    (tmp_path / "e" / "settings.json").write_text("{")
    with pytest.raises(RunError, match="is damaged: not JSON"):
        evaluate(tmp_path / "e", Scripted())


def test_one_process_at_a_time_and_no_result_before_the_end(tmp_path: Path) -> None:
    folder = EvaluationFolder(tmp_path / "e")
    with folder.begin({"a": 1}), pytest.raises(RunLockedError, match="in use by process"), folder.begin({"a": 1}):
        pass
    with pytest.raises(RunError, match="has no result yet"):
        folder.read_result()


def test_sets_that_make_no_suite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the problem set plus is empty"):
        evaluate(tmp_path / "e", Scripted(), [replace(SETS[0], problems=[])])
    with pytest.raises(DataError, match="two problem sets are named plus"):
        evaluate(tmp_path / "e", Scripted(), [SETS[0], SETS[0]])
    with pytest.raises(DataError, match="answers to plus cannot be judged here: no workers today"):
        evaluate(
            tmp_path / "e", Scripted(), [replace(SETS[0], checker=lambda problem, answer: (None, "no workers today"))]
        )
    assert not (tmp_path / "e").exists()


def test_a_checker_without_its_library_is_found_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Scripted()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    pool = MathPool()
    numbers = [replace(SETS[0], checker=MathChecker(pool))]  # whole numbers, which need no library where they are right
    with pytest.raises(DataError, match=r"answers to plus cannot be judged here: .*Is math-verify"):
        evaluate(tmp_path / "e", nothing, numbers)
    with pytest.raises(DataError, match="Is math-verify"), pool:
        pass
    pool.close()
    monkeypatch.setitem(sys.modules, "py3langid", None)
    language._classifier.cache_clear()
    rules: list[tuple[str, dict[str, object]]] = [("punctuation:no_comma", {})] * 5
    for last in (("language:response_language", {"language": "de"}), ("change_case:english_capital", {})):
        problems = [
            Problem(id=str(i), prompt="?", facts={"instructions": [rule], "kwargs": [told]})
            for i, (rule, told) in enumerate([*rules, last])
        ]
        with pytest.raises(DataError, match=r"answers to plus cannot be judged here: .* needs py3langid"):
            evaluate(tmp_path / "e", nothing, [replace(SETS[0], problems=problems, checker=InstructionChecker())])
    assert nothing.made == 0


def test_names_of_folders_and_models(tmp_path: Path) -> None:
    assert default_name("a/smol.Q4.gguf", "math,gym/maze") == "smol.Q4-math-gym-maze"
    (tmp_path / "model.safetensors").write_bytes(b"123")
    os.utime(tmp_path / "model.safetensors", ns=(5, 5))
    assert identity("smol", tmp_path) == {
        "name": "smol", "path": str(tmp_path), "bytes": 3, "modified": 5
    }  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of random weights, `model`, and a set of sums, `sums.jsonl`."""
    home = tmp_path_factory.mktemp("suites")
    model = Transformer(small_dense(max_positions=128), torch.Generator().manual_seed(3))
    with torch.no_grad():
        model.head.weight.mul_(4.0)
    save_model(home / "model", model, TOKENIZER, PLAIN_TEMPLATE)
    rows = [{"question": f"{i}+{j}=?", "answer": str(i + j)} for i in range(5) for j in range(4)]
    (home / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return home


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(home)
    return home


EVAL = ["eval", "model", "--suite", "sums.jsonl", "--samples", "6", "--max-tokens", "24", "--seed", "3"]
Capture = pytest.CaptureFixture[str]


def run(arguments: list[str], capsys: Capture) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_killed_evaluation_goes_on(at_home: Path, capsys: Capture) -> None:
    """SIGKILL in the middle: what was there is not drawn again, and the result is that of a quiet run."""
    command = [*EVAL, "--batch-tokens", "1", "--into"]
    samples = at_home / "killed" / "samples.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "ponder", *command, "killed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 90
    while not samples.exists() or samples.read_bytes().count(b"\n") < 30:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = samples.read_bytes()
    assert 30 <= before.count(b"\n") < 120
    assert not (at_home / "killed" / "result.json").exists()
    assert run([*command, "killed", "--json"], capsys)[0] == 0
    assert samples.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert run([*EVAL, "--into", "quiet"], capsys)[0] == 0
    files = (at_home / name / "samples.jsonl" for name in ("killed", "quiet"))
    killed, quiet = (sorted(read_graded(file), key=lambda s: s.key) for file in files)
    assert len(killed) == 120
    assert killed == quiet
    results = [EvaluationFolder(at_home / name).read_result() for name in ("killed", "quiet")]
    assert replace(results[0], seconds=0.0) == replace(results[1], seconds=0.0)


def test_the_commands_work_together(at_home: Path, capsys: Capture) -> None:
    code, out, _ = run([*EVAL, "--into", "first", "--greedy", "--json"], capsys)
    assert code == 0
    result = json.loads(out)
    assert (result["n"], result["top_p"], result["temperature"], result["seed"]) == (20, 0.95, 0.6, 3)
    figures = result["tasks"]["sums"]
    assert 0 <= figures["pass_at_1"]["low"] <= figures["pass_at_1"]["mean"] <= figures["pass_at_1"]["high"] <= 1
    assert figures["consensus"] is not None
    code, out, _ = run([*EVAL[:-1], "4", "--greedy"], capsys)
    assert code == 0
    assert "model: temperature 0.6, top-p 0.95, at most 24 tokens, seed 4" in out
    assert (at_home / "evaluations" / "model-sums.jsonl" / "result.json").exists()

    code, out, _ = run(["compare", "first", "model-sums.jsonl", "--json", "--resamples", "500"], capsys)
    assert code == 0
    compared = json.loads(out)
    assert compared["greedy"]["macro"]["difference"] == 0.0
    assert compared["greedy"]["mcnemar"] == {"only_a": 0, "only_b": 0, "p": 1.0}
    second = json.loads((at_home / "evaluations" / "model-sums.jsonl" / "result.json").read_text())["tasks"]["sums"]
    expected = second["pass_at_1"]["mean"] - figures["pass_at_1"]["mean"]
    assert compared["pass_at_1"]["macro"]["difference"] == pytest.approx(expected)
    code, out, _ = run([*EVAL, "--into", "warmer", "--temperature", "0.9"], capsys)
    assert code == 0
    code, out, err = run(["compare", "first", "warmer"], capsys)
    assert (code, err) == (0, "note: temperature is 0.6 in A and 0.9 in B\n")
    code, out, _ = run(["compare", "first", "first"], capsys)
    assert code == 0
    assert "McNemar: 0 right in A alone, 0 in B alone, p = 1.000" in out

    code, out, _ = run(["samples", "first", "--wrong", "--limit", "2"], capsys)
    assert code == 0
    assert out.count("wrong") == 2
    assert out.count(" · sums · sums/") == 2
    wrong = sum(s.correct is False for s in read_graded(at_home / "first" / "samples.jsonl"))
    assert f"{wrong - 2:,} more" in out
    code, out, _ = run(["samples", "first", "--page", "page.html"], capsys)
    assert code == 0
    assert out == "140 samples: page.html\n"
    assert "model, temperature 0.6, top-p 0.95" in (at_home / "page.html").read_text()


def test_wrong_uses_are_told(at_home: Path, capsys: Capture) -> None:
    for arguments, message in (
        ([*EVAL, "--problems", "5"], "name two different things"),
        (["eval", "model", "--top-p", "0.5"], "--top-p belongs to --suite"),
        ([*EVAL, "--temperature", "0"], "add --greedy to measure it too"),
        ([*EVAL, "--data", "nowhere"], "--data nowhere: there is no such folder"),
        (["eval", "model", "--suite", "gsm9k"], "did you mean gsm8k"),
        ([*EVAL, "--into", "rated", "--contests", "."], ". has no contest of the evaluation's problems"),
        ([*EVAL, "--into", "sums.jsonl"], "a file stands where a folder is needed"),
        ([*EVAL, "--into", "long", "--max-tokens", "1000"], "of the model's 128 positions; give that or fewer"),
        ([*EVAL, "--kind", "math", "--suite", "gym/gcd"], "gym/gcd names none"),
        (["eval", "model", "--kind", "math"], "--kind belongs to --suite"),
        (["eval", "model", "--drop-unanswered"], "--drop-unanswered belongs to --suite"),
        (["eval", "model", "--allow-missing", "seccomp"], "--allow-missing belongs to --suite"),
        (["scaling", "model", "--suite", "sums.jsonl", "--budgets", "8,400"], "give smaller --budgets or fewer"),
        (["compare", "first", "nothing"], "there is no evaluation, run or samples file 'nothing'"),
        (["samples", "nothing"], "there is no evaluation, run or samples file 'nothing'"),
        (["scaling", "model", "--suite", "sums.jsonl", "--budgets", "8,4"], "expected rising numbers"),
    ):
        code, out, err = run(arguments, capsys)
        assert (code, out) == (1, ""), arguments
        assert message in err, arguments
    assert not Path("rated").exists()


def test_scaling_measures_both_curves(at_home: Path, capsys: Capture) -> None:
    command = ["scaling", "model", "--suite", "sums.jsonl", "--budgets", "2,8", "--votes", "1,2,4", "--max-tokens", "8"]
    command += ["--count", "6", "--samples", "2", "--into", "scaled"]
    code, out, _ = run([*command, "--json"], capsys)
    assert code == 0
    data = json.loads(out)
    assert [point["budget"] for point in data["budgets"]] == [2, 8]
    assert [point["votes"] for point in data["votes"]] == [1, 2, 4]
    for budget, folder, k in ((2, "budget-2", 2), (8, "budget-8-votes-4", 4)):
        samples = read_graded(at_home / "scaled" / folder / "samples.jsonl")
        assert len(samples) == 6 * k
        assert max(s.thought_tokens for s in samples) <= budget
    assert (at_home / "scaled" / "scaling.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = run(command, capsys)
    assert code == 0
    assert "pass@1 against the thinking budget" in out
    assert "majority vote against the number of samples" in out
    command[command.index("2,8")] = "0,2,8,12"  # what was measured is used again
    code, out, err = run([*command, "--json"], capsys)
    assert (code, [point["budget"] for point in json.loads(out)["budgets"]]) == (0, [0, 2, 8, 12]), err
    assert json.loads(out)["budgets"][1] == data["budgets"][0]


def test_a_set_that_cannot_vote_has_a_curve_of_budgets_alone(at_home: Path, capsys: Capture) -> None:
    rows = [
        {"key": n, "prompt": f"Write {n}.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
        for n in range(3)
    ]
    Path("rules.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [
        "scaling",
        "model",
        "--suite",
        "rules.jsonl",
        "--kind",
        "instructions",
        "--budgets",
        "2,4",
        "--samples",
        "2",
    ]
    code, out, err = run([*command, "--max-tokens", "4", "--into", "rules", "--json"], capsys)
    assert code == 0, err
    assert json.loads(out)["votes"] == []
    assert "answers to rules.jsonl cannot vote" in err
    assert len(read_graded(at_home / "rules" / "budget-4" / "samples.jsonl")) == 3 * 2


def test_the_document_is_true() -> None:
    """Its commands parse, and its table of suites is the code's."""
    text = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    commands = [
        line.split() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]
    assert len(commands) == 10
    for words in commands:
        build_parser(words[1:]).parse_args(words[1:])
    table = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", text, re.MULTILINE))
    for name, sets in SUITES.items():
        if name == "reasoning-gym":
            shown = table[name].replace("twelve of its tasks (4): ", "gym/").replace(", ", ", gym/")
            assert shown == ", ".join(sets)
        else:
            assert table[name] == ", ".join(f"{each} ({samples_of(each)})" for each in sets)


def test_suites_from_local_files() -> None:
    """The published sets, from a folder: how many problems, how many samples of each, how they are judged and vote."""
    data = benchmark_file("gsm8k/test.jsonl").parents[1]
    names = "math,code,logic,knowledge,instructions"
    sizes = {
        "gsm8k": 1319,
        "math500": 500,
        "aime24": 30,
        "humaneval": 164,
        "mbpp": 500,
        "leetcode": 180,
        "knights": 300,
    }
    with open_sets(names, data, count=None, samples=None) as sets:
        found = {tasks.name: tasks for tasks in sets}
        assert {name: len(found[name].problems) for name in sizes} == sizes
        assert found.keys() - sizes.keys() == {"mmlu", "ifeval"}
        assert all(tasks.samples == samples_of(name) for name, tasks in found.items())
        voting = {name for name, tasks in found.items() if tasks.ballot is not None}
        assert voting == {"gsm8k", "math500", "aime24", "mmlu"}
        for name in ("gsm8k", "math500", "aime24", "mmlu", "knights"):
            tasks = found[name]
            for problem in tasks.problems[:3]:
                assert problem.answer is not None
                right = f"\\boxed{{{problem.answer}}}" if name != "knights" else problem.answer
                assert finding_of(tasks.checker(problem, right)).score == 1.0, problem.id
                if tasks.ballot is not None:
                    assert tasks.ballot.stated(right) is not None
    with open_sets("gsm8k", data, count=5, samples=2) as sets:
        assert [(len(tasks.problems), tasks.samples) for tasks in sets] == [(5, 2)]
