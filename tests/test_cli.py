"""The command line: what a user types, what comes out on which stream, and with which exit code."""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ponder.cli import presets, quickstart, training
from ponder.cli.figures import evaluation_table
from ponder.cli.folders import in_series
from ponder.cli.main import COMMANDS, build_parser, main
from ponder.cli.output import completion_text, duration, out, printable, program
from ponder.core.config import to_toml
from ponder.core.errors import RunError
from ponder.core.progress import Reporter
from ponder.core.runs import RunFolder
from ponder.recipes.opening import find_model
from ponder.recipes.zero_recipe import ZeroRecipe
from tiny_recipe import RECIPE

FIGURES = {
    "n",
    "greedy_accuracy",
    "pass_at_1",
    "pass_at_1_interval",
    "mean_length",
    "self_corrections",
    "truncated_share",
}
COSTS = {"seconds", "core_seconds", "parameters_total", "parameters_active"}

Capture = pytest.CaptureFixture[str]
RunZero = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny recipe, `tiny.toml`, and a finished run of it, `runs/tiny`."""
    home = tmp_path_factory.mktemp("cli")
    (home / "tiny.toml").write_text(to_toml(RECIPE))
    assert main(["train", str(home / "tiny.toml"), "--runs", str(home / "runs")]) == 0
    return home


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return home


class FakeTraining:
    """Stands for `run_zero`: leaves a copy of a finished run, or stops as Ctrl-C does."""

    def __init__(self, finished: Path) -> None:
        self.finished = finished
        self.calls: list[tuple[str, int, bool]] = []  # run, seed, resume
        self.interrupt = False

    def __call__(self, recipe: ZeroRecipe, run: RunFolder, reporter: Reporter, *, resume: bool) -> dict[str, Any]:
        self.calls.append((run.name, recipe.seed, resume))
        run.config.write_text(to_toml(recipe))
        reporter.stage("zero", 5)
        reporter.step(0, {"reward/mean": 0.25})
        if self.interrupt:
            raise KeyboardInterrupt
        shutil.copytree(self.finished, run.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("config.toml"))
        return {}


@pytest.fixture
def fake(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    """`ponder quickstart` in an empty folder, with the tiny recipe and without training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(quickstart.RECIPES, "chain", str(home / "tiny.toml"))
    fake = FakeTraining(home / "runs" / "tiny")
    monkeypatch.setattr(training, "run_zero", fake)
    return fake


def only_json(capsys: Capture) -> dict[str, Any]:
    """The JSON object that is all of standard output."""
    value = json.loads(capsys.readouterr().out)
    assert isinstance(value, dict)
    return value


