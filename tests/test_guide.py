"""The guide to a reasoner of one's own is true: its commands run as they stand, with a tiny model in place of the base,
its example is what it shows, and its table is what its command prints.
"""

import csv
import io
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from ponder.cli.main import build_parser, main
from ponder.core.config import parse_overrides
from ponder.core.errors import DataError
from ponder.core.types import Problem
from ponder.data.problems import Document
from ponder.data.task_file import TaskFile, load_task_file
from ponder.models.config import GqaConfig, ModelConfig
from ponder.models.transformer import Transformer
from ponder.recipes.files import recipe_kind
from ponder.recipes.r1_data import Practice
from ponder.recipes.r1_recipe import load_r1_recipe
from ponder.text.tokenizer import Tokenizer
from ponder.weights.checkpoint import save_model
from ponder.weights.pull.home import Manifest, PulledFile, write_manifest
from teacher_server import teacher_server
from test_serve_cli import served
from vocabularies import CHATML_JINJA, small_chatml

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "your-own-reasoner.md"
TEACHER = "https://api.example.com/v1"
REPLY = "Sure."  # of the base, to whatever it is asked; no letter twice
SMALL_STEPS = ("--engine=torch", "--checkpoint_every=9")
SMALL_R1 = (
    *SMALL_STEPS, "--ordinary.prompts=24", "--ordinary.collect.max_tokens=32",
    "--ordinary.texts=8", "--ordinary.text_tokens=8",
    "--cold_start.steps=2", "--cold_start.tokens_per_step=1024", "--cold_start.row_tokens=512",
    "--reasoning_rl.steps=1", "--reasoning_rl.prompts_per_step=2", "--reasoning_rl.group_size=2",
    "--measure.problems=4", "--measure.drawing.samples=1", "--measure.drawing.max_tokens=32",
    "--reasoning_rl.max_tokens=32",
)  # fmt: skip
SMALL_DISTILL = (
    *SMALL_STEPS, "--traces.problems=24", "--traces.samples=1", "--sft.epochs=1.0", "--sft.row_tokens=512",
    "--sft.tokens_per_step=1024", "--evaluation.samples=1", "--evaluation.max_tokens=32",
)  # fmt: skip
SMALL = {  # what is put behind a command of the guide, so that it takes a second
    "train": SMALL_R1,
    "distill": SMALL_DISTILL,
    "eval": ("--count", "6", "--samples", "2"),
    "scaling": ("--count", "3", "--samples", "2"),
}


def guide() -> str:
    return GUIDE.read_text(encoding="utf-8")


def part(name: str) -> str:
    """What stands between two markers."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", guide(), re.DOTALL)
    assert found is not None, name
    return found[1]


def commands() -> list[str]:
    """Every line of a shell block."""
    blocks = re.findall(r"^```sh\n(.*?)^```", guide(), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def words_of(line: str) -> list[str]:
    """A line's words as a shell makes them."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, text=True)
    return done.stdout.split("\0")[:-1]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example as a reader copies it, with its tables."""
    folder = tmp_path / "my-reasoner"
    shutil.copytree(ROOT / "examples" / "reasoner", folder)
    subprocess.run([sys.executable, "questions.py"], cwd=folder, check=True)
    return folder


@torch.no_grad()
def parrot(tokenizer: Tokenizer, reply: str) -> Transformer:
    """A chat model that says `reply` to everything: what comes next depends on the last token alone."""
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=64,
        layers=1,
        heads=2,
        attention=GqaConfig(kv_heads=1, head_dim=16),
        intermediate_size=32,
        max_positions=1024,
        rope_layout="halves",
    )
    model = Transformer(config, torch.Generator().manual_seed(0))
    for block in model.blocks:  # nothing is added to the last token's own vector
        for parameter in block.parameters():
            if parameter.dim() == 2:
                parameter.mul_(0.1)
    chain = [tokenizer.encode("\n")[-1], *tokenizer.encode(reply), tokenizer.control.eos]
    assert len(set(chain)) == len(chain)
    model.embedding.weight.normal_(0.0, 0.3, generator=torch.Generator().manual_seed(1))
    basis = torch.linalg.qr(torch.randn(64, len(chain), generator=torch.Generator().manual_seed(2)))[0].T
    for row, (token, after) in enumerate(pairwise(chain)):
        model.embedding.weight[token] = 8.0 * basis[row]
        model.head.weight[after] = 2.0 * basis[row]
    return model


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where models are kept: the guide's base is there, and is the parrot."""
    folder = tmp_path / "home" / "models" / "smollm2-135m-instruct"
    folder.mkdir(parents=True)
    tokenizer = small_chatml()
    save_model(folder, parrot(tokenizer, REPLY), tokenizer, CHATML_JINJA)
    files = {file.name: PulledFile(size=file.stat().st_size, sha256="") for file in folder.iterdir()}
    manifest = Manifest(
        name=folder.name, source="a test", revision=None, licence="Apache-2.0", date="2026-01-01", files=files
    )
    write_manifest(folder, manifest)
    monkeypatch.setenv("PONDER_HOME", str(tmp_path / "home"))
    return folder


