"""The recipes of distillation, its tasks, and its command."""

import json
import shlex
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from distilling import CHAIN, RECIPE, StopAt, Worked, distilled, save_student
from local_models import CHATML_MARKS, byte_tokenizer
from ponder.cli import distill
from ponder.cli.main import build_parser, main
from ponder.core.config import parse_overrides
from ponder.core.errors import ConfigError, DataError, MissingLayerError, RunError
from ponder.core.progress import SilentReporter
from ponder.core.runs import RunFolder
from ponder.core.seeds import python_rng, torch_rng
from ponder.core.types import Problem
from ponder.data.problems import Document
from ponder.evals.distill_report import distill_json
from ponder.models.adapter_config import AdapterConfig
from ponder.models.presets import PRESETS
from ponder.models.transformer import Transformer
from ponder.recipes.comparison_recipe import load_comparison_recipe
from ponder.recipes.distill import run_distill
from ponder.recipes.distill_recipe import load_distill_recipe
from ponder.recipes.open_task import open_task
from ponder.recipes.practised_sets import fixed_problems, set_and_split
from ponder.recipes.students import open_student
from ponder.recipes.tasks import TaskConfig
from ponder.recipes.tracing import distinct_problems, task_fingerprint
from ponder.text.prompt import PLAIN_TEMPLATE
from ponder.text.tokenizer import Tokenizer
from ponder.verify.checkers import finding_of
from ponder.verify.code import layers
from ponder.verify.code.config import SandboxConfig
from ponder.verify.code.layers import Missing
from ponder.weights.checkpoint import save_model
from small_models import random_model, small_dense
from teacher_server import teacher_server

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("models") / "student")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> RunFolder:
    return distilled(tmp_path_factory.mktemp("runs") / "whole", model_folder)


# --- recipes and the command


def test_the_recipes_load_and_name_what_is_wrong(model_folder: Path) -> None:
    both = {"teacher": "https://api.test/v1", "student": str(model_folder)}
    recipe = load_distill_recipe("distill-chain", both)
    assert (recipe.endpoint.url, recipe.task.name) == ("https://api.test/v1", "chain")
    preset = {**both, "student": "tiny-dense", "task": {"name": "chain"}}
    assert load_distill_recipe(overrides=preset).student == "tiny-dense"
    assert load_comparison_recipe().seeds == (0, 1, 2)
    with pytest.raises(ConfigError, match="the recipe names no student"):
        load_distill_recipe(overrides={"teacher": str(model_folder)})
    with pytest.raises(ConfigError, match=r"unknown setting 'traces\.sample'.*did you mean 'traces\.samples'"):
        load_distill_recipe(overrides={**both, "traces": {"sample": 2}})
    with pytest.raises(ConfigError, match=r"traces\.temperature = 0.*equal answers"):
        load_distill_recipe(overrides={**both, "traces": {"temperature": 0.0}})
    with pytest.raises(ConfigError, match=r"student\.start_from is set"):
        load_comparison_recipe(overrides={"student": {"start_from": str(model_folder)}})
    with pytest.raises(ConfigError, match=r"teacher\.task and student\.task differ"):
        load_comparison_recipe(overrides={"teacher": {"recipe": "zero-chain"}})


def test_what_is_told_of_a_file_of_problems_is_in_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("own.csv", "test.csv"):
        (tmp_path / name).write_text("question,answer\nTwo?,2\n")
    seen: list[dict[str, Any]] = []

    def stop(source: object, overrides: dict[str, Any], runs: Path) -> None:
        seen.append(overrides)
        raise ConfigError("seen")

    monkeypatch.setattr("ponder.cli.distill.load_distill_recipe", stop)
    told = ["--problems", "own.csv", "--kind", "math", "--fields", "question=q", "--test", "test.csv"]
    assert main(["distill", "a", "b", *told, "--drop-unanswered", "--sft.steps=5"]) == 1
    assert seen[0]["task"] == {
        "name": str(tmp_path / "own.csv"), "file": "", "kind": "math", "fields": "question=q",
        "test": str(tmp_path / "test.csv"), "drop_unanswered": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"distill": {"steps": 5}}, r"'distill\.steps' does nothing with distill\.kind = 'traces'; set .* sft\.steps"),
        ({"distill": {"kind": "logits"}, "sft": {"steps": 5}}, r"'sft\.steps' does nothing .*'logits'.*distill\.steps"),
    ],
)
def test_settings_of_the_other_kind_of_distillation_are_refused(
    overrides: dict[str, Any], message: str, model_folder: Path
) -> None:
    named = {"teacher": str(model_folder), "student": "tiny-dense", "task": {"name": "chain"}}
    with pytest.raises(ConfigError, match=message):
        load_distill_recipe(overrides={**named, **overrides})