def message(capsys: Capture) -> str:
    """What went to standard error, where nothing went to standard output and there is no traceback."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


# --- the frame


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    assert f"usage: ponder {name}" in capsys.readouterr().out


def test_help_does_not_load_torch() -> None:
    code = (
        "import sys; from ponder.cli.main import build_parser; build_parser(['--help']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "invalid choice"),
        (["runs", "--jsno"], "unknown arguments for runs: --jsno"),
        (["quickstart", "--task", "sudoku"], "chain"),
        (["quickstart", "--minutes", "0"], "minutes above 0"),
        (["quickstart", "--minutes", "nan"], "minutes above 0"),
        (["quickstart", "--seed", "1.5"], "whole number"),
        (["chat", "m", "--temperature", "-1"], "0 (greedy) or more"),
        (["generate", "m", "--prompt", "1", "--max-tokens", "0"], "1 or more"),
        (["generate", "m"], "--prompt"),
        ([], "COMMAND"),
    ],
)
def test_wrong_arguments_end_with_2_and_a_reason(arguments: list[str], said: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert said in message(capsys)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RunError("this run is gone"), 1, "ponder: this run is gone"),
        (KeyboardInterrupt(), 130, "ponder: stopped"),
        (ZeroDivisionError("by\nzero"), 70, "ponder: unforeseen ZeroDivisionError: by zero"),
        (MemoryError(), 1, "ponder: out of memory; what was saved before is good."),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "ponder: out of memory; what was saved"),
    ],
)
def test_an_error_becomes_a_message_and_an_exit_code(
    error: BaseException, code: int, said: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(presets, "run", fail)
    assert main(["presets"]) == code
    assert message(capsys).startswith(said)
    assert main(["presets", "--debug"]) == code
    assert ("Traceback" in capsys.readouterr().err) == (code != 130)


def test_a_reader_that_is_gone_ends_the_command_quietly() -> None:
    command = f"{sys.executable} -m ponder presets --json; echo $? >&2"
    done = subprocess.run(["bash", "-c", f"({command}) | true"], capture_output=True, text=True, check=True)
    assert done.stderr == "141\n"


@pytest.mark.parametrize("command", ["presets", "models", "runs", "plan tiny-v3"])
def test_text_for_a_reader_that_is_gone_ends_with_141_too(command: str) -> None:
    shell = f"({sys.executable} -m ponder {command}; echo $? >&2) | true"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stderr == "141\n"


def test_a_command_takes_debug_on_either_side() -> None:
    for arguments in (["--debug", "runs"], ["runs", "--debug"]):
        assert build_parser(arguments).parse_args(arguments).debug


@pytest.mark.parametrize(
    ("command", "words", "settings"),
    [
        ("serve", {"models": ["a", "b"]}, ["--moderation.refusal=I cannot say", "--limits.requests=3"]),
        ("train", {"recipe": "r1"}, ['--stages=["ordinary", "cold-start"]', "--seed=1", "--seed=2"]),
        ("distill", {"teacher": "t", "student": "s"}, ["--endpoint.instruction=Give only\nthe number", "--a-b.c=x y"]),
        ("distill", {"teacher": None, "student": None}, ["--endpoint.instruction=Give only"]),
        ("train", {"recipe": "r1"}, ['--problems."my own.v2".kind=math', '--a."b c"=x y']),
    ],
)
def test_settings_and_words_stand_in_any_order(command: str, words: dict[str, Any], settings: list[str]) -> None:
    """A setting is one whatever its value holds, and settings among themselves keep their order: the last counts."""
    given = [word for value in words.values() for word in ([value] if isinstance(value, str) else value or [])]
    orders = [
        [*given, *settings],
        [*settings, *given],
        [settings[0], *given, *settings[1:]],
        [*given[:1], settings[0], *given[1:], *settings[1:]],
        ["--runs", "elsewhere", settings[0], *given, "--debug", *settings[1:]],
    ]
    for order in orders:
        arguments, found = build_parser([command]).parse_known_args([command, *order])
        assert found == settings, order
        assert {name: getattr(arguments, name) for name in words} == words, order


def test_a_setting_may_have_its_value_in_the_next_argument() -> None:
    arguments, settings = build_parser(["train"]).parse_known_args(["train", "r1", "--seed", "1", "--name=a b"])
    assert (arguments.recipe, settings) == ("r1", ["--seed", "1", "--name=a b"])


# --- training


def test_train_writes_one_json_object_with_the_promised_figures(at_home: Path, capsys: Capture) -> None:
    assert main(["train", "tiny.toml", "--json"]) == 0
    report = only_json(capsys)
    assert report.keys() >= COSTS | {"base", "trained"}
    assert report["base"].keys() >= FIGURES
    assert report["trained"].keys() >= FIGURES
    assert report["trained"]["n"] == 20
    assert report["parameters_total"] > report["parameters_active"] > 0
    assert report["run"] == "runs/tiny-2"  # beside the one that was there
    assert Path(report["report"]).is_file()


def test_an_unknown_setting_is_refused_before_a_run_is_made(at_home: Path, capsys: Capture) -> None:
    before = sorted(Path("runs").iterdir())
    assert main(["train", "tiny.toml", "--grpo.clip_hihg=0.3"]) == 1
    assert "unknown setting 'grpo.clip_hihg'; did you mean 'grpo.clip_high'?" in message(capsys)
    assert sorted(Path("runs").iterdir()) == before


def test_settings_reach_the_recipe(fake: FakeTraining, home: Path, capsys: Capture) -> None:
    recipe = str(home / "tiny.toml")
    assert main(["train", recipe, "--seed", "7", "--grpo.clip_high=0.3", "--run", "mine"]) == 0
    assert fake.calls == [("mine", 7, False)]
    assert "clip_high = 0.3" in Path("runs/mine/config.toml").read_text()
    assert main(["train", recipe, "--seed", "7", "--run", "mine"]) == 1
    assert "there is a run at runs/mine already" in capsys.readouterr().err


def test_a_stopped_run_says_how_it_goes_on_and_does(fake: FakeTraining, home: Path, capsys: Capture) -> None:
    fake.interrupt = True
    recipe = str(home / "tiny.toml")
    assert main(["train", recipe, "--seed=7"]) == 130
    again = f"train {recipe} --resume --run tiny --seed=7"
    assert f"ponder {again}\n" in message(capsys)
    fake.interrupt = False
    assert main(again.split()) == 0
    assert fake.calls == [("tiny", 7, False), ("tiny", 7, True)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "nowhere.toml"], "there is no file nowhere.toml"),
        (["train", "tiny.toml", "--resume", "--run", "other"], "there is no run runs/other to go on with"),
        (["train", "tiny.toml", "--run", "../up"], "--run '../up' is no name; expected a single name"),
        (["train", "tiny.toml", "--task", "nowhere.py"], "nowhere.py"),
        (["train", "tiny.toml", "--resume", "--seed=3"], "made by another recipe"),
        (["train", "tiny.toml", "stray"], "unexpected argument 'stray'"),
    ],
)
def test_what_cannot_be_trained_is_refused(at_home: Path, arguments: list[str], said: str, capsys: Capture) -> None:
    assert main(arguments) == 1
    assert said in message(capsys)


def test_a_start_that_is_no_model_leaves_no_folder(home: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("{}")
    runs = str(tmp_path / "runs")
    assert main(["train", str(home / "tiny.toml"), f"--start_from={tmp_path / 'bad'}", "--runs", runs]) == 1
    said = message(capsys)
    assert ("model_type" in said, "begins in" in said) == (True, False)
    long = "--evaluation.max_tokens=9999", "--grpo.max_tokens=9999"
    assert main(["train", str(home / "tiny.toml"), *long, "--runs", runs]) == 1
    assert "exceed the model's" in message(capsys)
    assert not list(Path(runs).glob("*"))


def test_a_run_in_use_is_refused(at_home: Path, capsys: Capture) -> None:
    with RunFolder(Path("runs/tiny")).lock():
        assert main(["train", "tiny.toml", "--resume", "--run", "tiny"]) == 1
    assert "is in use by process" in capsys.readouterr().err


# --- quickstart


def test_quickstart_trains_once_then_finds_its_run(fake: FakeTraining, capsys: Capture) -> None:
    assert main(["quickstart"]) == 0
    first = capsys.readouterr()
    assert "report: runs/quickstart-chain/report.md" in first.out
    assert "ponder quickstart --task countdown (about 5 minutes)" in first.out
    assert "reward 0.25" not in first.out
    assert "zero 0/5" in first.err
    assert main(["quickstart"]) == 0
    assert "finished before; --again trains anew" in capsys.readouterr().out
    assert fake.calls == [("quickstart-chain", 0, False)]


def test_quickstart_again_keeps_the_run_that_is_there(fake: FakeTraining, capsys: Capture) -> None:
    for arguments in ([], ["--again"], ["--again"], [], ["--seed", "4"]):
        assert main(["quickstart", *arguments]) == 0
    names = ["quickstart-chain", "quickstart-chain-2", "quickstart-chain-3", "quickstart-chain-seed4"]
    assert [call[0] for call in fake.calls] == names
    assert sorted(path.name for path in Path("runs").iterdir()) == names


def test_quickstart_goes_on_where_ctrl_c_stopped_it(fake: FakeTraining, capsys: Capture) -> None:
    fake.interrupt = True
    assert main(["quickstart", "--seed", "4", "--minutes", "1.5"]) == 130
    again = "quickstart --seed 4 --minutes 1.5"
    assert f"ponder {again}\n" in message(capsys)
    fake.interrupt = False
    assert main(again.split()) == 0
    assert fake.calls == [("quickstart-chain-seed4-1.5min", 4, False), ("quickstart-chain-seed4-1.5min", 4, True)]


def test_quickstart_json_is_the_report(fake: FakeTraining, capsys: Capture) -> None:
    assert main(["quickstart", "--json"]) == 0
    made = only_json(capsys)
    assert made.keys() >= COSTS | {"base", "trained", "run", "report"}
    assert main(["quickstart", "--json"]) == 0
    assert only_json(capsys) == made
    assert main(["report", "quickstart-chain", "--json"]) == 0
    assert only_json(capsys) == made


# --- looking at runs


def test_report_shows_base_and_trained(at_home: Path, capsys: Capture) -> None:
    assert main(["report", "tiny"]) == 0
    text = capsys.readouterr().out
    assert "20 held-out problems" in text
    for word in ("base", "trained", "pass@1", "core-hours", "active for a token", "report: runs/tiny/report.md"):
        assert word in text


def test_report_of_an_unfinished_run_has_what_there_is(at_home: Path, tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "half"
    shutil.copytree("runs/tiny", run)
    (run / "evaluations" / "trained.json").unlink()
    (run / "summary.json").unlink()
    assert main(["report", str(run)]) == 0
    text = capsys.readouterr().out
    assert "base" in text
    assert "trained" not in text
    assert main(["report", str(run), "--json"]) == 0
    report = only_json(capsys)
    assert report["base"]["n"] == 20
    assert report["trained"] is None


def test_runs_lists_finished_and_begun_runs(at_home: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree("runs/tiny", tmp_path / "done")
    shutil.copytree("runs/tiny", tmp_path / "half")
    (tmp_path / "half" / "evaluations" / "trained.json").unlink()
    (tmp_path / "half" / "summary.json").write_text("{torn")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.toml").write_text("seed = 1\n")
    assert main(["runs", "--runs", str(tmp_path), "--json"]) == 0
    rows = {row["name"]: row for row in only_json(capsys)["runs"]}
    assert rows["done"]["state"] == "finished"
    assert rows["done"]["task"] == "chain"
    assert rows["half"]["state"] == "zero, step 5"
    assert rows["half"]["trained"] is None
    assert rows["begun"]["state"] == "begun"
    assert main(["runs", "--runs", str(tmp_path)]) == 0
    assert "zero, step 5" in capsys.readouterr().out
    assert main(["runs", "--runs", str(tmp_path / "none")]) == 0
    assert "make one with: ponder quickstart" in capsys.readouterr().out


def made_run(path: Path, config: str, parts: Sequence[str], accuracies: dict[str, float]) -> None:
    """The files of a run that a list looks at: the greedy accuracy of each evaluation, on two tasks."""
    (path / "evaluations").mkdir(parents=True)
    (path / "config.toml").write_text(config)
    stages = [{"name": name, "seconds": 1.0} for name in parts]
    (path / "summary.json").write_text(json.dumps({"task": "r1", "seconds": 60.0, "stages": stages}))
    for name, mean in accuracies.items():
        tasks = {"gcd": {"greedy": {"mean": mean - 0.1}}, "lcm": {"greedy": {"mean": mean + 0.1}}}
        figures = {"tasks": {**tasks, "stories_new": {"greedy": {"mean": 0.0}}}, "apart": ["stories_new"]}
        (path / "evaluations" / f"{name}.json").write_text(json.dumps(figures))


def test_runs_of_other_kinds_are_finished_when_their_last_part_is_measured(tmp_path: Path, capsys: Capture) -> None:
    stages = ["ordinary", "cold-start", "reward-model", "final-rl", "control"]
    r1 = f'kind = "r1"\nstages = {json.dumps(stages)}\n'
    measured = {"base": 0.1, "cold-start": 0.4, "final-rl": 0.6, "control": 0.5}
    made_run(tmp_path / "done", r1, stages, measured)
    made_run(tmp_path / "half", r1, stages[:-1], {name: measured[name] for name in ("base", "cold-start", "final-rl")})
    made_run(tmp_path / "unmeasured", r1, stages, {"base": 0.1})
    made_run(tmp_path / "distilled", 'kind = "distill"\n', ["traces", "sft"], {"before": 0.2, "after": 0.3})
    made_run(tmp_path / "asked", 'kind = "distill"\n', ["traces"], {"before": 0.2})
    arms = {f"{arm}-seed-{seed}": 0.5 for arm in ("base", "rl") for seed in (0, 1)}
    made_run(tmp_path / "compared", 'kind = "distill-comparison"\nseeds = [0, 1]\n', ["teacher"], arms)
    made_run(tmp_path / "comparing", 'kind = "distill-comparison"\nseeds = [0, 1, 2]\n', ["teacher"], arms)
    assert main(["runs", "--runs", str(tmp_path), "--json"]) == 0
    rows = {row["name"]: row for row in only_json(capsys)["runs"]}
    assert {name for name, row in rows.items() if row["state"] == "finished"} == {"done", "distilled", "compared"}
    shown = {name: (row["base"], row["trained"]) for name, row in rows.items()}
    assert shown == {
        "done": (pytest.approx(0.1), pytest.approx(0.6)),  # and not the control's
        "half": (pytest.approx(0.1), pytest.approx(0.6)),
        "unmeasured": (pytest.approx(0.1), None),
        "distilled": (pytest.approx(0.2), pytest.approx(0.3)),
        "asked": (pytest.approx(0.2), None),
        "compared": (None, None),
        "comparing": (None, None),
    }


def test_presets_count_deepseek_v3_as_its_report_does(capsys: Capture) -> None:
    assert main(["presets", "--json"]) == 0
    rows = {row["name"]: row for row in only_json(capsys)["presets"]}
    assert round(rows["deepseek-v3"]["parameters_total"] / 1e9) == 671
    assert round(rows["deepseek-v3"]["parameters_active"] / 1e9) == 37
    assert main(["presets"]) == 0
    assert "256 experts" in capsys.readouterr().out.replace("\n", " ")


# --- using a model


def test_eval_of_a_run_repeats_the_greedy_figures_of_its_report(at_home: Path, capsys: Capture) -> None:
    assert main(["report", "tiny", "--json"]) == 0
    trained = only_json(capsys)["trained"]
    assert main(["eval", "tiny", "--problems", "20", "--samples", "1", "--json"]) == 0
    measured = only_json(capsys)
    for name in ("n", "greedy_accuracy", "greedy_interval", "forced_accuracy"):
        assert measured[name] == trained[name]
    assert measured["task"] == "chain"
    assert measured["samples"] == 1


def test_eval_on_another_task(at_home: Path, capsys: Capture) -> None:
    assert main(["eval", "tiny", "--problems", "countdown", "--count", "8", "--max-tokens", "16"]) == 0
    text = capsys.readouterr().out
    assert "8 held-out problems" in text
    assert "pass@1, sampled" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eval", "tiny", "--problems", "0"], "evaluation.problems = 0"),
        (["eval", "tiny", "--problems", "sudoku"], "expected a number, chain, countdown, or a Python file"),
        (["eval", "tiny", "--problems", "nowhere.py"], "nowhere.py"),
        (["eval", "tiny", "--problems", "my own.csv"], "is measured with: ponder eval tiny --suite 'my own.csv'"),
        (["eval", "tiny", "--problems", "gsm8k"], "is measured with: ponder eval tiny --suite gsm8k"),
        (["eval", "tiny", "--temperature", "0"], "evaluation.temperature"),
        (["generate", "tiny", "--prompt", ""], "--prompt is empty"),
        (["generate", "tiny", "--prompt", "2×3"], "lacks the character '×' (U+00D7)"),
        (["generate", "tiny", "--prompt", "1" * 400], "this model reads 128"),
        (["generate", "tinny", "--prompt", "1+1=?"], "did you mean tiny?"),
        (["generate", "tiny.toml", "--prompt", "1+1=?"], "tiny.toml is a file"),
        (["report", "tinny"], "did you mean tiny?"),
        (["report", "runs"], "runs is no run"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(at_home: Path, arguments: list[str], said: str, capsys: Capture) -> None:
    assert main(arguments) == 1
    assert said in message(capsys)


def test_generate_gives_the_same_for_the_same_seed(at_home: Path, capsys: Capture) -> None:
    command = ["generate", "tiny", "--prompt", "3+4*2=?", "--temperature", "1", "--max-tokens", "12", "--json"]
    answers = []
    for seed in ("1", "1", "2"):
        assert main([*command, "--seed", seed]) == 0
        answers.append(only_json(capsys))
    assert answers[0]["text"] == answers[1]["text"] != answers[2]["text"]
    assert answers[0]["completion_tokens"] <= 12
    assert answers[0]["prompt_tokens"] == 7
    assert answers[0]["finish_reason"] in ("stop", "length")


def test_generate_for_a_person(at_home: Path, capsys: Capture) -> None:
    assert main(["generate", "tiny", "--prompt", "3+4*2=?", "--max-tokens", "1"]) == 0
    assert "(cut off after 1 tokens)" in capsys.readouterr().out


# --- small things


def test_a_command_to_copy_works_where_the_shell_does_not_know_ponder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / ".venv" / "bin"
    here.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(here / "python"))
    monkeypatch.setenv("PATH", "")
    assert program() == "ponder"  # there is nothing better to say
    (here / "ponder").touch()
    assert program() == ".venv/bin/ponder"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert program() == str(here / "ponder")
    (here / "ponder").chmod(0o755)
    monkeypatch.setenv("PATH", str(here))
    assert program() == "ponder"


def test_a_series_of_runs_is_counted(tmp_path: Path) -> None:
    assert in_series(tmp_path, "a") == (None, tmp_path / "a")
    for name in ("a", "a-2", "a-4"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").touch()
    assert in_series(tmp_path, "a") == (RunFolder(tmp_path / "a-2"), tmp_path / "a-3")


def test_a_model_is_found_by_path_or_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    assert find_model(str(tmp_path / "runs" / "one"), tmp_path) == tmp_path / "runs" / "one"
    assert find_model("one", tmp_path / "runs") == tmp_path / "runs" / "one"
    (tmp_path / "model.gguf").touch()
    assert find_model(str(tmp_path / "model.gguf"), tmp_path / "runs") == tmp_path / "model.gguf"
    pulled = tmp_path / "home" / "models" / "smollm2-135m"
    monkeypatch.setenv("PONDER_HOME", str(tmp_path / "home"))
    with pytest.raises(RunError, match="smollm2-135m is not here yet; fetch it: ponder pull smollm2-135m"):
        find_model("smollm2-135m", tmp_path / "runs")
    with pytest.raises(RunError, match="janus-pro-1b cannot be opened by Ponder"):
        find_model("janus-pro-1b", tmp_path / "runs")
    with pytest.raises(RunError, match="make a run with `ponder quickstart`, or fetch a model"):
        find_model("two", tmp_path / "runs")
    pulled.mkdir(parents=True)
    (pulled / "pulled.json").write_text('{"name": "smollm2-135m", "source": "here", "files": {}}')
    assert find_model("HuggingFaceTB/SmolLM2-135M", tmp_path / "runs") == pulled


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03"), (-1, "0:00")]
)
def test_duration_reads_as_a_clock(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_text_of_a_model_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\rc\x9b\td\n") == "a\\x1b[2Jb\\x0dc\\x9b\td\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<think>3+4=7</think><answer>7</answer><eos>", "3+4=7 → 7"),
        ("<think></think><answer>7</answer><eos>", "→ 7"),
        ("<think>3+4=", "<think>3+4="),
        ("[bold]7[/bold]", "[bold]7[/bold]"),
    ],
)
def test_a_completion_is_shown_as_thought_and_answer(text: str, shown: str) -> None:
    assert completion_text(text).plain == shown


def test_the_table_shows_what_was_measured(capsys: Capture) -> None:
    figures: Mapping[str, Any] = {
        "n": 1000,
        "greedy_accuracy": 0.975,
        "greedy_interval": [0.96, 0.99],
        "forced_accuracy": None,
        "mean_length": 31.25,
    }
    out().print(evaluation_table({"trained": figures}))
    text = capsys.readouterr().out
    assert "1,000 held-out problems" in text
    assert "97.5 % [96.0, 99.0]" in text
    assert "31.2" in text
    assert "made to think" not in text