@contextmanager
def teacher(task: TaskFile) -> Iterator[tuple[str, list[str]]]:
    """A server that works the example's questions out, and what it was asked."""
    asked: list[str] = []

    def teach(question: str) -> Document:
        asked.append(question)
        first = question.splitlines()[0]
        return task.worked(Problem(id=first, prompt=first, facts={"prompt": first}), random.Random(0))

    with teacher_server(teach) as url:
        yield url, asked


# --- the example


def test_the_rows_that_are_shown_are_those_that_are_made(example: Path) -> None:
    shown = part("rows").removeprefix("```text\n").removesuffix("```\n")
    assert (example / "train.csv").read_text(encoding="utf-8").startswith(shown)
    assert shown.count("\n") == 10


def test_the_traces_come_to_the_answers_and_every_step_is_right(example: Path) -> None:
    task = load_task_file(example / "delivery.py")
    rng = random.Random(0)
    rows = {
        name: list(csv.DictReader((example / name).read_text(encoding="utf-8").splitlines()))
        for name in ("train.csv", "test.csv")
    }
    assert {name: len(each) for name, each in rows.items()} == {"train.csv": 1700, "test.csv": 220}
    steps = 0
    for row in (*rows["train.csv"], *rows["test.csv"]):
        problem = Problem(id="", prompt=row["question"], facts={"prompt": row["question"]})
        document = task.worked(problem, rng)
        assert document.answer == row["answer"]
        for left, operator, right, result in re.findall(r"(\d+)([-+*])(\d+)=(\d+)", document.thought):
            made = {"-": int(left) - int(right), "+": int(left) + int(right), "*": int(left) * int(right)}[operator]
            assert made == int(result), document.thought
            steps += 1
        assert len(document.thought) + len(document.answer) < 160  # MAX_TOKENS, were every letter a token
    assert steps > 5000
    test = {row["question"] for row in rows["test.csv"]}
    assert {task.sample("held_out", rng).prompt for _ in range(2000)} == test
    assert {task.sample("train", rng).prompt for _ in range(200)}.isdisjoint(test)


def test_the_reply_that_is_shown_is_the_tasks_own(example: Path) -> None:
    shown = json.loads(re.findall(r"```json\n(.*?)```", guide(), re.DOTALL)[0])
    [question] = re.findall(r'"content": "(Delivery of[^"]*)"', guide())
    document = load_task_file(example / "delivery.py").worked(
        Problem(id="", prompt=question, facts={"prompt": question}), random.Random(0)
    )
    assert (shown["reasoning_content"], shown["content"]) == (document.thought, document.answer)


def test_a_task_file_is_the_only_task_unless_others_are_named(example: Path, home: Path) -> None:
    start = {"start_from": str(home), "engine": "torch"}
    recipe = load_r1_recipe("r1", start, example / "delivery.py")
    assert (recipe.name, dict(recipe.tasks), recipe.measure.apart) == ("r1-delivery", {"delivery": 1.0}, ())
    assert load_r1_recipe("r1", start).sharpening.plain_share > 0.0 == recipe.sharpening.plain_share
    lengths = (
        recipe.reasoning_rl.max_tokens, recipe.final_rl.max_tokens, recipe.rejection.collect.max_tokens,
        recipe.sharpening.collect.max_tokens, recipe.measure.drawing.max_tokens,
    )  # fmt: skip
    assert lengths == (160,) * 5
    both = load_r1_recipe("r1", {**start, "tasks": {"gcd": 0.5}}, example / "delivery.py")
    assert dict(both.tasks) == {"delivery": 1.0, "gcd": 0.5}
    longer = load_r1_recipe("r1", {**start, "reasoning_rl": {"max_tokens": 200}}, example / "delivery.py")
    assert longer.reasoning_rl.max_tokens == 200


def test_the_file_of_settings_is_the_command(example: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example)
    Path("delivery.toml").write_text(part("settings").removeprefix("```toml\n").removesuffix("```\n"), encoding="utf-8")
    [line] = [line for line in commands() if line.startswith("ponder train r1") and "--cold_start.steps" in line]
    settings = parse_overrides([word for word in words_of(line)[3:] if "=" in word])
    start = {"start_from": str(home), "engine": "torch"}
    from_file = load_r1_recipe("delivery.toml", start)
    assert from_file == load_r1_recipe("r1", {**start, **settings}, Path("delivery.py"))
    assert recipe_kind("delivery.toml") == "r1"


def test_the_settings_behind_what_to_expect_are_a_recipe(example: Path, home: Path) -> None:
    [line] = re.findall(r"What to expect:.*?`(--stages=[^`]*)`", guide(), re.DOTALL)
    settings = parse_overrides(words_of(line.replace("\n", " ")))
    recipe = load_r1_recipe("r1", {**settings, "start_from": str(home), "engine": "torch"}, example / "delivery.py")
    assert (recipe.stages, recipe.cold_start.steps, recipe.ordinary.worked_share) == (("cold-start",), 60, 1.0)