def test_the_task_is_the_teachers_own_unless_another_is_named(tmp_path: Path, model_folder: Path) -> None:
    teacher = RunFolder(tmp_path / "teacher")
    checkpoint = teacher.checkpoint("zero", 1)
    shutil.copytree(model_folder, checkpoint)
    for name in ("state.safetensors", "state.json"):
        (checkpoint / name).write_text("x", encoding="utf-8")
    teacher.config.write_text('[task]\nname = "countdown"\ncountdown.numbers = 4\n', encoding="utf-8")
    named = {"teacher": str(teacher.path), "student": "tiny-dense"}
    recipe = load_distill_recipe(overrides=named)
    assert (recipe.task.name, recipe.task.countdown.numbers) == ("countdown", 4)
    assert recipe.teacher == str(checkpoint.resolve())
    assert load_distill_recipe(overrides={**named, "task": {"name": "chain"}}).task.name == "chain"
    assert load_distill_recipe("distill-chain", named).task.name == "chain"
    longer = load_distill_recipe(overrides={**named, "task": {"countdown": {"numbers": 5}}})  # a setting of that task
    assert (longer.task.name, longer.task.countdown.numbers) == ("countdown", 5)
    for config, expected in (
        ('kind = "r1"\ntask_file = "/tasks/delivery.py"\n', TaskConfig(file="/tasks/delivery.py")),
        ('kind = "distill"\n[task]\nname = "gsm8k"\n', TaskConfig(name="gsm8k")),
    ):
        teacher.config.write_text(config, encoding="utf-8")
        assert load_distill_recipe(overrides=named).task == expected
        asked = {**named, "teacher": str(teacher.path / "traces.jsonl")}  # what a run asked, by its file
        assert load_distill_recipe(overrides=asked).task == expected


@pytest.mark.parametrize("config", [None, 'kind = "r1"\n', 'kind = "distill-comparison"\n'])
def test_a_teacher_without_a_task_of_its_own_is_asked_nothing(
    tmp_path: Path, model_folder: Path, config: str | None
) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(model_folder, folder)
    if config is not None:
        (folder / "config.toml").write_text(config, encoding="utf-8")
    for teacher in (str(folder), str(folder / "traces.jsonl"), "https://api.test/v1"):
        named = {"teacher": teacher, "student": "tiny-dense", "task": {"chain": {"terms": 2}}}
        with pytest.raises(ConfigError, match="nothing says what to ask; name the problems: --task FILE or --problems"):
            load_distill_recipe(overrides=named)


def test_an_address_without_problems_begins_no_run(
    tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["distill", "https://api.test/v1", str(model_folder), "--runs", str(tmp_path)]) == 1
    assert "https://api.test/v1 is an address, and nothing says what to ask" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_answers_too_long_for_the_teacher_are_refused_before_it_is_asked(tmp_path: Path, model_folder: Path) -> None:
    long = replace(RECIPE, teacher=str(model_folder), student=str(model_folder))
    long = replace(long, traces=replace(RECIPE.traces, max_tokens=95))
    run = RunFolder.create(tmp_path / "run")
    with pytest.raises(
        ConfigError,
        match=r"of up to 5 tokens and traces\.max_tokens = 95 .* 96 positions; set --traces\.max_tokens=91 or",
    ):
        run_distill(long, run, SilentReporter())
    assert not run.config.exists()  # nothing was begun


