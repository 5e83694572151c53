"""Problem sets and files in reinforcement learning: their parts, checkers, runs of tiny models, bad input."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ponder.cli.main import build_parser, main
from ponder.cli.train import named_problems, resume_command
from ponder.core.config import to_toml
from ponder.core.errors import ConfigError, DataError, PonderError, RunError, SandboxError
from ponder.core.progress import SilentReporter
from ponder.core.runs import RunFolder
from ponder.core.seeds import python_rng
from ponder.data.problems import split_of
from ponder.evals.card import ModelFacts, model_card, stages_table
from ponder.evals.drawing import DrawingConfig
from ponder.evals.evaluator import EvaluationConfig
from ponder.evals.graded import read_graded
from ponder.models.adapter_config import AdapterConfig
from ponder.recipes.distill_recipe import load_distill_recipe
from ponder.recipes.open_task import open_task
from ponder.recipes.practised_sets import SetConfig, described, open_set
from ponder.recipes.r1 import run_r1
from ponder.recipes.r1_data import Practice
from ponder.recipes.r1_recipe import MeasureConfig, OrdinaryConfig, R1Recipe, RejectionConfig, load_r1_recipe
from ponder.recipes.run_state import check_claim
from ponder.recipes.tasks import TaskConfig
from ponder.recipes.zero import run_zero
from ponder.recipes.zero_recipe import ZeroRecipe, load_recipe
from ponder.train.grpo import GrpoConfig
from ponder.train.sft import SftConfig
from ponder.verify.checkers import finding_of
from ponder.verify.code import layers
from ponder.weights.checkpoint import save_model
from small_models import random_model, small_dense
from vocabularies import CHATML_JINJA, small_chatml

GRPO = GrpoConfig(steps=1, prompts_per_step=2, group_size=2, max_tokens=8, updates_per_step=1)
ALONE = ("reasoning-rl",)


def write(path: Path, *rows: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def charges(first: int, count: int) -> list[dict[str, str]]:
    return [{"question": f"What is the charge for {n} kg?", "answer": str(3 * n)} for n in range(first, first + count)]


@pytest.fixture
def gsm8k(tmp_path: Path) -> Path:
    """A folder like the published one, of which one training question is measured too."""
    pens = [f"A shop sells {n} boxes of {n + 1} pens each. How many pens is that?" for n in range(2, 42)]
    solved = [
        f"Each has {n + 1}.\n{n}*{n + 1} = <<{n}*{n + 1}={n * n + n}>>{n * n + n}\n#### {n * n + n}"
        for n in range(2, 42)
    ]
    rows = [{"question": question, "answer": answer} for question, answer in zip(pens, solved, strict=True)]
    write(tmp_path / "gsm8k" / "train.jsonl", *rows[:31])
    write(tmp_path / "gsm8k" / "test.jsonl", *rows[30:])
    return tmp_path / "gsm8k"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    shape = small_dense(vocab_size=small_chatml().vocab_size, max_positions=512, tie_embeddings=True)
    save_model(folder, random_model(shape), small_chatml(), CHATML_JINJA)
    return folder


def small_r1(base: Path, **settings: Any) -> R1Recipe:
    recipe = R1Recipe(
        name="tiny",
        start_from=str(base),
        stages=ALONE,
        engine="torch",
        checkpoint_every=1,
        adapter=AdapterConfig(kind="lora", rank=2, alpha=4.0),
        reasoning_rl=GRPO,
        measure=MeasureConfig(problems=2, apart=(), drawing=DrawingConfig(samples=1, max_tokens=8)),
    )
    return replace(recipe, **settings)


def small_zero(base: Path, **settings: Any) -> ZeroRecipe:
    recipe = ZeroRecipe(
        start_from=str(base),
        engine="torch",
        checkpoint_every=1,
        grpo=GRPO,
        evaluation=EvaluationConfig(problems=3, samples=1, max_tokens=8),
    )
    return replace(recipe, **settings)


# --- the parts of a set


def test_a_file_is_parted_by_its_ids_or_by_a_file_to_measure_with(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", *charges(0, 60))
    alone = open_set("charges", SetConfig(path=train))
    assert {split_of(p.id) for p in alone.problems.of("held_out")} == {"held_out"}
    assert len(alone.problems.of("train")) + len(alone.problems.of("held_out")) == 60
    test = write(tmp_path / "test.jsonl", *charges(100, 5))
    told = SetConfig(path=train, kind="math", test=test)
    measured = open_set("charges", told, task="own")
    assert [len(measured.problems.of(split)) for split in ("train", "held_out")] == [60, 5]
    assert {p.task for p in measured.problems.of("held_out")} == {"own"}
    assert measured.fingerprint != alone.fingerprint
    assert (measured.kind, measured.licence, measured.solved) == ("math", "not stated", ())


def test_of_a_published_set_the_training_part_is_learned_and_the_test_part_measured(gsm8k: Path) -> None:
    opened = open_set("gsm8k", SetConfig(path=str(gsm8k)))
    assert [len(opened.problems.of(split)) for split in ("train", "held_out")] == [31, 10]
    clean = opened.without(opened.problems.of("held_out"))
    assert len(clean.problems.of("train")) == len(clean.solved) == 30
    assert clean.fingerprint == opened.fingerprint
    [note] = clean.notes
    assert note.startswith("gsm8k: 1 of 31 training problems are left out: they are, or share 10 words in a row with")
    problem, document = clean.taught(python_rng(0, "taught"))
    assert (document.prompt, document.answer) == (problem.prompt, f"\\boxed{{{problem.answer}}}")
    assert document.thought.startswith("Each has")
    assert "<<" not in document.thought
    assert "####" not in document.thought
    by_file = open_set("gsm8k", SetConfig(path=str(gsm8k / "train.jsonl")))  # which holds no split of its own
    assert {split_of(p.id) for p in by_file.problems.of("held_out")} == {"held_out"}


def test_where_everything_is_measured_nothing_is_left_to_train_on(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", *charges(0, 4))
    opened = open_set("charges", SetConfig(path=path, test=path))
    with pytest.raises(DataError, match=r"charges: 4 of 4 training problems.*None is left to train on"):
        opened.without(opened.problems.of("held_out"))


def test_a_column_of_worked_solutions_is_imitated(tmp_path: Path) -> None:
    rows = [{"q": f"{n} x 7?", "response": str(7 * n), "solution": f"{n}*7={7 * n}"} for n in range(60)]
    told = SetConfig(path=write(tmp_path / "rows.jsonl", *rows), fields="question=q,answer=response,solution=solution")
    opened = open_set("sevens", told)
    assert len(opened.solved) == len(opened.problems.of("train"))
    problem, document = opened.taught(python_rng(0, "taught"))
    assert document.thought.endswith(f"={problem.answer}")
    assert document.answer == problem.answer
    by_its_usual_name = open_set("sevens", replace(told, fields="question=q,solution=solution"))
    assert by_its_usual_name.problems.of("train")[0].answer == opened.problems.of("train")[0].answer
    with pytest.raises(DataError, match=r"no column 'steps' for solution"):
        open_set("sevens", replace(told, fields="question=q,solution=steps"))


# --- what is practised


def test_sets_files_and_any_task_of_reasoning_gym_are_practised_beside_each_other(gsm8k: Path, tmp_path: Path) -> None:
    problems = {
        "gsm8k": SetConfig(path=str(gsm8k)),
        "charges": SetConfig(path=write(tmp_path / "c.jsonl", *charges(0, 60))),
        "exam": SetConfig(path=write(tmp_path / "exam.jsonl", *charges(0, 3), *charges(200, 4))),
    }
    shares = {"gsm8k": 1.0, "charges": 1.0, "gcd": 1.0, "basic_arithmetic": 1.0, "gym/calendar_arithmetic": 1.0}
    with Practice(shares, problems=problems, measured=["exam"]) as practice:
        assert practice.measured == list(shares)
        drawn = [practice.problem(python_rng(0, i)) for i in range(60)]
        assert {p.task for p in drawn} == set(shares)
        for problem in [*drawn[:20], *practice.held_out("exam", 9)]:
            if problem.answer is not None:
                assert finding_of(practice.check(problem, problem.answer)).score == 1.0
        boxed = next(p for p in drawn if p.task == "gsm8k")
        assert finding_of(practice.check(boxed, f"So it is \\boxed{{{boxed.answer}}}.")).score == 1.0
        assert finding_of(practice.check(boxed, "\\boxed{1}")).score == 0.0
        exam = practice.held_out("exam", 99)
        assert (len(exam), {p.task for p in exam}) == (7, {"exam"})
        asked = {p.prompt for p in (practice.problem(python_rng(1, i)) for i in range(400)) if p.task == "charges"}
        assert asked.isdisjoint(p.prompt for p in [*exam, *practice.held_out("charges", 99)])
        taught = {practice.conversation(python_rng(0, i)).task for i in range(40)}
        assert taught == {"gsm8k", "gcd"}
        assert practice.notes[-1] == (
            "without worked traces, and so for reinforcement learning alone: charges, basic_arithmetic, "
            "gym/calendar_arithmetic"
        )
        assert practice.sets["gsm8k"] | {"fingerprint": ""} == {
            "licence": "MIT", "kind": "math", "train": 30, "held_out": 10, "fingerprint": "",
        }  # fmt: skip
        assert practice.check_seconds > 15


def test_what_is_measured_is_in_no_problem_of_a_task_that_makes_its_own(tmp_path: Path) -> None:
    exam = SetConfig(path=write(tmp_path / "exam.jsonl", *charges(0, 9)))
    task = tmp_path / "task.py"
    task.write_text(
        "def problem(rng):\n"
        "    n = rng.randrange(12)\n"
        "    split = 'train' if n else 'held_out'\n"
        "    return dict(prompt=f'What is the charge for {n} kg?', answer=str(3 * n), split=split)\n"
        "def worked(problem, rng):\n"
        "    return '3 times that', problem['answer']\n"
    )
    with Practice({}, str(task), problems={"exam": exam}, measured=["exam"]) as practice:
        drawn = {practice.problem(python_rng(0, i)).prompt for i in range(60)}
        imitated = {practice.conversation(python_rng(0, i)).messages[0].content for i in range(60)}
        assert drawn == imitated == {f"What is the charge for {n} kg?" for n in (9, 10, 11)}
        assert len(practice.held_out("exam", 9)) == 9
    with Practice({}, str(task)) as alone:
        assert len({alone.problem(python_rng(0, i)).prompt for i in range(200)}) == 11
    task.write_text(task.read_text().replace("12", "9"))
    with Practice({}, str(task), problems={"exam": exam}, measured=["exam"]) as nothing_left:
        refused = r"task: 1,000 of 1,000 training problems are, .*such as .*measure with other"
        with pytest.raises(DataError, match=refused):
            nothing_left.problem(python_rng(0))


def test_the_tasks_alone_are_as_they_were() -> None:
    with Practice({"gcd": 2.0, "stories": 1.0}) as practice:
        assert (practice.sets, practice.notes, practice.fingerprint) == ({}, [], "")
        assert practice.check_seconds == 10.0


def test_what_cannot_be_practised_is_refused(gsm8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "c.jsonl", *charges(0, 60))
    own = {"charges": SetConfig(path=path)}
    with pytest.raises(ConfigError, match=r"no worked traces of charges, .*ponder distill.*solution=COLUMN.*reasoning"):
        Practice({}, problems=own)
    with pytest.raises(ConfigError, match=r"problems\.charges is described and not used; give it a share \(tasks\.ch"):
        Practice({"gcd": 1.0}, problems=own)
    with pytest.raises(ConfigError, match=r"problems\.gcd: gcd is a task of its own already"):
        Practice({"gcd": 1.0}, problems={"gcd": SetConfig(path=path)})
    with pytest.raises(ConfigError, match="tasks has 'stories_new'; expected some of chain_sum"):
        Practice({"stories_new": 1.0})
    with pytest.raises(ConfigError, match=r"math has no split to learn from \(test\)"):
        Practice({"math": 1.0}, imitated=False)
    with pytest.raises(ConfigError, match="charges is judged as exact, and gym/gcd, which is to measure it, as gym"):
        Practice({}, problems={"charges": SetConfig(path=path, test="gym/gcd")}, imitated=False)
    with pytest.raises(DataError, match=r"none of the 1 problems of charges is in the split 'train'"):
        open_set("charges", SetConfig(path=write(tmp_path / "one.jsonl", *charges(1, 1))))
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        Practice({}, problems={"charges": SetConfig(path=str(tmp_path / "gone.csv"))}, imitated=False)
    unanswered = SetConfig(path=write(tmp_path / "u.jsonl", {"question": "Why?"}, *charges(0, 60)))
    with pytest.raises(DataError, match=r"u\.jsonl:1: no answer"):
        Practice({}, problems={"charges": unanswered}, imitated=False)
    [note] = open_set("charges", replace(unanswered, drop_unanswered=True)).notes
    assert "1 row is left out" in note
    tests = [{"question": f"Add {n}.", "tests": [{"input": "1", "output": str(1 + n)}]} for n in range(40)]
    code = {"adding": SetConfig(path=write(tmp_path / "code.jsonl", *tests), kind="code")}
    lack = layers.Missing("landlock", "this kernel has no Landlock", "Get another")
    monkeypatch.setattr(layers, "missing_layers", lambda: (lack,))
    with pytest.raises(SandboxError, match=r"(?s)missing:\n  landlock: .*--sandbox\.allow_missing='\[\"landlock\"\]'"):
        Practice({}, problems=code, imitated=False)
    with (
        pytest.raises(SandboxError, match="landlock"),
        open_task(TaskConfig(name="adding", path=code["adding"].path, kind="code")),
    ):
        pass


# --- whole runs


@pytest.mark.parametrize("kind", ["exact", "math"])
def test_r1_learns_a_table_by_trial_alone(base: Path, tmp_path: Path, kind: str) -> None:
    told = SetConfig(path=write(tmp_path / "c.jsonl", *charges(0, 60)), kind=kind)
    recipe = small_r1(base, problems={"charges": told})
    run = RunFolder.create(tmp_path / "run")
    summary = run_r1(recipe, run, SilentReporter())
    assert summary["sets"]["charges"]["kind"] == kind
    for stage in ("base", "reasoning-rl"):
        assert json.loads(run.evaluation(stage).read_text())["tasks"]["charges"]["n"] == 2
        assert {s.task for s in read_graded(run.evaluation_samples(stage))} == {"charges"}
    assert "| charges |" in run.report.read_text(encoding="utf-8")
    assert "| reasoning-rl | charges | 2 |" in stages_table(run)
    check_claim(recipe, run, resume=True)
    run_r1(recipe, run, SilentReporter(), resume=True)
    write(tmp_path / "c.jsonl", *charges(1, 60))
    with pytest.raises(RunError, match=r"the problems of charges have changed since the run .* began"):
        run_r1(recipe, run, SilentReporter(), resume=True)


def test_problems_that_the_context_has_no_room_for_are_refused(base: Path, tmp_path: Path) -> None:
    long = {"question": "Why? " * 120, "answer": "so"}
    recipe = small_r1(base, problems={"charges": SetConfig(path=write(tmp_path / "c.jsonl", long, *charges(0, 60)))})
    run = RunFolder.create(tmp_path / "run")
    with pytest.raises(
        ConfigError, match=r"reasoning_rl.max_tokens = 8, and prompts of charges have up to 6\d\d tokens"
    ):
        run_r1(recipe, run, SilentReporter())
    assert not run.config.exists()


class _Notes(SilentReporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_r1_imitates_a_sets_own_solutions_and_names_its_licence(base: Path, gsm8k: Path, tmp_path: Path) -> None:
    recipe = small_r1(
        base,
        stages=("cold-start",),
        tasks={"gsm8k": 1.0, "basic_arithmetic": 1.0},
        problems={"gsm8k": SetConfig(path=str(gsm8k))},
        cold_start=SftConfig(steps=1, tokens_per_step=1024, row_tokens=512, warmup_steps=1),
        ordinary=OrdinaryConfig(share=0.0),
    )
    run, reporter = RunFolder.create(tmp_path / "run"), _Notes()
    run_r1(recipe, run, reporter)
    assert any("1 of 31 training problems are left out" in note for note in reporter.notes)
    assert "without worked traces, and so for reinforcement learning alone: basic_arithmetic" in reporter.notes
    facts = ModelFacts(
        name="m", shape="s", parameters_total=1, parameters_active=1, context=1, vocabulary=1, stored="fp32"
    )  # fmt: skip
    assert "| problem sets | gsm8k (licence: MIT; 30 problems) |" in model_card(facts, run)


def test_zero_learns_a_table(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = write(tmp_path / "c.jsonl", *charges(0, 60)), write(tmp_path / "t.jsonl", *charges(100, 5))
    recipe = small_zero(base, task=TaskConfig(name="charges", path=train, test=test, kind="math"))
    run = RunFolder.create(tmp_path / "runs" / "run")
    summary = run_zero(recipe, run, SilentReporter())
    assert (summary["task"], summary["sets"]["charges"]["held_out"]) == ("charges", 5)
    assert json.loads(run.evaluation("trained").read_text())["n"] == 3
    rows = [json.loads(line) for line in run.evaluation_samples("trained").read_text().splitlines()]
    assert {row["answer"] for row in rows if "answer" in row} <= {str(3 * n) for n in range(100, 105)}
    assert main(["runs", "--runs", str(tmp_path / "runs"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["task"] == "charges"
    assert main(["eval", "run", "--runs", str(tmp_path / "runs"), "--problems", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "charges"
    write(tmp_path / "c.jsonl", *charges(1, 60))
    with pytest.raises(RunError, match="the problem set charges has changed since"):
        run_zero(recipe, run, SilentReporter(), resume=True)
    with pytest.raises(ConfigError, match=r"no documents to pretrain a base on; name a model to start from"):
        run_zero(replace(recipe, start_from=""), RunFolder.create(tmp_path / "none"), SilentReporter())


# --- recipes and the command


def test_a_set_that_is_named_is_alone(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "train.csv")
    start = {"start_from": str(base), "engine": "torch"}
    name, told = described("train.csv", "math", "", "gsm8k")
    assert (name, told.path, told.test) == ("train", str(tmp_path / "train.csv"), "gsm8k")
    recipe = load_r1_recipe("r1", start, problems=(name, told))
    assert (recipe.name, recipe.tasks, recipe.problems) == ("r1-train", {"train": 1.0}, {"train": told})
    assert recipe.measure.apart == ()
    assert recipe.sharpening.plain_share == 0.0
    zero = load_recipe("zero-chain", start, problems=(name, told))
    assert (zero.name, zero.task.name, zero.task.path, zero.task.kind) == ("zero-train", "train", told.path, "math")
    gym = load_r1_recipe("r1", start, problems=described("gym/gcd"))
    assert (gym.tasks, gym.problems) == ({"gym/gcd": 1.0}, {})
    for file in ("gsm8k.csv", "gcd.csv", "chain.jsonl.gz"):  # which are no other set's or task's
        assert described(file)[0] == file
    beside = load_r1_recipe("r1", {**start, "tasks": {"gsm8k": 1.0}})
    assert beside.tasks["gsm8k"] == beside.tasks["lcm"] == 1.0
    for each in (recipe, zero, beside):
        run = RunFolder.create(tmp_path / each.name / str(len(to_toml(each))))
        run.config.write_text(to_toml(each))
        check_claim(each, run, resume=True)
        sections = {line for line in to_toml(each).splitlines() if line.startswith("[")}
        assert "[sandbox]" in sections


def test_rows_without_an_answer_are_left_out_of_a_file_by_any_name(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made: list[R1Recipe] = []
    monkeypatch.setattr("ponder.cli.train.train_r1", lambda arguments, recipe: made.append(recipe) or 0)
    words = ["train", "r1", f"--start_from={base}", "--engine=torch"]
    for file, setting in (
        ("my-own.csv", "--problems.my-own.kind=math"),
        ("2024.csv", "--problems.2024.kind=math"),
        ("my own.v2.csv", '--problems."my own.v2".kind=math'),
    ):
        write(tmp_path / file)
        assert main([*words, "--problems", file, "--drop-unanswered", setting]) == 0
        [told] = made.pop().problems.values()
        assert (told.path, told.kind, told.drop_unanswered) == (str(tmp_path / file), "math", True)


def test_a_command_that_goes_on_tells_the_same_of_its_problems() -> None:
    words = ["train", "r1", "--problems", "my-own.csv", "--kind", "math", "--drop-unanswered", "--seed=1"]
    arguments, settings = build_parser(words).parse_known_args(words)
    arguments.settings = settings
    again = resume_command(arguments, RunFolder(Path("runs/r")))
    assert again == ["train", "r1", "--resume", "--run", "r", *words[2:]]


def test_a_run_from_before_there_were_sets_goes_on(base: Path, tmp_path: Path) -> None:
    recipe = small_r1(base, tasks={"gcd": 1.0})
    text = to_toml(recipe)
    before = text[: text.index("[sandbox]")].replace("[problems]\n", "")
    assert before != text
    run = RunFolder.create(tmp_path / "run")
    run.config.write_text(before)
    check_claim(recipe, run, resume=True)


def test_a_student_is_asked_its_teachers_own_set(base: Path, tmp_path: Path) -> None:
    told = SetConfig(path=write(tmp_path / "c.jsonl", *charges(0, 60)), kind="math")
    run = RunFolder.create(tmp_path / "runs" / "taught")
    run_r1(small_r1(base, problems={"charges": told}), run, SilentReporter())
    overrides = {"teacher": "taught", "student": str(base), "engine": "torch"}
    recipe = load_distill_recipe(overrides=overrides, runs=tmp_path / "runs")
    assert recipe.task == TaskConfig(name="charges", path=told.path, kind="math")


def test_second_sft_needs_no_traces_where_it_takes_none(base: Path) -> None:
    stages = ("reasoning-rl", "rejection", "second-sft")
    recipe = small_r1(base, ordinary=OrdinaryConfig(share=0.0))
    assert not replace(recipe, stages=stages, rejection=RejectionConfig(worked_share=0.0)).imitates
    assert replace(recipe, stages=stages).imitates


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kind", "math"], "--kind belongs to --problems"),
        (["--test", "gsm8k", "--task", "a.py"], "--test belongs to --problems"),
        (["--problems", "gsm8k", "--task", "a.py"], "--task and --problems both name problems"),
        (["--problems", "gsm9k"], "tasks has 'gsm9k'; expected some of chain_sum"),
        (["--problems", "gym/gcd", "--kind", "math"], r"problems.gym/gcd: gym/gcd is a task of its own already"),
        (["--problems", "train.csv", "--kind", "maths"], "invalid choice: 'maths'"),
    ],
)
def test_what_does_not_fit_is_refused_before_there_is_a_run(
    words: list[str], message: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["train", "r1", f"--start_from={base}", "--engine=torch", *words])
    except SystemExit as error:
        code = int(error.code or 0)
    assert code in (1, 2)
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("runs/*"))


def test_the_command_goes_from_a_table_to_a_trained_model_and_on(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f'"What is the charge for {n} kg?",{3 * n}' for n in range(60)]
    (tmp_path / "train.csv").write_text("\n".join(["question,answer", *lines]), encoding="utf-8")
    command = [
        "train", "r1", "--problems", "train.csv", "--kind", "math", f"--start_from={base}", "--engine=torch",
        '--stages=["reasoning-rl"]', "--reasoning_rl.steps=1", "--reasoning_rl.prompts_per_step=2",
        "--reasoning_rl.group_size=2", "--reasoning_rl.max_tokens=8", "--measure.problems=2",
        "--measure.drawing.samples=1", "--measure.drawing.max_tokens=8",
    ]  # fmt: skip
    assert main(command) == 0, capsys.readouterr().err
    assert (tmp_path / "runs" / "r1-train" / "report.md").is_file()
    assert main([*command, "--resume"]) == 0, capsys.readouterr().err


def test_arguments_of_a_set_are_told_on() -> None:
    from types import SimpleNamespace

    told = {"task": None, "kind": None, "fields": None, "test": None, "drop_unanswered": None}
    given = SimpleNamespace(**{**told, "problems": "hub:acme/sums", "kind": "math", "fields": "question=q"})
    assert named_problems(given) == ("hub:acme/sums", SetConfig(kind="math", fields="question=q"))  # type: ignore[arg-type]
    with pytest.raises(PonderError, match="--fields belongs to --problems"):
        named_problems(SimpleNamespace(**{**told, "problems": None, "fields": "a"}))  # type: ignore[arg-type]