def test_the_rates_that_are_named_are_the_recipes(example: Path, home: Path) -> None:
    recipe = load_r1_recipe("r1", {"start_from": str(home), "engine": "torch"}, example / "delivery.py")
    for stage, config in (("cold_start", recipe.cold_start), ("reasoning_rl", recipe.reasoning_rl)):
        [rate] = re.findall(rf"`{stage}\.optimizer\.learning_rate` \| the recipe's (\S+) is", guide())
        assert float(rate) == config.optimizer.learning_rate
    [prompts, group] = re.findall(r"256 samples a step \((\d+) prompts × (\d+)\)", guide())[0]
    assert (int(prompts), int(group)) == (recipe.reasoning_rl.prompts_per_step, recipe.reasoning_rl.group_size)


def test_reinforcement_alone_needs_no_traces(example: Path) -> None:
    file = example / "bare.py"
    text = (example / "delivery.py").read_text(encoding="utf-8")
    file.write_text(text.replace("def worked(", "def _worked("), encoding="utf-8")
    with Practice({}, str(file), imitated=False) as practice:
        assert practice.problem(random.Random(0)).prompt.startswith("Delivery of")
    with pytest.raises(DataError, match=r"defines no worked.*ponder distill.*reasoning-rl"):
        Practice({}, str(file))


# --- the commands


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("ponder")])
def test_a_command_has_the_options_that_it_names(line: str, example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example)
    words = words_of(line)[1:]
    arguments, settings = build_parser(words).parse_known_args(words)
    assert arguments.takes_settings or settings == []


def test_the_commands_run_as_they_stand(
    example: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other, in the example's folder, from the tables to an answer of the server."""
    monkeypatch.chdir(example)
    (example / "key.txt").write_text("secret", encoding="utf-8")
    said: dict[str, str] = {}
    with teacher(load_task_file(example / "delivery.py")) as (url, asked):
        for line in commands():
            words = words_of(line.replace(TEACHER, url))
            if words[0] in ("cp", "cd", "python", "curl") or words[1] in ("pull", "serve"):
                continue  # the fixtures have done it; or it is tried below
            assert words[0] == "ponder", line
            capsys.readouterr()
            monkeypatch.setattr("sys.stdin", io.StringIO("Delivery of 3 kg to zone A, in euros?\n"))  # of the chat
            code = main([*words[1:], *SMALL.get(words[1], ())])
            captured = capsys.readouterr()
            assert code == 0, f"{line}\n{captured.err}"
            said[line.replace("ponder ", "", 1)] = captured.out
    assert len(asked) == 24
    assert "zone A 4, zone B 6" in asked[0]  # the tariff, which `$(cat tariff.txt)` puts into the instruction
    check_what_they_said(example, said)
    serve_and_ask(example, tmp_path / "home")


def check_what_they_said(example: Path, said: dict[str, str]) -> None:
    """The figures are those of the task, and of nothing else."""

    def output(start: str) -> str:
        [found] = [text for line, text in said.items() if line.startswith(start)]
        return found

    assert "1,700 problems" in output("problems show")
    assert "nothing in common" in output("problems check")
    assert "of the teacher's 24 answers" in output("distill")
    assert REPLY in output("chat")
    assert part("teach") == output("plan")
    for run, stages in (
        ("delivery", ["base", "cold-start", "reasoning-rl"]),
        ("delivery-distilled-rl", ["base", "reasoning-rl"]),
        ("delivery-rl", ["base", "reasoning-rl"]),
    ):
        evaluations = example / "runs" / run / "evaluations"
        assert sorted(f.stem for f in evaluations.glob("*.json")) == sorted(stages)
        for stage in stages:
            tasks = json.loads((evaluations / f"{stage}.json").read_text(encoding="utf-8"))["tasks"]
            assert {name: each["n"] for name, each in tasks.items()} == {"delivery": 4}
    rows = (example / "runs" / "delivery" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    stages = [json.loads(row)["stage"] for row in rows]
    assert stages == ["cold-start"] * 2 + ["reasoning-rl"]
    exports = {path.name for path in (example / "exports").iterdir()}
    assert exports == {"delivery-adapter-f32", "delivery-hf-bf16", "delivery-gguf-q8_0"}
    assert (example / "evaluations" / "delivery-test.csv-scaling" / "scaling.png").is_file()
    assert (example / "samples.html").is_file()
    card = (example / "exports" / "delivery-hf-bf16" / "README.md").read_text(encoding="utf-8")
    for told in ('base_model: "smollm2-135m-instruct"', "license: apache-2.0", "| cold-start | delivery | 4 |"):
        assert told in card


def serve_and_ask(example: Path, home: Path) -> None:
    """`ponder serve`, and the guide's own curl."""
    [serve], [curl] = ([line for line in commands() if line.startswith(start)] for start in ("ponder serve", "curl"))
    shutil.copytree(home, example / "home")
    with served(*words_of(serve)[2:], cwd=example) as (_, address):
        line = curl.replace("http://127.0.0.1:8000", address)
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=True)
    message = json.loads(done.stdout)["choices"][0]["message"]
    assert message["role"] == "assistant"
    assert REPLY in f"{message.get('reasoning_content')}{message['content']}"