def test_the_readmes_teacher_has_room_for_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's command asks a teacher of the quickstart's shape, and then judges what it said."""
    [line] = [line for line in README.read_text(encoding="utf-8").splitlines() if "ponder distill quickstart" in line]
    monkeypatch.chdir(tmp_path)
    teacher, tokenizer = RunFolder(tmp_path / "runs" / "quickstart-chain"), Tokenizer.for_arithmetic()
    checkpoint = teacher.checkpoint("zero", 1)
    checkpoint.mkdir(parents=True)
    model = Transformer(PRESETS["tiny-v3"](tokenizer.vocab_size), torch_rng(0, "weights"))
    save_model(checkpoint, model, tokenizer, PLAIN_TEMPLATE)
    for name in ("state.safetensors", "state.json"):
        (checkpoint / name).write_text("x", encoding="utf-8")
    teacher.config.write_text('[task]\nname = "chain"\n', encoding="utf-8")
    Path("smollm2-135m-instruct").mkdir()
    student = random_model(small_dense(max_positions=2048))
    save_model(Path("smollm2-135m-instruct"), student, tokenizer, PLAIN_TEMPLATE)
    words = shlex.split(line, comments=True)[1:]
    assert main([*words, "--traces.problems=2", "--engine=torch"]) == 1
    assert "none of the 4 traces can be learned from" in capsys.readouterr().err  # the weights are random


def test_a_task_of_reasoning_gym_has_problems_and_its_own_checker() -> None:
    with open_task(TaskConfig(name="gym/chain_sum")) as (task, seconds):
        problem = task.problems.sample("train", python_rng(0, "gym"))
        assert seconds > 5
        assert bool(task.check(problem, str(problem.answer))) is True
        assert bool(task.check(problem, "no number")) is False
    with pytest.raises(ConfigError, match="did you mean"), open_task(TaskConfig(name="gym/chain_sums")):
        pass


def test_a_file_of_questions_and_answers_is_a_task_and_a_benchmark_is_not(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [{"question": f"{i}+{i}=?", "answer": str(2 * i)} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with open_task(TaskConfig(name=str(path))) as (task, _):
        held_out = {p.id for p in distinct_problems(task, "held_out", 99, python_rng(0, "a"))}
        train = distinct_problems(task, "train", 99, python_rng(0, "b"))
        assert len(held_out) + len(train) == 60
        assert held_out.isdisjoint(p.id for p in train)
        assert bool(task.check(train[0], str(train[0].answer))) is True
        first = task_fingerprint(task)
    written = path.read_text(encoding="utf-8")
    for before, after in (("7+7", "7+8"), ('"14"', '"15"')):  # another question; another answer
        assert before in written
        path.write_text(written.replace(before, after), encoding="utf-8")
        with open_task(TaskConfig(name=str(path))) as (task, _):
            assert task_fingerprint(task) != first
    halves = tmp_path / "halves.csv"
    halves.write_text("q,a\n" + "".join(f"Half of {i}?,{i}/2\n" for i in range(1, 60)), encoding="utf-8")
    config = TaskConfig(name=str(halves), kind="math", fields="question=q,answer=a")
    with open_task(config) as (task, _):
        half = next(p for p in distinct_problems(task, "train", 99, python_rng(0, "c")) if p.answer == "3/2")
        assert "\\boxed{}" in half.prompt
        assert finding_of(task.check(half, "\\boxed{1.5}")).score == 1.0
    with (
        pytest.raises(ConfigError, match="kind = 'maths'; expected one of math, code"),
        open_task(replace(config, kind="maths")),
    ):
        pass
    with (
        pytest.raises(ConfigError, match=r"aime24 has no split to learn from \(test\).*aime24:test"),
        open_task(TaskConfig(name="aime24")),
    ):
        pass


def table(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


PROGRAMS = [{"question": f"Print {i}", "tests": [{"input": "", "output": f"{i}\n"}]} for i in range(30)]


def test_programs_that_cannot_be_run_are_refused_before_the_teacher_is_asked(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if layers.missing_layers():
        pytest.skip("this machine lacks a protection")
    monkeypatch.setattr(layers, "missing_layers", lambda: (Missing("namespaces", "no bubblewrap", "Install it"),))
    task = TaskConfig(name=str(table(tmp_path / "mine.jsonl", *PROGRAMS)), kind="code")
    recipe, teacher = replace(RECIPE, student=str(model_folder), task=task), Worked()
    run = RunFolder.create(tmp_path / "run")
    with pytest.raises(MissingLayerError) as refused:
        run_distill(recipe, run, SilentReporter(), endpoint=lambda: nullcontext(teacher))
    assert "namespaces: no bubblewrap. Install it" in str(refused.value)
    *_, setting = str(refused.value).split()
    assert (setting, teacher.asked) == ("""--sandbox.allow_missing='["namespaces"]'""", 0)
    assert not run.config.exists()
    both = {"teacher": "https://api.test/v1", "student": str(model_folder), "task": {"name": task.name}}
    told = load_distill_recipe(overrides={**both, **parse_overrides(shlex.split(setting))})
    with open_task(task, told.sandbox) as (opened, _):
        problem = opened.problems.sample("train", python_rng(0, "a"))
        assert finding_of(opened.check(problem, f"print({problem.prompt.split()[1]})")).score == 1.0


def test_a_protection_may_be_done_without_when_a_run_goes_on(tmp_path: Path, model_folder: Path) -> None:
    recipe, run = replace(RECIPE, student=str(model_folder)), RunFolder.create(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run_distill(recipe, run, StopAt("traces", 0), endpoint=lambda: nullcontext(Worked()))
    without = replace(recipe, sandbox=SandboxConfig(allow_missing=("namespaces",)))
    with pytest.raises(KeyboardInterrupt):
        run_distill(without, run, StopAt("traces", 0), endpoint=lambda: nullcontext(Worked()), resume=True)
    slower = replace(recipe, sandbox=SandboxConfig(seconds=5.0))
    with pytest.raises(RunError, match=r"sandbox\.seconds is 10\.0 there and 5\.0 here"):
        run_distill(slower, run, SilentReporter(), endpoint=lambda: nullcontext(Worked()), resume=True)


def test_rows_that_are_no_problems_are_told(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"question": f"{i}+{i}=?", "answer": str(2 * i)} for i in range(60)]
    rows += [{"question": "3+3=?", "answer": "6"}, {"question": "4+4=?", "answer": "9"}, {"question": "?"}]
    path = table(tmp_path / "mine.jsonl", *rows)

    class Noting(SilentReporter):
        notes: ClassVar[list[str]] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    config = TaskConfig(name=str(path))
    with pytest.raises(DataError, match=r"jsonl:63: no answer; .*--task\.drop_unanswered=true"), open_task(config):
        pass
    with open_task(replace(config, drop_unanswered=True), reporter=Noting()):
        pass
    assert Noting.notes == [
        f"mine: 1 row is left out; the first: {path}:63: no answer",
        f"mine: 2 rows are left out whose question was there already, 1 of them with another answer; the first: "
        f"{path}:62: the same question as at {path}:5, with another answer: '9', there '8'",
    ]


def test_a_file_of_problems_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    monkeypatch.chdir(folder)
    table(folder / "mine.jsonl", {"question": "1+1=?", "answer": "2"})
    (folder / "chain").write_text("a file with the name of a task", encoding="utf-8")
    words = ["distill", "https://api.test/v1", "tiny-dense", "--problems"]
    for name, fixed in (
        ("mine.jsonl", f"{folder}/mine.jsonl"),
        ("./mine.jsonl:train", f"{folder}/mine.jsonl:train"),
        ("chain", "chain"),
        ("hub:acme/sums", "hub:acme/sums"),
        ("other.jsonl", "other.jsonl"),
    ):
        arguments = build_parser([*words, name]).parse_args([*words, name])
        assert distill._named(arguments)["task"]["name"] == fixed
        assert fixed_problems(fixed) == fixed
    assert set_and_split(f"{folder}/mine.jsonl") == (f"{folder}/mine.jsonl", "")


def test_a_split_is_told_from_the_name_of_a_data_set() -> None:
    assert set_and_split("hub:acme/mathhub:train") == ("hub:acme/mathhub", "train")
    assert set_and_split("hub:acme/mathhub") == ("hub:acme/mathhub", "")
    assert set_and_split("math:test") == ("math", "test")
    assert set_and_split("mine.jsonl") == ("mine.jsonl", "")


def test_an_adapter_to_random_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"adapter\.kind = 'lora', but tiny-dense begins with random weights"):
        open_student("tiny-dense", None, 0, AdapterConfig(kind="lora"))


def work_chain_out(prompt: str) -> Document:
    problem = Problem(id=prompt.removesuffix("=?"), prompt=prompt)
    return CHAIN.worked(problem, python_rng(0, prompt), thorough=True)


SMALL = [
    "--task.chain.terms=2", "--traces.problems=20", "--traces.samples=1", "--traces.max_tokens=48",
    "--sft.epochs=1.0", "--sft.row_tokens=64", "--sft.tokens_per_step=256", "--problems=chain",
    "--evaluation.samples=1", "--evaluation.max_tokens=16", "--engine=torch",
]  # fmt: skip


def test_the_command_with_an_address(tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with teacher_server(work_chain_out) as url:
        command = [
            "distill",
            url,
            str(model_folder),
            "--teacher-model",
            "r1",
            "--runs",
            str(tmp_path),
            "--json",
            *SMALL,
        ]
        assert main(command) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["kind"], figures["teacher"]) == ("traces", url)
    assert figures["traces"]["asked"] == 20
    assert figures["traces"]["outcomes"]["kept"] >= 15  # a document slips now and then
    assert Path(figures["report"]).is_file()
    # the teacher is gone by now, and nothing is missing
    assert main(["distill", "--resume", "--run", Path(figures["run"]).name, "--runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "of the teacher's 20 answers" in out


def test_the_command_with_a_teacher_that_is_not_there(
    tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--endpoint.attempts=1", "--endpoint.model=r1", *SMALL]
    assert main(["distill", "http://127.0.0.1:9/v1", str(model_folder), "--runs", str(tmp_path), *settings]) == 1
    said = capsys.readouterr().err
    assert "r1 at http://127.0.0.1:9/v1/ failed once" in said
    assert "--resume" in said


def test_answers_without_thoughts_can_be_learned_with_the_command_that_is_told(
    tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ["--runs", str(tmp_path)]
    with teacher_server(lambda prompt: replace(work_chain_out(prompt), thought="")) as url:
        assert main(["distill", url, str(model_folder), "--teacher-model", "r1", *runs, *SMALL]) == 1
    said = capsys.readouterr().err
    assert "none of the first 16 answers can be learned from (16 no thought)" in said
    command = shlex.split(said[said.index("ponder distill ") :])
    assert command[3:] == ["STUDENT", "--traces.require_thought=false"]
    settings = [setting for setting in SMALL if setting.startswith(("--sft", "--evaluation", "--engine"))]
    assert main(["distill", command[2], str(model_folder), *command[4:], *runs, "--json", *settings]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["traces"]["asked"] >= 16
    assert figures["traces"]["outcomes"]["kept"] >= 12  # a document slips now and then


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a teacher and a student are needed"),
        (["teacher-only"], "a teacher and a student are needed"),
        (["nobody", "tiny-dense"], "there is no run or model 'nobody'"),
        (["--compare", "--problems", "chain"], "leave out problems"),
        (["--resume", "--run", "none"], "there is no run"),
        (["a", "b", "--task", "x.py", "--problems", "chain"], "--task and --problems both name problems"),
        (["a", "b", "--key-file", "x"], "are for an address; the teacher is a"),
        (["a", "b", "--problems=50"], "--problems 50: expected the name of a set, task or file. How many problems the"),
        (["a", "b", "--kind", "math"], "--kind belongs to --problems"),
        (["--compare", "--drop-unanswered"], "leave out drop-unanswered"),
    ],
)
def test_wrong_arguments_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["distill", *arguments, "--runs", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_model_and_the_report_of_a_run_can_be_used(whole: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(whole.path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["after"] == distill_json(whole)["after"]
    assert main(["report", str(whole.path)]) == 0
    shown = capsys.readouterr().out
    for said in ("before ", "after ", "of 12 held-out problems", "of the teacher's 60 answers", "report: "):
        assert said in shown
    assert "The teacher's answers" in whole.report.read_text(encoding="utf-8")
    assert (
        main(
            [
                "eval",
                str(whole.path),
                "--problems",
                "chain",
                "--count",
                "4",
                "--samples",
                "1",
                "--max-tokens",
                "24",
                "--json",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["n"] == 4


def test_a_teacher_that_cannot_think_is_refused_before_anything_is_begun(tmp_path: Path, model_folder: Path) -> None:
    tokenizer = byte_tokenizer("chatml", *CHATML_MARKS)
    folder = tmp_path / "teacher"
    folder.mkdir()
    save_model(folder, random_model(small_dense(vocab_size=tokenizer.vocab_size)), tokenizer, None)
    recipe = replace(RECIPE, teacher=str(folder), student=str(model_folder))
    with pytest.raises(ConfigError, match=r"has no <think> in its vocabulary.*--traces\.require_thought=false"):
        run_distill(recipe, RunFolder.create(tmp_path / "run"), SilentReporter())
    assert not (tmp_path / "run" / "config.toml").exists()


def test_a_run_of_another_kind_is_not_gone_on_with(whole: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--resume", "--runs", str(whole.path.parent), "--run", whole.name]
    assert main(["distill", "--compare", *folder]) == 1
    assert "is a run of the kind distill; expected one of the kind distill-comparison" in capsys.readouterr().err
