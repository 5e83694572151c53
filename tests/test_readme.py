"""The README is true: its example runs, its commands are taken as they stand, its links lead somewhere."""

import argparse
import json
import random
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ponder.cli.main import COMMANDS, build_parser, main
from ponder.core.config import apply_settings, parse_overrides, to_toml
from ponder.core.metrics import read_metrics
from ponder.core.runs import RunFolder
from ponder.data.problems import held_out_problems
from ponder.data.task_file import load_task_file
from ponder.recipes.comparison_recipe import load_comparison_recipe
from ponder.recipes.distill_recipe import load_distill_recipe
from ponder.recipes.files import recipe_kind
from ponder.recipes.r1_recipe import load_r1_recipe
from ponder.recipes.zero_recipe import load_recipe
from ponder.serve.config import ServeConfig
from tiny_recipe import RECIPE

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh.md")
DOCUMENTS = (
    *READMES, "dev/LEADERBOARD.md", "dev/LOG.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)  # fmt: skip
EXAMPLE = ROOT / "examples" / "my_task.py"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def example(readme: str) -> str:
    """The code of the task between its markers."""
    found = re.search(r"<!-- my-task -->\n```python\n(.*?)```\n<!-- /my-task -->", read(readme), re.DOTALL)
    assert found is not None
    return found[1]


def shell_lines(readme: str) -> list[list[str]]:
    """The words of every command in a shell block; comments are dropped, as a shell does."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", read(readme), re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words for words in lines if words]


def ponder_commands() -> list[list[str]]:
    return [words[1:] for words in shell_lines("README.md") if words[0] == "ponder"]


# --- the example


@pytest.mark.parametrize("readme", READMES)
def test_the_example_is_the_file_that_it_names(readme: str) -> None:
    assert example(readme) == EXAMPLE.read_text(encoding="utf-8")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The example as a reader copies it from the README."""
    path = tmp_path / EXAMPLE.name
    path.write_text(example("README.md"), encoding="utf-8")
    return path


def test_the_example_is_a_task(copied: Path) -> None:
    task = load_task_file(copied)
    problems = held_out_problems(task, 100, random.Random(0))
    assert len({problem.id for problem in problems}) == 100
    for problem in problems:
        document = task.require_documents().worked(problem, random.Random(0), thorough=True)
        assert document.answer == problem.answer == document.thought[-1]


def test_the_example_trains_from_the_command_line(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's command, with a recipe that takes seconds."""
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(to_toml(RECIPE), encoding="utf-8")
    settings = [
        "--pretrain.max_skill_steps=24",
        "--pretrain.gate_every=24",
        "--grpo.steps=2",
        "--evaluation.problems=10",
        "--model.max_positions=96",
    ]
    assert main(["train", str(recipe), "--task", str(copied), "--runs", str(tmp_path), "--json", *settings]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["task"], figures["finished"], figures["trained"]["n"]) == ("cups", True, 10)
    assert figures["trained"]["max_tokens"] == 64  # the file's MAX_TOKENS
    rows = read_metrics(RunFolder(tmp_path / f"tiny-{copied.stem}").metrics)
    losses = [row["loss/next_token"] for row in rows if row["stage"] == "pretrain"]
    assert losses[-1] < 0.8 * losses[0]
    assert [row["step"] for row in rows if row["stage"] == "zero"] == [0, 1]


# --- the commands


def test_both_readmes_give_the_same_commands() -> None:
    english, chinese = (shell_lines(readme) for readme in READMES)
    assert english == chinese
    assert len(english) > 20


def test_both_readmes_have_the_same_sections_and_markers() -> None:
    def form(readme: str) -> list[str]:
        return re.findall(r"^#+ |^```\w*|^<!-- .* -->|^\|(?:---\|)+", read(readme), re.MULTILINE)

    assert form("README.md") == form("README.zh.md")


def test_every_command_is_shown() -> None:
    assert {words[0] for words in ponder_commands()} == set(COMMANDS)


def load_named(command: str, arguments: argparse.Namespace, settings: dict[str, Any]) -> None:
    """The recipe of a command, with its settings."""
    if command == "distill" and arguments.compare is not None:
        load_comparison_recipe(arguments.compare, settings)
    elif command == "distill":
        named = {"teacher": arguments.teacher, "student": arguments.student, "task": {"name": arguments.problems}}
        load_distill_recipe("distill", {**named, **settings}, Path("runs"))
    elif recipe_kind(arguments.recipe) == "r1":
        load_r1_recipe(arguments.recipe, {"start_from": "runs/smollm2-135m-instruct", **settings})
    else:
        task = None if arguments.task is None else ROOT / arguments.task
        load_recipe(arguments.recipe, settings, task)


@pytest.mark.parametrize("words", ponder_commands(), ids=" ".join)
def test_a_command_is_taken_as_it_stands(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options exist, and its settings are settings of its recipe or of the server."""
    (tmp_path / "runs" / "quickstart-chain").mkdir(parents=True)  # what the commands before it have made
    (tmp_path / "runs" / "smollm2-135m-instruct").mkdir()
    monkeypatch.chdir(tmp_path)
    arguments, settings = build_parser(words).parse_known_args(words)
    if words[0] == "serve":
        apply_settings(ServeConfig(), parse_overrides(settings))
    elif arguments.takes_settings:
        load_named(words[0], arguments, parse_overrides(settings))
    else:
        assert settings == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_named(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    options = set(re.findall(r"(?<![\w-])--[a-z-]+\b(?!\.)", capsys.readouterr().out)) - {"--help"}
    assert "--debug" in options
    for readme in READMES:
        assert {option for option in options if option not in read(readme)} == set()
    if command not in ("chat", "serve"):  # of which the README says that they have none
        assert "--json" in options


def test_every_script_is_there() -> None:
    scripts = {word for words in shell_lines("README.md") for word in words if word.startswith("./scripts/")}
    assert scripts == {"./scripts/run", "./scripts/test", "./scripts/check", "./scripts/slow"}
    assert all((ROOT / script).is_file() for script in scripts)


# --- the links


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", read(name))
    missing = [t for t in targets if "://" not in t and not ((ROOT / name).parent / t).exists()]
    assert missing == []
